"""The method of every layer: which ones a layer can take, and what follows for the layouts of signals."""

from __future__ import annotations

from dataclasses import dataclass

from bitspike.integer.engine.fuse import Fire, Fused, Layer, Out, Pool, Signal
from bitspike.integer.engine.native import Choice, direct_layout, layers_of, main_layer
from bitspike.integer.engine.pack import SOURCE
from bitspike.kernels.engine.structs import Layout, Method


@dataclass(frozen=True)
class Timing:
    """How long the methods of one layer took.

    Args:
        layer: module path.
        method: what was chosen.
        seconds: by method that was raced on a piece of the layer with the neuron that reads it, reckoned for all of it
            but for what weights take to come from memory. Empty where only one can be the fastest, and where all that
            may be spent on races was spent.
    """

    layer: str
    method: str
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class Plan:
    """The method of every layer, and what the races took in which they were chosen."""

    choice: Choice
    timings: tuple[Timing, ...]


def fixed(fused: Fused, method: Method) -> Choice:
    """Return a choice that takes one method wherever it applies, and the plainest one elsewhere."""
    choice: Choice = {}
    for step in weighted(fused):
        layers = layers_of(step)
        for layer in layers:
            allowed = [m for m in candidates(layer) if m != Method.TABLE or takes_tables(step, layers)]
            choice[id(layer)] = method if method in allowed else allowed[0]
        # Sums by sample and sums by channel cannot be added: all layers of a step take tables, or none.
        if len({choice[id(layer)] == Method.TABLE for layer in layers}) == 2:
            choice |= {id(layer): Method.POPCOUNT for layer in layers if choice[id(layer)] == Method.TABLE}
    return choice


def moved(choice: Choice, old: Fused, new: Fused) -> Choice | None:
    """Return a choice for a network with other codes; None where a method would not be exact for them."""
    of_old, of_new = ([layer for step in weighted(fused) for layer in layers_of(step)] for fused in (old, new))
    same = {id(after): choice[id(before)] for before, after in zip(of_old, of_new, strict=True)}
    exact = all(same[id(layer)] in layer.exact for layer in of_new)
    tables = [step for step in weighted(new) if any(same[id(layer)] == Method.TABLE for layer in layers_of(step))]
    return same if exact and all(takes_tables(step, layers_of(step)) for step in tables) else None


def weighted(fused: Fused) -> list[Fire | Out]:
    """Return the steps that read layers with weights."""
    return [step for step in fused.steps if isinstance(step, Fire | Out)]


def readers(fused: Fused, choice: Choice) -> dict[str, set[Layout]]:
    """Return the layouts in which each signal is read, by id."""
    layouts: dict[str, set[Layout]] = {fused.entry.id: {Layout.BYTES}}

    def note(signal: Signal, layout: Layout) -> None:
        layouts.setdefault(signal.id, set()).add(layout)

    # From the end, since the layouts that a pool reads follow from those in which it is read itself.
    for step in reversed(fused.steps):
        if isinstance(step, Fire | Out):
            main = main_layer(step)
            samples = main is not None and choice[id(main)] == Method.TABLE
            for term in step.terms:
                if isinstance(term.source, Layer):
                    note(term.source.signal, SOURCE[choice[id(term.source)]])
                else:
                    note(term.source, direct_layout(term.source, samples=samples))
        else:
            for layout in layouts.setdefault(step.signal.id, set(step.signal.layouts)):
                note(step.source, layout if layout != Layout.BYTES else direct_layout(step.source, samples=False))
    return layouts


def read_last(fused: Fused) -> list[set[str]]:
    """Return what each step is the last to need, by the id of a signal or of a layer whose sums wait in memory."""
    last: dict[str, int] = {}
    for number, step in enumerate(fused.steps):
        terms = [step.source] if isinstance(step, Pool) else [term.source for term in step.terms]
        needed = [*terms, *(term.signal for term in terms if isinstance(term, Layer))]
        needed += [] if isinstance(step, Out) else [step.signal]
        last |= {f"{id(thing)}" if isinstance(thing, Layer) else thing.id: number for thing in needed}
    last.pop(fused.entry.id, None)  # it is written anew for every batch, before the first step
    return [{name for name, place in last.items() if place == number} for number in range(len(fused.steps))]


def chosen(fused: Fused, choice: Choice) -> set[tuple[int, Method]]:
    """Return the weights that a choice needs."""
    return {(id(layer), choice[id(layer)]) for step in weighted(fused) for layer in layers_of(step)}


def candidates(layer: Layer) -> list[Method]:
    """Return the methods that compute a layer exactly, from layouts that its signal can be written in."""
    return [m for m in layer.exact if SOURCE[m] in layer.signal.layouts]


def takes_tables(step: Fire | Out, layers: list[Layer]) -> bool:
    """Tell whether everything that a neuron reads can be had sample by sample, 64 next to each other."""
    return (
        isinstance(step, Fire)
        and not step.neuron.signed
        and all(Method.TABLE in candidates(layer) for layer in layers)
        # Sums that wait in memory for another layer's are kept in 16 bits with a sign.
        and all(layer is main_layer(step) or layer.bounds[0] <= 2**15 - 1 for layer in layers)
        and all(isinstance(t.source, Layer) or Layout.PLANES in t.source.layouts for t in step.terms)
    )
