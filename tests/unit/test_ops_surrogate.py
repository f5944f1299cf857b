"""Surrogates: their values worked out by hand, their area, and how a spike uses them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bitspike.errors import ConstraintError
from bitspike.ops.surrogate import (
    ArcTan,
    Fire,
    PiecewiseExponential,
    Rectangle,
    Sigmoid,
    Surrogate,
    Triangle,
    check_fire,
    spike,
)


def gradient(distance: Tensor, surrogate: Surrogate, fire: Fire = "ge") -> Tensor:
    distance = distance.clone().requires_grad_()
    spike(distance, surrogate, fire).sum().backward()
    assert distance.grad is not None
    return distance.grad


def test_hybrid_check_03_the_triangle_of_bntt_is_a_tent_of_height_0_3() -> None:
    v = torch.tensor([0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0])
    slope = gradient(v, Triangle(width=1.0, height=0.3), "gt")
    torch.testing.assert_close(slope, torch.tensor([0.3, 0.15, 0.15, 0.0, 0.0, 0.0, 0.0]))


def test_qat_check_03_the_rectangle_is_one_near_the_threshold_and_exactly_zero_outside() -> None:
    threshold = 0.4
    u = torch.tensor([-0.11, -0.09, 0.0, 0.4, 0.41, 0.89, 0.91, 2.0])
    assert gradient(u - threshold, Rectangle(width=1.0), "gt").tolist() == [0, 1, 1, 1, 1, 1, 0, 0]

    around_zero = Rectangle(width=1.0, center=-threshold)
    u = torch.tensor([-0.51, -0.49, 0.0, 0.4, 0.49, 0.51])
    assert gradient(u - threshold, around_zero, "gt").tolist() == [0, 1, 1, 1, 1, 0]


def test_the_rectangle_is_open_at_its_edges() -> None:
    assert Rectangle(width=0.5).derivative(torch.tensor([-0.25, 0.25])).tolist() == [0.0, 0.0]
    assert Rectangle(width=0.5).derivative(torch.tensor([0.0])).tolist() == [2.0]


@pytest.mark.parametrize(
    ("surrogate", "at", "expected"),
    [
        (Triangle(width=2.0), 1.0, 0.25),
        (ArcTan(alpha=2.0), 1.0, 1 / (1 + torch.pi**2)),
        (Sigmoid(alpha=2.0), 0.5, 2 * 0.7310585786300049 * 0.2689414213699951),
        (PiecewiseExponential(alpha=2.0), -0.5, 0.36787944117144233),
    ],
)
def test_values_worked_out_by_hand(surrogate: Surrogate, at: float, expected: float) -> None:
    slope = surrogate.derivative(torch.tensor(at, dtype=torch.float64)).item()
    assert slope == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "surrogate",
    [Rectangle(width=0.7), Triangle(width=0.7), ArcTan(alpha=3.0), Sigmoid(alpha=3.0), PiecewiseExponential(alpha=3.0)],
    ids=lambda s: type(s).__name__,
)
def test_a_step_of_one_has_a_derivative_of_area_one(surrogate: Surrogate) -> None:
    x = torch.linspace(-400, 400, 1_600_001, dtype=torch.float64)
    assert torch.trapezoid(surrogate.derivative(x), x).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_spike_is_a_number_of_the_type_it_was_asked_in(dtype: torch.dtype) -> None:
    x = torch.tensor([-1.0, 0.0, 1.0], dtype=dtype, requires_grad=True)
    for fire, expected in (("ge", [0, 1, 1]), ("gt", [0, 0, 1])):
        s = spike(x, ArcTan(), fire)  # type: ignore[arg-type]
        assert s.dtype == dtype
        assert s.tolist() == expected
    assert gradient(x.detach(), Rectangle()).dtype == dtype


def test_a_spike_keeps_the_shape_and_the_memory_layout() -> None:
    x = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert spike(x, ArcTan()).is_contiguous(memory_format=torch.channels_last)
    assert spike(torch.zeros(0, 3), ArcTan()).shape == (0, 3)


def test_the_incoming_gradient_is_multiplied() -> None:
    x = torch.zeros(2, requires_grad=True)
    (spike(x, Rectangle(width=0.5)) * torch.tensor([3.0, -1.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [6.0, -2.0]


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_width_must_be_finite_and_positive(value: float) -> None:
    for build in (
        lambda: Rectangle(width=value),
        lambda: Triangle(width=value),
        lambda: Triangle(height=value),
        lambda: ArcTan(alpha=value),
        lambda: Sigmoid(alpha=value),
        lambda: PiecewiseExponential(alpha=value),
    ):
        with pytest.raises(ConstraintError, match="must be finite and above 0"):
            build()


def test_a_center_must_be_finite() -> None:
    with pytest.raises(ConstraintError, match=r"ArcTan\(center=nan\): must be finite"):
        ArcTan(center=float("nan"))


def test_an_unknown_comparison_is_refused_with_the_allowed_ones() -> None:
    with pytest.raises(ConstraintError, match=r"'ge'.*'gt'"):
        check_fire(">")


def test_the_base_has_no_shape_of_its_own() -> None:
    with pytest.raises(NotImplementedError):
        Surrogate().derivative(torch.zeros(1))
