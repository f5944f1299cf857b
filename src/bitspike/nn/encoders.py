"""What makes [T, N, ...] of [N, ...]: an input at every step, spikes at random, spikes spread evenly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bitspike.arguments import checked, checked_last
from bitspike.errors import ConstraintError
from bitspike.ops.coding import bernoulli, even_rate


def _check_steps(steps: int, owner: str) -> None:
    if not (isinstance(steps, int) and steps >= 1):
        raise ConstraintError(f"{owner}(steps={steps!r}): a whole number of at least 1 is needed", fix="steps=4")


@checked
class Encoder(nn.Module):
    """The base of what turns [N, ...] into [T, N, ...]; ``steps`` is T and may be changed at any time."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        _check_steps(steps, type(self).__name__)
        self.steps = steps

    def extra_repr(self) -> str:
        return f"steps={self.steps}"


class Repeat(Encoder):
    """Present the same input at every step (direct coding): [N, ...] to [T, N, ...], without a copy.

    Example:
        >>> Repeat(steps=4)(torch.zeros(2, 3)).shape
        torch.Size([4, 2, 3])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.expand(self.steps, *x.shape)


@checked
class BernoulliCoder(Encoder):
    """Draw signed spikes at random, with a rate of ``min(|x| / divisor, 1)``: [N, ...] to [T, N, ...].

    Args:
        steps: T.
        divisor: magnitude that spikes at every step.
        generator: source of the random numbers; None draws from torch's own.

    Example:
        >>> BernoulliCoder(steps=3, divisor=2.0)(torch.tensor([[-2.0]])).flatten().tolist()
        [-1.0, -1.0, -1.0]
    """

    def __init__(self, steps: int, *, divisor: float = 1.0, generator: torch.Generator | None = None) -> None:
        super().__init__(steps)
        if not divisor > 0:
            raise ConstraintError(
                f"BernoulliCoder(divisor={divisor}): must be above 0", fix="divisor=1.0, for inputs from -1 to 1"
            )
        self.divisor = divisor
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        return bernoulli(x, self.steps, divisor=self.divisor, generator=self.generator)


class RateCoder(Encoder):
    """Spread round(x * T) spikes evenly over time, x in [0, 1]: [N, ...] to [T, N, ...], without randomness.

    Example:
        >>> RateCoder(steps=4)(torch.tensor([[0.5]])).flatten().tolist()
        [0.0, 1.0, 0.0, 1.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        return even_rate(x, self.steps)


@checked_last
@contextmanager
def set_steps(model: nn.Module, steps: int) -> Iterator[None]:
    """Run a model with another number of steps for the length of a block.

    Args:
        model: holds at least one encoder (:class:`Repeat` or a coder).
        steps: T inside the block, at least 1.

    Raises:
        ConstraintError: ``steps`` is below 1, or the model has no encoder.

    Example:
        >>> from bitspike.nn import RateReadout
        >>> model = nn.Sequential(Repeat(steps=4), RateReadout())
        >>> with set_steps(model, 2):
        ...     model[0].steps
        2
        >>> model[0].steps
        4
    """
    encoders = [m for m in model.modules() if isinstance(m, Encoder)]
    if not encoders:
        raise ConstraintError(
            f"{type(model).__name__} has no bs.Repeat or coder whose steps could be changed",
            fix="put bs.Repeat(steps=...) before its first layer, or give the model fewer steps of input",
        )
    _check_steps(steps, "set_steps")
    before = [e.steps for e in encoders]
    try:
        for e in encoders:
            e.steps = steps
        yield
    finally:
        for e, s in zip(encoders, before, strict=True):
            e.steps = s
