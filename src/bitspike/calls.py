"""Calls that a function does not take: an argument that it does not have, one too many, or one that is missing.

Python answers them with a TypeError that leaves its reader alone. The error here is one as well, and says what was
meant: the name of the same thing, also where another tool calls it otherwise, or what could stand in the empty place.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from bitspike.errors import CallError, short
from bitspike.other_words import OTHERWISE, SAME

T = TypeVar("T", bound=Callable[..., Any])

EXAMPLES = {
    "epochs": "epochs=20",
    "calibrate": "calibrate=train_loader: some hundred images, with or without labels, say what a spike is worth",
    "steps": "steps=4",
    "bits": "bits=4",
    "seed": "seed=0",
    "decay": "decay=0.5",
    "threshold": "threshold=1.0",
    "chip": 'chip="fanin1024-v1"',
    "example": "example=images[:1]: an input as the network takes it, of one sample",
    "train_loader": "train_loader=DataLoader(...), or a list of pairs of inputs and labels",
    "quantize": "quantize=bs.Ternary()",
    "pixel_grid": "pixel_grid=bs.data.PixelGrid(), which makes pixels from 0 to 255 inputs from 0 to 1",
    "channels": "channels=32, as many as the layer before it has",
}
"""What may stand in the place of an argument that is missing."""
_SPOKEN = (int, float, str, type(None))


@dataclass(frozen=True)
class Parameters:
    """What a function can be called with.

    Args:
        positional: names in order; of a method the first is its object.
        named: names that may be given as keywords.
        needed: names without a default.
        more_positional, more_named: whether further arguments are taken.
    """

    positional: tuple[str, ...]
    named: tuple[str, ...]
    needed: tuple[str, ...]
    more_positional: bool
    more_named: bool

    def take(self, count: int, names: Collection[str]) -> bool:
        """Tell whether a call with so many positional arguments, and keywords of these names, is one.

        Example:
            >>> parameters_of(lambda x, *, limit=1.0: x).take(1, ["limit"])
            True
        """
        if count > len(self.positional) and not self.more_positional:
            return False
        filled = self.positional[:count]
        known = self.more_named or all(name in self.named for name in names)
        once = not any(name in names for name in filled)
        return known and once and all(name in filled or name in names for name in self.needed)


@functools.cache
def parameters_of(function: Callable[..., Any]) -> Parameters:
    """Return what a function can be called with."""
    parameters = inspect.signature(function).parameters.values()
    single = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return Parameters(
        positional=tuple(p.name for p in single if p.kind is not p.KEYWORD_ONLY),
        named=tuple(p.name for p in single if p.kind is not p.POSITIONAL_ONLY),
        needed=tuple(p.name for p in single if p.default is p.empty),
        more_positional=any(p.kind is p.VAR_POSITIONAL for p in parameters),
        more_named=any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def refuse(
    who: str, takes: Parameters, args: Sequence[Any], keywords: Mapping[str, Any], *, method: bool = False
) -> None:
    """Raise an error for a call that a function does not take; ``method`` leaves its object unsaid.

    Raises:
        CallError: with everything that is wrong, and the way out of each.
    """
    order = takes.positional
    filled = order[: len(args)]
    said: list[tuple[str, str]] = []
    if not takes.more_named:
        said += unknown(who, [name for name in takes.named if not (method and name in order[:1])], keywords)
    said += [(f"{who}: {name} is given twice", f"{name} once") for name in keywords if name in filled]
    if len(args) > len(order) and not takes.more_positional:
        most, rest = len(order) - method, [name for name in takes.named if name not in order and name not in keywords]
        count = f"takes {most} argument{'s' * (most != 1)} without a name" if most else "takes its arguments by name"
        by_name = [f"{n}={_shown(v)}" for n, v in zip(rest, args[len(order) :], strict=False)]
        said.append((f"{who} {count}, found {len(args) - method}", f"{who}({', '.join([*_dots(most), *by_name])})"))
    # A word that was not understood may be what is missing: the way out names it already.
    meant = {meaning(name, takes.named)[0] for name in keywords if name not in takes.named}
    missing = [name for name in takes.needed if name not in filled and name not in keywords and name not in meant]
    said += [(f"{who}: {name} is missing", EXAMPLES.get(name, f"{name}=...")) for name in missing]
    raise CallError("\n".join(text for text, _ in said), fix="; ".join(dict.fromkeys(way for _, way in said)))


def refusing(function: T) -> T:
    """Answer calls that a function does not take, and look at no argument: for what runs at every training step.

    Compilers follow it.

    Example:
        >>> @refusing
        ... def halve(x: float) -> float:
        ...     return x / 2
        >>> halve(value=1.0)
        Traceback (most recent call last):
        bitspike.errors.CallError: halve has no argument 'value'; it has x
        halve: x is missing
          fix: one of these; x=...
    """
    takes = parameters_of(function)

    @functools.wraps(function)
    def call(*args: Any, **keywords: Any) -> Any:
        if not takes.take(len(args), keywords):
            refuse(function.__name__, takes, args, keywords)
        return function(*args, **keywords)

    return cast(T, call)


def unknown(who: str, allowed: Sequence[str], keywords: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is wrong with arguments that a function does not have, and the way out of each.

    Example:
        >>> unknown("LIF", ["decay", "threshold"], {"beta": 0.9})
        [("LIF has no argument 'beta': it is 'decay' here", 'decay=0.9')]
    """
    said = []
    for name, value in keywords.items():
        if name in allowed:
            continue
        ours, advice = meaning(name, allowed)
        if advice:
            said.append((f"{who} has no argument {name!r}", advice.format(value=_shown(value))))
        elif ours:
            asked = f": it is {ours!r} here" if name in SAME else f"; did you mean {ours!r}?"
            said.append((f"{who} has no argument {name!r}{asked}", f"{ours}={_shown(value)}"))
        else:
            has = f"it has {', '.join(allowed)}" if allowed else "it has none"
            said.append((f"{who} has no argument {name!r}; {has}", "one of these" if allowed else f"{who}()"))
    return said


def refuse_unknown(who: str, allowed: Sequence[str], keywords: Mapping[str, Any]) -> None:
    """Raise an error for arguments that a function looks up in a list of its own.

    Raises:
        CallError: for all that are not in it.
    """
    if said := unknown(who, allowed, keywords):
        raise CallError("\n".join(text for text, _ in said), fix="; ".join(dict.fromkeys(way for _, way in said)))


def meaning(name: str, allowed: Iterable[str]) -> tuple[str, str]:
    """Return which argument a word may stand for, and advice where its value is said otherwise; empty where unknown.

    Example:
        >>> meaning("v_threshold", ["threshold"]), meaning("treshold", ["threshold"]), meaning("colour", ["threshold"])
        (('threshold', ''), ('threshold', ''), ('', ''))
    """
    names = list(allowed)
    ours, advice = OTHERWISE.get(name, ("", ""))
    if ours in names:
        return ours, advice
    if SAME.get(name) in names:
        return SAME[name], ""
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.7)
    return (near[0] if near else ""), ""


def _shown(value: Any) -> str:
    """Return a value as it is written; what would be long or no code is left to the reader."""
    return short(value) if isinstance(value, _SPOKEN) else "..."


def _dots(count: int) -> list[str]:
    return ["..."] if count else []
