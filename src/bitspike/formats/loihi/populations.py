"""A network as populations of Loihi's neurons, and the synapses between them.

A population of neurons is one layer; a read-out is a population that adds up and never fires. Each layer takes a step
more, so its potentials are cleared a step later than those of the layer before, when its sample arrives. Where spikes
of several layers meet, those that come too early pass relays: neurons that fire a step after their source. A bias that
is no mantissa of 13 bits times a power of two is the weight of a clock, one neuron that fires at every step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bitspike.formats.loihi import numbers
from bitspike.formats.loihi.support import neurons_of, problems, too_wide
from bitspike.formats.loihi.synapses import MOST_ENTRIES, Synapses, by_row, origins, synapses
from bitspike.formats.refuse import refuse
from bitspike.integer.bounds.grain import ENDLESS, Aligned, aligned, shifted, zero_bits
from bitspike.integer.bounds.widths import Bounds, survey
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers, Neuron, Node, Readout, Shape, Whole

CLOCK = "every.step"
"""The id of the clock; those of nodes have no dot."""
OTHERWISE = 'what stands after each colon; format="c" (--format c) holds every network'


@dataclass(frozen=True, eq=False)
class Population:
    """One layer of neurons of the chip.

    Args:
        id: unique, as the ids of nodes are.
        kind: a layer of ``neurons``, a read-out's ``sum``, a ``relay`` of a layer of neurons, or the ``clock``.
        node: what it is of; None of the clock.
        layer: how many populations a spike passes before it, from 0.
        unit: what one count of the node is in counts of the chip.
        decay: of the potential, in 4096ths.
        thresholds: in 64 counts of the chip, one per neuron.
        mantissa, exponent: of the biases, one per neuron.
        reads: by the id of a source, the matrices that add up to its weights.
    """

    id: str
    kind: Literal["neurons", "sum", "relay", "clock"]
    node: Neuron | Readout | None
    layer: int
    unit: Aligned
    decay: int
    thresholds: Integers
    mantissa: Integers
    exponent: Integers
    reads: dict[str, list[numbers.Part]]

    @property
    def path(self) -> str:
        """What messages and tables call it."""
        if self.node is None:
            return "the clock of biases"
        return f"{self.node.path}, relayed" if self.kind == "relay" else self.node.path

    @property
    def shape(self) -> Shape:
        """Channels and places."""
        return (1,) if self.node is None else self.node.shape

    def potentials(self, h: Integers, spikes: Whole) -> Integers:
        """Return what the chip keeps of potentials before the reset: 0 where it fired."""
        return np.where(spikes != 0, 0, self.unit.of(h))


def populations(net: IntegerNetwork) -> list[Population]:
    """Return the populations of a network in order.

    Raises:
        ExportError: something of it does not map; all nodes are named.
    """
    bounds = survey(net)
    refuse("Loihi", net, list(problems(net, bounds)), fix=OTHERWISE)
    layers: dict[str, Population] = {}
    wrong: list[tuple[Node, str]] = []
    depth = {net.input.id: -1}
    for node in neurons_of(net.nodes):
        ends, _ = origins(net, node)
        depth[node.id] = layer = 1 + max((depth[end.id] for end in ends), default=-1)
        sources = {}
        for end in ends:
            sources[end.id] = end.id
            for late in range(1, layer - depth[end.id]):
                assert isinstance(end, Neuron), "support.problems refuses codes that come too early"
                relay = _relay(end, sources[end.id], depth[end.id] + late, late)
                sources[end.id] = layers.setdefault(relay.id, relay).id
        answer = _population(net, node, layer, bounds[node.id], sources)
        if isinstance(answer, str):
            wrong.append((node, answer))
        else:
            if CLOCK in answer.reads:
                layers.setdefault(CLOCK, _clock())
            layers[node.id] = answer
    refuse("Loihi", net, wrong, fix=OTHERWISE)
    return list(layers.values())


def _clock() -> Population:
    """Return one neuron that fires at every step: its bias of 1 is above its threshold of 0."""
    one = np.ones(1, np.int64)
    return Population(CLOCK, "clock", None, 0, Aligned(0, 0 * one), 0, 0 * one, one, 0 * one, {})


def _relay(node: Neuron, source: str, layer: int, late: int) -> Population:
    """Return neurons that fire where those of a source have fired a step before; their potentials are always 0."""
    size = math.prod(node.shape)
    nothing = np.zeros(size, np.int64)
    each = Synapses(np.ones(size, np.int64), np.arange(size), np.arange(size + 1), size)
    unit = Aligned(0, np.zeros(1, np.int64))
    reads = {source: [numbers.Part(each, 0)]}
    return Population(f"{node.id}.later{late}", "relay", node, layer, unit, 0, nothing, nothing, nothing, reads)


def _population(
    net: IntegerNetwork, node: Neuron | Readout, layer: int, bounds: Bounds, sources: dict[str, str]
) -> Population | str:
    """Return the population of a node, or why there is none; ``sources`` are those that hand on what an end sends."""
    unit = _unit(net, node, bounds)
    if isinstance(unit, str):
        return unit
    size = math.prod(node.shape)

    def each(values: Integers) -> Integers:
        """Return one value for every neuron, of values [1 or C]."""
        return np.repeat(np.broadcast_to(values, (node.shape[0],)), size // node.shape[0])

    reads: dict[str, list[numbers.Part]] = {}
    whole = each(unit.of(node.bias[0]))
    bias = numbers.bias_of(whole)
    if bias is None:
        often, rest = numbers.split_bias(whole)
        bias, parts = numbers.bias_of(rest), numbers.parts_of(_column(often))
        if bias is None or parts is None:
            low, high = int(whole.min()), int(whole.max())
            return f"its biases lie from {low} to {high}, too wide for a synapse: fewer bits of weights or of fraction"
        reads[CLOCK] = parts
    for id, source in sources.items():
        end = net[id]
        if math.prod(end.shape) * size > MOST_ENTRIES:
            return f"{math.prod(end.shape)} sources times {size} neurons are too many for this writer: smaller layers"
        matrix = synapses(net, node, end)
        # In counts of the chip before its shift: they are multiples of 64 after it.
        scaled = replace(matrix, values=shifted(matrix.values, unit.finer - numbers.ALIGNED))
        parts = numbers.parts_of(scaled)
        if parts is None:
            return f"a weight times its gain reaches {int(np.abs(scaled.values).max())}: fewer bits of weights"
        reads[source] = parts
    decay = (numbers.decay_of(node.leak) or 0) if isinstance(node, Neuron) else 0
    kind: Literal["neurons", "sum"] = "neurons" if isinstance(node, Neuron) else "sum"
    return Population(node.id, kind, node, layer, unit, decay, each(unit.quiet), *bias, reads)


def _column(values: Integers) -> Synapses:
    """Return the synapses from the clock, one to every neuron whose value is not 0."""
    rows = np.flatnonzero(values)
    return by_row(values[rows], rows, 0 * rows, readers=len(values), sources=1)


def _unit(net: IntegerNetwork, node: Neuron | Readout, bounds: Bounds) -> Aligned | str:
    """Return the unit of a population, with thresholds that fit; or why there is none."""
    if isinstance(node, Readout):
        finer = max(numbers.ALIGNED - min(zero_bits(*node.gains), ENDLESS - 1), -zero_bits(node.bias))
        sums = Aligned(finer, np.full(1, numbers.NEVER))
        wide = [*too_wide("sum over time", *bounds.membrane, sums), *too_wide("current", *bounds.current, sums)]
        top = sums.of(bounds.membrane[1])
        if not wide and top > numbers.NEVER << numbers.ALIGNED:
            wide = [f"its sum over time may reach {top}, at which a population of sums fires: fewer bits of weights"]
        return wide[0] if wide else sums
    unit = aligned(node, net.steps, numbers.ALIGNED)
    assert isinstance(unit, Aligned), "support.problems names what is not aligned"
    if int(unit.quiet.max()) > numbers.NEVER:
        most = int(unit.quiet.max())
        return f"its thresholds reach {most} times 64, and Loihi's {numbers.NEVER} times: fewer bits of fraction"
    return unit
