"""Quantized networks and the spiking networks of T = 2**b - 1 steps that have their counts."""
