"""Norms whose gain and shift move into the neuron after them."""
