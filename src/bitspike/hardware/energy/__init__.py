"""What one inference costs: operations, memory, technology tables, the report."""

from bitspike.hardware.energy.activity import counts
from bitspike.hardware.energy.operations import MemoryModel

__all__ = ["MemoryModel", "counts"]
