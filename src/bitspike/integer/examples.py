"""Tiny integer networks whose answers can be worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np

from bitspike.integer import nodes
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Shape
from bitspike.ops.grids import Grid

_ONE = np.ones((1, 1), np.int64)


def _neuron(id: str, source: str, shape: Shape, threshold: int) -> nodes.Neuron:
    return nodes.Neuron(
        id=id, path=id, sources=(source,), shape=shape, gains=(_ONE,), bias=0 * _ONE, threshold=threshold * _ONE,
        initial=np.zeros(1, np.int64), unit=np.ones(1),
    )  # fmt: skip


def one_convolution(*, threshold: int = 8, steps: int = 4) -> IntegerNetwork:
    """A 4 x 4 image, an identity kernel, a neuron, a read-out of all spikes: count = floor(T * pixel / threshold).

    Pixels are 0 to 8; a pixel p sends min(T, floor(T * p / threshold)) spikes, by equation (*) of soft reset with
    constant input.
    """
    identity = np.array([[[[0, 0, 0], [0, 1, 0], [0, 0, 0]]]])
    weight = nodes.Weight(codes=identity, step=np.ones(1), bits=2, low=-1, high=1, scheme="Uniform")
    parts = (
        nodes.Input(id="input", path="input", shape=(1, 4, 4), grid=Grid(1.0, 0, 8)),
        nodes.Convolution(
            id="conv", path="conv", sources=("input",), shape=(1, 4, 4), weight=weight, stride=(1, 1), padding=(1, 1),
            dilation=(1, 1),
        ),
        _neuron("neuron", "conv", (1, 4, 4), threshold),
        *_read_out("neuron", 16),
    )  # fmt: skip
    return IntegerNetwork(steps, parts)


def few_bits(*, bits: int = 2, shift: int = 1, steps: int = 4) -> IntegerNetwork:
    """As :func:`one_convolution`, with a neuron that keeps its potential in few bits.

    With 2 bits and a shift of 1 it keeps -4, -2, 0 or 2. A pixel of 3 leaves 3, whose code 2 is clipped to 1, so 2 is
    kept; the next step leaves 5, and keeps 2 again. The threshold of 8 is never reached.
    """
    plain = one_convolution(steps=steps)
    fields = {field.name: getattr(plain["neuron"], field.name) for field in dataclasses.fields(plain["neuron"])}
    neuron = nodes.FewBitNeuron(**fields, kept_bits=bits, kept_shift=shift)
    return dataclasses.replace(plain, nodes=tuple(neuron if n.id == "neuron" else n for n in plain.nodes))


def convolution_and_pool(*, steps: int = 4) -> IntegerNetwork:
    """As :func:`one_convolution`, with a 2 x 2 sum pool and a second neuron of threshold 4 after it."""
    first = one_convolution(steps=steps)
    parts = (
        *first.nodes[:3],
        nodes.SumPool(
            id="pool", path="pool", sources=("neuron",), shape=(1, 2, 2), kernel=(2, 2), stride=(2, 2), padding=(0, 0),
            scale=np.full(1, 0.25),
        ),
        _neuron("pooled", "pool", (1, 2, 2), 4),
        *_read_out("pooled", 4),
    )  # fmt: skip
    return IntegerNetwork(steps, parts)


def _read_out(source: str, size: int) -> tuple[nodes.Reshape, nodes.Readout]:
    """Return a flattening and a read-out of all spikes."""
    return (
        nodes.Reshape(id="flat", path="flat", sources=(source,), shape=(size,)),
        nodes.Readout(id="readout", path="readout", sources=("flat",), shape=(size,), gains=(_ONE,), bias=0 * _ONE),
    )
