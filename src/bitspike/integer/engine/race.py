"""Choose the method of every layer: all give the same integers, so only time decides.

Constants tell which methods cannot be the fastest (:mod:`bitspike.integer.engine.expected`). The others are raced on a
small piece of the layer (:mod:`bitspike.integer.engine.excerpt`), layers of one shape once. What a race took is kept on
disk (:mod:`bitspike.kernels.engine.kept`). All races together count no more products than :func:`allowance` says;
layers that are left take the method that the constants promise most of.
"""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from bitspike.integer.engine.excerpt import USUAL, Excerpt, excerpt, halvings, products, workspace
from bitspike.integer.engine.expected import Work, fetched, hopeful
from bitspike.integer.engine.fuse import Fire, Fused, Layer, Out
from bitspike.integer.engine.native import (
    Choice,
    Workspace,
    direct_layout,
    inside_of,
    layers_of,
    main_layer,
    run,
)
from bitspike.integer.engine.plan import Plan, Timing, candidates, takes_tables, weighted
from bitspike.kernels.engine import kept
from bitspike.kernels.engine.structs import Layout, Method, OpStruct

TURNS, LEAST, SHARE, SECONDS = 3, 2**31, 0.1, 1.0
"""Runs of each method in a race; products and share of one run's products that all races may count; and seconds of one
processor after which no other race begins."""

_HOPELESS, _FEW = 1.5, 0.02
_CLOCK = time.thread_time if time.get_clock_info("thread_time").resolution <= 1e-6 else time.perf_counter
"""The time of this thread alone, which other work on the machine does not touch, where the system counts it finely."""


@dataclass(frozen=True, eq=False)
class Race:
    """What is raced for one layer.

    Args:
        layer: the layer.
        step: the step of its neuron with all that it reads; for sums alone, with this layer as its only term.
        alone: whether its sums are raced without the neuron.
        methods: those that may be the fastest, the most promising first.
        name: describes all that their time depends on; layers of one name share a race.
        products: of the whole layer, or step.
        fetching: seconds that each method waits for the layer's weights, which a race does not show.
    """

    layer: Layer
    step: Fire | Out
    alone: bool
    methods: tuple[Method, ...]
    name: str
    products: int
    fetching: Mapping[Method, float]


def choose(fused: Fused, samples: int, steps: int, rates: Mapping[str, float]) -> Plan:
    """Choose for batches of about so many samples.

    Args:
        fused: the network.
        samples, steps: N and T.
        rates: spikes per neuron and step by the id of a signal, where they are known.
    """
    races = list(_races(fused, samples, steps, rates))
    known = kept.read()
    waiting = {r.name: r for r in races if len(r.methods) > 1 and not set(r.methods) <= set(known.get(r.name, {}))}
    fresh = _run_all(waiting.values(), samples, steps, rates, allowance(fused, samples, steps))
    kept.add(fresh)
    known |= fresh
    measured = {race.name: known.get(race.name, {}) for race in races}
    choice = _assembled(races, measured)
    timings = []
    for race in races:
        seconds = {m.name: s for m, s in measured[race.name].items() if m in race.methods and len(race.methods) > 1}
        timings.append(Timing(race.layer.path, choice[id(race.layer)].name, seconds))
    return Plan(choice, tuple(timings))


def allowance(fused: Fused, samples: int, steps: int) -> int:
    """Return how many products the races for one size of batch may count: a share of those of one run, or LEAST."""
    whole = sum(products(step, samples, steps) for step in weighted(fused))
    return max(LEAST, int(SHARE * whole))


def affordable(fused: Fused, samples: int, steps: int) -> bool:
    """Tell whether one sample counts no more products than half of what the races may."""
    one = sum(products(step, 1, steps) for step in weighted(fused))
    return one <= allowance(fused, samples, steps) // 2


def foreseen(fused: Fused, samples: int, steps: int) -> Choice:
    """Return the methods that will most likely be chosen, by what is kept and by the constants, without any race."""
    return _assembled(_races(fused, samples, steps, {}), kept.read())


def counts_spikes(fused: Fused, samples: int, steps: int) -> bool:
    """Tell whether any layer might take EVENTS, whose time depends on how many spikes there are, if they are few."""
    few = {step.signal.id: _FEW for step in fused.steps if not isinstance(step, Out)}
    races = _races(fused, samples, steps, few)
    return any(race.methods[0] == Method.EVENTS for race in races)


def _assembled(races: Iterable[Race], measured: kept.Races) -> Choice:
    """Return the fastest method of every layer."""
    choice: Choice = {}
    for race in races:
        seconds = {m: s + race.fetching[m] for m, s in measured.get(race.name, {}).items() if m in race.methods}
        # Without a race it is the one that the constants promise most of.
        best = min(seconds, key=seconds.__getitem__) if len(seconds) == len(race.methods) else race.methods[0]
        choice[id(race.layer)] = best
        if not race.alone and best == Method.TABLE:
            # Sums by sample and sums by channel cannot be added: all layers of a step take tables, or none.
            choice |= {id(layer): best for layer in layers_of(race.step)}
    return choice


