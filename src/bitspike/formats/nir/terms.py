"""What a wire is in a NIR graph: a sum of terms, because NIR adds the edges that meet and knows no concatenation.

A *piece* is a range of the channels of a NIR node, laid at some place among the wire's channels. A *synapse* is a
layer with weights that has not been written yet: the gain and the bias of the neuron that reads it go into its weights
and its bias, as NIR's neurons have neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from bitspike.integer.nodes import Convolution, Integers, Linear, Shape, TransposedConvolution

Weighted = Convolution | TransposedConvolution | Linear


@dataclass(frozen=True, eq=False)
class Piece:
    """Channels ``start`` to ``stop`` of a NIR node, at channel ``offset`` of a wire.

    Args:
        node: id of the NIR node.
        shape: of its output; a vector's channels are its features.
        start, stop, offset: in channels of that node.
        gain: what the piece is multiplied by, [stop - start].
    """

    node: str
    shape: Shape
    start: int
    stop: int
    offset: int
    gain: Integers

    @property
    def flat(self) -> bool:
        """Tell whether the NIR node gives a vector."""
        return len(self.shape) == 1

    def is_wire(self, shape: Shape) -> bool:
        """Tell whether a plain edge is enough: a whole node that is the whole wire of ``shape``, with gain 1."""
        whole = (self.start, self.stop, self.offset) == (0, self.shape[0], 0)
        return whole and math.prod(self.shape) == math.prod(shape) and bool((self.gain == 1).all())


@dataclass(frozen=True, eq=False)
class Synapse:
    """A layer with weights that is not in the file yet.

    Args:
        layer: the layer.
        inside: shape of one sample of what it reads.
        pieces: what it reads; their sum.
        gain: what its output is multiplied by, [C].
    """

    layer: Weighted
    inside: Shape
    pieces: tuple[Piece, ...]
    gain: Integers

    @property
    def flat(self) -> bool:
        """Tell whether it has to be written as a matrix."""
        return not isinstance(self.layer, Convolution) or any(p.flat for p in self.pieces)


Term = Piece | Synapse


def whole(node: str, shape: Shape) -> Piece:
    """Return all channels of a NIR node."""
    return Piece(node, shape, 0, shape[0], 0, np.ones(shape[0], np.int64))


def moved(piece: Piece, channels: int, inside: Shape) -> Piece:
    """Return a piece moved up by ``channels`` of the wire, each of the shape ``inside``."""
    return replace(piece, offset=piece.offset + channels * _features(piece, inside))


def sliced(piece: Piece, start: int, stop: int, inside: Shape) -> Piece | None:
    """Return the part of a piece in the wire's channels ``start`` to ``stop``, or None if it is empty."""
    start, stop = start * _features(piece, inside), stop * _features(piece, inside)
    count = piece.stop - piece.start
    first, last = max(start - piece.offset, 0), min(stop - piece.offset, count)
    if first >= last:
        return None
    return replace(
        piece,
        start=piece.start + first,
        stop=piece.start + last,
        offset=max(piece.offset - start, 0),
        gain=piece.gain[first:last],
    )


def scaled(term: Term, gain: Integers, inside: Shape) -> Term:
    """Return a term times a gain [1 or C] of the wire."""
    if isinstance(term, Synapse) or len(gain) == 1:
        return replace(term, gain=term.gain * gain)
    rows = np.repeat(gain, _features(term, inside))
    return replace(term, gain=term.gain * rows[term.offset : term.offset + term.stop - term.start])


def _features(piece: Piece, inside: Shape) -> int:
    """Return how many channels of its node one channel of the wire is, for a wire of shape [C, *inside]."""
    return math.prod(inside) if piece.flat else 1


def merged(pieces: Iterable[Piece]) -> list[Piece]:
    """Return the same sum with equal pieces joined into one."""
    sums: dict[tuple[str, int, int, int], Piece] = {}
    for piece in pieces:
        key = (piece.node, piece.start, piece.stop, piece.offset)
        sums[key] = replace(piece, gain=piece.gain + sums[key].gain) if key in sums else piece
    return list(sums.values())


def merged_synapses(terms: Iterable[Term]) -> list[Synapse]:
    """Return the synapses among the terms, those of one layer joined."""
    by_layer: dict[str, Synapse] = {}
    for term in terms:
        if isinstance(term, Synapse):
            known = by_layer.get(term.layer.id)
            by_layer[term.layer.id] = term if known is None else replace(term, gain=term.gain + known.gain)
    return list(by_layer.values())


