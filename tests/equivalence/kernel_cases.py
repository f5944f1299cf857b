"""What the tests of the fused kernels share: inputs in every layout, and both ways to the same spikes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bitspike.kernels import activation, neuron, norm
from bitspike.nn import Neuron

BUILT = all(part.library() is not None for part in (neuron, norm, activation))
"""Whether there are libraries to compare; without a compiler both ways are plain torch."""

LAYOUTS = ("contiguous", "channels last")


def noise(*shape: int, seed: int = 0, layout: str = "contiguous", dtype: torch.dtype = torch.float32) -> Tensor:
    """Return normal numbers [T, N, C, ...] in a layout of memory."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return x.movedim(2, -1).contiguous().movedim(-1, 2) if layout == "channels last" else x


def gradients(out: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Return gradients of a weighted sum of ``out``, in double precision."""
    weight = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape).to(out.dtype)
    return [g.double() for g in torch.autograd.grad((out * weight).float().sum(), leaves)]


def both(module: Neuron, x: Tensor) -> tuple[tuple[Tensor, list[Tensor]], tuple[Tensor, list[Tensor]]]:
    """Run forward and backward through the fused and through the plain loop; spikes and all gradients of each."""
    results = []
    runs: list[Callable[[Tensor], Tensor]] = [module.forward, lambda x: module.scan(x)[0]]
    for run in runs:
        leaf = x.detach().requires_grad_()
        out = run(leaf)
        results.append((out.detach(), gradients(out, [leaf, *module.parameters()])))
    return results[0], results[1]


def assert_close(found: Tensor, wanted: Tensor, tolerance: float, least: float = 1e-6) -> None:
    """Compare by the largest value, at least ``least``, as gradients are sums of terms of either sign."""
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= tolerance * wanted.abs().max().clamp(min=least)


def assert_same(module: Neuron, x: Tensor, tolerance: float = 1e-5) -> None:
    """Spikes equal bit for bit, gradients to rounding; and the fused loop really is what ran."""
    assert not BUILT or module.fused(x) is not None
    (spikes, grads), (plain_spikes, plain_grads) = both(module, x)
    assert torch.equal(spikes, plain_spikes)
    for grad, plain in zip(grads, plain_grads, strict=True):
        assert_close(grad, plain, tolerance)
