"""The C program and the definition give the same spikes and outputs, whatever the network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bitspike.formats.c.layout import lay_out
from bitspike.formats.c.types import bounds_of
from bitspike.formats.c.write import c_memory, write_c
from bitspike.integer.examples import convolution_and_pool, one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import (
    KINDS,
    Add,
    Burst,
    Convolution,
    CountMaxPool,
    Input,
    Linear,
    MaxPool,
    Neuron,
    Node,
    Pad,
    Readout,
    Reshape,
    Slice,
    TransposedConvolution,
    Weight,
    window_shape,
)
from bitspike.integer.saved.vectors import golden
from bitspike.integer.simulate import Trace, simulate
from bitspike.lowering.lower import lower
from bitspike.models import digits_net, resnet20
from bitspike.ops.grids import Dyadic, Grid
from bitspike.weights import Binary, Max, MeanAbs, Ternary, Uniform, attach
from bitspike.weights import Dyadic as DyadicScale
from equivalence.c_programs import STRICT, CProgram, bench, cc, needs_compiler
from properties.random_networks import as_large_as, layerwise, neuron, random_codes, random_network

pytestmark = needs_compiler
ONE = np.ones((1, 1), np.int64)
BLOCKS = 5
SANITIZED = ("-fsanitize=undefined,address", "-fno-sanitize-recover=all")


def test_a_machine_that_runs_all_checks_has_a_compiler() -> None:
    assert shutil.which("cc") or not os.environ.get("CI")


def assert_equal(found: Trace, expected: Trace, where: object = "") -> None:
    assert found.spikes.keys() == expected.spikes.keys()
    for id, spikes in expected.spikes.items():
        assert np.array_equal(found.spikes[id], spikes), (where, id)
    assert found.outputs.keys() == expected.outputs.keys()
    for id, output in expected.outputs.items():
        assert np.array_equal(found.outputs[id], output), (where, id)


def compare(net: IntegerNetwork, folder: Path, *, seed: int = 0, name: str = "network") -> CProgram:
    """Compile a network and compare random and extreme samples, whole and, where there is the door, step by step."""
    random = np.random.default_rng(seed)
    made = CProgram(net, folder, name=name)
    codes = np.concatenate([random_codes(random, net, 2), random_codes(random, net, 1, extreme=True)], axis=1)
    assert_equal(made.run(codes), simulate(net, codes), name)
    assert c_memory(net).state == made.bytes
    if not any(isinstance(n, Burst) for n in net.nodes):
        for steps in {1, int(random.integers(1, net.steps + 1)), net.steps}:
            first = codes if net.input.constant else codes[:steps]
            expected = simulate(net, first, steps=steps).outputs
            for id, output in made.stepwise(codes[:, 0], steps).items():
                assert np.array_equal(output, expected[id][0]), (name, id, steps)
    return made


def draw(seed: int) -> IntegerNetwork:
    random = np.random.default_rng(seed)
    net = random_network(random)
    return layerwise(net) if seed % 5 == 4 else net


@pytest.mark.parametrize("block", range(BLOCKS))
def test_c_and_definition_agree_on_random_networks(block: int, tmp_path: Path) -> None:
    for seed in range(block * 8, block * 8 + 8):
        compare(draw(seed), tmp_path, seed=seed, name=f"net{seed}")


def test_the_random_networks_hold_every_node() -> None:
    seen = Counter(type(n).__name__ for seed in range(BLOCKS * 8) for n in draw(seed).nodes)
    kinds = set(KINDS.values())
    assert set(seen) == {c.__name__ for c in kinds}


def assert_defined(net: IntegerNetwork, folder: Path) -> None:
    """Run a network's bench under the sanitizers."""
    (folder / "empty.c").write_text("int main(void) { return 0; }\n")
    probe = ["cc", *SANITIZED, "-o", folder / "empty", folder / "empty.c"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this compiler has no sanitizers")
    done = bench(write_c(net, folder / "c", vectors=golden(net)), "network", *SANITIZED)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("seed", [3, 14, 24])
def test_no_undefined_behaviour_happens_on_the_way(seed: int, tmp_path: Path) -> None:
    assert_defined(draw(seed), tmp_path)


@pytest.mark.parametrize(("kind", "bits"), [("state", 16), ("work", 32)])
def test_numbers_up_to_the_end_of_their_type_do_not_overflow(kind: str, bits: int, tmp_path: Path) -> None:
    def largest(net: IntegerNetwork) -> int:
        found = bounds_of(net)
        return max(abs(end) for n in [*net.neurons, *net.outputs] for end in getattr(found[n.id], kind))

    near = 0
    for seed in range(6):
        net = random_network(np.random.default_rng(seed))
        if largest(net) < 1 << (bits - 1):
            net = as_large_as(net, lambda n: largest(n) < 1 << (bits - 1))
            near += largest(net) > 1 << (bits - 2)
            (tmp_path / str(seed)).mkdir()
            assert_defined(net, tmp_path / str(seed))
    assert near > 3


def test_a_running_sum_has_room_before_its_bias_is_added(tmp_path: Path) -> None:
    """The sum stays below 3 * 2**29, and before the bias of the last step it is 2**30 + 2**30."""
    out = Readout(id="out", path="out", sources=("n",), shape=(1,), gains=(2**30 * ONE,), bias=-(2**29) * ONE)
    fire = Neuron(
        id="n", path="n", sources=("input",), shape=(1,), gains=(ONE,), bias=ONE, threshold=ONE,
        initial=np.zeros(1, np.int64), unit=np.ones(1),
    )  # fmt: skip
    assert_defined(IntegerNetwork(3, (entry((1,), 0, 1), fire, out)), tmp_path)


def chain(*layers: Node, input: Input, steps: int = 3) -> IntegerNetwork:
    """Put layers one after the other, with a read-out of every integer at the end."""
    nodes: list[Node] = [input]
    for layer in layers:
        nodes.append(replace(layer, sources=(nodes[-1].id,)))
    last = nodes[-1]
    size = int(np.prod(last.shape))
    flat = Reshape(id="flat", path="flat", sources=(last.id,), shape=(size,))
    out = Readout(id="out", path="out", sources=("flat",), shape=(size,), gains=(ONE,), bias=0 * ONE)
    return IntegerNetwork(steps, (*nodes, flat, out))


def entry(shape: tuple[int, ...], low: int = -8, high: int = 8, *, constant: bool = False) -> Input:
    return Input(id="input", path="input", shape=shape, grid=Grid(1.0, low, high), constant=constant)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 3), (2, 2), (3, 2), (2, 3), (4, 2), (2, 4)])
