"""Random networks that have one feature each, for what readers of NIR make of it.

All share a frame: a layer, neurons, a matrix, neurons, counts; integrate-and-fire, one threshold per layer, first
potential 0, reset to 0, fires at the threshold. A feature changes one thing of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import (
    Convolution,
    Input,
    Integers,
    Linear,
    Neuron,
    Node,
    Readout,
    Reshape,
    Shape,
    SumPool,
    Weight,
)
from bitspike.integer.simulate import simulate
from bitspike.ops.grids import Dyadic, Fire, Grid, Leak, Reset

STEPS = 4
ONE = np.ones((1, 1), np.int64)
Frame = Literal["maps", "line", "vector", "shortcut", "pool"]


@dataclass(frozen=True)
class Feature:
    """What a network has.

    Args:
        words: for the table.
        first: potential before the first step, in halves of the threshold.
        spread: thresholds differ from channel to channel.
        frame: the layer before the first neurons.
        quiet: no weight is below 0, and no step brings as much as the threshold.
    """

    words: str
    reset: Reset = "hard"
    fire: Fire = "ge"
    v_reset: int = 0
    first: int = 0
    leak: Dyadic = Dyadic(1, 0)
    order: Leak = "before"
    spread: bool = False
    frame: Frame = "maps"
    quiet: bool = False


FEATURES: Mapping[str, Feature] = {
    "hard-ge": Feature("reset to 0, fires at the threshold"),
    "hard-gt": Feature("reset to 0, fires above the threshold", fire="gt"),
    "soft-ge": Feature("reset by subtraction, fires at the threshold", reset="soft"),
    "soft-gt": Feature("reset by subtraction, fires above the threshold", reset="soft", fire="gt"),
    "quiet": Feature(
        "the same at the threshold, no weight below 0 and less than a threshold per step", reset="soft", quiet=True
    ),
    "v-reset": Feature("reset to another value, which is the first potential", v_reset=3),
    "v0-hard": Feature("first potential of half a threshold, reset to 0", first=1),
    "v0-soft": Feature("first potential of half a threshold, reset by subtraction", reset="soft", first=1),
    "leak-half": Feature("leak of 1/2 before the input", leak=Dyadic(1, 1)),
    "leak-soft": Feature("leak of 1/2, reset by subtraction", reset="soft", leak=Dyadic(1, 1)),
    "leak-after": Feature("leak of 3/4 after the input", leak=Dyadic(3, 2), order="after"),
    "thresholds": Feature("another threshold for each channel", spread=True),
    "shortcut": Feature("two convolutions meet in one neuron", frame="shortcut"),
    "pool": Feature("a padded sum pool", frame="pool"),
    "linear": Feature("matrices only", frame="vector"),
    "line": Feature("a convolution of one dimension", frame="line"),
}
"""By name."""


def feature_network(random: np.random.Generator, feature: Feature) -> IntegerNetwork:
    """Return a random network with a feature; no leak rounds within its steps."""
    inside: dict[Frame, Shape] = {"vector": (12,), "line": (2, 9)}
    entry = inside.get(feature.frame, (2, 6, 6))
    nodes: list[Node] = [Input(id="input", path="input", shape=entry, grid=Grid(1.0, 0, 15))]
    found = _front(random, feature, nodes)
    nodes.append(
        _neuron(random, feature, "fire1", found, nodes[-1].shape, _quiet(nodes[-1], 15) if feature.quiet else 60)
    )
    size = int(np.prod(nodes[-1].shape))
    if len(nodes[-1].shape) > 1:
        nodes.append(Reshape(id="flat", path="flat", sources=("fire1",), shape=(size,)))
    weight = _weight(random, feature, 10, size)
    nodes.append(Linear(id="fc", path="fc", sources=(nodes[-1].id,), shape=(10,), weight=weight))
    nodes.append(_neuron(random, feature, "fire2", ("fc",), (10,), _quiet(nodes[-1], 1) if feature.quiet else 20))
    nodes.append(Readout(id="out", path="out", sources=("fire2",), shape=(10,), gains=(ONE,), bias=0 * ONE))
    return IntegerNetwork(STEPS, tuple(nodes))


def firing(name: str, count: int, *, first: int = 0) -> Iterator[tuple[IntegerNetwork, Integers, Integers]]:
    """Yield random networks of a feature with input codes and the counts that belong to them, which are not all 0.

    Args:
        name: of the feature.
        count: how many.
        first: seed of the first.
    """
    found = 0
    for seed in itertools.count(first):
        random = np.random.default_rng(seed)
        net = feature_network(random, FEATURES[name])
        codes = codes_for(random, net)
        wanted = simulate(net, codes).outputs["out"]
        if found == count:
            return
        if wanted.any():
            found += 1
            yield net, codes, wanted


def codes_for(random: np.random.Generator, net: IntegerNetwork, samples: int = 3) -> Integers:
    """Return random input codes [1, N, ...]."""
    return random.integers(0, 16, (1, samples, *net.input.shape))


def _front(random: np.random.Generator, feature: Feature, nodes: list[Node]) -> tuple[str, ...]:
    """Add the layer before the first neurons and return what these read."""
    if feature.frame == "vector":
        nodes.append(
            Linear(id="fc0", path="fc0", sources=("input",), shape=(8,), weight=_weight(random, feature, 8, 12))
        )
        return ("fc0",)
    inside = nodes[0].shape[1:]
    window: dict[str, Any] = {
        "stride": (1,) * len(inside),
        "padding": (1,) * len(inside),
        "dilation": (1,) * len(inside),
    }
    names = ("conv", "conv_b") if feature.frame == "shortcut" else ("conv",)
    for name in names:
        weight = _weight(random, feature, 4, 2, *[3] * len(inside))
        nodes.append(Convolution(id=name, path=name, sources=("input",), shape=(4, *inside), weight=weight, **window))
    if feature.frame != "pool":
        return names
    nodes.append(_neuron(random, feature, "fire0", names, nodes[-1].shape, 60))
    pool: dict[str, Shape] = {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1)}
    nodes.append(SumPool(id="pool", path="pool", sources=("fire0",), shape=(4, 3, 3), **pool))
    ones: dict[str, Any] = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
    weight = _weight(random, feature, 4, 4, 1, 1)
    nodes.append(Convolution(id="mix", path="mix", sources=("pool",), shape=(4, 3, 3), weight=weight, **ones))
    return ("mix",)


def _quiet(layer: Node, most: int) -> int:
    """Return a threshold that no step reaches from 0, biases of up to 3 included."""
    assert isinstance(layer, Convolution | Linear)
    return 4 + most * int(layer.weight.codes.reshape(len(layer.weight.codes), -1).sum(1).max())


def _weight(random: np.random.Generator, feature: Feature, *shape: int) -> Weight:
    codes = random.integers(2, 4, shape) if feature.quiet else random.integers(-7, 8, shape)
    return Weight(codes=codes, step=np.ones(1), bits=4, low=-7, high=7)


def _neuron(
    random: np.random.Generator, feature: Feature, id: str, sources: tuple[str, ...], shape: Shape, theta: int
) -> Neuron:
    fine = 1 << feature.leak.shift * STEPS
    threshold = theta + (random.integers(0, 9, (1, shape[0])) if feature.spread else 0 * ONE)
    return Neuron(
        id=id,
        path=id,
        sources=sources,
        shape=shape,
        gains=(fine * ONE,) * len(sources),
        bias=fine * random.integers(-3, 4, (1, shape[0])),
        threshold=fine * threshold,
        initial=fine * (feature.first * threshold[0] // 2 + feature.v_reset),
        unit=np.ones(1),
        leak=feature.leak,
        leak_order=feature.order,
        reset=feature.reset,
        v_reset=np.full(1, fine * feature.v_reset),
        fire=feature.fire,
    )
