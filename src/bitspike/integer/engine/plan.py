"""Choose the method of every layer by running it: all methods give the same integers, so only time decides."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bitspike.integer.arithmetic import Whole
from bitspike.integer.engine.fuse import Fire, Fused, Layer, Out, Signal
from bitspike.integer.engine.native import (
    Choice,
    Weights,
    Workspace,
    direct_layout,
    inside_of,
    layers_of,
    main_layer,
    run,
)
from bitspike.integer.engine.pack import SOURCE, bounds, methods
from bitspike.kernels.engine.structs import Layout, Method, OpStruct


@dataclass(frozen=True)
class Timing:
    """How long one layer took.

    Args:
        layer: module path.
        method: what was chosen.
        seconds: by method that was tried, with the neuron that reads the layer.
    """

    layer: str
    method: str
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class Plan:
    """The method of every layer, and what each of them took."""

    choice: Choice
    timings: tuple[Timing, ...]


def choose(fused: Fused, weights: Weights, codes: Whole, steps: int, threads: int) -> Plan:
    """Measure every method of every layer on real codes [T or 1, N, ...], in the order of data flow.

    Which is fastest depends on N and on how many spikes there are. What was only tried is left in ``weights``.
    """
    work = Workspace(fused, codes.shape[1], steps, weights)
    work.enter(codes, threads)
    choice: Choice = {}
    timings: list[Timing] = []
    rows = codes.shape[1] * steps
    for step in fused.steps:
        if isinstance(step, Fire | Out):
            timings += _choose_step(work, step, layers_of(step), choice, rows, threads)
        # Which layouts will be read is not chosen yet, so all of them are written.
        outs = set() if isinstance(step, Out) else set(step.signal.layouts)
        _run(work.step(step, choice, outs), threads)
    return Plan(choice, tuple(timings))


def fixed(fused: Fused, method: Method) -> Choice:
    """Return a choice that takes one method wherever it applies, and the plainest one elsewhere."""
    choice: Choice = {}
    for step in _weighted(fused):
        layers = layers_of(step)
        for layer in layers:
            # With 64 rows the size of the batch rules no method out.
            allowed = [m for m in _candidates(layer, 64) if m != Method.TABLE or _takes_tables(step, layers)]
            choice[id(layer)] = method if method in allowed else allowed[0]
        # Sums by sample and sums by channel cannot be added: all layers of a step take tables, or none.
        if len({choice[id(layer)] == Method.TABLE for layer in layers}) == 2:
            choice |= {id(layer): Method.POPCOUNT for layer in layers if choice[id(layer)] == Method.TABLE}
    return choice


def moved(choice: Choice, old: Fused, new: Fused) -> Choice | None:
    """Return a choice for a network with other codes; None where a method would not be exact for them."""
    of_old, of_new = ([layer for step in _weighted(fused) for layer in layers_of(step)] for fused in (old, new))
    same = {id(after): choice[id(before)] for before, after in zip(of_old, of_new, strict=True)}
    exact = all(same[id(layer)] in methods(layer.codes, binary=layer.signal.binary) for layer in of_new)
    tables = [step for step in _weighted(new) if any(same[id(layer)] == Method.TABLE for layer in layers_of(step))]
    return same if exact and all(_takes_tables(step, layers_of(step)) for step in tables) else None


def _weighted(fused: Fused) -> list[Fire | Out]:
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


def chosen(fused: Fused, choice: Choice) -> set[tuple[int, Method]]:
    """Return the weights that a choice needs."""
    return {(id(layer), choice[id(layer)]) for step in _weighted(fused) for layer in layers_of(step)}


def _choose_step(
    work: Workspace, step: Fire | Out, layers: list[Layer], choice: Choice, rows: int, threads: int
) -> list[Timing]:
    """Choose for all layers of one step; those that are added to each other stay in one family."""
    main = main_layer(step)
    timings = []
    for layer in layers:
        if layer is not main:
            candidates = [m for m in _candidates(layer, rows) if m is not Method.TABLE]
            tried = _race({m: [work.layer_sums(layer, m, inside_of(step))] for m in candidates}, threads)
            choice[id(layer)] = min(tried, key=tried.__getitem__)
            timings.append(Timing(layer.path, choice[id(layer)].name, {m.name: s for m, s in tried.items()}))
    if main is None:
        return timings
    assert isinstance(step, Fire)
    channels = dict(choice)
    tables = dict(choice) | {id(layer): Method.TABLE for layer in layers}
    trials: dict[Method, list[OpStruct]] = {}
    for method in _candidates(main, rows):
        if method is Method.TABLE and not _takes_tables(step, layers):
            continue
        trial = tables if method is Method.TABLE else channels | {id(main): method}
        outs = {Layout.PLANES if method is Method.TABLE else direct_layout(step.signal, samples=False)}
        trials[method] = work.step(step, trial, outs)
    seconds = _race(trials, threads)
    best = min(seconds, key=seconds.__getitem__)
    choice |= tables if best == Method.TABLE else channels | {id(main): best}
    return [*timings, Timing(main.path, best.name, {m.name: s for m, s in seconds.items()})]


def _candidates(layer: Layer, rows: int) -> list[Method]:
    exact = methods(layer.codes, binary=layer.signal.binary)
    wanted = [m for m in exact if SOURCE[m] in layer.signal.layouts]
    # A table serves 64 samples at once, an event one.
    return [m for m in wanted if not (m == Method.TABLE and rows < 24) and not (m == Method.EVENTS and rows > 64)]


def _takes_tables(step: Fire | Out, layers: list[Layer]) -> bool:
    """Tell whether everything that a neuron reads can be had sample by sample, 64 next to each other."""
    return (
        isinstance(step, Fire)
        and not step.neuron.signed
        and all(Method.TABLE in _candidates(layer, 64) for layer in layers)
        # Sums that wait in memory for another layer's are kept in 16 bits with a sign.
        and all(layer is main_layer(step) or bounds(layer.codes)[0] <= 2**15 - 1 for layer in layers)
        and all(isinstance(t.source, Layer) or Layout.PLANES in t.source.layouts for t in step.terms)
    )


def _run(ops: list[OpStruct], threads: int) -> None:
    run((OpStruct * len(ops))(*ops), threads)


def _race(trials: dict[Method, list[OpStruct]], threads: int) -> dict[Method, float]:
    """Return the best time of each trial; they take turns, so that a busy moment of the machine does not decide."""
    arrays = {method: (OpStruct * len(ops))(*ops) for method, ops in trials.items()}
    best = dict.fromkeys(arrays, 1e9)
    for turn in range(_TURNS):
        for method, array in arrays.items():
            # Turn 0 is not measured and turn 1 is for all; after that the hopeless ones stop.
            if turn > 1 and best[method] > _HOPELESS * min(best.values()):
                continue
            start = time.perf_counter()
            run(array, threads)
            if turn > 0:  # the first run touches new memory
                best[method] = min(best[method], time.perf_counter() - start)
    return best


_TURNS, _HOPELESS = 6, 1.5
