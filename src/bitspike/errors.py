"""The errors that Bitspike raises: one tree below :class:`BitspikeError`.

The command line turns ``CheckFailed`` into exit code 1 and every other one into exit code 2.
"""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any


class BitspikeError(Exception):
    """Say what was found, what is allowed and where; ``fix`` is the nearest way out.

    Example:
        >>> print(BitspikeError("bits is 0, allowed are 1 to 8", fix="Uniform(bits=2)"))
        bits is 0, allowed are 1 to 8
          fix: Uniform(bits=2)
    """

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return self.message if self.fix is None else f"{self.message}\n  fix: {self.fix}"


class ConstraintError(BitspikeError, ValueError):
    """A value lies outside what is allowed; raised when an object is built."""


class CallError(ConstraintError, TypeError):
    """A function is called with an argument that it does not have, or without one that it needs."""


class DataError(BitspikeError):
    """A data set is missing, foreign or damaged."""


class RecipeError(BitspikeError):
    """A recipe cannot be read, or one of its keys or values is wrong."""


class ConversionError(BitspikeError):
    """An ordinary network cannot be followed, or holds something that cannot become spiking."""


class LoweringError(BitspikeError):
    """A network holds something that the integer form cannot express."""


class ExportError(BitspikeError):
    """A format cannot hold a network, or a file of that format cannot be written or read."""


class PackageError(BitspikeError):
    """A saved network or a run folder cannot be read."""


class RunError(BitspikeError):
    """A run could not go on: disk, folder, interruption."""


class CheckFailed(BitspikeError):
    """A check ran to its end and its answer is no."""


def short(value: Any) -> str:
    """Return a value as text of at most 60 characters, for messages.

    Example:
        >>> short("a" * 99)[-6:]
        'aaa...'
    """
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def tensor_of(value: Any) -> str:
    """Return how a tensor is made of what stands in its place, for the ways out of messages.

    Example:
        >>> tensor_of([1.0, 2.0]), tensor_of({"image": 0})
        ('torch.as_tensor(x)', "x['image']")
    """
    if isinstance(value, Mapping) and value:
        return f"x[{next(iter(value))!r}]"
    if hasattr(value, "__array__"):
        return "torch.from_numpy(x)"
    numbers = value
    while isinstance(numbers, list | tuple) and numbers:
        numbers = numbers[0]
    return (
        "torch.as_tensor(x)"
        if isinstance(numbers, int | float)
        else "of a loader the first batch: images, labels = next(iter(loader))"
    )


def warn(text: str) -> None:
    """Warn, and name the line that called into this package: of a user, or of the command line.

    How many frames lie between depends on the way that was taken; those of torch, which calls modules, are no place
    either.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _within(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, UserWarning, stacklevel=level)


def _within(module: str) -> bool:
    return f"{module}.".startswith(("bitspike.", "torch.")) and not f"{module}.".startswith("bitspike.cli.")


def command(verb: str, *words: object) -> str:
    """Return a command line for messages, as a shell takes it: folders may have spaces.

    Example:
        >>> command("resume", "runs/my net")
        "bitspike resume 'runs/my net'"
    """
    return shlex.join(["bitspike", verb, *map(str, words)])


def some(names: Sequence[str], most: int = 8) -> str:
    """List names for messages, the first few of many.

    Example:
        >>> some(["a", "b", "c", "d"], most=2)
        'a, b and 2 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
