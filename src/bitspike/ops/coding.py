"""From images to spikes: signed Bernoulli draws, or an even rate without randomness."""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.ops.precision import single


def bernoulli(x: Tensor, steps: int, *, divisor: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Draw signed Bernoulli spikes whose rate is the magnitude: P(spike) = min(|x| / divisor, 1), amplitude sign(x).

    A spike falls where ``u * divisor < |x|`` with u uniform in [0, 1), so zero never spikes and
    ``|x| >= divisor`` always does. Source: the input coder of BNTT, Kim and Panda 2021, with divisor 2.

    Args:
        x: [N, ...] real.
        steps: T, at least 1.
        divisor: the magnitude that spikes with certainty, above 0.
        generator: source of the random numbers; None draws from torch's own.

    Returns:
        [T, N, ...] with values in {-1, 0, 1}. Fewer steps from the same state of the source are the beginning of it.

    Example:
        >>> bernoulli(torch.tensor([2.0, -2.0, 0.0]), steps=2, divisor=2.0).tolist()
        [[1.0, -1.0, 0.0], [1.0, -1.0, 0.0]]
    """
    # Drawn where the generator lives, so that one seed gives the same spikes on every device; and step by step, so that
    # fewer steps draw the beginning of the same spikes: CUDA deals out the numbers of one call by its size.
    device = x.device if generator is None else generator.device
    draws = [torch.rand(x.shape, generator=generator, device=device, dtype=x.dtype) for _ in range(steps)]
    u = torch.stack(draws).to(x.device)
    return (u * divisor < x.abs()).to(x.dtype) * x.sign()


def even_rate(x: Tensor, steps: int) -> Tensor:
    """Spread round(x * T) spikes evenly over T steps, without randomness; x is clipped to [0, 1].

    Step t (from 1) fires where floor(n * t / T) rises, n being the number of spikes.

    ``x`` is [N, ...]; the spikes are [T, N, ...] in {0, 1}, their sum over T is round(clip(x, 0, 1) * T), ties to even.

    Example:
        >>> even_rate(torch.tensor([0.5, 1.0]), steps=4)[:, 0].tolist()
        [0.0, 1.0, 0.0, 1.0]
    """
    # Counts need at least single precision: bfloat16 holds whole numbers up to 256 only, and n * t soon lies above.
    wide = single(x)
    n = torch.round(wide.clamp(0, 1) * steps)
    t = torch.arange(steps + 1, device=x.device, dtype=wide.dtype).view(-1, *[1] * x.dim())
    return torch.diff(torch.floor(n * t / steps), dim=0).to(x.dtype)
