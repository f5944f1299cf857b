"""Energy of one inference: every operation is counted as it happens and billed by the width of its operands.

The same network without spikes is billed next to it. docs/energy.md has every formula, constant and exclusion.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bitspike.errors import ConstraintError, DataError
from bitspike.hardware.chips.branches import gain_bits
from bitspike.hardware.energy.activity import HasSpikes, Numbers, Wires, counts
from bitspike.hardware.energy.report import Ann, EnergyReport, LayerEnergy, NeuronEnergy
from bitspike.hardware.energy.technology import Technology, load
from bitspike.integer.bounds.widths import Bounds, bits_of, bounds
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import FewBitNeuron, Neuron, Node, SumPool, Synapse, Weighted


@dataclass(frozen=True)
class MemoryModel:
    """Bill the fetching of weights and the reading and writing of potentials.

    Spiking network: every synaptic operation fetches its weight, every neuron reads and writes its potential at every
    step. Network without spikes, at its best: every weight is fetched once per sample, every activation is written
    once and read once. At its worst every multiplication fetches its weight. Each kind of data lies in the smallest
    memory of the table that holds it for the layer, unless one is named.

    Args:
        weights, potentials: names of memories of the table, or None.
    """

    weights: str | None = None
    potentials: str | None = None


def energy(
    net: IntegerNetwork,
    activity: Mapping[str, Numbers] | HasSpikes,
    *,
    table: str | Path | Technology = "horowitz-45nm",
    memory: MemoryModel | None = None,
    codes: Numbers | None = None,
    samples: int | None = None,
    data: str = "",
) -> EnergyReport:
    """Count the operations of a network for one sample and bill them; ``bs.energy`` explains arguments and errors."""
    if isinstance(activity, Mapping):
        means: Mapping[str, Numbers] = activity
    elif hasattr(activity, "spikes"):
        means = counts(net, activity, codes=codes)
        if samples is None:
            samples = next((np.asarray(s).shape[1] for s in activity.spikes.values()), None)
    else:
        raise ConstraintError(
            f"energy(activity={type(activity).__name__}): spikes are needed",
            fix="energy(net, bs.simulate(net, codes))",
        )
    if samples is not None and samples < 1:
        raise DataError(
            f"energy(samples={samples}): an activity is the mean of at least one sample", fix="samples=len(images)"
        )
    technology = load(table)
    bill = _Bill(net, Wires(net, means), technology, memory)
    layers = tuple(bill.layers())
    return EnergyReport(
        table=technology.name,
        process=technology.process,
        sources=technology.sources,
        steps=net.steps,
        samples=samples,
        data=data,
        memory=memory is not None,
        layers=layers,
        neurons=tuple(bill.neurons()),
        quantized=bill.ann(layers),
        float32_mac_pj=technology.mac("float32"),
        float32_ac_pj=technology.ac("float32"),
        int8_mac_pj=technology.mac("int8"),
        int8_ac_pj=technology.ac("int8"),
    )


class _Bill:
    """One pass over one network."""

    def __init__(self, net: IntegerNetwork, wires: Wires, technology: Technology, memory: MemoryModel | None) -> None:
        self.net, self.wires, self.technology, self.memory = net, wires, technology, memory
        self.bounds, self.steady = bounds(net), net.steady()
        self.shapes = {node.id: node.shape for node in net.nodes}

    def layers(self) -> Iterator[LayerEnergy]:
        """Yield every place where spikes or codes meet weights, windows or gains."""
        for node in self.net.nodes:
            if node.sources and node.operations(self.shapes[node.sources[0]]):
                yield self._reached(node)
            if isinstance(node, Synapse):
                yield self._decayed(node)
            if isinstance(node, Neuron):
                yield from self._skips(node)

    def _decayed(self, node: Synapse) -> LayerEnergy:
        """Return what a synapse does at every step: the product of its leak, and one addition."""
        size, bits = math.prod(node.shape), bits_of(*self.bounds[node.id].state)
        factor, updates = node.leak.numerator, float(math.prod(node.shape) * self.net.steps)
        leak = self.technology.multiply(bits, factor.bit_length()) if factor > 1 else 0.0
        unit = self.technology.add(bits) + leak
        line = self._line(
            node, "synapse", operations=updates, repeated=updates, macs=size, places=float(size), spikes=0.0, rate=1.0,
            bits=factor.bit_length(), input_bits=bits, sums=bits, unit=unit, unit_high=unit,
        )  # fmt: skip
        return replace(line, memory_pj=self._membrane(size * self.net.steps, bits, size))

    def _reached(self, node: Node) -> LayerEnergy:
        source = self.shapes[node.sources[0]]
        macs, reach = node.operations(source), node.reach(source)
        arriving = self.wires.of(node.sources[0])
        bits = node.weight.bits if isinstance(node, Weighted) else 1
        sums = bits_of(*self.bounds[node.id].wire.span)
        if arriving is None:
            return self._multiplied(node, macs, float(np.broadcast_to(reach, source).sum()), bits, sums)
        if not isinstance(node, Weighted):
            bits = _unsigned(self.bounds[node.sources[0]])
        sops = float((arriving * reach).sum())
        if isinstance(node, Weighted) and self.wires.largest(node.sources[0]) > 1:
            # Counts: n additions of a weight, or a product of every code as of pixels, whichever is cheaper.
            line = self._multiplied(node, macs, float(np.broadcast_to(reach, source).sum()), bits, sums)
            if line.operations * line.operation_pj < sops * self.technology.add(bits):
                return line
        return self._line(
            node, "sop" if isinstance(node, Weighted) else "pool", operations=sops, repeated=sops, macs=macs,
            places=float(np.broadcast_to(reach, source).sum()), spikes=float(arriving.sum()),
            rate=float(arriving.mean()) / self.net.steps, bits=bits, input_bits=1, sums=sums,
            unit=self.technology.add(bits), unit_high=self.technology.add(max(bits, sums)),
        )  # fmt: skip

    def _multiplied(self, node: Node, macs: int, places: float, bits: int, sums: int) -> LayerEnergy:
        """Return the line of a layer that reads codes of several bits: multiplications, or additions of a pool."""
        input_bits = _unsigned(self.bounds[node.sources[0]])
        times = 1 if self.steady.issuperset(node.sources) else self.net.steps
        if not isinstance(node, Weighted):
            unit, high = self.technology.add(input_bits), self.technology.add(max(sums, input_bits))
        else:
            product = self.technology.multiply(bits, input_bits)
            unit = product + self.technology.add(bits + input_bits)
            high = product + self.technology.add(max(bits + input_bits, sums))
        return self._line(
            node, "mac" if isinstance(node, Weighted) else "pool", operations=float(macs * times),
            repeated=float(macs * self.net.steps), macs=macs, places=places, spikes=0.0, rate=1.0, bits=bits,
            input_bits=input_bits, sums=sums, unit=unit, unit_high=high,
        )  # fmt: skip

    def _skips(self, node: Neuron) -> Iterator[LayerEnergy]:
        """Yield the spikes that arrive at a neuron without a layer: one addition of a gain each."""
        for source, gain in zip(node.sources, node.gains, strict=True):
            arriving = self.wires.of(source)
            if arriving is None or self._pooled(source):
                continue
            bits, places = gain_bits(gain), math.prod(node.shape)
            sums = bits_of(*self.bounds[node.id].current)
            yield self._line(
                node, "skip", operations=float(arriving.sum()), repeated=float(arriving.sum()), macs=places,
                places=float(places), spikes=float(arriving.sum()), rate=float(arriving.mean()) / self.net.steps,
                bits=bits, input_bits=1, sums=sums, unit=self.technology.add(bits),
                unit_high=self.technology.add(max(bits, sums)),
            )  # fmt: skip

    def _pooled(self, id: str) -> bool:
        """Tell whether a wire comes out of a pool, whose own line bills its additions."""
        node = self.net[id]
        while len(node.sources) == 1 and not isinstance(node, Neuron | SumPool):
            node = self.net[node.sources[0]]
        return isinstance(node, SumPool)

    def _line(
        self, node: Node, kind: str, *, operations: float, repeated: float, macs: int, places: float, spikes: float,
        rate: float, bits: int, input_bits: int, sums: int, unit: float, unit_high: float,
    ) -> LayerEnergy:  # fmt: skip
        fetch = 0.0
        if self.memory is not None and isinstance(node, Weighted):
            fetch = operations * bits * self._weights_bit_pj(node)
        return LayerEnergy(
            path=node.path, call=node.call, kind=kind, weight_bits=bits, input_bits=input_bits, sum_bits=sums,
            spikes=spikes, rate=rate, macs=macs, in_bounds=places, operations=operations, repeated=repeated,
            approximate=rate * self.net.steps * macs, operation_pj=unit, operation_high_pj=unit_high, memory_pj=fetch,
        )  # fmt: skip

    def _weights_bit_pj(self, node: Weighted) -> float:
        assert self.memory is not None
        return self._bit_pj(self.memory.weights, node.weight.codes.size * node.weight.bits)

    def _bit_pj(self, name: str | None, bits: float) -> float:
        if name is None:
            return self.technology.memory_for(bits).bit_pj
        for memory in self.technology.memories:
            if memory.name == name:
                return memory.bit_pj
        known = ", ".join(repr(m.name) for m in self.technology.memories)
        raise ConstraintError(
            f"memory {name!r}: table {self.technology.name!r} has {known or 'no memories'}",
            fix="None takes the smallest memory that is large enough" if known else "memory=None bills no memory",
        )

    def neurons(self) -> Iterator[NeuronEnergy]:
        """Yield what every layer of neurons does besides its synapses."""
        for node in self.net.neurons:
            arriving = self.wires.of(node.id)
            assert arriving is not None
            size, steps = math.prod(node.shape), self.net.steps
            bits = bits_of(*self.bounds[node.id].membrane)
            kept = node.kept_bits if isinstance(node, FewBitNeuron) else bits
            add = self.technology.add(bits)
            biased = float(np.broadcast_to(node.bias != 0, (steps, node.shape[0])).sum()) * size / node.shape[0]
            resets = float(arriving.sum()) if node.reset == "soft" else 0.0
            factor = node.leak.numerator
            leak = self.technology.multiply(bits, factor.bit_length()) if factor > 1 else 0.0
            yield NeuronEnergy(
                path=node.path, call=node.call, neurons=size, potential_bits=bits,
                rate=float(arriving.sum()) / (steps * size), updates=float(steps * size), bias_additions=biased,
                resets=resets, update_pj=2 * add + leak, bias_pj=add, reset_pj=add,
                memory_pj=self._membrane(size * steps, kept, size),
            )  # fmt: skip

    def _membrane(self, updates: int, bits: int, size: int) -> float:
        if self.memory is None:
            return 0.0
        return updates * 2 * bits * self._bit_pj(self.memory.potentials, size * bits)

    def ann(self, layers: tuple[LayerEnergy, ...]) -> Ann:
        """Return the same network without spikes: the same weights, activations of ceil(log2(T + 1)) bits."""
        activation = math.ceil(math.log2(self.net.steps + 1))
        low = high = fetch = fetch_high = 0.0
        macs = 0
        lines = {(line.path, line.call): line for line in layers if line.kind in ("mac", "sop")}
        for node in self.net.weighted:
            line = lines[node.path, node.call]
            # A count of spikes of one step is at most 1, of an input of counts as many as its grid holds.
            counted = math.ceil(math.log2(self.net.steps * self.wires.largest(node.sources[0]) + 1))
            bits = line.input_bits if line.kind == "mac" else counted
            window = max(1, line.macs // math.prod(node.shape))
            product = self.technology.multiply(line.weight_bits, bits)
            wide = line.weight_bits + bits + math.ceil(math.log2(window))
            macs += line.macs
            low += line.macs * (product + self.technology.add(line.weight_bits + bits))
            high += line.macs * (product + self.technology.add(wide))
            if self.memory is not None:
                per_bit = self._weights_bit_pj(node)
                size = math.prod(node.shape)
                moved = 2 * size * activation * self._bit_pj(self.memory.potentials, size * activation)
                fetch += node.weight.codes.size * line.weight_bits * per_bit + moved
                fetch_high += line.macs * line.weight_bits * per_bit + moved
        for line in layers:  # pools and shortcuts add activations there too, once
            if line.kind in ("pool", "skip"):
                low += line.macs * self.technology.add(activation)
                high += line.macs * self.technology.add(max(activation, line.sum_bits))
        return Ann(
            activation_bits=activation, macs=macs, compute_pj=low, compute_high_pj=high, memory_pj=fetch,
            memory_high_pj=fetch_high,
        )  # fmt: skip


def _unsigned(bounds: Bounds) -> int:
    """Return the bits of what a wire carries, without a sign where nothing is negative."""
    low, high = bounds.wire.span
    return max(1, bits_of(low, high) - (low >= 0))
