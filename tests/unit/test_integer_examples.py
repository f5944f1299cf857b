"""The hand-made networks send the counts that are worked out on paper."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from more_examples import transposed_and_upsample, two_branches
from safetensors.numpy import load_file
from uneven import uneven

from bitspike.integer.count import count
from bitspike.integer.engine import Engine, TorchEngine
from bitspike.integer.examples import convolution_and_pool, one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers
from bitspike.integer.saved.folder import save, tensor_bytes
from bitspike.integer.saved.manifest import WEIGHTS
from bitspike.integer.saved.replay import replay
from bitspike.integer.simulate import simulate
from bitspike.integer.verify import verify

CONSTANT = np.full((4, 4), 5)
RAMP = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 0, 1, 2], [3, 4, 5, 6]])
ONE_HOT = np.zeros((4, 4), np.int64)
ONE_HOT[1, 2] = 8


def counts(net: IntegerNetwork, image: Integers) -> list[list[int]]:
    codes = image.reshape(1, 1, 1, 4, 4)
    found = simulate(net, codes).outputs["readout"]
    assert np.array_equal(found, TorchEngine(net).run(codes).outputs["readout"])
    side = int(found.size**0.5)
    return found.reshape(side, side).tolist()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (CONSTANT, [[2, 2, 2, 2]] * 4),  # floor(4 * 5 / 8)
        (RAMP, [[0, 0, 1, 1], [2, 2, 3, 3], [4, 0, 0, 1], [1, 2, 2, 3]]),
        (ONE_HOT, [[0, 0, 0, 0], [0, 0, 4, 0], [0, 0, 0, 0], [0, 0, 0, 0]]),
    ],
    ids=["constant", "ramp", "one hot"],
)
def test_one_convolution(image: Integers, expected: list[list[int]]) -> None:
    assert counts(one_convolution(), image) == expected


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        # All four neurons of a window spike at steps 2 and 4: sums 0, 4, 0, 4 against a threshold of 4.
        (CONSTANT, [[2, 2], [2, 2]]),
        # Window (0, 1) of counts 1, 1, 3, 3 adds up to 8 spikes, two thresholds; window (1, 0) of 4, 0, 1, 2 to 7, one.
        (RAMP, [[1, 2], [1, 1]]),
        # A single neuron that spikes at all four steps fills the threshold of 4 once.
        (ONE_HOT, [[0, 1], [0, 0]]),
    ],
    ids=["constant", "ramp", "one hot"],
)
def test_convolution_and_pool(image: Integers, expected: list[list[int]]) -> None:
    assert counts(convolution_and_pool(), image) == expected


@pytest.mark.parametrize("threshold", [1, 3, 8, 11])
@pytest.mark.parametrize("steps", [1, 4, 7])
def test_counts_follow_the_closed_form(threshold: int, steps: int) -> None:
    net = one_convolution(threshold=threshold, steps=steps)
    expected = np.minimum(steps, steps * RAMP // threshold).tolist()
    assert counts(net, RAMP) == expected


def branches(net: IntegerNetwork, image: Integers) -> tuple[list[list[int]], list[list[int]]]:
    codes = image.reshape(1, 1, 1, 4, 4)
    found = simulate(net, codes).outputs["readout"]
    assert np.array_equal(found, Engine(net).run(codes).outputs["readout"])
    added, right = found.reshape(2, 4, 4).tolist()
    return added, right


@pytest.mark.parametrize(
    ("image", "added", "right"),
    [
        # Left fires at steps 2 and 4. Right, where a pixel stands to the left, reaches 20 of 16 at step 4. Their charge
        # of 1 at step 2 and 1 + 2 at step 4 fires once, and leaves a whole threshold behind.
        (CONSTANT, [[1, 1, 1, 1]] * 4, [[0, 1, 1, 1]] * 4),
        # Left fires floor(p / 2) times: 4 and 5 at steps 2, 4; 6 and 7 at 2, 3, 4. Right fires with 4 and 5 at step
        # 4, with 6 and 7 at 3, with 8 at 2, 4. The place of the 7: charge 0, 1, 1 + 2, 1 fires at steps 3 and 4.
        (
            RAMP,
            [[0, 0, 0, 0], [1, 1, 2, 2], [2, 2, 0, 0], [0, 1, 1, 2]],
            [[0, 0, 0, 0], [0, 1, 1, 1], [0, 2, 0, 0], [0, 0, 1, 1]],
        ),
        # Left fires at every step, its neighbor to the right at every second one.
        (
            ONE_HOT,
            [[0, 0, 0, 0], [0, 0, 2, 2], [0, 0, 0, 0], [0, 0, 0, 0]],
            [[0, 0, 0, 0], [0, 0, 0, 2], [0, 0, 0, 0], [0, 0, 0, 0]],
        ),
    ],
    ids=["constant", "ramp", "one hot"],
)
def test_two_branches(image: Integers, added: list[list[int]], right: list[list[int]]) -> None:
    assert branches(two_branches(), image) == (added, right)


def test_two_branches_under_fire_where_both_spikes_come_at_the_last_step() -> None:
    """Charges L + 2 R of (2 + 2) / 2 = 2 spikes, of which the last step sends one: the places of the two fives."""
    net, codes = two_branches(), RAMP.reshape(1, 1, 1, 4, 4)
    expected = [[0, 0, 0, 0], [1, 2, 2, 2], [2, 2, 0, 0], [0, 1, 2, 2]]
    assert count(net, codes)["added"][0, 0].tolist() == expected
    left, right, added = (uneven(node, simulate(net, codes)) for node in net.neurons)
    assert np.argwhere(added[1][0, 0]).tolist() == [[1, 1], [3, 2]]
    assert not np.any([added[0], *left, *right])


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        # Each pixel fires at steps 2 and 4: one of them fills a threshold of 2 once, two of them twice.
        ([[5, 5], [5, 5]], [[1, 2, 1, 1], [2, 0, 2, 0], [1, 2, 1, 1], [1, 0, 1, 0]]),
        # The pixels fire at no step; at 3; at 2, 4; at all. Between the last two charge 1, 2, 1, 2 fires at 2, 3, 4.
        ([[0, 3], [5, 8]], [[0, 0, 0, 0], [1, 0, 2, 0], [1, 3, 2, 2], [1, 0, 2, 0]]),
        # A charge of 1 at every step fires at every second one, at the pixel and its three neighbors that there are.
        ([[0, 8], [0, 0]], [[0, 2, 2, 2], [0, 0, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]]),
    ],
    ids=["constant", "ramp", "one hot"],
)
def test_transposed_and_upsample(image: list[list[int]], expected: list[list[int]]) -> None:
    net, codes = transposed_and_upsample(), np.array(image).reshape(1, 1, 1, 2, 2)
    trace = simulate(net, codes)
    assert trace.spikes["spread"].sum(0)[0, 0].tolist() == expected
    copied = [[n for n in row for _ in range(2)] for row in expected for _ in range(2)]
    assert trace.outputs["readout"].reshape(8, 8).tolist() == copied
    assert np.array_equal(trace.outputs["readout"], TorchEngine(net).run(codes).outputs["readout"])


NETWORKS: list[Callable[[], IntegerNetwork]] = [
    one_convolution,
    convolution_and_pool,
    two_branches,
    transposed_and_upsample,
]


@pytest.mark.parametrize("make", NETWORKS)
def test_the_debug_networks_prove_themselves(make: Callable[[], IntegerNetwork]) -> None:
    assert verify(make()).equal
    assert verify(make(), engine=True).equal


def test_convert_check_11_numpy_alone_replays_the_folders_of_all_debug_networks(tmp_path: Path) -> None:
    folders = [str(save(make(), tmp_path / make.__name__)) for make in NETWORKS]
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from bitspike.integer.saved.replay import replay\n"
        f"print([replay(Path(f)).equal for f in {folders}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[True, True, True, True]\n"


@pytest.mark.parametrize("make", NETWORKS)
def test_convert_check_11_any_code_that_is_flipped_is_named_by_node_step_and_index(
    tmp_path: Path, make: Callable[[], IntegerNetwork]
) -> None:
    net, folder = make(), save(make(), tmp_path / "network")
    original = load_file(folder / WEIGHTS)
    for layer in net.weighted:
        # The neuron after the layer is the first thing that differs.
        behind = next(n for n in net.neurons if layer.id in n.sources)
        for place in np.ndindex(*layer.weight.codes.shape):
            codes = original[f"{layer.id}.weight"].copy()
            codes[place] = 1 - codes[place]
            (folder / WEIGHTS).write_bytes(tensor_bytes({**original, f"{layer.id}.weight": codes}))
            first = replay(folder).first_difference
            assert first is not None
            assert (first.layer, first.step, first.quantity) == (behind.path, 0, "membrane")
            assert len(first.index) == 1 + len(behind.shape)
