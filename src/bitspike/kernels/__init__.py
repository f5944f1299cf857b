"""Fused loops: the equations of :mod:`bitspike.ops` in one pass over memory, with the same result."""

from bitspike.kernels.cpp.loader import status
from bitspike.kernels.neuron import fused_neuron

__all__ = ["fused_neuron", "status"]
