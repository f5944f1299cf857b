"""Loihi: populations and synapses in the chip's numbers, and a program that runs them in lava-nc, bit-accurate."""
