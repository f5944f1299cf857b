"""Spiking networks of the papers, each from one definition."""
