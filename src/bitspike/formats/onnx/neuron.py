"""The neuron's equations, line by line as in ``bitspike.integer.network``, as ONNX operators over integers."""

from __future__ import annotations

from collections.abc import Callable

from bitspike.formats.onnx.tape import Tape, parameter_table
from bitspike.integer.nodes import Add, Integers, Neuron, Readout

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


def update(tape: Tape, node: Neuron, i: str, v: str, sent: str | None, threshold: str) -> tuple[str, str, str | None]:
    """Write one step of a neuron.

    Args:
        tape: where the operators go.
        node: the neuron.
        i: its current [N, ...].
        v: its potential.
        sent: the sum of the spikes sent so far, of a signed neuron.
        threshold: of this step.

    Returns:
        names of the spikes, the next potential and the next ``sent``.
    """
    h = _limited(tape, node, _leaked(tape, node, i, v))
    fired = tape.add("GreaterOrEqual" if node.fire == "ge" else "Greater", h, threshold)
    s = tape.to_numbers(fired)
    after = sent
    if node.signed:
        assert sent is not None
        below = tape.add("LessOrEqual", h, _fixed(tape, node, -node.retract))
        takes = tape.add("And", below, tape.add("Greater", sent, tape.constant(0)))
        s = tape.add("Sub", s, tape.to_numbers(takes))
        after = tape.add("Add", sent, s)
    if node.reset == "soft":
        return s, tape.add("Sub", h, tape.add("Mul", threshold, s)), after
    return s, tape.add("Where", fired, _fixed(tape, node, node.v_reset), h), after


def _leaked(tape: Tape, node: Neuron, i: str, v: str) -> str:
    m, k = node.leak.numerator, node.leak.shift
    if (m, k) == (1, 0):
        return tape.add("Add", v, i)
    if node.leak_order == "before":
        return tape.add("Add", tape.shifted(tape.times(v, m), k), i)
    return tape.shifted(tape.times(tape.add("Add", v, i), m), k)


def _limited(tape: Tape, node: Neuron, h: str) -> str:
    if node.floor is not None:
        h = tape.add("Max", h, tape.constant(node.floor))
    if node.width is not None:
        half = 1 << (node.width - 1)
        # A limit that the tape's integers cannot leave anyway would not fit them.
        if half <= tape.limits[1]:
            h = tape.add("Min", tape.add("Max", h, tape.constant(-half)), tape.constant(half - 1))
    return h


def _fixed(tape: Tape, node: Neuron, values: Integers) -> str:
    """Return values [1 or C] that do not change over time."""
    return tape.constant(parameter_table(values[None], len(node.shape))[0])
