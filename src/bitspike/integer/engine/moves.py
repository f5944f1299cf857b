"""Nodes that only move integers, seen through: from which signal, channel and place each integer comes.

Slices, joins, reorderings, zeros and reshapes between a signal and a layer are folded into the layer's codes: what is
left out gets weight 0, what is reordered or repeated takes its weights along, zeros around an image become padding.
The places are followed by running the moves on the numbers of the places.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitspike.integer.arithmetic import Whole
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Move, Node

Pair = tuple[int, int]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Piece:
    """What one signal gives to a wire.

    Args:
        id: of the signal's node.
        at: which channels of the wire are its, and ``channels`` which of its own these are, both [k].
    """

    id: str
    at: Places
    channels: Places


@dataclass(frozen=True, eq=False)
class Image:
    """A wire made of whole channels of signals, with ``before`` and ``after`` zeros around along both axes."""

    pieces: tuple[Piece, ...]
    before: Pair
    after: Pair


def places(net: IntegerNetwork, id: str, signals: Collection[str]) -> tuple[Places, dict[str, int]] | None:
    """Return where among the signals every integer of a wire comes from, or None where anything but moves lies between.

    Returns:
        numbers of the shape of the wire, 0 for zeros; place p of a signal is p plus the signal's first number, 1 or
        above.
    """
    first: dict[str, int] = {}
    free = 1

    def follow(node: Node) -> Whole | None:
        nonlocal free
        if node.id in signals:
            size = int(np.prod(node.shape))
            if node.id not in first:
                first[node.id] = free
                free += size
            # One step of one sample in which every integer is its own number, for the moves to carry along.
            return np.arange(first[node.id], first[node.id] + size).reshape(1, 1, *node.shape)
        if not isinstance(node, Move):
            return None
        sources = [follow(net[s]) for s in node.sources]
        followed = [s for s in sources if s is not None]
        return node.run(followed, 1) if len(followed) == len(sources) else None

    followed = follow(net[id])
    return None if followed is None else (followed[0, 0].astype(np.int64), first)


def image(net: IntegerNetwork, id: str, signals: Collection[str]) -> Image | None:
    """Return a wire as whole channels of signals, or None where it is made of anything else.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> net = one_convolution()
        >>> [(piece.id, piece.channels.tolist()) for piece in image(net, "input", {"input"}).pieces]
        [('input', [0])]
    """
    followed = places(net, id, signals)
    if followed is None:
        return None
    numbers, first = followed
    wide = numbers.reshape(len(numbers), *(1,) * (3 - numbers.ndim), *numbers.shape[1:])
    if wide.ndim != 3 or not wide.any():
        return None
    # Rows and columns with a place of any signal in any channel; all outside of them is zeros.
    rows, columns = (np.flatnonzero(wide.any(axis)) for axis in ((0, 2), (0, 1)))
    top, left = int(rows[0]), int(columns[0])
    inner = wide[:, top : rows[-1] + 1, left : columns[-1] + 1]
    after = wide.shape[1] - 1 - int(rows[-1]), wide.shape[2] - 1 - int(columns[-1])
    pieces, taken = [], ~inner.any((1, 2))
    for signal, start in first.items():
        shape = net[signal].shape
        each = int(np.prod(shape[1:]))
        if (1,) * (3 - len(shape)) + tuple(shape[1:]) != inner.shape[1:]:
            continue
        # The first place says which channel of the signal it can be; `whole` is that channel, all of it.
        channel = (inner[:, 0, 0] - start) // each
        whole = start + channel[:, None, None] * each + np.arange(each).reshape(inner.shape[1:])
        mine = (channel >= 0) & (channel < shape[0]) & (inner == whole).all((1, 2)) & ~taken
        taken |= mine
        if mine.any():
            pieces.append(Piece(signal, np.flatnonzero(mine), channel[mine]))
    return Image(tuple(pieces), (top, left), after) if taken.all() else None
