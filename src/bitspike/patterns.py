"""Glob patterns over names, as in file names: what they choose, and the one error where a pattern matches nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TypeVar

from bitspike.errors import BitspikeError, ConstraintError

T = TypeVar("T")
Patterns = str | Sequence[str]
_SHOWN = 20


def matching(
    patterns: Patterns,
    names: Iterable[str] | Mapping[str, Collection[str]],
    *,
    argument: str,
    noun: str = "layer",
    error: type[BitspikeError] = ConstraintError,
) -> tuple[str, ...]:
    """Return the things whose name matches at least one pattern, in their own order.

    Args:
        patterns: glob patterns; upper and lower case differ.
        names: of the things; or by thing all names that it answers to, such as those of the modules around it.
        argument: where the patterns were written, for the message.
        noun: what the names belong to, for the message.
        error: class of the error.

    Raises:
        BitspikeError: a pattern matches nothing, or is no text.

    Example:
        >>> matching("layer1.*", ["conv1", "layer1.0", "layer1.1"], argument="include")
        ('layer1.0', 'layer1.1')
        >>> matching("layer1", ["conv1", "layer1.0", "layer1.1"], argument="include")
        Traceback (most recent call last):
        ...
        bitspike.errors.ConstraintError: include: no layer matches 'layer1'; there are 'conv1', 'layer1.0', 'layer1.1'
          fix: 'layer1.*' instead of 'layer1'
    """
    of = names if isinstance(names, Mapping) else {name: (name,) for name in names}
    chosen: set[str] = set()
    for pattern in listed(patterns, argument=argument, error=error):
        hits = {thing for thing, own in of.items() if any(fnmatchcase(name, pattern) for name in own)}
        if not hits:
            raise _no_match(pattern, list(dict.fromkeys(n for own in of.values() for n in own)), argument, noun, error)
        chosen |= hits
    return tuple(thing for thing in of if thing in chosen)


def listed(patterns: Patterns, *, argument: str, error: type[BitspikeError] = ConstraintError) -> list[str]:
    """Return one pattern or several as a list.

    Raises:
        BitspikeError: they are no text.

    Example:
        >>> listed("conv*", argument="layers"), listed(("a", "b"), argument="layers")
        (['conv*'], ['a', 'b'])
        >>> listed(0, argument="layers")
        Traceback (most recent call last):
        ...
        bitspike.errors.ConstraintError: layers=0: needed is a name or pattern as text, or a list of them
          fix: '0' instead of 0
    """
    several = [patterns] if isinstance(patterns, str) else patterns
    if isinstance(several, Iterable) and all(isinstance(pattern, str) for pattern in several):
        return list(several)
    raise error(
        f"{argument}={patterns!r}: needed is a name or pattern as text, or a list of them",
        fix=f"{str(patterns) if isinstance(patterns, int) else '*'!r} instead of {patterns!r}",
    )


def last_match(patterns: Mapping[str, T], name: str) -> T | None:
    """Return the value of the last pattern that matches a name; None where none does.

    Example:
        >>> last_match({"*": 8, "layer1.*": 4}, "layer1.0"), last_match({"layer1.*": 4}, "conv1")
        (4, None)
    """
    return next((patterns[p] for p in reversed(list(patterns)) if fnmatchcase(name, p)), None)


def outer(path: str) -> list[str]:
    """Return the path of a module and those of the modules around it.

    Example:
        >>> outer("layer1.0.conv1")
        ['layer1', 'layer1.0', 'layer1.0.conv1']
    """
    words = path.split(".")
    return [".".join(words[:n]) for n in range(1, len(words) + 1)]


def _no_match(pattern: str, names: list[str], argument: str, noun: str, error: type[BitspikeError]) -> BitspikeError:
    if not names:
        return error(f"{argument}: no {noun} matches {pattern!r}; there is no {noun}", fix=f"leave {argument} out")
    shown = ", ".join(map(repr, names[:_SHOWN])) + (f", ... {len(names) - _SHOWN} more" * (len(names) > _SHOWN))
    if any(name.startswith(f"{pattern}.") for name in names):
        near = f"{pattern}.*"  # the name of a module whose layers have the names
    else:
        near = (get_close_matches(pattern, names, n=1, cutoff=0.3) or names)[0]
    return error(
        f"{argument}: no {noun} matches {pattern!r}; there are {shown}", fix=f"{near!r} instead of {pattern!r}"
    )
