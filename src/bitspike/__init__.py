"""Low-bit spiking neural networks that are provably the same on the chip as in training."""