def _races(fused: Fused, samples: int, steps: int, rates: Mapping[str, float]) -> Iterator[Race]:
    """Yield a race for every layer, those whose sums wait in memory before the one whose sums do not."""
    for step in weighted(fused):
        layers, main = layers_of(step), main_layer(step)
        tables = takes_tables(step, layers)
        for term in sorted(step.terms, key=lambda term: term.source is main):
            layer = term.source
            if not isinstance(layer, Layer):
                continue
            alone = layer is not main
            allowed = [m for m in candidates(layer) if m != Method.TABLE or (tables and not alone)]
            planes = layer.planes if Method.POPCOUNT in allowed else 0
            spikes = rates.get(layer.signal.id, USUAL)
            work = Work(samples, steps if layer.signal.timed else 1, math.prod(inside_of(step)), planes, spikes)
            methods = tuple(hopeful(layer, allowed, work))
            raced = replace(step, terms=(term,)) if alone else step
            name = _name(raced, alone, methods, planes, samples, steps, spikes)
            fetching = {m: fetched(layer, m, planes) / 1e9 for m in methods}
            yield Race(layer, raced, alone, methods, name, products(raced, samples, steps), fetching)


def _run_all(
    races: Iterable[Race], samples: int, steps: int, rates: Mapping[str, float], allowed: int
) -> dict[str, dict[Method, float]]:
    """Run races, those of the largest steps first, while they are within what is allowed: seconds of whole layers."""
    waiting = sorted(races, key=lambda race: race.products, reverse=True)
    runs = TURNS * sum(len(race.methods) for race in waiting)
    until, fresh = _CLOCK() + SECONDS, {}
    for race in waiting:
        piece = excerpt(race.step, samples, steps, allowed // max(1, runs))
        cost = TURNS * len(race.methods) * piece.products
        runs -= TURNS * len(race.methods)
        if cost > allowed or _CLOCK() > until:
            continue
        allowed -= cost
        share = race.products / max(1, piece.products)
        fresh[race.name] = {m: s * share for m, s in _run(race, piece, steps, rates).items()}
    return fresh


def _run(race: Race, piece: Excerpt, steps: int, rates: Mapping[str, float]) -> dict[Method, float]:
    """Return the best time of each method on a piece; they take turns, and the hopeless ones stop early."""
    of_piece = {
        after.signal.id: rates[before.signal.id]
        for before, after in zip(race.step.terms, piece.step.terms, strict=True)
        if before.signal.id in rates
    }
    work = workspace(piece, steps, of_piece)
    arrays = {method: _operations(race, piece, work, method) for method in race.methods}
    best: dict[Method, float] = {}
    for turn in range(TURNS):
        for method, array in arrays.items():
            # Turn 0 touches new memory: it only tells who is hopeless by a wide margin.
            if turn > 0 and best[method] > _HOPELESS * (2 if turn == 1 else 1) * min(best.values()):
                continue
            start = _CLOCK()
            # One thread: how a second one shares the work differs little between methods, and it would be waited for.
            run(array, 1)
            seconds = max(_CLOCK() - start, 1e-9)
            best[method] = seconds if turn < 2 else min(best[method], seconds)
    return best


def _operations(race: Race, piece: Excerpt, work: Workspace, method: Method) -> ctypes.Array[OpStruct]:
    step = piece.step
    layers = layers_of(step)
    if race.alone:
        ops = [work.layer_sums(layers[0], method, inside_of(step))]
    else:
        assert isinstance(step, Fire)
        main, samples = main_layer(step), method == Method.TABLE
        trial = {id(layer): method if samples or layer is main else candidates(layer)[0] for layer in layers}
        ops = work.step(step, trial, {Layout.PLANES if samples else direct_layout(step.signal, samples=False)})
    return (OpStruct * len(ops))(*ops)


def _name(
    step: Fire | Out, alone: bool, methods: tuple[Method, ...], planes: int, samples: int, steps: int, rate: float
) -> str:
    """Describe in words everything that the time of a step's methods depends on."""
    h, w = inside_of(step)
    words = [f"{len(layers_of(step)[0].codes)} channels of {h}x{w}", f"N<{1 << samples.bit_length()}", f"T={steps}"]
    for term in step.terms:
        if not isinstance(term.source, Layer):
            words.append("spikes" if term.source.binary else "bytes")
            continue
        layer, window = term.source, term.source.window
        shape = "x".join(map(str, layer.codes.shape[1:]))
        places = f"stride {window.stride} padding {window.padding} dilation {window.dilation}"
        words.append(
            f"{shape} {places}{'' if layer.signal.timed else ' once'}{'' if layer.signal.binary else ' bytes'}"
        )
        if Method.TABLE in methods:  # how many bytes are added before they are widened
            words.append(f"flush {(255 // max(1, layer.bounds[1])).bit_length()}")
    words += [f"{planes} planes"] if Method.POPCOUNT in methods else []
    words += [f"2**-{halvings(rate)} spikes"] if Method.EVENTS in methods else []
    if isinstance(step, Fire) and not alone:
        neuron = step.neuron
        traits = {
            "leak": (neuron.leak.numerator, neuron.leak.shift) != (1, 0),
            "hard": neuron.reset == "hard",
            "signed": neuron.signed,
            "clamped": neuron.floor is not None or neuron.width is not None,
            "shift": bool(neuron.right_shift),
            "by step": len(neuron.bias) > 1 or len(neuron.threshold) > 1 or any(len(t.gain) > 1 for t in step.terms),
        }
        words.append(" ".join(["neuron", *(trait for trait, there in traits.items() if there)]))
    return ", ".join(words)
