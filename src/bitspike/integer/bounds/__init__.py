"""Intervals of every integer, and the widths that they prove."""
