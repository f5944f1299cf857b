"""Spikes that are joined element by element, in integers: a sum of wires, or a neuron without memory that reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bitspike.errors import LoweringError
from bitspike.lowering.wires import Wire
from bitspike.nn import LIF, Neuron, SpikeElementWise


def joined(
    path: str, module: SpikeElementWise, branch: Any, shortcut: Any, is_binary: Callable[[Wire], bool]
) -> tuple[Wire, Neuron | None]:
    """Return the sum that a join of spikes reads, and the neuron that makes its output of it; None for the sum itself.

    For spikes a and s of 0 and 1, ``a * s`` is 1 where a + s >= 2, and ``(1 - a) * s`` where s - a >= 1: a neuron whose
    potential leaks to nothing at every step compares exactly that.

    Args:
        is_binary: tells whether no input can make the integers of a wire anything but 0 and 1.

    Raises:
        LoweringError: the two do not fit each other, or are no spikes where spikes are needed.
    """
    if not (isinstance(branch, Wire) and isinstance(shortcut, Wire)):
        raise LoweringError(
            f"{path}: SpikeElementWise comes after the read-out; the integer form ends there",
            fix="keep it outside the model that is lowered",
        )
    if branch.shape != shortcut.shape:
        raise LoweringError(
            f"{path}: joins {list(branch.shape)} and {list(shortcut.shape)} per sample; equal shapes are needed",
            fix="a layer and a neuron as shortcut, which bring its input to the shape of the branch",
        )
    if module.connect == "add":
        return branch.plus(shortcut), None
    for name, wire in (("branch", branch), ("shortcut", shortcut)):
        if not is_binary(wire):
            raise LoweringError(
                f"{path}: {module.connect!r} of a {name} that may send more than 0 and 1, as after 'add', a weight, or "
                "an image",
                fix="bs.nn.SpikeElementWise('add'), or a neuron as the last layer of branch and shortcut",
            )
    if module.connect == "and":
        return branch.plus(shortcut), LIF(decay=0.0, threshold=2.0)
    return shortcut.plus(branch.affine(np.full(1, -1.0), np.zeros(1))), LIF(decay=0.0)
