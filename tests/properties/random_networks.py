"""Integer networks put together at random from every node and option, for the tests that hold for all of them."""

from __future__ import annotations

import numpy as np

from bitspike.integer.network import (
    Add,
    Convolution,
    Input,
    IntegerNetwork,
    Integers,
    Linear,
    MaxPool,
    Neuron,
    Node,
    Readout,
    Reshape,
    Shape,
    SumPool,
    Weight,
    window_shape,
)
from bitspike.ops.grids import Dyadic, Grid

Random = np.random.Generator


def weight(random: Random, shape: Shape, *, largest: int = 7) -> Weight:
    codes = random.integers(-largest, largest, shape, endpoint=True)
    return Weight(codes=codes, step=np.ones(1), bits=8, low=-largest, high=largest)


def parameter(random: Random, steps: int, channels: int, low: int, high: int) -> Integers:
    """Return [1 or T, 1 or C] integers."""
    shape = (int(random.choice([1, steps])), int(random.choice([1, channels])))
    return random.integers(low, high, shape, endpoint=True)


def by_channel(random: Random, channels: int, low: int, high: int) -> Integers:
    return parameter(random, 1, channels, low, high)[0]


def neuron(random: Random, id: str, sources: tuple[str, ...], shape: Shape, steps: int) -> Neuron:
    """Return a neuron with every option drawn at random."""
    channels = shape[0]
    signed = bool(random.random() < 0.25)
    reset = "soft" if signed else random.choice(["soft", "hard"])
    leak = Dyadic(1, 0) if random.random() < 0.3 else Dyadic(int(random.integers(0, 17)), 4)
    floor = random.choice([None, -int(random.integers(0, 30))])
    width = random.choice([None, int(random.integers(4, 9))])
    return Neuron(
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


def random_network(random: Random) -> IntegerNetwork:
    """Return a network of 1, 2 or 3 spatial axes with branches, several read-outs and random parameters."""
    steps, dims = int(random.integers(1, 9)), int(random.integers(1, 4))
    low = int(random.choice([-9, 0, 0, 2]))
    inside = tuple(int(n) for n in random.integers(3, 6 if dims < 3 else 5, dims))
    entry = Input(
        id="input", path="input", shape=(int(random.integers(1, 4)), *inside), grid=Grid(1.0, low, low + 15),
        constant=bool(random.random() < 0.5),
    )  # fmt: skip
    nodes: list[Node] = [entry]
    for i in range(int(random.integers(2, 7))):
        node = layer(random, f"n{i}", nodes, steps)
        if node is not None:
            nodes.append(node)
    nodes.append(neuron(random, "last", (nodes[-1].id,), nodes[-1].shape, steps))
    size = int(np.prod(nodes[-1].shape))
    nodes.append(Reshape(id="flat", path="flat", sources=("last",), shape=(size,)))
    nodes.append(Linear(id="linear", path="linear", sources=("flat",), shape=(4,), weight=weight(random, (4, size))))
    nodes.append(neuron(random, "spiking", ("linear",), (4,), steps))
    for id, sources in (("currents", ("linear", "spiking")), ("counts", ("spiking",))):
        gains = tuple(parameter(random, steps, 4, -3, 3) for _ in sources)
        bias = parameter(random, steps, 4, -5, 5)
        nodes.append(Readout(id=id, path=id, sources=sources, shape=(4,), gains=gains, bias=bias))
    return IntegerNetwork(steps, tuple(nodes))


def layer(random: Random, id: str, nodes: list[Node], steps: int) -> Node | None:
    """Return one more node that reads earlier ones, or None where the kind drawn does not fit."""
    source = nodes[int(random.integers(max(0, len(nodes) - 2), len(nodes)))]
    shape, inside = source.shape, source.shape[1:]
    dims = len(inside)
    alike = tuple(n.id for n in nodes if n.shape == shape)[-3:]
    kernel = tuple(int(k) for k in random.integers(1, 4, dims))
    stride = tuple(int(s) for s in random.integers(1, 3, dims))
    ones = (1,) * dims
    kind = random.choice(["convolution", "sum", "largest", "add", "neuron", "neuron"])
    if kind == "neuron":
        return neuron(random, id, alike if random.random() < 0.5 else (source.id,), shape, steps)
    if kind == "add":
        gains = tuple(parameter(random, steps, shape[0], -2, 2) for _ in alike)
        return Add(id=id, path=id, sources=alike, shape=shape, gains=gains)
    if kind == "convolution":
        dilation = tuple(int(d) for d in random.integers(1, 3, dims))
        padding = tuple(int(p) for p in random.integers(0, 3, dims))
        groups = int(random.choice([g for g in (1, 2, 3) if shape[0] % g == 0]))
        out = groups * int(random.integers(1, 3))
        made = window_shape(inside, kernel, stride, padding, dilation)
        codes = weight(random, (out, shape[0] // groups, *kernel))
        return None if min(made) < 1 else Convolution(
            id=id, path=id, sources=(source.id,), shape=(out, *made), weight=codes, stride=stride, padding=padding,
            dilation=dilation, groups=groups,
        )  # fmt: skip
    padding = tuple(int(random.integers(0, k // 2 + 1)) for k in kernel)
    made = window_shape(inside, kernel, stride, padding, ones)
    pool = SumPool if kind == "sum" else MaxPool
    return None if min(made) < 1 else pool(
        id=id, path=id, sources=(source.id,), shape=(shape[0], *made), kernel=kernel, stride=stride, padding=padding
    )  # fmt: skip


def random_codes(random: Random, net: IntegerNetwork, samples: int, *, extreme: bool = False) -> Integers:
    """Return input codes; ``extreme`` ones are the smallest or the largest of the grid."""
    grid = net.input_grid
    shape = (1 if net.input.constant else net.steps, samples, *net.input.shape)
    if extreme:
        return np.where(random.random(shape) < 0.5, grid.low, grid.high)
    return random.integers(grid.low, grid.high, shape, endpoint=True)
