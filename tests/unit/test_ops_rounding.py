"""Rounding with a gradient: exact values, and where the gradient goes."""

from __future__ import annotations

import torch

from bitspike.ops.rounding import floor_through, pass_where, round_through, straight_through


def test_the_value_passes_bit_for_bit_and_the_gradient_whole() -> None:
    latent = torch.randn(1000, requires_grad=True)
    value = torch.randn(1000) * 1e3
    out = straight_through(value, latent)
    assert torch.equal(out, value)  # latent + (value - latent).detach() would miss last bits
    assert not torch.equal((latent + (value - latent)).detach(), value)
    factor = torch.randn(1000)
    (out * factor).sum().backward()
    assert latent.grad is not None
    assert torch.equal(latent.grad, factor)


def test_the_value_itself_gets_no_gradient() -> None:
    value, latent = torch.zeros(2, requires_grad=True), torch.ones(2, requires_grad=True)
    straight_through(value, latent).sum().backward()
    assert value.grad is None


def test_a_mask_or_a_factor_narrows_the_gradient() -> None:
    latent = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    pass_where(torch.zeros(3), latent, torch.tensor([1.0, 0.0, 0.5])).sum().backward()
    assert latent.grad is not None
    assert latent.grad.tolist() == [1.0, 0.0, 0.5]


def test_rounding_to_a_step_has_ties_to_even_and_flooring_goes_down() -> None:
    x = torch.tensor([0.125, 0.375, -0.125, -0.3], requires_grad=True)
    assert round_through(x, 0.25).tolist() == [0.0, 0.5, 0.0, -0.25]
    assert floor_through(x, 0.25).tolist() == [0.0, 0.25, -0.25, -0.5]
    (round_through(x, 0.25) + floor_through(x, 0.25)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0] * 4
