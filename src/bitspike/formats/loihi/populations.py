"""A network as populations of Loihi's neurons, and the synapses between them.

A population of neurons is one layer; a read-out is a population that adds up and never fires. Each layer takes a step
more, so its potentials are cleared a step later than those of the layer before, when its sample arrives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bitspike.formats.loihi import numbers
from bitspike.formats.loihi.support import neurons_of, problems, too_wide
from bitspike.formats.loihi.synapses import MOST_ENTRIES, Synapses, origins, synapses
from bitspike.formats.refuse import refuse
from bitspike.integer.bounds.grain import ENDLESS, Aligned, aligned, zero_bits
from bitspike.integer.bounds.widths import Bounds, survey
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers, Neuron, Node, Readout, Whole

OTHERWISE = 'what stands after each colon; format="c" (--format c) holds every network'


@dataclass(frozen=True, eq=False)
class Population:
    """One layer of neurons of the chip.

    Args:
        node: what it is of.
        layer: how many populations a spike passes before it, from 0.
        unit: what one count of the node is in counts of the chip.
        decay: of the potential, in 4096ths.
        thresholds: in 64 counts of the chip, one per neuron.
        mantissa, exponent: of the biases, one per neuron.
        reads: by the id of a source, the matrices that add up to its weights.
    """

    node: Neuron | Readout
    layer: int
    unit: Aligned
    decay: int
    thresholds: Integers
    mantissa: Integers
    exponent: Integers
    reads: dict[str, list[numbers.Part]]

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
    layers: list[Population] = []
    wrong: list[tuple[Node, str]] = []
    depth = {net.input.id: -1}
    for node in neurons_of(net.nodes):
        ends, _ = origins(net, node)
        depth[node.id] = 1 + max((depth[end.id] for end in ends), default=-1)
        answer = _population(net, node, depth[node.id], bounds[node.id], ends)
        if isinstance(answer, str):
            wrong.append((node, answer))
        else:
            layers.append(answer)
    refuse("Loihi", net, wrong, fix=OTHERWISE)
    return layers


def _population(
    net: IntegerNetwork, node: Neuron | Readout, layer: int, bounds: Bounds, ends: list[Node]
) -> Population | str:
    unit = _unit(net, node, bounds)
    if isinstance(unit, str):
        return unit
    size = math.prod(node.shape)

    def each(values: Integers) -> Integers:
        """Return one value for every neuron, of values [1 or C]."""
        return np.repeat(np.broadcast_to(values, (node.shape[0],)), size // node.shape[0])

    bias = numbers.bias_of(each(unit.of(node.bias[0])))
    if bias is None:
        low, high = int(unit.of(node.bias).min()), int(unit.of(node.bias).max())
        return f"its biases lie from {low} to {high}, more than a mantissa of 13 bits holds: biases with fewer bits"
    reads: dict[str, list[numbers.Part]] = {}
    for end in ends:
        if math.prod(end.shape) * size > MOST_ENTRIES:
            return f"{math.prod(end.shape)} sources times {size} neurons are too many for this writer: smaller layers"
        matrix = synapses(net, node, end)
        scaled = Synapses(
            _aligned_weights(matrix.values, unit.finer), matrix.columns, matrix.starts, matrix.sources
        )  # fmt: skip
        parts = numbers.parts_of(scaled)
        if parts is None:
            return f"a weight times its gain reaches {int(np.abs(scaled.values).max())}: fewer bits of weights"
        reads[end.id] = parts
    decay = (numbers.decay_of(node.leak) or 0) if isinstance(node, Neuron) else 0
    return Population(node, layer, unit, decay, each(unit.quiet), *bias, reads)


def _aligned_weights(values: Integers, finer: int) -> Integers:
    """Return weights in the chip's counts before its shift: they are multiples of 64 after it."""
    shift = finer - numbers.ALIGNED
    return values << shift if shift >= 0 else values >> -shift


def _unit(net: IntegerNetwork, node: Neuron | Readout, bounds: Bounds) -> Aligned | str:
    """Return the unit of a population, with thresholds that fit; or why there is none."""
    if isinstance(node, Readout):
        finer = max(numbers.ALIGNED - min(zero_bits(*node.gains), ENDLESS - 1), -zero_bits(node.bias))
        sums = Aligned(finer, np.full(1, numbers.NEVER))
        wide = [*too_wide("sum over time", *bounds.membrane, sums), *too_wide("current", *bounds.current, sums)]
        top = sums.count(bounds.membrane[1])
        if not wide and top > numbers.NEVER << numbers.ALIGNED:
            wide = [f"its sum over time may reach {top}, at which a population of sums fires: fewer bits of weights"]
        return wide[0] if wide else sums
    unit = aligned(node, net.steps, numbers.ALIGNED)
    assert isinstance(unit, Aligned), "support.problems names what is not aligned"
    if int(unit.quiet.max()) > numbers.NEVER:
        most = int(unit.quiet.max())
        return f"its thresholds reach {most} times 64, and Loihi's {numbers.NEVER} times: fewer bits of fraction"
    return unit