def test_strides_meet_dilations(stride: int, dilation: int, tmp_path: Path) -> None:
    random = np.random.default_rng(stride * 10 + dilation)
    codes = random.integers(-7, 8, (4, 1, 3, 2))
    weight = Weight(codes=codes, step=np.ones(1), bits=4, low=-7, high=7)
    place = {"stride": (stride, dilation), "padding": (2, 3), "dilation": (dilation, 3), "groups": 2}
    made = window_shape((11, 13), (3, 2), *[place[k] for k in ("stride", "padding", "dilation")])
    layer = Convolution(id="conv", path="conv", shape=(4, *made), weight=weight, **place)
    compare(chain(layer, input=entry((2, 11, 13))), tmp_path)
    weight = replace(weight, codes=codes.reshape(2, 2, 3, 2))
    axes = zip((11, 13), (3, 2), (stride, dilation), (2, 3), (dilation, 3), strict=True)
    grown = tuple((n - 1) * s - 2 * p + d * (k - 1) + 2 for n, k, s, p, d in axes)
    spread = TransposedConvolution(id="up", path="up", shape=(4, *grown), weight=weight, output_padding=(1, 1), **place)
    compare(chain(spread, input=entry((2, 11, 13))), tmp_path / "up")


WEIGHTS = {
    "1 bit": (1, -1, 1, (-1, 1)),
    "1 bit without levels": (1, -1, 1, None),
    "ternary": (2, -1, 1, None),
    "2 bits": (2, -2, 1, None),
    "3 bits": (3, -3, 3, None),
    "4 bits, odd": (4, -15, 15, tuple(range(-15, 16, 2))),
    "5 bits": (5, -16, 15, None),
    "6 bits": (6, -31, 31, None),
    "7 bits": (7, -64, 63, None),
    "8 bits": (8, -128, 127, None),
    "8 bits, odd": (8, -255, 255, tuple(range(-255, 256, 2))),
    "12 bits": (12, -2048, 2047, None),
    "24 bits": (24, -(2**23), 2**23 - 1, None),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_codes_of_every_width_come_back(name: str, tmp_path: Path) -> None:
    bits, low, high, levels = WEIGHTS[name]
    random = np.random.default_rng(bits)
    codes = (
        random.choice(levels or [-1, 1], (67, 5)) if levels or bits == 1 else random.integers(low, high + 1, (67, 5))
    )
    weight = Weight(codes=codes, step=np.ones(1), bits=bits, low=low, high=high, levels=levels)
    net = chain(Linear(id="fc", path="fc", shape=(67,), weight=weight), input=entry((5,)))
    compare(net, tmp_path)
    kept = c_memory(net).weights
    exact = -(-67 * 5 * bits // 8)
    assert exact <= kept <= (exact + 1 if bits <= 8 else 67 * 5 * (2 if bits == 12 else 4))


def single(input: Input | None = None, **options: object) -> IntegerNetwork:
    """A neuron that reads its input directly."""
    rest = np.zeros(1, np.int64)
    values: dict[str, object] = {"gains": (ONE,), "bias": 0 * ONE, "threshold": 3 * ONE, "initial": rest, **options}
    fire = Neuron(id="n", path="n", shape=(3, 2), unit=np.ones(1), **values)  # type: ignore[arg-type]
    return chain(fire, input=input or entry((3, 2)), steps=6)


NEURONS: dict[str, dict[str, object]] = {
    "gt": {"fire": "gt", "threshold": 0 * ONE},
    "hard to a value by channel": {"reset": "hard", "v_reset": np.array([-4, 0, 2])},
    "leak before": {"leak": Dyadic(5, 3)},
    "leak after": {"leak": Dyadic(5, 3), "leak_order": "after"},
    "leak to nothing": {"leak": Dyadic(0, 0)},
    "leak that grows": {"leak": Dyadic(3, 1), "width": 9},
    "shift far beyond the word": {"right_shift": 70},
    "leak of a large shift": {"leak": Dyadic(3, 40)},
    "shift": {"right_shift": 2, "gains": (5 * ONE,)},
    "floor and width": {"floor": -3, "width": 4},
    "signed": {"signed": True, "retract": np.array([0, 1, 2]), "gains": (-1 * ONE,)},
    "signed without retract": {"signed": True, "retract": np.array([0]), "threshold": ONE},
    "changing": {
        "threshold": np.arange(1, 19).reshape(6, 3), "bias": np.arange(-3, 3).reshape(6, 1),
        "gains": (np.arange(-9, 9).reshape(6, 3),),
    },
    "by channel": {"threshold": np.array([[1, 2, 9]]), "bias": np.array([[1, -2, 0]]), "initial": np.array([3, -5, 0])},
    "64 bits": {"gains": (2**40 * ONE,), "threshold": 2**41 * ONE, "bias": (2**33 + 1) * ONE, "leak": Dyadic(255, 8)},
    "32 bits just so": {"gains": (2**25 * ONE,), "threshold": (2**28 - 1) * ONE},
}  # fmt: skip


@pytest.mark.parametrize("name", NEURONS)
def test_every_option_of_a_neuron(name: str, tmp_path: Path) -> None:
    compare(single(**NEURONS[name]), tmp_path)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0, 255), (-128, 127), (0, 65535), (-300, 2), (3, 2**31), (-(2**40), 5)]
)
def test_input_codes_of_every_width(low: int, high: int, tmp_path: Path) -> None:
    for constant in (True, False):
        compare(single(entry((3, 2), low, high, constant=constant)), tmp_path / str(constant))


