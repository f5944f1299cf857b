"""Arguments that should be numbers and are something else: refused by name, before anything is computed with them.

``@checked`` reads what is allowed from the annotations that are there anyway. Ranges, and what numbers mean together,
stay with the class or function; it finds numbers then.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import sys
import types
import typing
from collections.abc import Callable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from bitspike.calls import Parameters, parameters_of, refuse
from bitspike.errors import BitspikeError, ConstraintError, short

T = TypeVar("T", bound=Callable[..., Any])

_MANY = (list, tuple, Sequence)
_WORDS: dict[Any, tuple[str, str]] = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("True or False", "True and False"),
    str: ("a text", "texts"),
    Path: ("a path", "paths"),
    type(None): ("None", "None"),
}


def checked(target: T) -> T:
    """Let a class or function refuse arguments that are no numbers where its annotations say ``int`` or ``float``.

    Booleans, texts and NaN are no numbers; what NumPy or a tensor of one element gives is one, and a whole number of
    NumPy arrives as one of Python. Where they say ``str | Path``, a file or folder, numbers and all else are refused as
    well. Annotations are read at the first call, and parameters of other kinds are left alone. Calls that the function
    does not take are refused with what was meant (:mod:`bitspike.calls`).

    Example:
        >>> @checked
        ... def leak(decay: float, steps: int = 1) -> float:
        ...     return decay**steps
        >>> leak(0.5, 2)
        0.25
        >>> leak("0.5")
        Traceback (most recent call last):
        bitspike.errors.ConstraintError: leak(decay='0.5'): a number is needed
          fix: decay=0.5
    """
    if isinstance(target, type):
        target.__init__ = _checking(target.__init__, target, own_first=True)  # type: ignore[misc]
        return target
    return _checking(target, None, own_first=False)


def checked_last(function: T) -> T:
    """Do what :func:`checked` does after the function had its say, which looks at its arguments before anything else.

    What it says itself names the range that is allowed, too, as classes do.
    """
    return _checking(function, None, own_first=True)


def _checking(function: T, owner: type | None, *, own_first: bool) -> T:
    """Return the function with a look at its arguments before every call."""

    @functools.cache
    def wanted() -> tuple[Parameters, dict[str, tuple[Any, Any]]]:
        return parameters_of(function), _numbers_of(function, owner)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        takes, hints = wanted()
        if not takes.take(len(args), kwargs):
            refuse(_name(function, owner, args), takes, args, kwargs, method=owner is not None)
        order = takes.positional
        arguments = [*zip(order, args, strict=False), *kwargs.items()]
        wrong = [(name, v) for name, v in arguments if name in hints and not fits(v, hints[name][0])]
        if wrong:
            if own_first:
                _say_more(function, args, kwargs)
            who = _name(function, owner, args)
            lines = [f"{who}({n}={short(v)}): {_needed(hints[n][0])} is needed" for n, v in wrong]
            ways = [f"{n}={_instead(v, *hints[n])}" for n, v in wrong]
            raise ConstraintError("\n".join(lines), fix=", ".join(ways))
        if any(_counts_elsewhere(v) for _, v in arguments):
            args = tuple(_own(v) if n in hints else v for n, v in zip(order, args, strict=False)) + args[len(order) :]
            kwargs = {n: _own(v) if n in hints else v for n, v in kwargs.items()}
        return function(*args, **kwargs)

    return typing.cast(T, call)


def _counts_elsewhere(value: Any) -> bool:
    return not isinstance(value, int) and isinstance(value, Integral)


def _own(value: Any) -> Any:
    """Return a whole number of NumPy as one of Python, which every file takes; other values as they are."""
    return int(value) if _counts_elsewhere(value) else value


def _name(function: Callable[..., Any], owner: type | None, args: tuple[Any, ...]) -> str:
    """Return what a function, or the class of an object that is made, is called in messages."""
    return function.__qualname__.split(".<locals>.")[-1] if owner is None else type(args[0]).__name__


def _say_more(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Let a class or function refuse its arguments itself, where it does."""
    try:
        result = function(*args, **kwargs)
        if isinstance(result, contextlib.AbstractContextManager):  # a block has its say when it begins
            with result:
                pass
    except BitspikeError:
        raise
    except Exception:  # noqa: BLE001  # whatever an argument of the wrong kind leads to
        return


def _numbers_of(function: Callable[..., Any], owner: type | None) -> dict[str, tuple[Any, Any]]:
    """Return hint and default of every argument with numbers."""
    parameters = inspect.signature(function).parameters.values()
    hints = {p.name: _hint(p.annotation, p.name, function, owner) for p in parameters if p.kind is not p.VAR_KEYWORD}
    return {p.name: (hints[p.name], p.default) for p in parameters if _is_looked_at(hints.get(p.name))}