def dense(layer: Convolution | TransposedConvolution, inside: Shape) -> Integers:
    """Return the matrix [C_out * places, C_in * places] of a convolution or a transposed one.

    Every weight connects the places of its kernel position: place ``q`` of the smaller grid with place
    ``q * stride - padding + position * dilation`` of the larger one.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> conv = one_convolution()["conv"]
        >>> assert isinstance(conv, Convolution)
        >>> bool((dense(conv, (1, 4, 4)) == np.eye(16)).all())
        True
    """
    codes, groups = layer.weight.codes, layer.groups
    forward = isinstance(layer, Convolution)
    coarse, fine = (layer.shape, inside) if forward else (inside, layer.shape)
    # [coarse channel, fine channel of the group, *kernel] for both kinds.
    per_group = codes.shape[1]
    matrix = np.zeros((math.prod(coarse), math.prod(fine)), np.int64)
    places = np.indices(coarse[1:]).reshape(len(coarse) - 1, -1)
    strides = np.array([layer.stride, layer.padding, layer.dilation])[..., None]
    for position in np.ndindex(*codes.shape[2:]):
        at = places * strides[0] - strides[1] + np.array(position)[:, None] * strides[2]
        ok = np.all((at >= 0) & (at < np.array(fine[1:])[:, None]), axis=0)
        near = np.ravel_multi_index(tuple(places[:, ok]), coarse[1:])
        far = np.ravel_multi_index(tuple(at[:, ok]), fine[1:])
        for a in range(codes.shape[0]):
            group = a // (codes.shape[0] // groups)
            for b in range(per_group):
                rows = a * math.prod(coarse[1:]) + near
                columns = (group * per_group + b) * math.prod(fine[1:]) + far
                matrix[rows, columns] += codes[(a, b, *position)]
    return matrix if forward else np.ascontiguousarray(matrix.T)


def ungrouped(codes: Integers, groups: int) -> Integers:
    """Return the codes [C_out, C_in, *kernel] of a grouped convolution without groups, zeros between them.

    Several readers of NIR know no groups, and its own shape check counts the channels of one.

    Example:
        >>> ungrouped(np.array([[[2]], [[3]]]), groups=2)[..., 0].tolist()
        [[2, 0], [0, 3]]
    """
    out, per_group, *kernel = codes.shape
    wide = np.zeros((out, per_group * groups, *kernel), np.int64)
    for g in range(groups):
        rows = slice(g * out // groups, (g + 1) * out // groups)
        wide[rows, g * per_group : (g + 1) * per_group] = codes[rows]
    return wide


def squared(codes: Integers, padding: Shape, dilation: Shape) -> tuple[Integers, Shape] | None:
    """Return the same convolution with a square kernel, zeros around it, and the padding that belongs to it.

    nir 1.0.8 takes the first side of a Conv2d's kernel for both, and refuses the file where the shape that follows from
    it does not fit. None where the sides differ by an odd number: zeros on both ends do not make them equal.

    Example:
        >>> result = squared(np.ones((1, 1, 3, 1), np.int64), (1, 0), (1, 1))
        >>> assert result is not None
        >>> result[0][0, 0].tolist(), result[1]
        ([[0, 1, 0], [0, 1, 0], [0, 1, 0]], (1, 1))
    """
    sides = codes.shape[2:]
    more = [max(sides) - side for side in sides]
    if any(n % 2 for n in more):
        return None
    ends = [(0, 0), (0, 0), *((n // 2, n // 2) for n in more)]
    return np.pad(codes, ends), tuple(p + n // 2 * d for p, n, d in zip(padding, more, dilation, strict=True))


def columns(codes: Integers, piece: Piece) -> Integers:
    """Return codes [C_out, C_in, ...] that read a piece's node instead of the wire."""
    weight = np.zeros((len(codes), piece.shape[0], *codes.shape[2:]), np.int64)
    count = piece.stop - piece.start
    gain = piece.gain.reshape(-1, *[1] * (codes.ndim - 2))
    weight[:, piece.start : piece.stop] = codes[:, piece.offset : piece.offset + count] * gain
    return weight
