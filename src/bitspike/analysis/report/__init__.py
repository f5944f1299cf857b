"""The report of a run: its ``facts``, their ``verdict`` in words, its ``exhibits`` in figures, one HTML page."""
