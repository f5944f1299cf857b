"""Fused time loops: the equations of :mod:`bitspike.ops.dynamics` in one pass over memory, with the same spikes."""

from bitspike.kernels.native import status
from bitspike.kernels.neuron import fused_neuron

__all__ = ["fused_neuron", "status"]
