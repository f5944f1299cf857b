"""Arithmetic written in a file, read without running any of it as code.

Allowed are numbers, names, ``+ - * / // % **``, comparisons, ``and or not``, ``a if c else b`` and the functions
``min max abs ceil floor log2``. Division is exact: the numbers are fractions.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from fractions import Fraction
from itertools import pairwise
from typing import Any

from bitspike.errors import ConstraintError

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "log2": lambda x: Fraction(math.log2(x)),
}
Value = Callable[[Mapping[str, Any]], Any]
_LONGEST, _LARGEST_POWER, _MOST_BITS = 400, 64, 4096
_FORMULA = "a formula such as bits * taps * inputs / groups"


class Expression:
    """One formula of a profile; ``names`` are the variables that it may use, None allows any.

    Raises:
        ConstraintError: the text is no expression, or uses something that is not allowed.

    Example:
        >>> rule = Expression("bits * taps * inputs / groups")
        >>> rule(bits=4, taps=9, inputs=64, groups=4)
        Fraction(576, 1)
        >>> rule.names
        ('bits', 'groups', 'inputs', 'taps')
    """

    def __init__(self, text: str, *, names: Collection[str] | None = None) -> None:
        self.text = text
        if len(text) > _LONGEST:
            raise ConstraintError(
                f"an expression of {len(text)} characters: at most {_LONGEST} are read",
                fix="several rules of one shorter formula each",
            )
        try:
            body = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ConstraintError(f"{text!r} is no expression: {error}", fix=_FORMULA) from error
        variables: set[str] = set()
        self._value = _compiled(body, text, variables)
        self.names = tuple(sorted(variables))
        if names is not None and (unknown := sorted(variables - set(names))):
            near = (get_close_matches(unknown[0], names, n=1, cutoff=0.0) or ["a number"])[0]
            raise ConstraintError(
                f"{text!r}: unknown {', '.join(unknown)}; there are {', '.join(sorted(names))}",
                fix=f"{near} instead of {unknown[0]}",
            )

    def __call__(self, **values: int | Fraction) -> Fraction:
        """Return the value for these variables.

        Raises:
            ConstraintError: a variable is missing, or the value does not exist, such as 1 / 0.
        """
        if missing := [name for name in self.names if name not in values]:
            raise ConstraintError(
                f"{self.text!r}: no value for {', '.join(missing)}", fix=f"a value for each of {', '.join(self.names)}"
            )
        try:
            return Fraction(self._value(values))
        except (ArithmeticError, ValueError, TypeError) as error:
            raise ConstraintError(
                f"{self.text!r} has no value for {dict(values)}: {error}",
                fix="a formula that has a value there, such as max(1, x) where it divides by x",
            ) from error

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def _compiled(node: ast.expr, text: str, names: set[str]) -> Value:
    """Return a function of the variables, whose names are added to ``names``; refuse all that is not arithmetic."""

    def inner(part: ast.expr) -> Value:
        return _compiled(part, text, names)

    match node:
        case ast.Constant(value=bool() | int() | float() as number):
            return lambda values: Fraction(number)
        case ast.Name(id=name):
            names.add(name)
            return lambda values: Fraction(values[name])
        case ast.BinOp(left=a, op=op, right=b) if type(op) in _BINARY:
            left, right, power = inner(a), inner(b), isinstance(op, ast.Pow)
            return lambda values: _bounded(_BINARY[type(op)], left(values), right(values), power=power)
        case ast.UnaryOp(op=sign, operand=a) if type(sign) in _UNARY:
            operand = inner(a)
            return lambda values: _UNARY[type(sign)](operand(values))
        case ast.BoolOp(op=word, values=several):
            parts, joined = [inner(part) for part in several], all if isinstance(word, ast.And) else any
            return lambda values: joined(part(values) for part in parts)
        case ast.Compare(left=a, ops=signs, comparators=several) if all(type(s) in _COMPARE for s in signs):
            sides, tests = [inner(part) for part in (a, *several)], [_COMPARE[type(s)] for s in signs]
            return lambda values: _ordered(tests, [side(values) for side in sides])
        case ast.IfExp(test=a, body=b, orelse=c):
            test, then, otherwise = inner(a), inner(b), inner(c)
            return lambda values: then(values) if test(values) else otherwise(values)
        case ast.Call(func=ast.Name(id=name), args=several, keywords=[]) if name in _FUNCTIONS:
            function, parts = _FUNCTIONS[name], [inner(part) for part in several]
            return lambda values: function(*(part(values) for part in parts))
    raise ConstraintError(
        f"{text!r}: {ast.unparse(node)!r} is not allowed; numbers, names, + - * / // % **, comparisons, "
        f"'a if c else b' and {', '.join(_FUNCTIONS)} are",
        fix=_FORMULA,
    )


def _ordered(tests: list[Callable[[Any, Any], bool]], numbers: list[Any]) -> bool:
    return all(test(x, y) for test, (x, y) in zip(tests, pairwise(numbers), strict=True))


def _bounded(operation: Callable[[Any, Any], Any], x: Any, y: Any, *, power: bool) -> Any:
    """Compute x and y; a power of powers grows without end, and so would the time that it takes."""
    if power and abs(y) > _LARGEST_POWER:
        raise ValueError(f"a power above {_LARGEST_POWER}")
    if _bits(x) * (abs(y) if power else 1) > _MOST_BITS or _bits(y) > _MOST_BITS:
        raise ValueError(f"numbers of more than {_MOST_BITS} bits")
    return operation(x, y)


def _bits(value: Any) -> int:
    """Return how many bits a number takes; a float, as roots give it, always has the same."""
    if isinstance(value, Fraction):
        return value.numerator.bit_length() + value.denominator.bit_length()
    return value.bit_length() if isinstance(value, int) else 0
