"""Corrections of biases, potentials and weights: chosen (``automatic``), then measured layer by layer (``walk``)."""
