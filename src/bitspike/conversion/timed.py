"""What networks that run T steps side by side in the batch share: the choice of neuron, spikes worth a clip."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.nn import CountMaxPool, Neuron
from bitspike.nn.layers import bare, plain
from bitspike.nn.time import repeated
from bitspike.ops.precision import single


def need_counting(neuron: object, where: str) -> None:
    """Refuse what is no class of neurons whose spike counts stand for values.

    Args:
        neuron: the argument of that name.
        where: the function that was called.

    Raises:
        ConstraintError: it is neither ``bs.IF`` nor ``bs.SignedIF`` nor another counting neuron.
    """
    if not (isinstance(neuron, type) and issubclass(neuron, Neuron) and neuron.counts):
        raise ConstraintError(
            f"{where}(neuron={neuron!r}): allowed are bs.IF and bs.SignedIF",
            fix="neuron=bs.SignedIF takes back spikes that came too early, neuron=bs.IF sends no spike of -1",
        )


def by_step(x: Tensor, steps: int) -> Tensor:
    """Return [T, N, ...] of values [T N, ...] that hold all samples of the first step first."""
    return x.unflatten(0, (steps, -1))  # type: ignore[no-untyped-call,no-any-return]


def spikes_worth(x: Tensor, clip: Tensor, neuron: nn.Module, steps: int, *, steady: bool = False) -> Tensor:
    """Run a neuron of threshold 1 on currents in units of the clip, and let a spike be worth the clip again.

        y[t] = clip * neuron(x[1..T] / clip)[t]

    So the threshold is the clip, and the clip has its gradient. One pass over memory where there is a kernel for it.

    Args:
        x: [T N, C, ...] currents, all samples of the first step first; or, if ``steady``, the one current [N, C, ...]
            of every step.
        clip: a scalar above 0, or a tensor that broadcasts against ``x``.
        neuron: from currents [T, N, ...] to spikes.
        steps: T.

    Returns:
        [T N, C, ...] in the dtype of ``x``.
    """
    if isinstance(neuron, Neuron) and type(neuron).forward is Neuron.forward and bare(neuron) and plain(x):
        fused = neuron.fused(repeated(x, steps) if steady else by_step(x, steps), worth=clip)
        if fused is not None:
            return fused.flatten(0, 1)
    currents = single(x) / clip
    spikes = cast(Tensor, neuron(repeated(currents, steps) if steady else by_step(currents, steps)))
    return (spikes * clip).flatten(0, 1).to(x.dtype)


class MaxPoolOfCounts(nn.Module):
    """The maximum of spike counts, for spikes [T N, C, ...] that are worth something."""

    def __init__(self, pool: CountMaxPool, steps: int) -> None:
        super().__init__()
        self.pool, self.steps = pool, steps

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.pool(by_step(x, self.steps))).flatten(0, 1)
