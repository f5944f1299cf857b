"""Norms, constants and borders folded into the layers around them, exactly."""
