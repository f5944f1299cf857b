"""Multipliers of constrained backpropagation: one per weight, raised by Adam along the constraint, never lowered."""

from __future__ import annotations

from torch import Tensor

BETAS, EPS = (0.9, 0.999), 1e-8


def raise_multiplier(
    multiplier: Tensor, moments: tuple[Tensor, Tensor], violation: Tensor, *, updates: int, lr: float
) -> None:
    """Make one step of Adam up the constraint, in place.

        m = 0.9 m + 0.1 cs;   v = 0.999 v + 0.001 cs**2
        multiplier += lr * (m / (1 - 0.9**n)) / (sqrt(v / (1 - 0.999**n)) + 1e-8)

    Both moments are sums of numbers >= 0, so a multiplier never falls. One step adds about ``lr`` to every weight that
    violates its constraint, however much, and nothing where a weight never did.

    Args:
        multiplier: one per weight, >= 0.
        moments: the first and second moments, of its shape.
        violation: cs of every weight, >= 0.
        updates: n, the number of this step, from 1.
        lr: learning rate of the multipliers.

    Source: Kim and Jeong, NeurIPS 2021, arXiv 2110.02550, section 3; Adam: Kingma and Ba, ICLR 2015, algorithm 1.

    Example:
        >>> import torch
        >>> multiplier, m, v = torch.zeros(2), torch.zeros(2), torch.zeros(2)
        >>> raise_multiplier(multiplier, (m, v), torch.tensor([0.5, 0.0]), updates=1, lr=0.01)
        >>> [round(x, 6) for x in multiplier.tolist()]
        [0.01, 0.0]
    """
    first, second = moments
    first.mul_(BETAS[0]).add_(violation, alpha=1 - BETAS[0])
    second.mul_(BETAS[1]).addcmul_(violation, violation, value=1 - BETAS[1])
    size = second.div(1 - BETAS[1] ** updates).sqrt_().add_(EPS)
    multiplier.addcdiv_(first, size, value=lr / (1 - BETAS[0] ** updates))
