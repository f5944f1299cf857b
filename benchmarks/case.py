"""What a benchmark is: variants that do the same work, in groups, with the ratios that are asked of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Call = Callable[[], object]
"""One run of what is measured."""

Unit = Literal["s", "MB", "images/s", "events/s"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to do the work of a group.

    Args:
        name: unique in its group.
        build: makes what is measured; called once, outside the measurement.
        needs: the peer that it needs, by its name in :data:`benchmarks.peers.PEERS`.
        dtype: of what is computed, for the table.
        images: that one call handles, or events; asked for where the unit is so many a second.
    """

    name: str
    build: Callable[[], Call]
    needs: str | None = None
    dtype: str = "fp32"
    images: int = 0


@dataclass(frozen=True, kw_only=True)
class Target:
    """A ratio that one variant has to reach, or that is only shown.

    Args:
        variant: which one.
        against: the other variant; None where the bound is in the unit itself, such as 2 seconds.
        bound: the ratio; None asks for nothing and shows it.
        sense: ``at least``: so many times better than the other; ``at most``: at most so many times the other's cost.
    """

    variant: str
    against: str | None
    bound: float | None
    sense: Literal["at least", "at most"] = "at least"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Variants that are measured in turns and compared.

    Args:
        name: unique in its case.
        shape: what goes in, in words.
        variants: in the order of the table.
        peer: the variant to which all others are put in relation.
        targets: see :class:`Target`.
        unit: of the result. MB are measured in a process of its own for every variant.
        agree: run before the measurement; returns what was found equal, in words, or raises.
    """

    name: str
    shape: str
    variants: Sequence[Variant]
    peer: str | None = None
    targets: Sequence[Target] = ()
    unit: Unit = "s"
    agree: Callable[[], str] | None = None

    def __post_init__(self) -> None:
        names = [v.name for v in self.variants]
        known = {*names, None}
        asked = [self.peer, *(n for t in self.targets for n in (t.variant, t.against))]
        wrong = [n for n in asked if n not in known]
        if wrong or len(names) != len(set(names)):
            raise ValueError(f"group {self.name!r} has the variants {names}; unknown or doubled: {wrong or names}")

    def variant(self, name: str) -> Variant:
        """Return the variant of that name."""
        return next(v for v in self.variants if v.name == name)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A benchmark by its name on the command line.

    Args:
        name: such as ``neuron``.
        title: heading of its table.
        about: one paragraph for the document: what is measured and what the numbers mean.
        keep: glibc keeps freed memory while it is timed, for all variants alike.
        device: ``cuda`` is measured on a CUDA device only; tiny sizes run without one.
        groups: makes the groups; True asks for a size that runs in a second and says nothing about speed.
    """

    name: str
    title: str
    about: str
    keep: bool = True
    device: Literal["cpu", "cuda"] = "cpu"
    groups: Callable[[bool], Sequence[Group]] = field(repr=False)
