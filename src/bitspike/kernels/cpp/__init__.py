"""Native libraries: their sources, how they are found and loaded, memory for their results."""
