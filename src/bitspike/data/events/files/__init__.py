"""Readers of event files, one format a file; ``read`` chooses among them by what a file begins with."""
