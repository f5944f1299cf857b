"""Layers as entries of a NIR file; integers that float32 does not hold exactly are refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from bitspike.formats.nir.entries import Entry, Floats, exact_floats
from bitspike.formats.nir.readers import Manner
from bitspike.formats.nir.support import LARGEST_MATRIX
from bitspike.formats.nir.terms import Piece, Synapse, columns, dense, squared, ungrouped
from bitspike.integer.nodes import Convolution, Integers, Linear, Reals, Shape, SumPool


class LayerEntries:
    """Turn layers into entries, for a reader of one manner or for none; ``refuse`` takes why a layer has no entry."""

    def __init__(self, manner: Manner | None, refuse: Callable[[str], None]) -> None:
        self.manner, self.refuse = manner, refuse

    def pool(self, node: SumPool, inside: Shape, shape: Shape) -> Entry:
        """Return a pool that reads ``inside`` and gives ``shape``."""
        if len(inside) == 3 and self.manner is None and not any(node.padding):
            window = {"kernel_size": node.kernel, "stride": node.stride, "padding": node.padding}
            return Entry("SumPool2d", inside, shape, {k: np.array(v) for k, v in window.items()})
        # Readers built on nirtorch leave a pool's padding out, and add up by way of a mean, which rounds.
        weight = np.zeros((inside[0], inside[0], *node.kernel), np.int64)
        weight[np.arange(inside[0]), np.arange(inside[0])] = 1
        if self.manner is not None and squared(weight, node.padding, (1,) * len(node.kernel)) is None:
            self.refuse(f"its window of {list(node.kernel)} is not square, and nir takes its first side for both")
        return self.convolution(weight, inside, shape, node.stride, node.padding, (1,) * len(node.kernel))

    def image(self, synapse: Synapse, piece: Piece, bias: Integers, unit: Reals | None) -> Entry:
        """Return a convolution that reads a piece of its wire."""
        layer = synapse.layer
        assert isinstance(layer, Convolution)
        weight = columns(ungrouped(layer.weight.codes, layer.groups), piece)
        weight = weight * synapse.gain.reshape(-1, *[1] * (weight.ndim - 1))
        entry = self.convolution(
            weight, piece.shape, layer.shape, layer.stride, layer.padding, layer.dilation, bias, unit
        )
        if layer.groups > 1 and piece.is_wire(synapse.inside):
            entry.facts["snn.groups"] = layer.groups
        return entry

    def affine(self, synapse: Synapse, piece: Piece, bias: Integers, unit: Reals | None) -> Entry | None:
        """Return a layer as a matrix that reads a piece of its wire, or None where the matrix is too large."""
        layer, places = synapse.layer, math.prod(synapse.layer.shape[1:])
        if isinstance(layer, Linear):
            matrix = layer.weight.codes
        else:
            entries = math.prod(layer.shape) * math.prod(synapse.inside)
            if entries > LARGEST_MATRIX:
                self.refuse(f"{layer.path} as a matrix has {entries} entries, more than {LARGEST_MATRIX}")
                return None
            matrix = dense(layer, synapse.inside)
        weight = columns(matrix, piece) * np.repeat(synapse.gain, places)[:, None]
        return self.matrix(weight, np.repeat(bias, places), None if unit is None else np.repeat(unit, places))

    def matrix(self, weight: Integers, bias: Integers, unit: Reals | None) -> Entry:
        """Return a linear layer of weights [F_out, F_in]."""
        fields = self._values(weight, bias, unit)
        return Entry("Affine", weight.shape[1:], weight.shape[:1], fields, _unit_facts(unit))

    def _values(self, weight: Integers, bias: Integers, unit: Reals | None) -> dict[str, Any]:
        return {"weight": self.floats(weight, "a weight", unit), "bias": self.floats(bias, "a bias", unit)}

    def convolution(
        self, weight: Integers, inside: Shape, shape: Shape, stride: Shape, padding: Shape, dilation: Shape,
        bias: Integers | None = None, unit: Reals | None = None,
    ) -> Entry:  # fmt: skip
        """Return a convolution of weights [C_out, C_in, *kernel], with a square kernel where there is one."""
        one = len(inside) == 2
        bias = np.zeros(len(weight), np.int64) if bias is None else bias
        weight, padding = squared(weight, padding, dilation) or (weight, padding)
        window = {"stride": stride, "padding": padding, "dilation": dilation, "input_shape": inside[1:]}
        fields: dict[str, Any] = {name: value[0] if one else value for name, value in window.items()}
        fields |= self._values(weight, bias, unit) | {"groups": 1}
        return Entry("Conv1d" if one else "Conv2d", inside, shape, fields, _unit_facts(unit))

    def floats(self, values: Integers, what: str, unit: Reals | None = None) -> Floats:
        """Return integers [C, ...], times the unit [C] of each row, as float32 that tell the integers exactly."""
        floats, lost = exact_floats(values, unit)
        if lost is not None:
            self.refuse(f"{what} of {lost} is no number of 32 bits that floats hold exactly")
        return floats


def _unit_facts(unit: Reals | None) -> dict[str, Any]:
    """Say what one integer of a layer's weights and biases is worth, if they are real values."""
    return {} if unit is None else {"snn.unit": unit}
