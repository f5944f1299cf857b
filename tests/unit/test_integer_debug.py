"""The hand-made networks send the counts that are worked out on paper."""

from __future__ import annotations

import numpy as np
import pytest

from bitspike.integer.debug import convolution_and_pool, one_convolution
from bitspike.integer.engine import TorchEngine
from bitspike.integer.network import IntegerNetwork, Integers
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


def test_the_debug_networks_prove_themselves() -> None:
    for net in (one_convolution(), convolution_and_pool()):
        assert verify(net).equal
