"""What the numbers of an integer network may be, said at each field of a node by its type.

Whole numbers lie inside ranges that every machine can count in; what says the real worth of an integer is finite and
above 0, or 0 for a channel inside the network that is worth nothing. Whether shapes fit each other is checked by the
nodes (``Node.problems``).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np

from bitspike.errors import ConstraintError, short
from bitspike.integer.arithmetic import Integers, Reals, Shape

MOST_STEPS = 1 << 20
MOST_VALUES = 1 << 31
"""Integers that a node may send per sample and step."""
LEAST_REAL, MOST_REAL = 1e-270, 1e270
"""A scale in this range times any 64-bit integer is a finite float64."""

_SIZE, _WIDE, _EXACT = 1 << 20, 1 << 62, 1 << 53


class Between(NamedTuple):
    """The smallest and the largest whole number that a field may hold."""

    low: int
    high: int


_WORTH, _BY_STEP = "worth", "by step"

Count = Annotated[int, Between(0, _SIZE)]
Sizes = Annotated[Shape, Between(1, _SIZE)]
"""One length per axis, from 1."""
Paddings = Annotated[Shape, Between(0, _SIZE)]
Offsets = Annotated[Shape, Between(-_SIZE, _SIZE)]
Groups = Annotated[int, Between(1, _SIZE)]
Wide = Annotated[int, Between(-_WIDE, _WIDE)]
"""An integer that 63 bits hold."""
Worth = Annotated[Reals, _WORTH]
"""Real values of one integer, above 0, one for all output channels or one for each: [1] or [C]."""
Positive = Annotated[float, _WORTH]
ByStep = Annotated[Integers, _BY_STEP]
"""Parameters that may change over time, [1 or T, 1 or C]; plain ``Integers`` are the same at every step, [1 or C]."""

_INSIDE: dict[str, dict[str, Any]] = {
    "Grid": {"scale": Positive, "low": Between(-_EXACT, _EXACT), "high": Between(-_EXACT, _EXACT)},
    "Dyadic": {"numerator": Between(0, 1 << 32), "shift": Between(0, 62)},
}
"""Limits of the fields of values that know nothing of integer networks."""


@dataclasses.dataclass(frozen=True)
class Field:
    """What the type of a field says.

    Args:
        name: of the field.
        kind: its type, without limits and without None.
        limits: of its whole numbers.
        worth: whether it says what an integer is worth.
        by_step: whether it may change over time.
        optional: whether it may be None.
    """

    name: str
    kind: Any
    limits: Between | None = None
    worth: bool = False
    by_step: bool = False
    optional: bool = False

    def each(self, value: Any) -> Iterable[Any]:
        """Return the numbers of a field that holds several, and otherwise whatever it holds as the one number."""
        several = self.kind in (Integers, Reals) or get_origin(self.kind) is tuple
        if several and isinstance(value, np.ndarray):
            return value.reshape(-1).tolist()
        return value if several and isinstance(value, tuple) else (value,)


_FIELDS: dict[type, tuple[Field, ...]] = {}


def fields_of(kind: type) -> tuple[Field, ...]:
    """Return the fields of a kind of node, or of a value in one, in their order."""
    if kind not in _FIELDS:
        hints = get_type_hints(kind, include_extras=True) | _INSIDE.get(kind.__name__, {})
        _FIELDS[kind] = tuple(_field(field.name, hints[field.name]) for field in dataclasses.fields(kind))
    return _FIELDS[kind]


def _field(name: str, hint: Any) -> Field:
    if isinstance(hint, Between):
        hint = Annotated[int, hint]
    optional = type(None) in get_args(hint)
    if optional:
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    bare, said = (hint.__origin__, hint.__metadata__) if get_origin(hint) is Annotated else (hint, ())
    each = get_args(bare)[0] if get_origin(bare) is tuple else None  # the limits of levels are those of each
    inside = getattr(each, "__metadata__", ())
    limits = next((mark for mark in (*said, *inside) if isinstance(mark, Between)), None)
    return Field(name, bare, limits, _WORTH in said, _BY_STEP in said, optional)


def check_steps(steps: Any) -> None:
    """Refuse a number of steps that is none.

    Raises:
        ConstraintError: it is not a whole number from 1 to ``MOST_STEPS``.
    """
    if not _is_whole(steps) or not 1 <= steps <= MOST_STEPS:
        raise ConstraintError(f"steps={steps!r}: allowed are whole numbers from 1 to {MOST_STEPS:,}", fix="steps=8")


def check_node(node: Any) -> None:
    """Refuse a node with a number outside the limits; all of them are named.

    Raises:
        ConstraintError: a number is not whole, too small, too large or not finite, or there are too many of them.
    """
    # A norm may multiply a channel by 0: inside the network its integers are then worth nothing.
    zero = type(node).__name__ not in ("Input", "Readout")
    problems = [text for name, field, value in _walked(node) for text in _problems(name, field, value, zero=zero)]
    if not problems and node.shape:
        if math.prod(node.shape) > MOST_VALUES:
            problems.append(f"shape is {list(node.shape)}; at most {MOST_VALUES:,} integers per step are allowed")
        problems += _lengths(node)
    if getattr(node, "coding", "direct") != "direct" and node.constant:
        problems.append(f"coding is {node.coding!r} and constant is true; its spikes change from step to step")
    if problems:
        raise ConstraintError(f"{type(node).__name__} {node.id!r}: {'; '.join(problems)}", fix="values within them")


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


def _walked(node: Any, inside: str = "") -> Iterator[tuple[str, Field, Any]]:
    """Yield the fields of a node, and those of the grids, leaks and weights in it as ``grid.low``."""
    for field in fields_of(type(node)):
        name, value = inside + field.name, getattr(node, field.name)
        if dataclasses.is_dataclass(value):
            yield from _walked(value, f"{name}.")
        else:
            yield name, field, value


def _problems(name: str, field: Field, value: Any, *, zero: bool) -> Iterator[str]:
    if value is None and field.optional:
        return
    if field.limits is not None:
        low, high = field.limits
        if wrong := [n for n in field.each(value) if not _is_whole(n) or not low <= n <= high]:
            yield f"{name} is {short(wrong[0])}; allowed are whole numbers from {low:,} to {high:,}"
    elif field.worth:
        numbers = [n for n in field.each(value) if not (zero and name == "scale" and n == 0)]
        if off := [n for n in numbers if not (isinstance(n, float | int) and LEAST_REAL <= n <= MOST_REAL)]:
            yield f"{name} is {short(off[0])}; allowed are finite numbers from {LEAST_REAL:g} to {MOST_REAL:g}"
    elif get_origin(field.kind) is Literal and value not in get_args(field.kind):
        yield f"{name} is {short(value)}; allowed are {', '.join(get_args(field.kind))}"
    elif field.kind is bool and not isinstance(value, bool | np.bool_):
        yield f"{name} is {short(value)}; allowed are true and false"
    elif field.kind is str and not isinstance(value, str):
        yield f"{name} is {short(value)}; a text is needed"


def _lengths(node: Any) -> Iterator[str]:
    """Yield what is said neither once nor once per channel."""
    channels = node.shape[0]
    for name, field, value in _walked(node):
        if field.worth and field.kind == Reals and value.shape not in ((1,), (channels,)):
            yield f"{name} has the shape {list(value.shape)}; allowed are [1] and [{channels}], one per channel"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
