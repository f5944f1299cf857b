"""What the C program computes when, and where every wire lies.

Time is the outer loop: at each step all nodes run once, and a wire holds one step. A ``Burst`` needs all steps of what
it reads; so the nodes after it belong to a later *phase*, which runs over all steps after the phases before it. A wire
that a later phase reads is kept for all T steps. What does not change over time is computed at step 0 and stays.

Wires that are never needed at the same moment share memory: an arena for each integer type, first fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from bitspike.formats.c.types import type_bits
from bitspike.integer.bounds.widths import Bounds
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Input, Node, Readout, Reshape, Slice

Kind = Literal["run", "gather", "clear", "emit"]


@dataclass(frozen=True)
class Action:
    """One thing that is done at each step of a phase.

    Args:
        kind: ``run`` a node; ``gather`` what a burst reads; ``clear`` its sum after step 0; ``emit`` its sum or zeros.
        node: the node.
    """

    kind: Kind
    node: Node


@dataclass(frozen=True)
class Address:
    """Where a wire lies.

    Args:
        bits: of one integer; the arena of these bits holds it.
        start: of its first integer in the arena.
        stride: integers from one step to the next; 0 where one step is kept.
        of_input: it is the caller's input, from integer ``start`` on.
    """

    bits: int
    start: int
    stride: int = 0
    of_input: bool = False


@dataclass(frozen=True)
class Layout:
    """The order of computation and the layout of memory.

    Args:
        phases: the actions of each phase, in their order.
        addresses: of every wire, by node id.
        sums: of what a burst gathers, where it is not the burst's wire itself.
        arenas: integers in each arena, by bits.
        constant: ids of wires that do not change over time.
    """

    phases: tuple[tuple[Action, ...], ...]
    addresses: dict[str, Address]
    sums: dict[str, Address]
    arenas: dict[int, int]
    constant: frozenset[str]


@dataclass(frozen=True)
class _Wire:
    """A piece of memory and the ranks of the first and the last action that need it."""

    key: tuple[str, str]
    bits: int
    size: int
    stride: int
    first: int
    last: int


def lay_out(net: IntegerNetwork, bounds: dict[str, Bounds]) -> Layout:
    """Return when every node runs and where every wire lies.

    Example:
        >>> from bitspike.formats.c.types import bounds_of
        >>> from bitspike.integer.examples import one_convolution
        >>> net = one_convolution()
        >>> layout = lay_out(net, bounds_of(net))
        >>> [a.node.id for a in layout.phases[0]], layout.arenas
        (['conv', 'neuron', 'readout'], {8: 32})
    """
    constant, roots, phase = net.steady(), _roots(net), _phases(net)
    readers = _readers(net, roots, phase)
    # Where only its own phase reads a burst, its sum is its wire: it is cleared after step 0 instead of copied.
    in_place = {n.id for n in net.nodes if n.memory == "all" and readers.get(n.id, {phase[n.id]}) == {phase[n.id]}}
    actions = _actions(net, roots, phase, in_place)
    rank = {(a.kind, a.node.id): i for i, (_, a) in enumerate(actions)}
    wires = _wires(net, bounds, constant=constant, roots=roots, phase=phase, in_place=in_place, rank=rank)
    places, arenas = _fit(wires)
    addresses = {id: place for (kind, id), place in places.items() if kind == "wire"}
    for node in net.nodes:
        if isinstance(node, Input):
            size = 0 if node.constant else math.prod(node.shape)
            addresses[node.id] = Address(0, 0, size, of_input=True)
        elif isinstance(node, Reshape | Slice):
            source = addresses[node.sources[0]]
            shift = node.start * math.prod(node.shape[1:]) if isinstance(node, Slice) else 0
            addresses[node.id] = Address(source.bits, source.start + shift, source.stride, source.of_input)
    number = 1 + max(phase.values())
    return Layout(
        phases=tuple(tuple(a for p, a in actions if p == wanted) for wanted in range(number)),
        addresses=addresses,
        sums={id: place for (kind, id), place in places.items() if kind == "sum"},
        arenas=arenas,
        constant=constant,
    )


def _roots(net: IntegerNetwork) -> dict[str, str]:
    """Return by node whose memory holds its wire: its own, or its source's for a reshape or a slice."""
    roots: dict[str, str] = {}
    for node in net.nodes:
        roots[node.id] = roots[node.sources[0]] if isinstance(node, Reshape | Slice) else node.id
    return roots


