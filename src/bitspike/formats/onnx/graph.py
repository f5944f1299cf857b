"""A network as an ONNX graph before it is a file: operators, inputs, outputs, and the states between steps."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bitspike.formats.onnx.tape import Border, Numbers, Tape
from bitspike.integer.nodes import Integers, Shape


@dataclass(frozen=True)
class State:
    """A value that one step passes to the next.

    Args:
        reads, writes: names of the tensors that go in and come out.
        shape: of one sample.
        initial: value before the first step, [1 or C].
    """

    reads: str
    writes: str
    shape: Shape
    initial: Integers


@dataclass(frozen=True)
class OnnxGraph:
    """A network as operators.

    Args:
        tape: the operators.
        inputs, outputs: names and shapes at the border.
        states: what a step passes to the next.
        others: kinds of the tensors at the border that do not hold the tape's numbers, by name.
    """

    tape: Tape
    inputs: list[Border] = field(default_factory=list)
    outputs: list[Border] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    others: dict[str, Numbers | type[np.float64]] = field(default_factory=dict)

    def take(self, name: str, shape: Shape, *, steps: int | None = None) -> str:
        """Add an input [N, ...] or [steps, N, ...], and return its name."""
        self.inputs.append((name, _border(shape, steps)))
        return name

    def give(self, name: str, value: str, shape: Shape, *, steps: int | None = None) -> None:
        """Add an output [N, ...] or [steps, N, ...] under a name."""
        self.tape.add("Identity", value, name=name)
        self.outputs.append((name, _border(shape, steps)))

    def hold(self, name: str, shape: Shape, initial: Integers | None = None) -> str:
        """Add a state as an input; :meth:`keep` adds its next value as an output."""
        self.take(name, shape)
        self.states.append(State(name, f"{name}_next", shape, np.zeros(1, np.int64) if initial is None else initial))
        return name

    def keep(self, name: str, value: str, shape: Shape) -> None:
        """Add the next value of a state as an output."""
        self.give(f"{name}_next", value, shape)


def _border(shape: Shape, steps: int | None) -> tuple[int | str, ...]:
    return (*([] if steps is None else [steps]), "N", *shape)
