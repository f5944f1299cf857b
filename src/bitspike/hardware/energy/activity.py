"""Spikes on every wire, and how many synapses each of them reaches.

A count is the sum over all steps of the magnitude of what a wire carries, averaged over samples. It has the wire's
shape. On a wire of several bits (after a pool without a neuron) a value v counts as v single spikes, one accumulation
each; nothing is scaled by a fraction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bitspike.errors import ConstraintError, DataError
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Add, Input, Move, Neuron, Node, Reals, Synapse, Weighted

Numbers = npt.NDArray[Any]


class HasSpikes(Protocol):
    """The result of a run: ``spikes`` by neuron id, [T, N, ...], as ``bs.simulate`` returns it."""

    @property
    def spikes(self) -> Mapping[str, Numbers]: ...


def is_spiking(node: Input) -> bool:
    """Tell whether an input carries spikes, or counts of them step by step: codes that are their own real values."""
    return max(abs(node.grid.low), abs(node.grid.high)) == 1 or (not node.constant and node.grid.scale == 1.0)


def counts(net: IntegerNetwork, trace: HasSpikes, *, codes: Numbers | None = None) -> dict[str, Reals]:
    """Return the mean count of spikes of every neuron, max pool and spiking input, by id.

    Average the results of several batches, weighted by their samples, to cover a data set.

    Args:
        net: the network that ran.
        trace: its spikes, [T, N, ...] each.
        codes: the input codes of the run, [T or 1, N, ...]; needed where the input carries spikes.

    Raises:
        ConstraintError: a neuron is missing in the trace, or has another shape. DataError: there is no sample.
    """
    means: dict[str, Reals] = {}
    wires: dict[str, Numbers] = {}
    steps = net.steps
    pooled = _before_maxima(net)
    for node in net.nodes:
        full: Numbers | None = None
        if isinstance(node, Neuron):
            if node.id not in trace.spikes:
                raise ConstraintError(
                    f"the activity has no spikes of {node.path} (node {node.id!r})",
                    fix="the result of bs.simulate(net, codes) of this network",
                )
            full = np.asarray(trace.spikes[node.id])
            if full.ndim < 2 or full.shape[2:] != node.shape:
                raise ConstraintError(
                    f"spikes of {node.path} are {list(full.shape)}; needed is [T, N, {node.shape}]",
                    fix="the result of bs.simulate(net, codes) of this network",
                )
            steps = len(full)
        elif isinstance(node, Input) and codes is not None and is_spiking(node):
            full = np.asarray(codes)
            full = np.broadcast_to(full, (steps, *full.shape[1:])) if len(full) == 1 else full
        elif (
            node.id in pooled
            and not isinstance(node, Input | Synapse | Weighted)
            and all(s in wires for s in node.sources)
        ):
            full = _passed(node, [wires[s] for s in node.sources])
        if full is None:
            continue
        if full.shape[1] == 0:
            raise DataError(
                f"spikes of {node.path} are of no sample, so they have no mean",
                fix="bs.simulate(net, bs.encode(net, images)) of at least one image",
            )
        if node.id in pooled:
            wires[node.id] = full
        if isinstance(node, Input) or not (node.linear or isinstance(node, Synapse)):
            means[node.id] = np.abs(full).sum(0, dtype=np.int64).mean(0)
    return means


def _before_maxima(net: IntegerNetwork) -> set[str]:
    """Return the ids of max pools, whose counts do not follow from means, and of what lies between neurons and them."""
    nodes = {node.id: node for node in net.nodes}
    ids: set[str] = set()
    waiting = [node.id for node in net.nodes if not node.linear and not isinstance(node, Neuron | Synapse)]
    while waiting:
        id = waiting.pop()
        if id not in ids:
            ids.add(id)
            if not isinstance(nodes[id], Neuron | Input):
                waiting.extend(nodes[id].sources)
    return ids


class Wires:
    """Counts on any wire, carried from where spikes are made through nodes that move, gather or copy them.

    ``counts`` are means by node id, each of its node's shape: of all neurons, and of max pools and spiking inputs.

    Raises:
        ConstraintError: a count is missing where it is needed, or has the wrong shape.
    """

    def __init__(self, net: IntegerNetwork, counts: Mapping[str, Numbers]) -> None:
        self.nodes = {node.id: node for node in net.nodes}
        self.known: dict[str, Reals] = {}
        for id, value in counts.items():
            if id not in self.nodes:
                raise ConstraintError(
                    f"activity of {id!r}: the network has no such node",
                    fix="ids of its neurons: [node.id for node in net.neurons]",
                )
            values = np.asarray(value, np.float64)
            if values.shape != self.nodes[id].shape:
                raise ConstraintError(
                    f"activity of {id!r} is {list(values.shape)}; needed is {list(self.nodes[id].shape)}",
                    fix="mean spikes per sample, summed over the steps",
                )
            if not (np.isfinite(values) & (values >= 0)).all():
                raise ConstraintError(
                    f"activity of {id!r} holds NaN, infinity or a number below 0; a mean count of spikes is 0 or more",
                    fix="the mean over at least one sample",
                )
            self.known[id] = values

    def largest(self, id: str) -> int:
        """Return the largest count that an input may put on a wire at one step, through what only moves it; else 1."""
        node = self.nodes[id]
        while isinstance(node, Move) and len(node.sources) == 1:
            node = self.nodes[node.sources[0]]
        return max(abs(node.grid.low), abs(node.grid.high)) if isinstance(node, Input) and is_spiking(node) else 1

    def of(self, id: str) -> Reals | None:
        """Return the counts on a wire, or None where it carries codes of several bits, or sums."""
        if id in self.known:
            return self.known[id]
        node = self.nodes[id]
        match node:
            case Input():
                if is_spiking(node):
                    raise ConstraintError(
                        f"the input {node.path} carries spikes, and the activity has no count of them",
                        fix=f"activity[{id!r}], or energy(net, trace, codes=codes)",
                    )
                return None
            case Weighted() | Synapse():
                return None
            case Neuron():
                raise self._missing(node)
        sources = [self.of(s) for s in node.sources]
        if any(source is None for source in sources):
            return None
        if not node.linear:
            raise self._missing(node)
        return _passed(node, [s[None, None] for s in sources if s is not None])[0, 0]  # type: ignore[no-any-return]

    def _missing(self, node: Node) -> ConstraintError:
        return ConstraintError(
            f"the activity has no counts of {node.path} (node {node.id!r})",
            fix="energy(net, bs.simulate(net, codes)), or bitspike.hardware.energy.counts of such a run",
        )


def _passed(node: Node, inputs: list[Numbers]) -> Numbers:
    """Return what a node without weights makes of counts [T, N, ...]."""
    if isinstance(node, Add):  # each spike is one addition, whatever its gain
        return np.sum(inputs, axis=0)  # type: ignore[no-any-return]
    # A burst moves spikes in time: their number stays.
    return inputs[0] if node.memory == "all" else node.run(inputs, len(inputs[0]))
