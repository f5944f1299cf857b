"""The metadata of a NIR file: flat keys ``snn.*`` with numbers, texts and arrays, for all that NIR has no field for.

HDF5 holds no None: what is not there is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from bitspike.errors import ExportError
from bitspike.formats.nir.reading.hdf5_guard import AGAIN
from bitspike.integer import nodes
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers, Node, Reals, Rounding

FORMAT = "bitspike-nir"
VERSIONS = (1, 2)
"""Those that are read. A network is written in the first that holds it; 2 has leaks that round toward zero."""
ROUNDING: Mapping[Rounding, str] = {"floor": "down", "zero": "toward zero"}
"""What the metadata calls the rounding of a leak."""

Facts = dict[str, Any]

Units = Literal["integer", "real"]
"""What weights, biases, thresholds and reset values are counted in."""


def real_unit(node: nodes.Neuron | nodes.Readout) -> Reals:
    """Return the real value of one count of a potential, or of one integer of an output, [1] or [C]."""
    return node.unit if isinstance(node, nodes.Neuron) else node.scale


def powers_of_two(values: Reals) -> bool:
    """Tell whether all values are powers of two.

    Example:
        >>> powers_of_two(np.array([0.25, 8.0])), powers_of_two(np.array([0.75]))
        (True, False)
    """
    return bool((np.frexp(values)[0] == 0.5).all())


def graph_facts(net: IntegerNetwork, units: Units = "integer", *, reader: str | None = None, dt: float = 1.0) -> Facts:
    """Return the metadata of the whole graph."""
    exact = units == "integer" or all(powers_of_two(node.unit) for node in net.neurons)
    return ({} if reader is None else {"snn.reader": reader}) | {
        "snn.format": FORMAT,
        "snn.format_version": 1 if all(node.rounding == "floor" for node in net.neurons) else 2,
        "snn.T": net.steps,
        "snn.dt": dt,
        "snn.units": units,
        "snn.exact": int(exact),
        "snn.output": "the sum over all steps",
    }


def facts(node: Node) -> Facts:
    """Return where a node came from and what one of its integers is worth."""
    return {"snn.op": type(node).__name__, "snn.path": node.path, "snn.call": node.call, "snn.scale": node.scale}


def input_facts(node: nodes.Input) -> Facts:
    """Return the grid and the coding of an input: ``code = round(x / delta)``, clipped to low .. high."""
    return facts(node) | {
        "snn.delta": node.grid.scale,
        "snn.low": node.grid.low,
        "snn.high": node.grid.high,
        "snn.coding": node.coding,
        "snn.constant": int(node.constant),
        "snn.divisor": node.divisor,
    }


def neuron_facts(node: nodes.Neuron) -> Facts:
    """Return all of a neuron that NIR leaves open: reset, comparison, first potential, rounding, limits."""
    metadata = facts(node) | {
        "snn.shape": np.array(node.shape),
        "snn.reset": "subtract" if node.reset == "soft" else "to v_reset",
        "snn.compare": node.fire,
        "snn.v0": node.initial,
        "snn.k": node.fraction_bits,
        "snn.unit": node.unit,
        "snn.leak_numerator": node.leak.numerator,
        "snn.leak_shift": node.leak.shift,
        "snn.leak_order": node.leak_order,
        "snn.rounding": ROUNDING[node.rounding],
    }
    limits = {"snn.v_min": node.floor, "snn.width": node.width}
    if isinstance(node, nodes.FewBitNeuron):
        limits |= {"snn.kept_bits": node.kept_bits, "snn.kept_shift": node.kept_shift}
    return metadata | {key: value for key, value in limits.items() if value is not None}


def form_facts(per_count: tuple[int, int], offset: Integers) -> Facts:
    """Return how the currents of a file for one reader convert to counts of the potential, if they differ from them."""
    metadata: Facts = {}
    if per_count != (1, 1):
        metadata |= {"snn.current_numerator": per_count[0], "snn.current_denominator": per_count[1]}
    return metadata | ({"snn.current_offset": offset} if offset.any() else {})


def weight_facts(layer: nodes.Convolution | nodes.TransposedConvolution | nodes.Linear, gain: Integers) -> Facts:
    """Return the grid of a layer's codes; the file's weights are codes times ``gain``, output channel by channel."""
    weight = layer.weight
    levels = {} if weight.levels is None else {"snn.levels": np.array(weight.levels, np.int64)}
    return (
        facts(layer)
        | levels
        | {
            "snn.gain": gain,
            "snn.delta": weight.step,
            "snn.bits": weight.bits,
            "snn.low": weight.low,
            "snn.high": weight.high,
            "snn.scheme": weight.scheme,
        }
    )


def text(metadata: Mapping[str, Any], key: str, otherwise: str = "") -> str:
    """Return a text of the metadata; some readers hand out bytes."""
    value = metadata.get(key, otherwise)
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def whole_number(metadata: Mapping[str, Any], key: str, otherwise: int | None = None) -> int | None:
    """Return an integer of the metadata.

    Raises:
        ExportError: it is no whole number.
    """
    if key not in metadata:
        return otherwise
    values = whole_numbers(metadata, key, 0)
    if values.size != 1:
        raise ExportError(f"{key} holds {values.size} numbers, one is needed", fix=AGAIN)
    return int(values[0])


def whole_numbers(metadata: Mapping[str, Any], key: str, otherwise: int) -> Integers:
    """Return integers of the metadata, int64 [1] or one per row.

    Raises:
        ExportError: they are no whole numbers.
    """
    values = np.atleast_1d(np.asarray(metadata.get(key, otherwise)))
    if (
        values.ndim != 1
        or values.dtype.kind not in "iu"
        or (values.size and int(values.max()) > np.iinfo(np.int64).max)
    ):
        raise ExportError(f"{key} is {values.dtype} {list(values.shape)}, whole numbers are needed", fix=AGAIN)
    return values.astype(np.int64)