def _phases(net: IntegerNetwork) -> dict[str, int]:
    phase: dict[str, int] = {}
    for node in net.nodes:
        phase[node.id] = max((phase[s] for s in node.sources), default=0) + (node.memory == "all")
    # A burst hands its sum out when it is first asked for, so that it need not be kept for all steps.
    for node in reversed(net.nodes):
        if node.memory == "all" or isinstance(node, Reshape | Slice):
            asked = [phase[n.id] - (n.memory == "all") for n in net.nodes if node.id in n.sources]
            phase[node.id] = min(asked, default=phase[node.id])
    return phase


def _readers(net: IntegerNetwork, roots: dict[str, str], phase: dict[str, int]) -> dict[str, set[int]]:
    """Return the phases in which the memory of every wire is read."""
    readers: dict[str, set[int]] = {}
    for node in net.nodes:
        if not isinstance(node, Reshape | Slice):
            for source in node.sources:
                when = phase[source] if node.memory == "all" else phase[node.id]
                readers.setdefault(roots[source], set()).add(when)
    return readers


def _actions(
    net: IntegerNetwork, roots: dict[str, str], phase: dict[str, int], in_place: set[str]
) -> list[tuple[int, Action]]:
    actions: list[tuple[int, Action]] = []
    for node in net.nodes:
        if node.memory == "all":
            actions.append((phase[node.sources[0]], Action("gather", node)))
            actions.append((phase[node.id], Action("clear" if node.id in in_place else "emit", node)))
        elif not isinstance(node, Input) and roots[node.id] == node.id:
            actions.append((phase[node.id], Action("run", node)))
    return sorted(actions, key=lambda pair: pair[0])  # keeps the order of data flow within a phase


def _wires(
    net: IntegerNetwork,
    bounds: dict[str, Bounds],
    *,
    constant: frozenset[str],
    roots: dict[str, str],
    phase: dict[str, int],
    in_place: set[str],
    rank: dict[tuple[Kind, str], int],
) -> list[_Wire]:
    """Return every piece of memory, from the first action that writes it to the last that reads it."""
    ranks: dict[int, list[int]] = {}
    for (kind, id), place in rank.items():
        node = net[id]
        ranks.setdefault(phase[node.sources[0]] if kind == "gather" else phase[id], []).append(place)

    def begin(p: int) -> int:
        return min(ranks[p]) if p in ranks else 0

    def end(p: int) -> int:
        return max(ranks[p]) if p in ranks else 0

    reads: dict[str, list[tuple[int, int]]] = {}
    for (kind, id), place in rank.items():
        if kind in ("run", "gather"):
            for source in net[id].sources:
                when = phase[source] if kind == "gather" else phase[id]
                reads.setdefault(roots[source], []).append((when, place))
    wires = []
    for node in net.nodes:
        if isinstance(node, Input | Readout) or roots[node.id] != node.id:
            continue
        size, bits = math.prod(node.shape), type_bits(bounds[node.id].wire.span)
        mine, read = phase[node.id], reads.get(node.id, [])
        until = max((p for p, _ in read), default=mine)
        stride = 0
        if node.id in constant:  # computed at step 0 of the first phase, kept to the end of the last that reads it
            life = begin(0), end(until)
        elif node.id in in_place:  # gathered in the phase before its own
            life = begin(phase[node.sources[0]]), end(mine)
        elif any(p != mine for p, _ in read):
            life, stride = (begin(mine), end(until)), size  # a later phase reads it: one place for each step
        else:
            here = rank["emit" if node.memory == "all" else "run", node.id]
            life = here, max([here, *[place for _, place in read]])
        wires.append(_Wire(("wire", node.id), bits, size * (net.steps if stride else 1), stride, *life))
        if node.memory == "all" and node.id not in in_place:
            wires.append(_Wire(("sum", node.id), bits, size, 0, begin(phase[node.sources[0]]), end(mine)))
    return wires


def _fit(wires: list[_Wire]) -> tuple[dict[tuple[str, str], Address], dict[int, int]]:
    """Give every wire an address: large ones first, each at the lowest start that is free as long as it is needed."""
    places: dict[tuple[str, str], Address] = {}
    arenas: dict[int, int] = {}
    placed: list[tuple[_Wire, int]] = []
    for wire in sorted(wires, key=lambda w: -w.size):
        taken = sorted(
            (start, start + other.size)
            for other, start in placed
            if other.bits == wire.bits and other.first <= wire.last and wire.first <= other.last
        )
        start = 0
        for low, high in taken:
            if start + wire.size <= low:
                break
            start = max(start, high)
        placed.append((wire, start))
        places[wire.key] = Address(wire.bits, start, wire.stride)
        arenas[wire.bits] = max(arenas.get(wire.bits, 0), start + wire.size)
    return places, dict(sorted(arenas.items()))
