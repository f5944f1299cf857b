"""The report of a run: its facts, its verdict, its figures, one HTML page."""
