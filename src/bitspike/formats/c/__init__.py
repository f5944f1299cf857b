"""An integer network as one C99 program with its test bench."""

from bitspike.formats.c.write import c_memory, write_c

__all__ = ["c_memory", "write_c"]
