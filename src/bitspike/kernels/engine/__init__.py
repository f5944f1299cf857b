"""The native integer engine: its data structures and its loops."""

from bitspike.kernels.engine.structs import ABI, library

__all__ = ["ABI", "library"]
