"""Two more tiny integer networks whose answers can be worked out by hand."""

from __future__ import annotations

import numpy as np

from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import (
    Concat,
    Convolution,
    Grid,
    Input,
    Neuron,
    Readout,
    Reshape,
    Shape,
    TransposedConvolution,
    Upsample,
    Weight,
)

_ONE = np.ones((1, 1), np.int64)


def _weight(codes: list[list[list[list[int]]]]) -> Weight:
    return Weight(codes=np.array(codes, np.int64), step=np.ones(1), bits=2, low=-1, high=1, scheme="Uniform")


def _neuron(id: str, source: str, shape: Shape, threshold: int, *, skip: str | None = None, gain: int = 1) -> Neuron:
    return Neuron(
        id=id,
        path=id,
        sources=(source,) if skip is None else (source, skip),
        shape=shape,
        gains=(_ONE,) if skip is None else (_ONE, gain * _ONE),
        bias=0 * _ONE,
        threshold=threshold * _ONE,
        initial=np.zeros(1, np.int64),
        unit=np.ones(1),
    )


def two_branches(*, steps: int = 4) -> IntegerNetwork:
    """Two branches over a 4 x 4 image, added and put side by side.

    ``left`` fires by a pixel with threshold 8, ``right`` by the pixel to the left of it with threshold 16. ``added``
    reads left + 2 * right with threshold 2. The read-out holds the spikes of ``added``, then those of ``right``.
    """
    identity = [[[[0, 0, 0], [0, 1, 0], [0, 0, 0]]]]
    from_the_left = [[[[0, 0, 0], [1, 0, 0], [0, 0, 0]]]]
    image = (1, 4, 4)
    nodes = (
        Input(id="input", path="input", shape=image, grid=Grid(1.0, 0, 8)),
        _same("conv", identity),
        _same("shift", from_the_left),
        _neuron("left", "conv", image, 8),
        _neuron("right", "shift", image, 16),
        _neuron("added", "left", image, 2, skip="right", gain=2),
        Concat(id="both", path="both", sources=("added", "right"), shape=(2, 4, 4)),
        *_read_out("both", 32),
    )
    return IntegerNetwork(steps, nodes)


def transposed_and_upsample(*, steps: int = 4) -> IntegerNetwork:
    """A 2 x 2 image, spread over 4 x 4 by a transposed convolution, each spike of it copied to 2 x 2 places.

    ``neuron`` fires by a pixel with threshold 8. The kernel is a plus sign at a stride of 2: place (2i, 2j) reads spike
    (i, j), a place between two of them reads both, a place with two odd numbers reads nothing. ``spread`` fires with
    threshold 2.
    """
    plus = [[[[0, 1, 0], [1, 1, 1], [0, 1, 0]]]]
    nodes = (
        Input(id="input", path="input", shape=(1, 2, 2), grid=Grid(1.0, 0, 8)),
        _neuron("neuron", "input", (1, 2, 2), 8),
        TransposedConvolution(
            id="transposed", path="transposed", sources=("neuron",), shape=(1, 4, 4), weight=_weight(plus),
            stride=(2, 2), padding=(1, 1), output_padding=(1, 1), dilation=(1, 1),
        ),
        _neuron("spread", "transposed", (1, 4, 4), 2),
        Upsample(id="large", path="large", sources=("spread",), shape=(1, 8, 8), factors=(2, 2)),
        *_read_out("large", 64),
    )  # fmt: skip
    return IntegerNetwork(steps, nodes)


def _same(id: str, codes: list[list[list[list[int]]]]) -> Convolution:
    """Return a 3 x 3 convolution of the input that keeps its shape."""
    return Convolution(
        id=id, path=id, sources=("input",), shape=(1, 4, 4), weight=_weight(codes), stride=(1, 1), padding=(1, 1),
        dilation=(1, 1),
    )  # fmt: skip


def _read_out(source: str, size: int) -> tuple[Reshape, Readout]:
    """Return a flattening and a read-out of all spikes."""
    return (
        Reshape(id="flat", path="flat", sources=(source,), shape=(size,)),
        Readout(id="readout", path="readout", sources=("flat",), shape=(size,), gains=(_ONE,), bias=0 * _ONE),
    )
