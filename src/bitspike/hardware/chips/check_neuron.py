"""What a chip's neuron can hold and do, against what a network's neuron needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from bitspike.hardware.chips.chip import Chip
from bitspike.hardware.chips.report import NeuronWidths, say
from bitspike.integer.bounds.grain import aligned, grain
from bitspike.integer.bounds.widths import Bounds, bits_of
from bitspike.integer.nodes import FewBitNeuron, Integers, Neuron, multipliers, still
from bitspike.violations import Violation

_ROUNDS = {"floor": "down", "zero": "toward zero"}
_STARTS = {
    "zero": "initial=0, and of a conversion correct='bias', which moves no first potential",
    "half": "initial of half a threshold, and of a conversion correct='bias'",
    "any": "",
}
"""How a neuron comes to start as a chip wants it."""


def neuron_violations(
    node: Neuron, ranges: Bounds, chip: Chip, *, steps: int, gains: list[Integers], trained: bool = True
) -> Iterator[Violation]:
    """Yield everything about a neuron that does not fit a chip, by its worst ranges and the gains of its layers.

    Of a network that is not trained yet, what :func:`undecided` lists is left out.
    """
    if trained:
        yield from _widths_on(chip, node, ranges, steps)
    yield from _features(node, chip, gains)
    yield from _leak(node, chip, steps if trained else None)
    if not trained:
        return
    alone = np.abs(node.bias.mean(0)) > node.threshold.min(0)
    if alone.any():
        text = f"{np.broadcast_to(alone, (node.shape[0],)).mean():.0%} of the channels"
        yield say(node, "N305", text, "a bias per step beyond the threshold decides alone at the start of a run")


def neuron_widths(node: Neuron, ranges: Bounds) -> NeuronWidths:
    """Return the widths that a layer of neurons needs."""
    return NeuronWidths(
        path=node.path,
        call=node.call,
        theta_bits=max(int(node.threshold.max()).bit_length(), 1),
        bias_bits=bits_of(int(node.bias.min()), int(node.bias.max())) if node.bias.any() else 0,
        potential=ranges.membrane,
        potential_bits=bits_of(*ranges.membrane),
    )


def _widths_on(chip: Chip, node: Neuron, ranges: Bounds, steps: int) -> Iterator[Violation]:
    """Yield what is too wide, counted in units of a chip that aligns its numbers."""
    needed, bits = neuron_widths(node, ranges), chip.aligned_bits or 0
    if not bits:
        yield from _widths(node, needed, chip, node.threshold, node.bias)
        return
    if not still(node.threshold):
        return  # which is a violation of its own
    unit = aligned(node, steps, bits)
    if isinstance(unit, str):
        rule = f"what arrives, and the threshold, are multiples of {1 << bits}"
        ways = ("fire='gt'", f"a resolution {1 << bits} times finer than what arrives and the threshold")
        yield say(node, "E108", unit, rule, fixes=ways)
        return
    low, high = (unit.of(end) for end in ranges.membrane)
    bias = np.array([unit.of(int(end)) for end in (node.bias.min(), node.bias.max())])
    needed = replace(
        needed,
        theta_bits=max(int(unit.quiet.max()).bit_length(), 1),
        bias_bits=bits_of(*bias.tolist()) if bias.any() else 0,
        potential=(low, high),
        potential_bits=bits_of(low, high),
    )
    yield from _widths(node, needed, chip, unit.quiet, bias)


def undecided(chip: Chip) -> tuple[str, ...]:
    """Return the rules of a chip that initial weights cannot decide: their numbers follow from what is trained.

    Example:
        >>> undecided(Chip(name="tiny", potential_bits=12, multipliers=False))
        ('potentials have at most 12 bits', 'gains are powers of two')
    """
    limits = (
        ("thresholds have", chip.theta_bits), ("biases have", chip.bias_bits), ("potentials have", chip.potential_bits),
    )  # fmt: skip
    shifts = (("fraction bits", chip.k_max), ("right shift", chip.right_shift))
    rules = (
        (chip.bias == "none", "there are no biases"),
        (chip.bias == "axon", "biases take cells of weights"),
        (not chip.theta_per_channel, "a layer has one threshold"),
        (not chip.multipliers, "gains are powers of two"),
        (bool(chip.aligned_bits), f"gains and thresholds are multiples of {1 << (chip.aligned_bits or 0)}"),
        (len(chip.rounding) == 1, _rounding_of(chip)),
    )
    return (
        *(f"{what} at most {bits} bits" for what, bits in limits if bits is not None),
        *(f"{what}: at most {most}" for what, most in shifts if most is not None),
        *(rule for asked, rule in rules if asked),
    )


def _widths(node: Neuron, needed: NeuronWidths, chip: Chip, theta: Integers, bias: Integers) -> Iterator[Violation]:
    potential = "from {} to {}".format(*needed.potential)
    smaller = "fewer bits of weights or fraction, which make all numbers smaller"
    limited = (f"potential_bits={chip.potential_bits} of the neuron or the conversion, at which it saturates",)
    widths: tuple[tuple[str, int, int | None, str, tuple[str, ...]], ...] = (
        ("thresholds", needed.theta_bits, chip.theta_bits, f"reach {theta.max()}", (smaller,)),
        ("biases", needed.bias_bits, chip.bias_bits, f"lie from {bias.min()} to {bias.max()}", (smaller,)),
        (
            "potentials", needed.potential_bits, chip.potential_bits, f"may lie {potential}",
            (*limited * chip.saturating, smaller),
        ),
    )  # fmt: skip
    for what, bits, limit, text, ways in widths:
        if limit is not None and bits > limit:
            words = f"{what} {text}: {bits} bits, {bits - limit} too many"
            yield say(node, "E108", words, f"{what} have at most {limit} bits", measured=bits, limit=limit, fixes=ways)
    shifts = (("fraction bits", node.fraction_bits, chip.k_max), ("right shift", node.right_shift, chip.right_shift))
    for what, bits, limit in shifts:
        if limit is not None and bits > limit:
            rule = f"{what}: at most {limit}"
            yield say(node, "E108", f"{what}: {bits}, {bits - limit} too many", rule, measured=bits, limit=limit)


def _features(node: Neuron, chip: Chip, gains: list[Integers]) -> Iterator[Violation]:
    """Say what the chip's neuron cannot do."""
    odd = multipliers(gains)
    theta = node.threshold[0]
    half = bool(((node.initial == theta // 2) | (node.initial == (theta + 1) // 2)).all())
    starts = {"zero": not node.initial.any(), "half": half, "any": True}
    by_channel = bool(np.ptp(node.threshold, axis=1).any())
    theta_moves, bias_moves = (bool(np.ptp(x, axis=0).any()) for x in (node.threshold, node.bias))
    fire = {"ge": "potential >= threshold", "gt": "potential > threshold"}
    problems: tuple[tuple[bool, str, str, tuple[str, ...]], ...] = (
        (node.fire not in chip.fire, f"fires at {fire[node.fire]}", f"comparisons are {listed(chip.fire)}",
         tuple(f"fire={f!r}" for f in chip.fire)),
        (node.reset not in chip.reset, f"{node.reset} reset", f"resets are {listed(chip.reset)}",
         tuple(f"reset={r!r}" for r in chip.reset)),
        (float(node.leak) != 1 and not chip.leak, f"leaks by {node.leak.numerator}/2**{node.leak.shift}",
         "potentials do not leak", ("bs.IF, or decay=1.0",)),
        (node.reset == "hard" and bool(node.v_reset.any()) and "any" not in chip.v_reset,
         f"resets to {listed(np.unique(node.v_reset)[:4])}", "potentials are reset to 0", ("v_reset=0.0",)),
        (node.width is not None and not chip.saturating, f"saturates at {node.width} bits",
         "potentials saturate at the width of the chip", ("potential_bits=None",)),
        (node.floor is not None and not chip.floor, f"is clamped below at {node.floor}",
         "potentials have no lower clamp", ()),
        (isinstance(node, FewBitNeuron) and not chip.few_bit_potentials, "rounds its potential to few bits",
         "potentials are kept as they are", ("membrane=None",)),
        (by_channel and not chip.theta_per_channel, "has a threshold per channel", "a layer has one threshold",
         ("weights with one scale per layer (per_channel=False)",)),
        (theta_moves and not chip.theta_over_time, "has thresholds that change over time", "thresholds are constant",
         ()),
        (bool(node.bias.any()) and chip.bias == "none", "has a bias", "there are no biases", ("bias=False",)),
        (bias_moves and not chip.bias_over_time, "has a bias that changes over time", "biases are constant",
         ("the synchronous schedule",)),
        (not any(starts[v] for v in chip.v0), f"starts at {listed(np.unique(node.initial)[:4])}",
         f"potentials start at {listed(chip.v0)}", tuple(_STARTS[v] for v in chip.v0)),
        (bool(odd) and not chip.multipliers, f"multiplies a branch by {listed(odd[:4])}", "gains are powers of two",
         ("a norm folded into the weights before they are quantized", "ShiftBatchNorm")),
    )  # fmt: skip
    for wrong, text, rule, ways in problems:
        if wrong:
            yield say(node, "E110", text, rule, fixes=ways)
    if node.signed and not chip.signed_spikes:
        yield say(node, "E103", "sends signed spikes", "spikes are 0 or 1", fixes=("bs.IF, which sends no -1",))


def _leak(node: Neuron, chip: Chip, steps: int | None) -> Iterator[Violation]:
    """Say what the chip's leak does otherwise; whether one rounds is known of a trained network of so many steps."""
    if float(node.leak) == 1 or not chip.leak:
        return
    leak = f"leaks by {node.leak.numerator}/2**{node.leak.shift}"
    if node.leak_order not in chip.leak_order:
        text, rule = f"leaks {node.leak_order} the input", f"potentials leak {listed(chip.leak_order)} the input"
        yield say(node, "E110", text, rule, fixes=tuple(f"leak={order!r}" for order in chip.leak_order))
    if chip.leak_bits is not None and node.leak.shift > chip.leak_bits:
        yield say(
            node, "E108", leak, f"leaks are m / 2**k with k up to {chip.leak_bits}", measured=node.leak.shift,
            limit=chip.leak_bits, fixes=(f"Precision(leak_bits={min(chip.leak_bits, 8)})",),
        )  # fmt: skip
    if steps is not None and node.rounding not in chip.rounding and grain(node, steps) is None:
        text = f"{leak} and rounds {_ROUNDS[node.rounding]}"
        yield say(node, "E110", text, _rounding_of(chip), fixes=tuple(f"rounding={way!r}" for way in chip.rounding))


def _rounding_of(chip: Chip) -> str:
    """Return the rule for the leaks of a chip that cannot round them in every way."""
    return f"leaks round {listed(_ROUNDS[way] for way in chip.rounding)}"


def listed(values: Iterable[object]) -> str:
    """Write some values with commas between them.

    Example:
        >>> listed((1, 2)), listed(())
        ('1, 2', 'none')
    """
    return ", ".join(str(v) for v in values) or "none"
