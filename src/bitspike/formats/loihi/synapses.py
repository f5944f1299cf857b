"""What lies between two populations as one sparse matrix: convolutions, pools and moves are linear, so it is exact.

A column is what one spike of the source, alone, adds to every neuron of the reader.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Input, Integers, Neuron, Node, Readout

MOST_ENTRIES = 1 << 32
"""Pairs of source and reader: each of them is looked at once."""
_AT_ONCE = 1 << 22
"""Integers of the widest wire that are computed at once."""


@dataclass(frozen=True, eq=False)
class Synapses:
    """A sparse matrix [readers, sources] by rows, as ``scipy.sparse.csr_matrix`` takes it.

    Args:
        values: of the entries that are not 0, row by row.
        columns: of each value.
        starts: where each row begins, and the end.
        sources: how many columns there are.
    """

    values: Integers
    columns: Integers
    starts: Integers
    sources: int

    @property
    def readers(self) -> int:
        """How many rows there are."""
        return len(self.starts) - 1

    def rows(self) -> Integers:
        """Return the row of each value."""
        return np.repeat(np.arange(self.readers), np.diff(self.starts))


def by_row(values: Integers, rows: Integers, columns: Integers, *, readers: int, sources: int) -> Synapses:
    """Return the matrix of entries that lie row by row.

    Example:
        >>> by_row(np.array([5, 6]), np.array([0, 2]), np.array([1, 0]), readers=3, sources=2).starts.tolist()
        [0, 1, 1, 2]
    """
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=readers))])
    return Synapses(values, columns, starts, sources)


def origins(net: IntegerNetwork, reader: Node) -> tuple[list[Node], list[Node]]:
    """Return the inputs and neurons that a neuron or read-out reads, and the linear nodes between them, in order."""
    wanted, ends, between = set(reader.sources), set(), set()
    for node in reversed(net.nodes):
        if node.id in wanted:
            if isinstance(node, Input | Neuron):
                ends.add(node.id)
            else:
                between.add(node.id)
                wanted |= set(node.sources)
    return [n for n in net.nodes if n.id in ends], [n for n in net.nodes if n.id in between]


def synapses(net: IntegerNetwork, reader: Neuron | Readout, source: Node) -> Synapses:
    """Return what a neuron or read-out adds up of one source, its gains included."""
    ends, between = origins(net, reader)
    size, width = math.prod(source.shape), math.prod(reader.shape)
    widest = max(math.prod(n.shape) for n in (reader, source, *between))
    values, rows, columns = [], [], []
    for start, stop in _spans(size, max(1, _AT_ONCE // widest)):
        alone = np.zeros((1, stop - start, size), np.int64)
        alone[0, np.arange(stop - start), np.arange(start, stop)] = 1
        charge = _charge(reader, source, ends, between, alone.reshape(1, stop - start, *source.shape))
        added = charge.reshape(stop - start, width)
        at, row = np.nonzero(added)
        values.append(added[at, row])
        rows.append(row)
        columns.append(at + start)
    row, column, value = (np.concatenate(part) for part in (rows, columns, values))
    order = np.lexsort((column, row))
    return by_row(value[order], row[order], column[order], readers=width, sources=size)


def _charge(
    reader: Neuron | Readout, source: Node, ends: Sequence[Node], between: Sequence[Node], codes: Integers
) -> Integers:
    """Return what arrives at the reader when only the source sends, [N, ...]."""
    silent = (1, codes.shape[1])
    wires = {end.id: codes if end is source else np.zeros((*silent, *end.shape), np.int64) for end in ends}
    for node in between:
        wires[node.id] = np.asarray(node.run([wires[s] for s in node.sources], 1), np.int64)
    charge: Integers = reader.combined([wires[s] for s in reader.sources], 1)[0]
    return charge


def _spans(size: int, step: int) -> Iterator[tuple[int, int]]:
    for start in range(0, size, step):
        yield start, min(start + step, size)
