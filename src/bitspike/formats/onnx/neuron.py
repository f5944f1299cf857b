"""The neuron's equations, line by line as in ``bitspike.integer.network``, as ONNX operators over integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bitspike.formats.onnx.tape import Tape
from bitspike.integer.nodes import Add, FewBitNeuron, Integers, Neuron, Readout

Parameter = Callable[[Integers, int], str]
"""Make [1 or T, 1 or C] values into a tensor that lies against a wire of so many axes after the batch."""


def combine(tape: Tape, node: Add | Neuron | Readout, inputs: list[str], parameter: Parameter) -> str:
    """Return the sum of gain * input."""
    dims = len(node.shape)
    return tape.total([
        x if (gain == 1).all() else tape.add("Mul", x, parameter(gain, dims))
        for gain, x in zip(node.gains, inputs, strict=True)
    ])  # fmt: skip


def current(tape: Tape, node: Neuron, inputs: list[str], parameter: Parameter) -> str:
    """Return what arrives at a neuron: the shifted sum, plus the bias."""
    i = tape.shifted(combine(tape, node, inputs, parameter), node.right_shift)
    return tape.add("Add", i, parameter(node.bias, len(node.shape))) if node.bias.any() else i


def bias_of_all_steps(node: Neuron | Readout, steps: int) -> Integers:
    """Return the sum of the bias over all steps, [1 or C]."""
    total: Integers = np.broadcast_to(node.bias, (steps, node.bias.shape[1])).sum(0)
    return total


def update(tape: Tape, node: Neuron, i: str, v: str, sent: str | None, threshold: str) -> tuple[str, str, str | None]:
    """Write one step of a neuron; return the names of the spikes, the next potential and the next ``sent``.

    It takes the names of its current ``i``, its potential ``v``, of a signed neuron the sum of the spikes ``sent`` so
    far, and the threshold of this step.
    """
    h = _limited(tape, node, _leaked(tape, node, i, v))
    fired = tape.add("GreaterOrEqual" if node.fire == "ge" else "Greater", h, threshold)
    s = tape.to_numbers(fired)
    after = sent
    if node.signed:
        assert sent is not None
        below = tape.add("LessOrEqual", h, tape.parameter(-node.retract[None], len(node.shape)))
        takes = tape.add("And", below, tape.add("Greater", sent, tape.constant(0)))
        s = tape.add("Sub", s, tape.to_numbers(takes))
        after = tape.add("Add", sent, s)
    if node.reset == "soft":
        left = tape.add("Sub", h, tape.add("Mul", threshold, s))
    else:
        left = tape.add("Where", fired, tape.parameter(node.v_reset[None], len(node.shape)), h)
    return s, _kept(tape, node, left), after


def _kept(tape: Tape, node: Neuron, left: str) -> str:
    """Return the potential that the next step reads of what is left after the reset."""
    if not isinstance(node, FewBitNeuron):
        return left
    low, high = node.codes
    raised = tape.add("Add", left, tape.constant(node.half)) if node.half else left
    code = tape.shifted(raised, node.kept_shift)
    if high <= tape.limits[1]:
        code = tape.add("Min", tape.add("Max", code, tape.constant(low)), tape.constant(high))
    return tape.times(code, 1 << node.kept_shift)


def _leaked(tape: Tape, node: Neuron, i: str, v: str) -> str:
    m, k = node.leak.numerator, node.leak.shift
    if (m, k) == (1, 0):
        return tape.add("Add", v, i)
    if node.leak_order == "before":
        return tape.add("Add", tape.shifted(tape.times(v, m), k, node.rounding), i)
    return tape.shifted(tape.times(tape.add("Add", v, i), m), k, node.rounding)


def _limited(tape: Tape, node: Neuron, h: str) -> str:
    if node.floor is not None:
        h = tape.add("Max", h, tape.constant(node.floor))
    if node.width is not None:
        half = 1 << (node.width - 1)
        # A limit that the tape's integers cannot leave anyway would not fit them.
        if half <= tape.limits[1]:
            h = tape.add("Min", tape.add("Max", h, tape.constant(-half)), tape.constant(half - 1))
    return h