def test_a_skip_across_bursts_is_kept_for_all_steps(tmp_path: Path) -> None:
    """What an earlier phase sent is read in two later ones, next to bursts that are read twice and in a row."""
    random, shape, steps = np.random.default_rng(2), (2, 3), 5
    nodes: list[Node] = [entry(shape, -3, 9), neuron(random, "a", ("input",), shape, steps)]
    nodes.append(Burst(id="b1", path="b1", sources=("a",), shape=shape))
    nodes.append(neuron(random, "c", ("b1", "a"), shape, steps))
    nodes.append(Burst(id="b2", path="b2", sources=("c",), shape=shape))
    nodes.append(Burst(id="b3", path="b3", sources=("b2",), shape=shape))
    nodes.append(neuron(random, "d", ("b3", "b1", "a", "input"), shape, steps))
    nodes.append(Slice(id="s", path="s", sources=("b1",), shape=(1, 3), start=1, stop=2))
    nodes.append(Burst(id="b4", path="b4", sources=("s",), shape=(1, 3)))
    gains = (ONE, 2 * ONE)
    nodes.append(Readout(id="o1", path="o1", sources=("d", "b1"), shape=shape, gains=gains, bias=ONE))
    nodes.append(Readout(id="o2", path="o2", sources=("b4", "s"), shape=(1, 3), gains=gains, bias=0 * ONE))
    net = IntegerNetwork(steps, tuple(nodes))
    made = lay_out(net, bounds_of(net))
    assert set(made.sums) == {"b1"}  # it is read in two phases; the others hand their own sum out
    assert made.addresses["a"].stride == made.addresses["b1"].stride == 6
    compare(net, tmp_path)


