"""Repair what is left of the conversion error, layer by layer: bias, initial potential, weights.

A converted layer decodes to a_hat = lambda N / T where the float network says a_ref = clamp(a, 0, lambda). In the order
of data flow, so that every layer reads inputs that are corrected already:

    bias        b_c  += mean(a_ref - a_hat)            over samples and places, per channel
    potential   v0_c += T mean(a_ref - a_hat)          the same charge, given once instead of at every step
    weights     minimize |Q(W r + b) - a_ref|^2        Q rounds to T levels as the neuron does, straight-through

Everything is measured again after every change, and a change that made the error larger is taken back.

Source: Li et al., ICML 2021 (arXiv 2106.06984), section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from bitspike.errors import ConstraintError
from bitspike.nn.clip_floor_shift import clip_floor_shift

SAMPLES = 1024
"""Samples that the weights of a layer are calibrated on at most."""

Delta = Callable[[Tensor, Tensor], Tensor]
"""From a_ref and a_hat, both [N, C, ...], to what is added to the value that is corrected."""


class CorrectedLayer(Protocol):
    """One layer of a spiking network that can be measured, and one value of it that can be changed."""

    def reference(self) -> Tensor:
        """Return a_ref [N, C, ...]: the activations of the float network, clipped to [0, lambda]."""
        ...

    def decoded(self) -> Tensor:
        """Return a_hat [N, C, ...] of the spiking network as it is now, in the same order of samples."""
        ...

    def read(self) -> Tensor:
        """Return the value that is corrected, in real units: bias or initial potential, [C]."""
        ...

    def write(self, value: Tensor) -> None:
        """Set it; it may be rounded to the layer's grid, and what ``read`` gave is restored exactly."""
        ...


class Correction(NamedTuple):
    """One attempt: the mean squared error before and after it, and whether it stays."""

    before: float
    after: float
    kept: bool


def bias_delta(reference: Tensor, decoded: Tensor) -> Tensor:
    """Return what a bias lacks, float64 [C]: the mean of ``reference - decoded``, both [N, C, ...], without axis C.

    Example:
        >>> bias_delta(torch.tensor([[1.0, 2.0], [3.0, 2.0]]), torch.tensor([[0.5, 2.5], [2.5, 2.0]])).tolist()
        [0.5, -0.25]
    """
    _same(reference, decoded)
    return (reference.double() - decoded.double()).transpose(0, 1).flatten(1).mean(1)


def potential_delta(reference: Tensor, decoded: Tensor, *, steps: int) -> Tensor:
    """Return what an initial potential lacks: ``steps`` times what :func:`bias_delta` gives, float64 [C].

    Example:
        >>> potential_delta(torch.tensor([[1.0]]), torch.tensor([[0.75]]), steps=4).tolist()
        [1.0]
    """
    return steps * bias_delta(reference, decoded)


def _same(reference: Tensor, decoded: Tensor) -> None:
    if reference.shape != decoded.shape or reference.dim() < 2 or not reference.numel():
        raise ConstraintError(
            f"a reference of {list(reference.shape)} and decoded activations of {list(decoded.shape)}: needed are two "
            "of [N, C, ...] with at least one sample",
            fix="measure both on the same samples, batch first",
        )


def error_of(reference: Tensor, decoded: Tensor) -> float:
    """Return the mean squared error between two tensors of one shape."""
    _same(reference, decoded)
    return float((reference.double() - decoded.double()).square().mean())


@torch.no_grad()
def correct(layer: CorrectedLayer, delta: Delta = bias_delta, *, passes: int = 1) -> tuple[Correction, ...]:
    """Correct one layer in place, keeping only what makes its measured error no larger.

    Args:
        layer: layers come in the order of data flow. Measure on at least 256 samples that are not those of the test.
        delta: what to add; :func:`bias_delta`, or :func:`potential_delta` with its steps bound.
        passes: how often to measure and add; one or two are enough.
    """
    attempts = []
    for _ in range(passes):
        reference, decoded, old = layer.reference(), layer.decoded(), layer.read().clone()
        layer.write(old + delta(reference, decoded).to(old))
        before, after = error_of(reference, decoded), error_of(reference, layer.decoded())
        attempts.append(Correction(before, after, kept=after <= before))  # not where an error is NaN
        if not attempts[-1].kept:
            layer.write(old)
    return tuple(attempts)


def calibrate_weight(
    weight: Tensor,
    inputs: Tensor,
    reference: Tensor,
    apply: Callable[[Tensor, Tensor], Tensor],
    *,
    threshold: Tensor,
    steps: int,
    initial: float = 0.5,
    quantize: Callable[[Tensor], Tensor] | None = None,
    added: Tensor | None = None,
    iterations: int = 500,
    batch: int = 32,
    lr: float = 1e-3,
    seed: int = 0,
) -> Tensor:
    """Return weights with which a layer's quantized output comes closer to the float network's.

        W* = argmin |Q(apply(r, q(W)) + added) - a_ref|^2
        Q(y) = threshold floor(clamp(T y / threshold + initial, 0, T)) / T

    by Adam with a cosine to 0. The error on all samples is measured now and then, and the best weights win: those
    that were given, if nothing was better.

    Args:
        weight: where to start, the float master weights.
        inputs: [N, ...] what the spiking network's earlier layers decode to; the first 1024 samples count.
        reference: [N, C, ...] activations of the float network.
        apply: the layer, such as ``functools.partial(F.conv2d, padding=1)``.
        threshold: lambda of the layer, a scalar, [1] or [C].
        quantize: q with its gradient, such as ``Uniform(4).quantize``; None leaves weights real.
        added: [N, C, ...] what else the neurons add up, such as a shortcut.
        lr: learning rate in units of the root mean square of the weights.

    Example:
        >>> x = torch.rand(64, 3, generator=torch.Generator().manual_seed(0))
        >>> wanted = x @ torch.tensor([[0.5, 0.2, 0.1]]).T
        >>> w = calibrate_weight(torch.zeros(1, 3) + 0.1, x, wanted, torch.nn.functional.linear,
        ...     threshold=torch.tensor(1.0), steps=64, iterations=100, lr=0.5)
        >>> (w - torch.tensor([[0.5, 0.2, 0.1]])).abs().max().item() < 0.02
        True
    """
    x, y = inputs[:SAMPLES].detach(), reference[:SAMPLES].detach()
    top, through = threshold.detach().to(weight), quantize or (lambda w: w)
    start = weight.detach()

    def miss(w: Tensor, at: Tensor | slice) -> Tensor:
        charge = apply(x[at], through(w))
        charge = charge if added is None else charge + added[at]
        return (clip_floor_shift(charge, top, steps, initial) - y[at]).square().mean()

    def whole(w: Tensor) -> float:
        with torch.no_grad():
            return sum(float(miss(w, slice(i, i + 256))) * len(x[i : i + 256]) for i in range(0, len(x), 256)) / len(x)

    best, least = start.clone(), whole(start)
    w = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([w], lr=lr * float(start.square().mean().sqrt().clamp(min=1e-12)))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    generator = torch.Generator().manual_seed(seed)
    for i in range(iterations):
        at = torch.randint(len(x), (min(batch, len(x)),), generator=generator).to(x.device)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(miss(w, at), w)
        w.grad = gradient
        optimizer.step()
        schedule.step()
        if (i + 1) % max(1, iterations // 10) == 0 or i + 1 == iterations:
            error = whole(w)
            if error < least:
                best, least = w.detach().clone(), error
    return best
