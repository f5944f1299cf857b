"""Ways out of a broken rule, found by evaluating the rule itself: fewer bits, groups, fewer input channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from bitspike.hardware.chips.branches import Branch, Bundle
from bitspike.hardware.chips.chip import Chip, Rule
from bitspike.hardware.chips.report import number

LAYERS = ("convolution", "transposed_convolution", "linear")
"""Kinds of branch whose weights can be changed."""
Cost = Callable[[Sequence[Branch]], Fraction]


def cost_of(rule: Rule) -> Cost:
    """Return the function that adds a rule up over the branches of one neuron."""
    expression = rule.expression()

    def cost(bundle: Sequence[Branch]) -> Fraction:
        parts = (expression(**b.variables()) for b in bundle if b.kind in rule.applies_to)
        return sum(parts, Fraction(0))

    return cost


def heaviest(bundle: Sequence[Branch], cost: Cost) -> Branch:
    """Return the layer that costs most, or the dearest branch where none has weights."""
    layers = [b for b in bundle if b.kind in LAYERS]
    return max(layers or bundle, key=lambda b: cost([b]))


def widths_below(chip: Chip, bits: int) -> list[int]:
    """Return the weight widths that the chip has and that are smaller, the widest first."""
    return sorted((b for b in chip.weight_bits or range(1, 17) if b < bits), reverse=True)


def with_bits(bundle: Sequence[Branch], bits: int) -> Bundle:
    """Return the bundle with no layer of more bits: branches of one addition share the unit of their neuron."""
    return tuple(replace(b, bits=min(b.bits, bits)) if b.kind in LAYERS else b for b in bundle)


def with_change(bundle: Sequence[Branch], target: Branch, **numbers: Any) -> Bundle:
    """Return the bundle with other numbers for one layer."""
    return tuple(replace(b, **numbers) if b is target else b for b in bundle)


def fewest_groups(bundle: Sequence[Branch], target: Branch, fits: Callable[[Bundle], bool]) -> int | None:
    """Return the fewest groups, more than now, that divide the channels and with which the neuron fits, or None."""
    if target.kind == "linear":
        return None
    shared = math.gcd(target.inputs, target.outputs)
    more = (g for g in range(target.groups + 1, shared + 1) if shared % g == 0 and g % target.groups == 0)
    return next((g for g in more if fits(with_change(bundle, target, groups=g))), None)


def most_inputs(bundle: Sequence[Branch], target: Branch, fits: Callable[[Bundle], bool]) -> int | None:
    """Return the most input channels, fewer than now, with which the neuron fits, or None.

    A cost that falls with the number of inputs is assumed, so the search may halve; what it finds does fit.
    """
    low, high = 0, target.inputs // target.groups  # low fits or is 0, high does not
    while high - low > 1:
        middle = (low + high) // 2
        if fits(with_change(bundle, target, inputs=middle * target.groups)):
            low = middle
        else:
            high = middle
    return low * target.groups or None


def fixes(bundle: Bundle, rule: Rule, chip: Chip) -> tuple[str, ...]:
    """Return every single change that makes a neuron fit, in words and with its cost.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> layer = Branch(
        ...     kind="convolution", node=one_convolution()["conv"], bits=4, taps=9, inputs=64, outputs=64
        ... )
        >>> from bitspike.hardware.chips.chip import load
        >>> chip = load("fanin1024-v1")
        >>> for fix in fixes((layer,), chip.rules[0], chip):
        ...     print(fix)
        1 bit (576; 2 bit would still need 1152)
        groups = 4 (576)
        at most 28 input channels
        keep this module real
    """
    cost = cost_of(rule)

    def fits(changed: Bundle) -> bool:
        return rule.fits(cost(changed))

    target = heaviest(bundle, cost)
    if target.kind not in LAYERS:
        pool = target.kind == "average_pool"
        return ("a smaller window" if pool else "a smaller gain on the skip path (choose a larger unit)",)
    ways = []
    wider = None
    for bits in widths_below(chip, max(b.bits for b in bundle if b.kind in LAYERS)):
        changed = with_bits(bundle, bits)
        if fits(changed):
            text = number(cost(changed))
            if wider is not None:
                text += f"; {wider} bit would still need {number(cost(with_bits(bundle, wider)))}"
            ways.append(f"{bits} bit ({text})")
            break
        wider = bits
    if (groups := fewest_groups(bundle, target, fits)) is not None:
        ways.append(f"groups = {groups} ({number(cost(with_change(bundle, target, groups=groups)))})")
    if (inputs := most_inputs(bundle, target, fits)) is not None:
        ways.append(f"at most {inputs} input {'features' if target.kind == 'linear' else 'channels'}")
    return (*ways, "keep this module real")