def test_counts_below_zero_and_padded_windows(tmp_path: Path) -> None:
    place = {"kernel": (2, 3), "stride": (1, 2), "padding": (1, 1)}
    shape = (2, *window_shape((4, 5), *place.values(), (1, 1)))
    for kind in (CountMaxPool, MaxPool):
        layer = kind(id="pool", path="pool", shape=shape, **place)
        compare(chain(layer, input=entry((2, 4, 5), -9, -1)), tmp_path / kind.__name__)


def test_a_changing_sum_of_a_constant_input_and_a_pad_that_cuts(tmp_path: Path) -> None:
    add = Add(id="add", path="add", shape=(2, 4), gains=(np.array([[1], [-2], [3]]),))
    pad = Pad(id="pad", path="pad", shape=(2, 4), before=(-2,), after=(2,))
    compare(chain(add, pad, input=entry((2, 4), constant=True)), tmp_path)


SCHEMES = [
    Binary(scale=DyadicScale(MeanAbs())),
    Ternary(scale=DyadicScale(MeanAbs())),
    Uniform(bits=3, scale=DyadicScale(Max())),
    Uniform(bits=8, scale=DyadicScale(Max())),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_a_lowered_digits_network_runs_in_c(scheme: object, tmp_path: Path) -> None:
    images = torch.randint(0, 17, (3, 1, 8, 8), generator=torch.Generator().manual_seed(1)) / 16
    model = attach(digits_net(width=0.5), quantize=scheme).train()
    for _ in range(3):  # norms see real activity
        model(images)
    model.eval()
    net = lower(model, images[:1], grid=Grid(1 / 16, 0, 16))
    vectors = golden(net, (images * 16).long().numpy()[None])
    assert sum(int(s.sum()) for name, s in vectors.items() if name.endswith(".spikes")) > 100
    folder = write_c(net, tmp_path / "c", vectors=vectors)
    done = bench(folder)
    assert done.returncode == 0, done.stdout
    spikes = sum(int(np.prod(n.shape)) for n in net.neurons) * net.steps * 9
    assert f"network: {spikes} spikes of 9 samples compared; the state is {c_memory(net).state} bytes" in done.stdout
    assert done.stdout.endswith("network: all equal\n")


def test_a_residual_network_runs_in_c(tmp_path: Path) -> None:
    images = torch.randint(0, 17, (1, 3, 8, 8), generator=torch.Generator().manual_seed(1)) / 16
    model = attach(
        resnet20(width=0.25, image_size=8, steps=3), quantize=Uniform(bits=2, scale=DyadicScale(Max()))
    ).eval()
    net = lower(model, images, grid=Grid(1 / 16, 0, 16))
    made = CProgram(net, tmp_path)
    codes = (images * 16).long().numpy()[None]
    assert_equal(made.run(codes), simulate(net, codes))
    assert made.bytes == c_memory(net).state


@pytest.mark.parametrize("seed", [4, 6, 11])
def test_it_is_also_a_program_of_cpp(seed: int, tmp_path: Path) -> None:
    folder = write_c(draw(seed), tmp_path / "c")
    cc("-x", "c++", "-std=c++11", *STRICT[1:], "-O2", "-c", "-o", tmp_path / "network.o", folder / "network.c")


def test_two_programs_stand_side_by_side(tmp_path: Path) -> None:
    main = '#include "one.h"\n#include "two.h"\nstatic one_state a; static two_state b;\nint main(void) {\n'
    main += (
        "int64_t x[16], y[4]; one_input i[16] = {8}; one_run(&a, i, x); two_run(&b, i, y); return (int)(x[0] - 4); }\n"
    )
    (tmp_path / "main.c").write_text(main)
    folders = [
        write_c(one_convolution(), tmp_path / "a", name="one"),
        write_c(convolution_and_pool(), tmp_path / "b", name="two"),
    ]
    sources = [folders[0] / "one.c", folders[1] / "two.c"]
    cc(*STRICT, *[f"-I{f}" for f in folders], "-o", tmp_path / "main", tmp_path / "main.c", *sources)
    assert subprocess.run([tmp_path / "main"], check=False).returncode == 0


def test_make_check_runs_the_bench_and_a_later_export_replaces_it(tmp_path: Path) -> None:
    net = convolution_and_pool()
    folder = write_c(net, tmp_path / "c", vectors=golden(net))
    done = subprocess.run(["make", "check"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "all equal" in done.stdout
    assert (folder / "network_test").exists()
    assert not (write_c(net, folder) / "network_test").exists()


@pytest.mark.parametrize(
    ("key", "index", "layer", "what"),
    [
        ("neuron.spikes", (2, 3, 0, 1, 2), "neuron, step 2, index [3, 0, 1, 2]", "spike"),
        ("pooled.spikes", (1, 5, 0, 0, 1), "pooled, step 1, index [5, 0, 0, 1]", "spike"),
        ("readout.output", (4, 2), "readout, step 3, index [4, 2]", "output"),
    ],
)
def test_a_changed_vector_is_named_by_layer_step_and_index(
    tmp_path: Path, key: str, index: tuple[int, ...], layer: str, what: str
) -> None:
    net = convolution_and_pool()
    vectors = dict(golden(net))
    right = int(vectors[key][index])
    wrong = 1 - right if what == "spike" else right + 7
    vectors[key] = vectors[key].copy()
    vectors[key][index] = wrong
    done = bench(write_c(net, tmp_path / "c", vectors=vectors))
    assert done.returncode == 1
    assert f"the first: layer {layer}: {what} is {right}, expected {wrong}\n" in done.stdout


def test_one_bit_of_the_vectors_file_is_enough(tmp_path: Path) -> None:
    net = convolution_and_pool()
    folder = write_c(net, tmp_path / "c", vectors=golden(net))
    path = folder / "network_vectors.h"
    text = path.read_text()
    first = re.search(r"spikes_2\[48\] = \{\n    (\d+)", text)
    assert first
    path.write_text(text[: first.start(1)] + str(int(first[1]) ^ 4) + text[first.end(1) :])
    done = bench(folder)
    assert done.returncode == 1
    assert "1 differences, the first: layer neuron, step 0, index [0, 0, 0, 2]: spike is 0, expected 1" in done.stdout


def test_a_changed_weight_is_found_by_the_bench(tmp_path: Path) -> None:
    net = convolution_and_pool()
    folder = write_c(net, tmp_path / "c", vectors=golden(net))
    path = folder / "network.c"
    text = path.read_text()
    first = re.search(r"codes_n1_conv\[4\] = \{\n    ([\d, ]+)", text)
    assert first
    path.write_text(text.replace(first[1], "0, 0, 0, 0"))
    done = bench(folder)
    assert done.returncode == 1
    assert "the first: layer neuron, step 0, index [1, 0, 0, 0]: spike is 0, expected 1" in done.stdout
