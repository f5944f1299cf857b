"""Time as the first axis: adding it, carrying stateless layers over it, taking it away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.nn.layers import call, plain
from bitspike.nn.norms.shift import ShiftBatchNorm, ThresholdBatchNorm
from bitspike.ops.coding import bernoulli, even_rate


def _check_steps(steps: int, owner: str) -> None:
    if not (isinstance(steps, int) and steps >= 1):
        raise ConstraintError(f"{owner}(steps={steps!r}): a whole number of at least 1 is needed")


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
            raise ConstraintError(f"BernoulliCoder(divisor={divisor}): must be above 0")
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


class TimeDistributed(nn.Sequential):
    """Carry ordinary layers over time: T is folded into N once, the layers run in order, and T is unfolded.

    The layers must be stateless in time; a batch norm inside pools its statistics over time as well.

    Example:
        >>> TimeDistributed(nn.Conv2d(1, 8, 3), nn.AvgPool2d(2))(torch.zeros(4, 2, 1, 10, 10)).shape
        torch.Size([4, 2, 8, 4, 4])
    """

    def forward(self, input: Tensor) -> Tensor:
        return self.run(input, list(self))

    def run(self, input: Tensor, layers: list[nn.Module]) -> Tensor:
        """Carry some layers over time, [T, N, ...] to [T, N, ...]; all of them are what a call does."""
        steps, samples = input.shape[:2]
        x = input
        # A repeated image has stride 0 over time: the layers in front see it once, and their result is repeated.
        if steps > 1 and input.stride(0) == 0:
            once = next((i for i, layer in enumerate(layers) if not _same_for_equal_inputs(layer)), len(layers))
            x = input[0]
            for layer in layers[:once]:
                x = call(layer, x)
            x, layers = _repeated(x, steps), layers[once:]
            if not layers:
                return x
        x = x.flatten(0, 1)
        for layer in layers:
            x = call(layer, x)
        return x.view(steps, samples, *x.shape[1:])


class _Repeated(torch.autograd.Function):
    """``expand``, whose gradient adds the steps one after the other: six times as fast as a sum over them on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, steps: int) -> Tensor:
        return x.expand(steps, *x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        first, *others = grads[0].unbind(0)
        # Half precision is rounded once, at the end.
        total = first.float() if first.dtype in (torch.bfloat16, torch.float16) else first
        for other in others:
            total = total + other if total is first else total.add_(other)
        return total.to(first.dtype), None


def _repeated(x: Tensor, steps: int) -> Tensor:
    return cast(Tensor, _Repeated.apply(x, steps)) if x.requires_grad and plain(x) else x.expand(steps, *x.shape)


_PURE = (
    nn.modules.conv._ConvNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._MaxPoolNd,
    nn.Linear,
    nn.Flatten,
    nn.Identity,
)
_PURE_IN_EVALUATION = (nn.modules.batchnorm._BatchNorm, ThresholdBatchNorm, ShiftBatchNorm)


def _same_for_equal_inputs(layer: nn.Module) -> bool:
    """Tell whether equal samples surely give equal outputs and leave no trace: no dropout, no batch statistics.

    A user's subclass with a forward of its own may draw noise per sample, so it is not trusted.
    """
    kinds = _PURE if layer.training else _PURE + _PURE_IN_EVALUATION
    return isinstance(layer, kinds) and type(layer).forward.__module__.startswith(("torch.nn.", "bitspike."))


class RateReadout(nn.Module):
    """Average over time: [T, N, ...] to [N, ...].

    Example:
        >>> RateReadout()(torch.tensor([[[1.0]], [[0.0]]])).tolist()
        [[0.5]]
    """

    def forward(self, x: Tensor) -> Tensor:
        # In half precision a sum over time would lose counts; the logits are few, so they are kept wide.
        return (x.float() if x.dtype in (torch.bfloat16, torch.float16) else x).mean(0)


class SumReadout(nn.Module):
    """Add up over time: [T, N, ...] to [N, ...].

    Example:
        >>> SumReadout()(torch.tensor([[[1.0]], [[1.0]]])).tolist()
        [[2.0]]
    """

    def forward(self, x: Tensor) -> Tensor:
        return (x.float() if x.dtype in (torch.bfloat16, torch.float16) else x).sum(0)


@contextmanager
def set_steps(model: nn.Module, steps: int) -> Iterator[None]:
    """Run a model with another number of steps for the length of a block.

    Args:
        model: holds at least one encoder (:class:`Repeat` or a coder).
        steps: T inside the block, at least 1.

    Raises:
        ConstraintError: ``steps`` is below 1, or the model has no encoder.

    Example:
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
            fix="put bs.Repeat(steps=...) in front, or give the model fewer steps of input",
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
