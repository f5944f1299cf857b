"""When charge arrives: whether the neurons of a network fire step by step, or layer by layer.

A wire is *constant* (the same at every step), *first* (0 after the first step, as after a ``Burst``) or *changing*.
Layers, gains and sums keep what they read; a neuron's spikes change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from bitspike.integer.arithmetic import Integers, still
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Gained, Input, Neuron, Readout

Timing = Literal["constant", "first", "changing"]
Schedule = Literal["synchronous", "layerwise", "mixed"]


def schedule(net: IntegerNetwork) -> Schedule:
    """Return when the neurons of a network get their charge.

    ``synchronous``: step t of a neuron reads step t of the layers before it. ``layerwise``: every neuron has its
    whole charge at the first step, or the same charge at every step, so that its spike count depends on nothing but the
    sum; charge that spikes bring comes through a ``Burst``. ``mixed``: some neurons this way, some that way.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> schedule(one_convolution())
        'synchronous'
    """
    if not _bursts_into_neurons(net):
        return "synchronous"
    wires = timings(net)
    charges = {_charge(n, [wires[s] for s in n.sources]) for n in net.neurons}
    return "mixed" if "changing" in charges and net.steps > 1 else "layerwise"


def timings(net: IntegerNetwork) -> dict[str, Timing]:
    """Return how every wire changes over time, by the id of its node."""
    known: dict[str, Timing] = {}
    for node in net.nodes:
        sources = [known[s] for s in node.sources]
        match node:
            case Input():
                known[node.id] = "constant" if node.constant else "changing"
            case Neuron():
                known[node.id] = "changing"
            case Gained():
                known[node.id] = _charge(node, sources)
            case _:
                known[node.id] = "first" if node.memory == "all" else _joined(sources)
    return known


def _bursts_into_neurons(net: IntegerNetwork) -> bool:
    """Tell whether a neuron reads a burst, directly or through other layers."""
    read: set[str] = set()
    for node in reversed(net.nodes):
        if isinstance(node, Neuron) or (node.id in read and not isinstance(node, Readout)):
            if node.memory == "all":
                return True
            read |= set(node.sources)
    return False


def _charge(node: Gained, sources: list[Timing]) -> Timing:
    """Return how the sum of gained sources and bias changes."""
    parts = [_gained(s, g) for s, g in zip(sources, node.gains, strict=True)]
    if isinstance(node, Neuron | Readout) and node.bias.any():
        parts.append("constant" if still(node.bias) else "changing" if node.bias[1:].any() else "first")
    return _joined(parts)


def _gained(source: Timing, gain: Integers) -> Timing:
    if source != "constant" or still(gain):
        return source
    return "changing" if gain[1:].any() else "first"


def _joined(parts: Iterable[Timing]) -> Timing:
    kinds = set(parts)
    return kinds.pop() if len(kinds) == 1 else "changing"
