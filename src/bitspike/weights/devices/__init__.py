"""Models of memory devices that hold weights."""
