"""Grids and the nearest m / 2**k, worked out by hand."""

from __future__ import annotations

import pytest
import torch

from bitspike.errors import ConstraintError
from bitspike.ops.grids import Dyadic, Grid, dyadic


@pytest.mark.parametrize(
    ("low", "high", "bits"), [(0, 1, 1), (0, 255, 8), (0, 256, 9), (-1, 0, 1), (-128, 127, 8), (-1, 1, 2), (-129, 0, 9)]
)
def test_bits_of_a_grid(low: int, high: int, bits: int) -> None:
    assert Grid(1.0, low, high).bits == bits


def test_a_grid_rounds_to_the_nearest_code_and_clips() -> None:
    grid = Grid(scale=0.5, low=-2, high=3)
    x = torch.tensor([-9.0, -1.0, -0.74, 0.2, 0.26, 1.5, 9.0])
    codes = grid.encode(x)
    assert codes.dtype == torch.int64
    assert codes.tolist() == [-2, -2, -1, 0, 1, 3, 3]
    assert grid.decode(codes).tolist() == [-1.0, -1.0, -0.5, 0.0, 0.5, 1.5, 1.5]


def test_a_grid_tells_whether_it_holds_a_tensor() -> None:
    pixels = torch.arange(256) * (1 / 255)
    assert Grid(1 / 255, 0, 255).holds(pixels)
    assert not Grid(1 / 255, 0, 254).holds(pixels)
    assert not Grid(1 / 255, 0, 255).holds(pixels + 1e-4)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_must_be_finite_and_positive(scale: float) -> None:
    with pytest.raises(ConstraintError, match=r"Grid\(scale=.*must be finite and above 0"):
        Grid(scale, 0, 1)


@pytest.mark.parametrize(("low", "high"), [(0, 0), (1, 0)])
def test_a_range_must_not_be_empty(low: int, high: int) -> None:
    with pytest.raises(ConstraintError, match="low must be below high"):
        Grid(1.0, low, high)


@pytest.mark.parametrize(
    ("value", "bits", "expected"),
    [
        (0.0, 8, Dyadic(0, 0)),
        (1.0, 1, Dyadic(1, 0)),
        (0.25, 1, Dyadic(1, 2)),
        (0.9, 4, Dyadic(7, 3)),
        (0.9, 8, Dyadic(115, 7)),  # 230/256
        (0.95, 8, Dyadic(243, 8)),
        (2 / 3, 3, Dyadic(5, 3)),
        (0.999, 2, Dyadic(1, 0)),
        (3.0, 2, Dyadic(3, 0)),
        (255.4, 8, Dyadic(255, 0)),
    ],
)
def test_the_nearest_dyadic(value: float, bits: int, expected: Dyadic) -> None:
    assert dyadic(value, bits=bits) == expected


def test_numbers_near_the_end_of_the_range_of_floats() -> None:
    smallest = 5e-324
    assert dyadic(smallest) == Dyadic(1, 1074)
    assert float(dyadic(smallest)) == smallest
    assert float(dyadic(2.0**-1060)) == 2.0**-1060


@pytest.mark.parametrize(
    ("value", "bits", "message"),
    [
        (-0.5, 8, "a finite number >= 0 is needed"),
        (float("nan"), 8, "a finite number >= 0 is needed"),
        (float("inf"), 8, "a finite number >= 0 is needed"),
        (0.5, 0, "1 to 24 bits are possible"),
        (0.5, 25, "1 to 24 bits are possible"),
        (1000.0, 8, "the largest number of 8 bits is 255"),
        (255.9, 8, "the largest number of 8 bits is 255"),
    ],
)
def test_what_has_no_dyadic_is_refused(value: float, bits: int, message: str) -> None:
    with pytest.raises(ConstraintError, match=message):
        dyadic(value, bits=bits)


def test_more_bits_may_make_a_number_dyadic() -> None:
    assert float(dyadic(257 / 512, bits=8)) != 257 / 512
    assert float(dyadic(257 / 512, bits=9)) == 257 / 512
