"""What the numbers of an integer network may be, by the name of their field.

Whole numbers lie inside ranges that every machine can count in; what says the real worth of an integer is finite and
above 0, or 0 for a channel inside the network that is worth nothing. Whether shapes fit each other is checked beside
the nodes (:mod:`bitspike.integer.network`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from bitspike.errors import ConstraintError

MOST_STEPS = 1 << 20
MOST_VALUES = 1 << 31
"""Integers that a node may send per sample and step."""
LEAST_REAL, MOST_REAL = 1e-270, 1e270
"""A scale in this range times any 64-bit integer is a finite float64."""

_SIZE, _WIDE, _EXACT = 1 << 20, 1 << 62, 1 << 53
WHOLE: dict[str, tuple[int, int]] = {
    "call": (0, _SIZE),
    "shape": (1, MOST_VALUES),
    "kernel": (1, _SIZE),
    "stride": (1, _SIZE),
    "dilation": (1, _SIZE),
    "padding": (0, _SIZE),
    "output_padding": (0, _SIZE),
    "groups": (1, _SIZE),
    "factors": (1, _SIZE),
    "before": (-_SIZE, _SIZE),
    "after": (-_SIZE, _SIZE),
    "axes": (0, 15),
    "start": (0, MOST_VALUES),
    "stop": (1, MOST_VALUES),
    "fraction_bits": (0, 62),
    "right_shift": (0, 127),
    "floor": (-_WIDE, _WIDE),
    "width": (2, 63),
    "grid.low": (-_EXACT, _EXACT),
    "grid.high": (-_EXACT, _EXACT),
    "leak.numerator": (0, 1 << 32),
    "leak.shift": (0, 62),
    "weight.bits": (1, 64),
    "weight.low": (-_WIDE, _WIDE),
    "weight.high": (-_WIDE, _WIDE),
    "weight.levels": (-_WIDE, _WIDE),
}
"""Smallest and largest whole number of every field that holds one or several."""
WORDS: dict[str, tuple[str, ...]] = {"coding": ("direct", "bernoulli", "rate")}
FLAGS = ("constant", "signed")
REALS = ("scale", "unit", "divisor", "grid.scale", "weight.step")
SEVERAL = (
    "shape", "kernel", "stride", "dilation", "padding", "output_padding", "factors", "before", "after", "axes",
    "weight.levels", "scale", "unit", "weight.step",
)  # fmt: skip
"""Fields that hold one number per axis, level or channel; every other one holds a single number."""
_OPTIONAL = ("floor", "width", "weight.levels")


def check_steps(steps: Any) -> None:
    """Refuse a number of steps that is none.

    Raises:
        ConstraintError: it is not a whole number from 1 to ``MOST_STEPS``.
    """
    if not _is_whole(steps) or not 1 <= steps <= MOST_STEPS:
        raise ConstraintError(f"steps={steps!r}: allowed are whole numbers from 1 to {MOST_STEPS:,}")


def check_node(node: Any) -> None:
    """Refuse a node with a number outside the limits; all of them are named.

    Args:
        node: a node of :mod:`bitspike.integer.network`.

    Raises:
        ConstraintError: a number is not whole, too small, too large or not finite, or there are too many of them.
    """
    # A norm may multiply a channel by 0: inside the network its integers are then worth nothing.
    zero = type(node).__name__ not in ("Input", "Readout")
    found = [text for name, value in _fields(node) for text in _problems(name, value, zero=zero)]
    if not found and node.shape:
        if math.prod(node.shape) > MOST_VALUES:
            found.append(f"shape is {list(node.shape)}; at most {MOST_VALUES:,} integers per step are allowed")
        found += _lengths(node)
    if getattr(node, "coding", "direct") != "direct" and node.constant:
        found.append(f"coding is {node.coding!r} and constant is true; its spikes change from step to step")
    if found:
        raise ConstraintError(f"{type(node).__name__} {node.id!r}: {'; '.join(found)}")


def codes_problems(bits: Any, low: Any, high: Any, levels: Sequence[Any] | None) -> Iterator[str]:
    """Yield what is wrong with a grid of weight codes: more codes than its bits can tell apart, levels out of order."""
    if not all(_is_whole(n) for n in (bits, low, high, *(levels or ()))):
        yield f"bits, low, high and levels are {bits!r}, {low!r}, {high!r} and {levels!r}; whole numbers are needed"
        return
    count = high - low + 1 if levels is None else len(levels)
    if not 1 <= count <= 1 << min(max(bits, 0), 64):
        yield f"bits is {bits}; that many tell {1 << min(max(bits, 0), 64):,} codes apart, there are {count:,}"
    if levels is not None and list(levels) != sorted({n for n in levels if low <= n <= high}):
        yield f"levels are no ascending codes from {low} to {high}"


def _fields(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a node, and those of the grids, leaks and weights in it as ``grid.low``."""
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if dataclasses.is_dataclass(value):
            yield from ((f"{field.name}.{name}", inner) for name, inner in _fields(value))
        else:
            yield field.name, value


def _problems(name: str, value: Any, *, zero: bool) -> Iterator[str]:
    if name in WHOLE and not (value is None and name in _OPTIONAL):
        low, high = WHOLE[name]
        if wrong := [n for n in _each(name, value) if not _is_whole(n) or not low <= n <= high]:
            yield f"{name} is {_short(wrong[0])}; allowed are whole numbers from {low:,} to {high:,}"
    elif name in REALS:
        numbers = [n for n in _each(name, value) if not (zero and name == "scale" and n == 0)]
        if off := [n for n in numbers if not (isinstance(n, float | int) and LEAST_REAL <= n <= MOST_REAL)]:
            yield f"{name} is {_short(off[0])}; allowed are finite numbers from {LEAST_REAL:g} to {MOST_REAL:g}"
    elif name in WORDS and value not in WORDS[name]:
        yield f"{name} is {_short(value)}; allowed are {', '.join(WORDS[name])}"
    elif name in FLAGS and not isinstance(value, bool | np.bool_):
        yield f"{name} is {_short(value)}; allowed are true and false"
    elif name in ("path", "weight.scheme") and not isinstance(value, str):
        yield f"{name} is {_short(value)}; a text is needed"


def _lengths(node: Any) -> Iterator[str]:
    """Yield what is said neither once nor once per channel."""
    channels = node.shape[0]
    weight = getattr(node, "weight", None)
    for name, value in (
        ("scale", node.scale), ("unit", getattr(node, "unit", None)), ("weight.step", getattr(weight, "step", None)),
    ):  # fmt: skip
        if value is not None and value.shape not in ((1,), (channels,)):
            yield f"{name} has the shape {list(value.shape)}; allowed are [1] and [{channels}], one per channel"


def _each(name: str, value: Any) -> Iterable[Any]:
    """Return the numbers of a field that holds several, and otherwise whatever it holds as the one number."""
    if name in SEVERAL and isinstance(value, np.ndarray):
        return value.reshape(-1).tolist()
    return value if name in SEVERAL and isinstance(value, tuple) else (value,)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
