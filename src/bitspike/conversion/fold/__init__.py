"""Norms and constants into the weights around them, and relus before pools: the same function, exactly."""
