"""Runs next to each other: one row for the seeds of an experiment, and tables to read and to publish."""
