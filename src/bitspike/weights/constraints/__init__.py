"""Weights that are free at first and end on levels: constrained backpropagation."""
