"""Chips and their rules, repairs, and honest energy; all of it reads the integer network and its proven widths."""
