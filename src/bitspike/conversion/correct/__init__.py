"""Corrections of biases, potentials and weights, measured layer by layer against the float network."""
