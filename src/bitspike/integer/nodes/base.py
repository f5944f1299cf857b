"""What every kind of node declares, and what the rest of the house derives from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal, Self

import numpy as np

from bitspike.errors import ConstraintError
from bitspike.integer.arithmetic import Integers, Shape, Whole, per_channel, still
from bitspike.integer.bounds.intervals import Bounds, Interval, Range, constant, ends, roomy, union
from bitspike.integer.limits import MOST_VALUES, Between, ByStep, Count, Worth, fields_of

Memory = Literal["none", "past", "all"]
"""Which steps of its sources one step of a node reads: the same one; all up to it; all, also those to come."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Node:
    """The base of all nodes.

    A kind is declared once, in its class: its fields, its equation (docstring and :meth:`run`), the shape that it
    makes, the bounds that no input can leave, and what it costs. Simulation, proven widths, count mode, schedule, the
    torch engine, saved packages, limits, chip rules and energy derive what they need from that.
    ``tests/contracts/test_node_declarations.py`` says by name what a new kind lacks, and holds its declarations to
    their laws.

    Args:
        id: unique, made of letters, digits and underscores; names the node's tensors in files.
        path: the module of the trained network that it came from.
        call: which call of that module, from 0.
        sources: ids of the nodes it reads.
        shape: of its output for one sample and one step.
        scale: real value of one output integer, [1] or [C].
    """

    operation: ClassVar[str] = ""
    """What a chip calls it; empty for inputs, neurons and read-outs, which every chip has."""
    memory: ClassVar[Memory] = "none"
    linear: ClassVar[bool] = True
    """Whether its integers are sums of multiples of those that it reads."""
    by_channel: ClassVar[bool] = True
    """Whether channel c reads channel c of every source and no other."""

    id: str
    path: str
    call: Count = 0
    sources: tuple[str, ...] = ()
    shape: Annotated[Shape, Between(1, MOST_VALUES)]
    scale: Worth = field(default_factory=lambda: np.ones(1))

    def run(self, inputs: list[Whole], steps: int) -> Whole:
        """Run the equation: the definition, which every other way to run the network must agree with.

        Args:
            inputs: the wires of the sources, [T or 1, N, ...]; 1 where nothing changes over time.
            steps: how many steps are run.

        Returns:
            the node's wire, [T or 1, N, ...]; of a read-out [N, ...].
        """
        raise ConstraintError(
            f"node {self.id!r}: a {type(self).__name__} has no equation",
            fix="def run(self, inputs, steps) of its class",
        )

    def shape_of(self, source: Shape) -> Shape | None:
        """Return what the node makes of one sample of its source, or None if it cannot read it."""
        return source

    def placed(self, source: Shape) -> Self | None:
        """Return the node with the shape that it makes of one sample of its source, or None if it cannot read it."""
        shape = self.shape_of(source)
        return None if shape is None else replace(self, shape=shape)

    def interval(self, inputs: list[Interval], steps: int) -> Interval:
        """Return bounds of what leaves the node, for all inputs within theirs; docs/widths.md derives them."""
        raise ConstraintError(
            f"node {self.id!r}: a {type(self).__name__} has no bounds",
            fix="def interval(self, inputs, steps) of its class",
        )

    def bounds(self, inputs: list[Interval], before: Range, steps: int) -> Bounds:
        """Return the bounds of every number that computes the node.

        Args:
            before: the sums that it reads, from the last spikes or codes on.
        """
        wire = self.interval(inputs, steps)
        nothing = constant(self.shape[0], 0, 0)
        return Bounds(wire, nothing, accumulator=union(wire.span, before), work=wire.span)

    def operations(self, source: Shape) -> int:
        """Return the additions or products of one dense pass over a source, padding included; 0 if it has none."""
        return 0

    def reach(self, source: Shape) -> Integers:
        """Return how many of its sums one spike at each place of the source reaches; broadcasts against [C, ...].

        It is what the adjoint of the node makes of ones: along an axis, place x reaches the outputs o and taps k that
        read it, and the axes multiply.
        """
        return np.ones((1,) * len(source), np.int64)

    @property
    def still(self) -> bool:
        """Whether it does the same at every step."""
        return self.memory == "none"

    @property
    def counts(self) -> bool:
        """Whether its sum over time is what it makes of the sums over time that it reads."""
        return self.linear or self.memory == "past"

    def uncounted(self, *, changing: bool) -> Iterator[str]:
        """Yield why its sum over time is not known before the run (count mode), each reason with what it needs.

        What it reads may be ``changing`` over time.
        """
        if changing and not self.counts:
            yield "looks at each step by itself; needed is a kind that counts, as a CountMaxPool does"

    def problems(self, inputs: list[Shape], steps: int) -> Iterator[str]:
        """Yield why the node does not fit the shapes that it reads."""
        if len(inputs) != 1:
            yield f"it reads {len(inputs)} sources and takes one"
        elif self.shape != (shape := self.shape_of(inputs[0])):
            yield f"it makes {list(shape) if shape else 'nothing'} of {list(inputs[0])}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Gained(Node):
    """The base of all nodes that read sum over sources of gain * source.

    Args:
        gains: one [1 or T, 1 or C] per source; all sources have the node's shape.
    """

    gains: tuple[ByStep, ...]

    def combined(self, inputs: list[Whole], steps: int) -> Integers:
        """Return the sum of gain * source over all sources, int64 [T or 1, N, ...]."""
        dims = len(self.shape)
        terms = [per_channel(gain[:steps], dims) * x for gain, x in zip(self.gains, inputs, strict=True)]
        return sum(terms[1:], terms[0])

    def gained(self, inputs: list[Interval]) -> Interval:
        """Return the bounds of the sum of gain * source, [1 or T, C]."""
        most = sum(max(map(abs, ends(gain))) * x.size for gain, x in zip(self.gains, inputs, strict=True))
        low = high = np.zeros((1, self.shape[0]), np.int64)
        for gain, x in zip(self.gains, inputs, strict=True):
            gain, x_low, x_high = roomy(most, gain, x.low, x.high)
            a, b = gain * x_low, gain * x_high
            low, high = low + np.minimum(a, b), high + np.maximum(a, b)
        return Interval(low, high)

    @property
    def still(self) -> bool:
        return super().still and all(map(still, self.gains))

    def uncounted(self, *, changing: bool) -> Iterator[str]:
        if not all(map(still, self.gains)):
            yield "has gains that change over time; needed is one for all steps"

    def timed_fields(self) -> Iterator[tuple[str, Integers]]:
        """Yield, by name, what may change over time, [1 or T, 1 or C]."""
        yield from ((f"gain {i}", gain) for i, gain in enumerate(self.gains))
        yield from ((said.name, getattr(self, said.name)) for said in fields_of(type(self)) if said.by_step)

    def channel_fields(self) -> Iterator[tuple[str, Integers]]:
        """Yield, by name, what is the same at every step, [1 or C]."""
        for said in fields_of(type(self)):
            if said.kind == Integers and not said.by_step:
                yield said.name, getattr(self, said.name)

    def problems(self, inputs: list[Shape], steps: int) -> Iterator[str]:
        """Yield why sources, gains and parameters do not fit each other."""
        if not len(self.gains) == len(inputs) > 0:
            yield f"{len(inputs)} sources and {len(self.gains)} gains"
        elif any(shape != self.shape for shape in inputs):
            yield f"its sources have the shapes {[list(s) for s in inputs]}"
        for words, allowed, fields in (
            ("steps and channels", [(1, steps), (1, self.shape[0])], self.timed_fields()),
            ("channels", [(1, self.shape[0])], self.channel_fields()),
        ):
            for name, value in fields:
                if value.ndim != len(allowed) or any(n not in a for n, a in zip(value.shape, allowed, strict=True)):
                    yield f"its {name} has the shape {list(value.shape)}; 1 or all of the {words} fit"
