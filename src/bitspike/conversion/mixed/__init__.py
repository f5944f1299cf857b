"""Bits per layer under a budget: what fewer bits cost each layer, measured, and the cheapest choice, exactly."""
