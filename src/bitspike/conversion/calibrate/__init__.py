"""Samples run through the float network: thresholds of all neurons (``find``), and grids of what enters (``grids``)."""
