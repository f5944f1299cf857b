"""The nodes of a NIR file before it is written: class, fields and metadata of each, and how a neuron becomes one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bitspike.formats.nir.facts import form_facts, neuron_facts
from bitspike.formats.nir.readers import Form
from bitspike.integer.nodes import Integers, Neuron, Reals, Shape

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Entry:
    """One node of the file.

    Args:
        kind: name of its class in ``nir``.
        reads, gives: shapes of its input and output, without a batch.
        fields: arguments of the class.
        facts: metadata.
    """

    kind: str
    reads: Shape
    gives: Shape
    fields: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def exact_floats(values: Integers, unit: Reals | None = None) -> tuple[Floats, int | None]:
    """Return integers [C, ...], times the unit [C] of each row, as float32, and the largest if not all are exact.

    Example:
        >>> exact_floats(np.array([3, 5]))[1] is None, exact_floats(np.array([2**24 + 1]))[1]
        (True, 16777217)
    """
    whole = np.asarray(values)
    one = 1.0 if unit is None else unit.reshape(-1, *[1] * (whole.ndim - 1))
    floats = (whole * one).astype(np.float32)
    back = floats.astype(np.float64) / one
    back = back if unit is None else np.rint(back)
    lost = not np.array_equal(back, whole.astype(np.float64)) or (whole.size and int(np.abs(whole).max()) > 2**53)
    return floats, int(whole.reshape(-1)[np.argmax(np.abs(whole))]) if lost else None


def spread(values: Floats, shape: Shape, into: Shape) -> Floats:
    """Return one value for all, or one per channel, as an array of a node's shape."""
    return np.broadcast_to(values.reshape(-1, *[1] * (len(shape) - 1)), shape).reshape(into).copy()


def neuron_entry(
    node: Neuron, shape: Shape, full: Callable[[Integers, str], Floats], form: Form | None, dt: float
) -> Entry:
    """Return a neuron of the file, which is of ``shape`` there: a vector after a matrix.

    With a form for one reader the gains and bias of the node are the currents of the file, and its time constants
    count in ``dt``; without, the file says what NIR's text has. ``full`` spreads parameters over ``shape``, and takes
    the name by which a message calls them.
    """
    ones = np.ones(shape, np.float32)
    fields: dict[str, Any] = {"r": ones, "v_threshold": full(node.threshold[0], "a threshold")}
    fields["v_reset"] = 0 * ones if node.reset == "soft" else full(node.v_reset, "a reset value")
    if form is not None:
        return _formed(node, shape, fields, full(form.start, "a first potential"), form, dt)
    decay = float(node.leak)
    if decay == 1:
        return Entry("IF", shape, shape, fields, neuron_facts(node))
    # Euler's step of one time unit: v + (r i - v) / tau = decay * v + i for tau = r = 1 / (1 - decay).
    tau = 1 / (1 - decay)
    fields |= {"tau": ones * np.float32(tau), "v_leak": 0 * ones}
    fields["r"] = ones * np.float32(tau if node.leak_order == "before" else tau * decay)
    return Entry("LIF", shape, shape, fields, neuron_facts(node))


def _formed(node: Neuron, shape: Shape, fields: dict[str, Any], start: Floats, form: Form, dt: float) -> Entry:
    ones = np.ones(shape, np.float32)
    metadata = neuron_facts(node) | form_facts(form.per_count, form.offset)
    if form.kind == "IF":
        return Entry("IF", shape, shape, fields, metadata)
    tau = np.float32(form.tau)
    fields |= {"r": ones * np.float32(form.r), "v_leak": start}
    if form.kind == "LIF":
        return Entry("LIF", shape, shape, fields | {"tau": ones * tau}, metadata)
    more = {"tau_mem": ones * tau, "tau_syn": ones * np.float32(dt), "w_in": ones}
    return Entry("CubaLIF", shape, shape, fields | more, metadata)
