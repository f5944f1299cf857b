"""A small piece of a step on which the methods of its layers are raced: few places and channels, random spikes.

No method's time depends on which weights or spikes it meets, but for one: EVENTS takes as long as there are spikes. So
a piece with random spikes of the same rate says which method is fastest, and the network itself need not run for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bitspike.integer import nodes
from bitspike.integer.engine.fuse import Fire, Fused, Layer, Out, Pair, Signal, Term, Window
from bitspike.integer.engine.native import Weights, Workspace, inside_of, layers_of
from bitspike.integer.nodes import Integers
from bitspike.kernels.engine.structs import Layout, per_unit

_SMALL = 16
"""Images of so few places are kept whole, as their borders count: tables are not looked up for taps outside."""

_PLACES, _CHANNELS, _ROWS = 4, 48, 192
"""What a piece has at least, where the step has as many: below, the methods would not show what they can."""


USUAL = 0.2
"""Spikes per neuron and step where nothing is known of them."""


@dataclass(frozen=True, eq=False)
class Excerpt:
    """A piece of a step that stands by itself.

    Args:
        step: a step over signals of its own, with the terms of the whole step in their order.
        samples: N.
        products: weights times inputs that one run of it counts, zeros included.
    """

    step: Fire | Out
    samples: int
    products: int


def products(step: Fire | Out, samples: int, steps: int) -> int:
    """Return how many products of a weight and an input a step adds up in one run, whichever method does it."""
    places = math.prod(inside_of(step))
    return sum(samples * (steps if layer.signal.timed else 1) * places * layer.codes.size for layer in layers_of(step))


def excerpt(step: Fire | Out, samples: int, steps: int, most: int) -> Excerpt:
    """Cut a piece of at most so many ``products`` out of a step, or the smallest that still says something."""

    def fits() -> bool:
        return rows * places * channels * weights <= most

    inside, channels = inside_of(step), len(layers_of(step)[0].codes)
    weights = sum(int(layer.codes[0].size) for layer in layers_of(step))
    rows, places = samples * steps, math.prod(inside)
    if places > _SMALL:
        places = min(places, max(_PLACES, most // max(1, rows * channels * weights)))
    if not fits():
        channels = min(channels, max(_CHANNELS, most // max(1, rows * places * weights) // 48 * 48))
    if not fits():
        rows = min(rows, max(_ROWS, most // max(1, places * channels * weights)))
    few = max(1, -(-rows // steps))
    piece = _cut(step, inside if places >= math.prod(inside) else _block(inside, places), channels)
    return Excerpt(piece, few, products(piece, few, steps))


def workspace(piece: Excerpt, steps: int, rates: Mapping[str, float]) -> Workspace:
    """Return memory and operations for an excerpt, its signals full of random spikes.

    Args:
        rates: spikes per neuron and step by the id of the signal; rounded to a power of one half.
    """
    sources = [term.signal for term in piece.step.terms]
    work = Workspace(Fused(sources[0], [piece.step]), piece.samples, steps, Weights())
    random = np.random.default_rng(0)
    for source in sources:
        rows = piece.samples * (steps if source.timed else 1)
        words = -(-source.channels // 32)
        bits = _spikes(random, (rows, *source.inside, words * 4), halvings(rates.get(source.id, USUAL)))
        bits = np.where(np.arange(words * 32) < source.channels, np.unpackbits(bits, axis=-1, bitorder="little"), 0)
        for layout in sorted(source.layouts):
            _fill(work, source, layout, bits.astype(np.uint8))
    return work


def halvings(rate: float) -> int:
    """Return k of the power 2**-k next to a rate, 0 to 6.

    Example:
        >>> [halvings(rate) for rate in (1.0, 0.2, 0.01, 0.0)]
        [0, 2, 6, 6]
    """
    return min(6, max(0, round(-math.log2(max(rate, 1e-9)))))


def _spikes(random: np.random.Generator, shape: tuple[int, ...], halved: int) -> npt.NDArray[np.uint8]:
    """Return random bytes whose bits are 1 with a probability of 2**-halved."""
    spikes = np.full(shape, 255, np.uint8)
    for _ in range(halved):
        spikes &= random.integers(0, 256, shape, np.uint8)
    return spikes


def _fill(work: Workspace, source: Signal, layout: Layout, bits: npt.NDArray[np.uint8]) -> None:
    """Write spikes [rows, h, w, channels rounded up to 32] into a wire, inside its border."""
    wire = work.wire(source, layout)
    memory = work.wires[source.id, layout][1]
    rows, h, w, _ = bits.shape
    if layout == Layout.PLANES:
        each, units = per_unit(), wire.units
        some = bits[..., : units * each]
        some = np.pad(some, [(0, 0)] * 3 + [(0, units * each - some.shape[-1])]).reshape(rows, h * w, units, each)
        lanes = memory[: h * w * units * wire.lanes].reshape(h * w, units, wire.lanes)
        lanes[:, :, :rows] = (some << np.arange(each, dtype=np.uint8)).sum(-1, dtype=np.uint8).transpose(1, 2, 0)
        return
    whole = h + 2 * wire.border_h, w + 2 * wire.border_w
    bytes_of = wire.units * 4
    image = memory[: rows * math.prod(whole) * bytes_of].reshape(rows, *whole, bytes_of)
    inner = image[:, wire.border_h : wire.border_h + h, wire.border_w : wire.border_w + w]
    if layout == Layout.BITS:
        inner[:] = np.packbits(bits, axis=-1, bitorder="little")
    else:
        channels = min(bytes_of, source.channels)
        # Unsigned bytes of value - low, which is 0 to 255.
        inner[..., :channels] = bits[..., :channels] * np.int16(source.high) - np.int16(source.low)


def _block(inside: Pair, places: int) -> Pair:
    """Return rows and columns of a block of about so many places, as wide as the image before it is high.

    Example:
        >>> _block((32, 32), 10), _block((32, 32), 70)
        ((1, 10), (2, 32))
    """
    columns = min(inside[1], places)
    return max(1, min(inside[0], places // columns)), columns


def _cut(step: Fire | Out, inside: Pair, channels: int) -> Fire | Out:
    """Return a step over so many places and channels, each of its terms with a signal of its own."""
    whole = inside == inside_of(step)
    terms = []
    for number, term in enumerate(step.terms):
        if isinstance(term.source, Layer):
            terms.append(Term(_layer(term.source, inside, channels, whole, number), _narrow(term.gain, channels)))
        else:
            kept = min(channels, term.source.channels)
            signal = replace(term.source, id=f"{number}", channels=kept, inside=inside, entry=False)
            terms.append(Term(signal, _narrow(term.gain, channels)))
    if isinstance(step, Out):
        return replace(step, channels=channels, inside=inside, terms=tuple(terms))
    neuron = _neuron(step.neuron, channels, inside)
    signal = replace(step.signal, channels=channels, inside=inside)
    return Fire(neuron, signal, tuple(terms))


def _layer(layer: Layer, inside: Pair, channels: int, whole: bool, number: int) -> Layer:
    window, signal = layer.window, layer.signal
    if not whole:
        # From the middle of an image: what a block of places reads, without a border.
        sides = zip(inside, window.kernel, window.stride, window.dilation, strict=True)
        h, w = ((places - 1) * stride + (kernel - 1) * dilation + 1 for places, kernel, stride, dilation in sides)
        signal = replace(signal, inside=(h, w))
        window = Window(window.kernel, window.stride, (0, 0), window.dilation)
    codes = np.ascontiguousarray(layer.codes[:channels])
    return Layer(layer.path, replace(signal, id=f"{number}"), codes, window)


def _neuron(neuron: nodes.Neuron, channels: int, inside: Pair) -> nodes.Neuron:
    return replace(
        neuron,
        shape=(channels, *inside),
        gains=tuple(_narrow(gain, channels) for gain in neuron.gains),
        bias=_narrow(neuron.bias, channels),
        threshold=_narrow(neuron.threshold, channels),
        initial=neuron.initial[:channels],
        v_reset=neuron.v_reset[:channels],
        retract=neuron.retract[:channels],
        unit=neuron.unit[:channels],
    )


def _narrow(values: Integers, channels: int) -> Integers:
    """Return the parameters [1 or T, 1 or C] of the first channels."""
    return values[:, :channels]