def _hint(annotation: Any, name: str, function: Any, owner: type | None) -> Any:
    """Return an annotation as an object; None where it speaks of names that only type checkers see."""
    if not isinstance(annotation, str):
        return annotation
    # A field that was inherited is annotated in the words of its own module.
    homes = [c for c in (owner.__mro__ if owner else ()) if name in vars(c).get("__annotations__", {})]
    names = vars(sys.modules[homes[0].__module__]) if homes else function.__globals__
    try:
        return eval(annotation, dict(names))  # noqa: S307  # our own source
    except NameError:
        return None


def _is_looked_at(hint: Any) -> bool:
    """Tell whether an annotation speaks of numbers, or of a file or folder and nothing else."""
    return _has_numbers(hint) or (Path in get_args(hint) and {*get_args(hint)} <= {str, Path, type(None)})


def _has_numbers(hint: Any) -> bool:
    origin = get_origin(hint)
    # A choice is no number, nor is the shape of an array, which NumPy before 2.3 annotates as integers.
    if origin is Literal or getattr(origin, "__name__", "") == "ndarray":
        return False
    return hint in (int, float) or any(_has_numbers(part) for part in get_args(hint))


def fits(value: Any, hint: Any) -> bool:
    """Tell whether a value is of a kind that an annotation names.

    Example:
        >>> [fits(v, int | None) for v in (3, None, 3.0, True, "3")]
        [True, True, False, False, False]
        >>> fits((0.5, 1), tuple[float, ...]), fits(0.5, tuple[float, ...]), fits(math.nan, float)
        (True, False, False)
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if hint is int:
        return hasattr(value, "__index__") and not isinstance(value, bool) and not hasattr(value, "requires_grad")
    if hint is float:
        return hasattr(value, "__float__") and not isinstance(value, bool) and not _is_nan(value)
    if isinstance(value, str):
        return hint is str
    if origin is tuple or origin in _MANY:
        if not isinstance(value, Sequence):
            return False
        kinds = parts if origin is tuple and Ellipsis not in parts else parts[:1] * len(value)
        return len(kinds) == len(value) and all(map(fits, value, kinds))
    if origin is not None and isinstance(origin, type):
        return isinstance(value, origin)
    if getattr(hint, "__name__", "") == "Tensor":  # or what is made one of: torch is not imported here
        return hasattr(value, "__array__") or (isinstance(value, Sequence) and all(fits(item, float) for item in value))
    if isinstance(hint, type) and not getattr(hint, "_is_protocol", False):
        return isinstance(value, hint)
    return not isinstance(value, int | float)  # a protocol, a function


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _needed(hint: Any) -> str:
    """Return what an annotation asks for in words."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        words = [_needed(part) for part in parts]
        return " or ".join([", ".join(words[:-1]), words[-1]])
    if origin is tuple or origin in _MANY:
        return f"a list of {_many(hint)}"
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if hint in _WORDS:
        return _WORDS[hint][0]
    name = getattr(origin or hint, "__name__", str(hint))
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _many(hint: Any) -> str:
    """Return what a list holds in words, lists in it too.

    Example:
        >>> _many(Sequence[tuple[int, int]])
        'lists of 2 whole numbers'
    """
    origin, parts = get_origin(hint), get_args(hint)
    inner = get_origin(parts[0]) in (tuple, *_MANY)
    word = f"lists of {_many(parts[0])}" if inner else _WORDS.get(parts[0], ("", "values"))[1]
    return f"{len(parts)} {word}" if origin is tuple and Ellipsis not in parts else word


def _in_place(value: Any, hint: Any) -> Any:
    """Return a list with each of its values as the number that it stands for; what is no list, as it is."""
    origin, parts = get_origin(hint), get_args(hint)
    if not (origin is tuple or origin in _MANY) or isinstance(value, str) or not isinstance(value, Sequence):
        numbers = [n for kind in (int, float) if (n := _number(value, kind)) is not None and fits(n, hint)]
        return numbers[0] if numbers and not fits(value, hint) else value
    kinds = parts if origin is tuple and Ellipsis not in parts else parts[:1] * len(value)
    listed = map(_in_place, value, kinds)
    return value if len(kinds) != len(value) else tuple(listed) if isinstance(value, tuple) else list(listed)


def _number(value: Any, kind: type[int] | type[float]) -> int | float | None:
    """Return the number that a value stands for; None where it stands for none of this kind."""
    try:
        number = kind(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number == (float(value) if isinstance(value, str) else value) else None


def _instead(value: Any, hint: Any, default: Any) -> str:
    """Return a value that can stand in the place of one that does not fit."""
    for kind in (int, float):
        number = _number(value, kind)
        ways = [] if number is None else [way for way in (number, (number,)) if fits(way, hint)]
        if ways:
            return repr(ways[0])
    if isinstance(value, list | tuple) and fits(listed := _in_place(value, hint), hint):
        return repr(listed)
    if default is not inspect.Parameter.empty and fits(default, hint):
        return repr(default)
    return _needed(hint)
