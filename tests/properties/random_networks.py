"""Integer networks put together at random from every node and option, for the tests that hold for all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from bitspike.integer.arithmetic import sum_over_time
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import (
    Add,
    Burst,
    Concat,
    Convolution,
    CountMaxPool,
    FewBitNeuron,
    Input,
    Integers,
    Linear,
    MaxPool,
    Neuron,
    Node,
    Pad,
    Readout,
    Reshape,
    Shape,
    Slice,
    SumPool,
    Synapse,
    Transpose,
    TransposedConvolution,
    Upsample,
    Weight,
    window_shape,
)
from bitspike.ops.grids import Dyadic, Grid

Random = np.random.Generator

TRAINED = ("convolution", "sum", "largest", "add", "neuron", "neuron")
"""What networks of spiking layers are made of."""
CONVERTED = ("transposed", "counts", "burst", "concat", "slice", "upsample", "pad", "transpose", "synapse")
"""What other networks hold besides: converted ones, and those with synapses that decay."""


def weight(random: Random, shape: Shape, *, largest: int = 7) -> Weight:
    codes = random.integers(-largest, largest, shape, endpoint=True)
    return Weight(codes=codes, step=np.ones(1), bits=8, low=-largest, high=largest)


def parameter(random: Random, steps: int, channels: int, low: int, high: int) -> Integers:
    """Return [1 or T, 1 or C] integers."""
    shape = (int(random.choice([1, steps])), int(random.choice([1, channels])))
    return random.integers(low, high, shape, endpoint=True)


def by_channel(random: Random, channels: int, low: int, high: int) -> Integers:
    return parameter(random, 1, channels, low, high)[0]


def neuron(random: Random, id: str, sources: tuple[str, ...], shape: Shape, steps: int, *, few: bool = True) -> Neuron:
    """Return a neuron with every option drawn at random.

    If ``few``, some keep their potential in few bits, and half of all round toward zero: what no fused step does.
    """
    channels = shape[0]
    signed = bool(random.random() < 0.25)
    reset = "soft" if signed else random.choice(["soft", "hard"])
    leak = Dyadic(1, 0) if random.random() < 0.3 else Dyadic(int(random.integers(0, 17)), 4)
    floor = random.choice([None, -int(random.integers(0, 30))])
    width = random.choice([None, int(random.integers(4, 9))])
    drawn = Neuron(
        id=id,
        path=f"path.{id}",
        sources=sources,
        shape=shape,
        gains=tuple(parameter(random, steps, channels, -3, 5) for _ in sources),
        bias=parameter(random, steps, channels, -6, 6),
        threshold=parameter(random, steps, channels, 1, 40),
        initial=by_channel(random, channels, -10, 10),
        unit=np.ones(1),
        right_shift=int(random.choice([0, 0, 1, 3])),
        leak=leak,
        leak_order=random.choice(["before", "after"]),
        reset=reset,
        v_reset=by_channel(random, channels, -5, 5),
        fire=random.choice(["ge", "gt"]),
        signed=signed,
        retract=by_channel(random, channels, 0, 4),
        floor=floor,
        width=width,
    )
    if few and random.random() < 0.5:
        drawn = replace(drawn, rounding="zero")
    return few_bits(random, drawn) if few and random.random() < 0.3 else drawn


def few_bits(random: Random, drawn: Neuron) -> FewBitNeuron:
    """Return a neuron that keeps its potential in few bits, and is otherwise as drawn."""
    fields = {field.name: getattr(drawn, field.name) for field in dataclasses.fields(drawn)}
    bits, shift = int(random.integers(2, 9)), int(random.integers(0, 5))
    kept = {"kept_bits": bits, "kept_shift": shift}
    least = FewBitNeuron(**fields | {"initial": np.zeros(1, np.int64)}, **kept)
    return replace(least, initial=least.carried(drawn.initial))


def counting_neuron(random: Random, id: str, sources: tuple[str, ...], shape: Shape, steps: int) -> Neuron:
    """Return an integrate-and-fire neuron with soft reset and parameters that do not change over time."""
    channels = shape[0]
    return Neuron(
        id=id,
        path=f"path.{id}",
        sources=sources,
        shape=shape,
        gains=tuple(parameter(random, 1, channels, -3, 5) for _ in sources),
        bias=parameter(random, 1, channels, -6, 6),
        threshold=parameter(random, 1, channels, 1, 40),
        initial=by_channel(random, channels, -10, 20),
        unit=np.ones(1),
        fire=random.choice(["ge", "gt"]),
    )


def random_network(
    random: Random, *, kinds: tuple[str, ...] = TRAINED + CONVERTED, counting: bool = False, few: bool = True
) -> IntegerNetwork:
    """Return a network of 1, 2 or 3 spatial axes with branches, several read-outs and random parameters.

    Args:
        random: source of every choice.
        kinds: of the layers drawn.
        counting: only neurons and gains that have a count mode; pools of the largest spike are left out.
        few: some neurons keep their potential in few bits, and some round toward zero.
    """
    steps, dims = int(random.integers(1, 9)), int(random.integers(1, 4))
    low = int(random.choice([-9, 0, 0, 2]))
    inside = tuple(int(n) for n in random.integers(3, 6 if dims < 3 else 5, dims))
    entry = Input(
        id="input", path="input", shape=(int(random.integers(1, 4)), *inside), grid=Grid(1.0, low, low + 15),
        constant=bool(random.random() < 0.5),
    )  # fmt: skip
    fire = counting_neuron if counting else partial(neuron, few=few)
    varied = 1 if counting else steps
    kinds = tuple(k for k in kinds if k not in ("largest", "synapse")) if counting else kinds
    nodes: list[Node] = [entry]
    for i in range(int(random.integers(2, 9 if kinds != TRAINED else 7))):
        kind = str(random.choice(kinds))
        source = nodes[int(random.integers(max(0, len(nodes) - 2), len(nodes)))]
        alike = tuple(n.id for n in nodes if n.shape == source.shape)[-3:]
        if kind == "neuron":
            sources = alike if random.random() < 0.5 else (source.id,)
            nodes.append(fire(random, f"n{i}", sources, source.shape, steps))
        elif kind == "add":
            gains = tuple(parameter(random, varied, source.shape[0], -2, 2) for _ in alike)
            nodes.append(Add(id=f"n{i}", path=f"n{i}", sources=alike, shape=source.shape, gains=gains))
        elif (node := layer(random, kind, f"n{i}", nodes, source)) is not None:
            nodes.append(node)
    nodes.append(fire(random, "last", (nodes[-1].id,), nodes[-1].shape, steps))
    size = int(np.prod(nodes[-1].shape))
    nodes.append(Reshape(id="flat", path="flat", sources=("last",), shape=(size,)))
    nodes.append(Linear(id="linear", path="linear", sources=("flat",), shape=(4,), weight=weight(random, (4, size))))
    nodes.append(fire(random, "spiking", ("linear",), (4,), steps))
    for id, sources in (("currents", ("linear", "spiking")), ("counts", ("spiking",))):
        gains = tuple(parameter(random, varied, 4, -3, 3) for _ in sources)
        bias = parameter(random, steps, 4, -5, 5)
        nodes.append(Readout(id=id, path=id, sources=sources, shape=(4,), gains=gains, bias=bias))
    return IntegerNetwork(steps, tuple(nodes))


def scaled(net: IntegerNetwork, factor: int) -> IntegerNetwork:
    """Return a network whose neurons and read-outs count in units that are so many times smaller."""
    nodes = []
    for node in net.nodes:
        if isinstance(node, Neuron | Readout):
            names = ("bias", "threshold", "initial", "v_reset", "retract") if isinstance(node, Neuron) else ("bias",)
            larger = {name: getattr(node, name) * factor for name in names}
            if isinstance(node, FewBitNeuron):
                larger["initial"] = node.carried(larger["initial"])
            node = replace(node, gains=tuple(gain * factor for gain in node.gains), **larger)
        nodes.append(node)
    return replace(net, nodes=tuple(nodes))


def as_large_as(net: IntegerNetwork, fits: Callable[[IntegerNetwork], bool]) -> IntegerNetwork:
    """Return a network scaled by the largest factor below 2**40 with which it still fits."""
    low, high = 1, 1 << 40
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(scaled(net, middle)) else (low, middle)
    return scaled(net, low)


def layerwise(net: IntegerNetwork) -> IntegerNetwork:
    """Return a network with its whole charge, the bias of all steps included, at the first step of every neuron."""
    nodes: list[Node] = []
    for node in net.nodes:
        if not isinstance(node, Neuron):
            nodes.append(node)
            continue
        bursts = [
            Burst(id=f"{node.id}_burst{i}", path=node.path, sources=(s,), shape=node.shape)
            for i, s in enumerate(node.sources)
        ]
        bias = np.zeros((net.steps, node.bias.shape[1]), np.int64)
        bias[0] = sum_over_time(node.bias, net.steps)
        nodes += [*bursts, replace(node, sources=tuple(b.id for b in bursts), bias=bias)]
    return replace(net, nodes=tuple(nodes))


_LARGEST = 400
"""Integers of one sample and step, so that networks stay small."""


def layer(random: Random, kind: str, id: str, nodes: list[Node], source: Node) -> Node | None:
    """Return one more node that reads earlier ones, or None where the kind drawn does not fit."""
    shape, inside = source.shape, source.shape[1:]
    dims = len(inside)
    node = arranged(random, kind, id, nodes, source)
    if node is not None:
        return node if np.prod(node.shape) <= _LARGEST else None
    kernel = tuple(int(k) for k in random.integers(1, 4, dims))
    stride = tuple(int(s) for s in random.integers(1, 3, dims))
    ones = (1,) * dims
    if kind in ("convolution", "transposed"):
        dilation = tuple(int(d) for d in random.integers(1, 3, dims))
        padding = tuple(int(p) for p in random.integers(0, 3, dims))
        groups = int(random.choice([g for g in (1, 2, 3) if shape[0] % g == 0]))
        per_group = int(random.integers(1, 3))
        if kind == "convolution":
            made = window_shape(inside, kernel, stride, padding, dilation)
            codes = weight(random, (groups * per_group, shape[0] // groups, *kernel))
            return None if min(made) < 1 else Convolution(
                id=id, path=id, sources=(source.id,), shape=(groups * per_group, *made), weight=codes, stride=stride,
                padding=padding, dilation=dilation, groups=groups,
            )  # fmt: skip
        more = tuple(int(o) for o in random.integers(0, 3, dims))
        axes = zip(inside, kernel, stride, padding, more, dilation, strict=True)
        made = tuple((n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, k, s, p, o, d in axes)
        codes = weight(random, (shape[0], per_group, *kernel))
        return None if min(made) < 1 or groups * per_group * np.prod(made) > _LARGEST else TransposedConvolution(
            id=id, path=id, sources=(source.id,), shape=(groups * per_group, *made), weight=codes, stride=stride,
            padding=padding, output_padding=more, dilation=dilation, groups=groups,
        )  # fmt: skip
    if kind not in POOLS:
        return None
    padding = tuple(int(random.integers(0, k // 2 + 1)) for k in kernel)
    made = window_shape(inside, kernel, stride, padding, ones)
    return None if min(made) < 1 else POOLS[kind](
        id=id, path=id, sources=(source.id,), shape=(shape[0], *made), kernel=kernel, stride=stride, padding=padding
    )  # fmt: skip


POOLS = {"sum": SumPool, "largest": MaxPool, "counts": CountMaxPool}


def arranged(random: Random, kind: str, id: str, nodes: list[Node], source: Node) -> Node | None:
    """Return a burst, a synapse or a node that moves integers, or None for every other kind."""
    shape, inside = source.shape, source.shape[1:]
    dims, base = len(inside), {"id": id, "path": id, "sources": (source.id,)}
    if kind == "burst":
        return Burst(**base, shape=shape)
    if kind == "synapse":
        leak = Dyadic(int(random.integers(0, 17)), 4)
        return Synapse(**base, shape=shape, leak=leak, left_shift=int(random.integers(0, 4)))
    if kind == "concat":
        beside = [n for n in nodes if n.shape[1:] == inside][-3:]
        sources = tuple(n.id for n in beside)
        return Concat(id=id, path=id, sources=sources, shape=(sum(n.shape[0] for n in beside), *inside))
    if kind == "slice":
        start = int(random.integers(0, shape[0]))
        stop = int(random.integers(start + 1, shape[0] + 1))
        return Slice(**base, shape=(stop - start, *inside), start=start, stop=stop)
    if kind == "upsample":
        factors = tuple(int(f) for f in random.integers(1, 3, dims))
        return Upsample(
            **base, shape=(shape[0], *(n * f for n, f in zip(inside, factors, strict=True))), factors=factors
        )
    if kind == "pad":
        before, after = (tuple(int(n) for n in random.integers(-1, 3, dims)) for _ in range(2))
        made = tuple(n + a + b for n, a, b in zip(inside, before, after, strict=True))
        return None if min(made) < 1 else Pad(**base, shape=(shape[0], *made), before=before, after=after)
    if kind == "transpose":
        axes = tuple(int(a) for a in random.permutation(dims + 1))
        return Transpose(**base, shape=tuple(shape[a] for a in axes), axes=axes)
    return None


def random_codes(random: Random, net: IntegerNetwork, samples: int, *, extreme: bool = False) -> Integers:
    """Return input codes; ``extreme`` ones are the smallest or the largest of the grid."""
    grid = net.input_grid
    shape = (1 if net.input.constant else net.steps, samples, *net.input.shape)
    if extreme:
        return np.where(random.random(shape) < 0.5, grid.low, grid.high)
    return random.integers(grid.low, grid.high, shape, endpoint=True)
