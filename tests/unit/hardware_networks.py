"""Small integer networks for the tests of the chip checks and of energy, put together from their layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import (
    Convolution,
    Input,
    Integers,
    Linear,
    Neuron,
    Node,
    Readout,
    Reshape,
    SumPool,
    TransposedConvolution,
    Weight,
    window_shape,
)
from bitspike.ops.grids import Grid

ONE = np.ones((1, 1), np.int64)


def weight(shape: tuple[int, ...], bits: int, rng: np.random.Generator | None = None) -> Weight:
    """Make codes of the full range of a symmetric grid; 1 bit is -1 and +1."""
    high = max(1, 2 ** (bits - 1) - 1)
    if rng is None:
        codes = np.ones(shape, np.int64)
    elif bits == 1:
        codes = rng.integers(0, 2, shape) * 2 - 1
    else:
        codes = rng.integers(-high, high + 1, shape)
    return Weight(codes=codes, step=np.ones(1), bits=bits, low=-high, high=high, scheme="Uniform")


class Builder:
    """Put nodes one after the other; every method returns the id of what it made."""

    def __init__(self, shape: tuple[int, ...], *, steps: int = 4, high: int = 1, seed: int | None = None) -> None:
        self.steps = steps
        self.rng = None if seed is None else np.random.default_rng(seed)
        self.nodes: list[Node] = [
            Input(id="input", path="input", shape=shape, grid=Grid(1.0, 0, high), constant=high > 1)
        ]

    @property
    def last(self) -> str:
        return self.nodes[-1].id

    def shape(self, id: str) -> tuple[int, ...]:
        return next(n.shape for n in self.nodes if n.id == id)

    def add(self, node: Node) -> str:
        self.nodes.append(node)
        return node.id

    def conv(
        self, id: str, out: int, kernel: int = 3, *, bits: int = 4, stride: int = 1, padding: int = 0,
        dilation: int = 1, groups: int = 1, source: str | None = None,
    ) -> str:  # fmt: skip
        source = source or self.last
        channels, *inside = self.shape(source)
        dims = len(inside)
        many = {"kernel": (kernel,) * dims, "stride": (stride,) * dims, "padding": (padding,) * dims}
        size = window_shape(tuple(inside), *many.values(), dilation=(dilation,) * dims)  # type: ignore[call-arg]
        codes = weight((out, channels // groups, *many["kernel"]), bits, self.rng)
        del many["kernel"]
        return self.add(
            Convolution(
                id=id, path=id, sources=(source,), shape=(out, *size), weight=codes, groups=groups,
                dilation=(dilation,) * dims, **many,
            )
        )  # fmt: skip

    def transposed(
        self, id: str, out: int, kernel: int, *, bits: int = 4, stride: int = 1, padding: int = 0, groups: int = 1
    ) -> str:
        source = self.last
        channels, *inside = self.shape(source)
        dims = len(inside)
        size = tuple((n - 1) * stride - 2 * padding + kernel for n in inside)
        codes = weight((channels, out // groups, *(kernel,) * dims), bits, self.rng)
        return self.add(
            TransposedConvolution(
                id=id, path=id, sources=(source,), shape=(out, *size), weight=codes, stride=(stride,) * dims,
                padding=(padding,) * dims, output_padding=(0,) * dims, dilation=(1,) * dims, groups=groups,
            )
        )  # fmt: skip

    def linear(self, id: str, out: int, *, bits: int = 4) -> str:
        source = self.last
        if len(self.shape(source)) > 1:
            source = self.add(
                Reshape(id=f"{id}_flat", path=id, sources=(source,), shape=(math.prod(self.shape(source)),))
            )
        codes = weight((out, *self.shape(source)), bits, self.rng)
        return self.add(Linear(id=id, path=id, sources=(source,), shape=(out,), weight=codes))

    def pool(self, id: str, kernel: int, stride: int | None = None, source: str | None = None) -> str:
        source = source or self.last
        channels, *inside = self.shape(source)
        k, s = (kernel,) * len(inside), (stride or kernel,) * len(inside)
        zero = (0,) * len(inside)
        size = window_shape(tuple(inside), k, s, zero, (1,) * len(inside))
        return self.add(
            SumPool(id=id, path=id, sources=(source,), shape=(channels, *size), kernel=k, stride=s, padding=zero)
        )

    def neuron(
        self, id: str, *sources: str, threshold: int = 4, bias: int = 0, gains: tuple[int, ...] = (), **more: Any
    ) -> str:
        sources = sources or (self.last,)
        factors: tuple[Integers, ...] = tuple(g * ONE for g in gains or (1,) * len(sources))
        values: dict[str, Any] = {"threshold": threshold * ONE, "bias": bias * ONE, "initial": np.zeros(1, np.int64)}
        return self.add(
            Neuron(
                id=id, path=id, sources=sources, shape=self.shape(sources[0]), gains=factors, unit=np.ones(1),
                **{**values, **more},
            )
        )  # fmt: skip

    def build(self) -> IntegerNetwork:
        shape = self.shape(self.last)
        source = self.last
        end = Readout(id="readout", path="readout", sources=(source,), shape=shape, gains=(ONE,), bias=0 * ONE)
        return IntegerNetwork(self.steps, (*self.nodes, end))


def one_layer(
    channels: int, kernel: int, bits: int, *, groups: int = 1, out: int | None = None, size: int | None = None
) -> IntegerNetwork:
    """A convolution of spikes and its neuron."""
    builder = Builder((channels, *(size or kernel,) * 2))
    builder.conv("features_3", out or groups * 4, kernel, bits=bits, groups=groups)
    builder.neuron("neuron")
    return builder.build()
