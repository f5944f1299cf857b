"""A batch norm for every time step: statistics and a gain of its own at each of T steps, and no shift."""

from __future__ import annotations

import math
import re
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.nn.norms.base import AffineNorm
from bitspike.ops.grids import is_power_of_two
from bitspike.ops.rounding import round_through


@checked
class BatchNormThroughTime(AffineNorm):
    """T batch norms, one for every time step, each with statistics and a gain of its own (BNTT).

    y[t] = weight[t] * (x[t] - mean[t]) / sqrt(var[t] + eps), per channel; mean and var over batch and space, in
    evaluation the running ones of step t. There is no shift. The gains ``weight``, gamma in the paper, form the firing
    rate over time. A run may be shorter than T steps, then it is the beginning of the whole one.
    ``load_state_dict`` also reads the entries of a list of T batch norms, as the paper's code, snnTorch and
    SpikingJelly keep them.

    Args:
        channels: C.
        steps: T, the most steps that it can run.
        eps, momentum: as torch's batch norms; the defaults are those of the paper's code.
        grid: a power of two of which the gains weight[t] / sqrt(var[t] + eps) and the shifts -mean[t] * gain are whole
            multiples, in training as in evaluation: y[t] = gain * x[t] + shift. With weights on a dyadic grid integers
            then do what the network does, bit for bit. None keeps real numbers, which integers hold rounded.

    Shape: [t, N, C, ...] with 1 <= t <= T to the same. ``TimeDistributed`` hands it all steps.
    Source: Kim and Panda, Frontiers in Neuroscience 15 (2021), arXiv 2010.01729, eq. 6-7 and algorithm 1.

    Raises:
        ConstraintError: more than T steps, other channels, or in training fewer than two values per channel and step.

    Example:
        >>> norm = BatchNormThroughTime(2, steps=3).eval()
        >>> with torch.no_grad():
        ...     norm.weight[1] = 0.0
        >>> norm(torch.ones(3, 1, 2)).mean(2).flatten().round(decimals=3).tolist()
        [1.0, 0.0, 1.0]
    """

    by_step = True
    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, channels: int, *, steps: int, eps: float = 1e-4, momentum: float = 0.1, grid: float | None = None
    ) -> None:
        super().__init__(channels)
        if isinstance(steps, bool) or not (isinstance(steps, int) and steps >= 1):
            raise ConstraintError(
                f"BatchNormThroughTime({channels}, steps={steps!r}): a whole number of at least 1 is needed",
                fix="the steps of the network: BatchNormThroughTime(channels, steps=20)",
            )
        if grid is not None and not is_power_of_two(grid):
            raise ConstraintError(
                f"BatchNormThroughTime(grid={grid}): must be a power of two, or None for real numbers", fix="grid=2**-8"
            )
        if not (isinstance(momentum, int | float) and 0 <= momentum <= 1 and 0 < eps < math.inf):
            raise ConstraintError(
                f"BatchNormThroughTime(eps={eps}, momentum={momentum}): needed are an eps above 0 and a momentum from "
                "0 to 1, the share of each batch in the running statistics",
                fix="eps=1e-4, momentum=0.1",
            )
        self.steps, self.eps, self.momentum, self.grid = steps, eps, momentum, grid
        self.weight = nn.Parameter(torch.ones(steps, channels))
        self.register_buffer("running_mean", torch.zeros(steps, channels))
        self.register_buffer("running_var", torch.ones(steps, channels))

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        if self.grid is not None:
            return self._on_grid(x)
        gains = self.weight.unbind(0)
        normalized = [
            F.batch_norm(
                x[t], self.running_mean[t], self.running_var[t], gains[t], None, self.training, self.momentum, self.eps
            )
            for t in range(len(x))
        ]
        return torch.stack(normalized)

    def _on_grid(self, x: Tensor) -> Tensor:
        steps, axes = len(x), [1, *range(3, x.dim())]
        mean, var = self.running_mean[:steps], self.running_var[:steps]
        if self.training:
            wide = x.to(mean.dtype)
            batch_var, batch_mean = torch.var_mean(wide, axes, correction=0)
            count = x[0].numel() / self.channels
            with torch.no_grad():
                mean.lerp_(batch_mean, self.momentum)
                var.lerp_(batch_var * (count / (count - 1)), self.momentum)
            mean, var = batch_mean, batch_var
        # In double precision, as for the integers: both round the same number.
        gain, shift = (
            values.to(x.dtype).view(steps, 1, -1, *[1] * (x.dim() - 3)) for values in self._numbers(mean, var)
        )
        return gain * x + shift

    def _numbers(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """Return gain and shift of the first steps, float64 [t, C], on the grid where there is one."""
        gain = self.weight[: len(mean)].double() / (var.double() + self.eps).sqrt()
        if self.grid is None:
            return gain, -mean.double() * gain
        gain = round_through(gain, self.grid)
        return gain, round_through(-mean.double() * gain, self.grid)

    def _check(self, x: Tensor) -> None:
        name = f"BatchNormThroughTime({self.channels}, steps={self.steps})"
        if x.dim() < 3 or x.shape[2] != self.channels or x.shape[0] == 0:
            raise ConstraintError(
                f"{name} got {list(x.shape)}: needed is [T, N, C, ...] with C = {self.channels} and at least one step",
                fix="channels is the out_channels or out_features of the layer before it; the time axis comes first: "
                "bs.Repeat(steps=T), and bs.TimeDistributed(layer, norm)",
            )
        if x.shape[0] > self.steps:
            raise ConstraintError(
                f"{name} got {x.shape[0]} steps: it has statistics and gains for {self.steps}",
                fix=f"with bs.set_steps(model, {self.steps}): model(x), or a network that is built and trained with "
                f"steps={x.shape[0]}",
            )
        if self.training and x[0].numel() <= self.channels:
            raise ConstraintError(
                f"{name} got {list(x.shape)} in training: one value per channel and step has no variance",
                fix="a larger batch, or model.eval() where nothing is trained",
            )

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return the gain and the shift of every step in evaluation, float64 [T, C] each."""
        # In double precision, so that whoever rounds the result rounds once.
        gain, shift = self._numbers(self.running_mean, self.running_var)
        return gain.detach(), shift.detach()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *more: Any) -> None:
        *_, errors = more
        for inside in ("", "bn_list."):
            errors.extend(_stack_steps(state_dict, prefix, inside, self.steps))
        super()._load_from_state_dict(state_dict, prefix, *more)

    @classmethod
    def before(cls, neuron: nn.Module, channels: int, branches: int = 1) -> Self:
        """Refuse: a layer alone does not say how many steps the network has."""
        raise ConstraintError(
            f"norm={cls.__name__}: the number of steps is missing",
            fix=f"norm=lambda channels: bs.{cls.__name__}(channels, steps=T), with the steps of the network",
        )

    def extra_repr(self) -> str:
        return f"{self.channels}, steps={self.steps}" + (f", grid={self.grid:g}" if self.grid is not None else "")


_KEPT = ("weight", "running_mean", "running_var")


def _stack_steps(state: dict[str, Any], prefix: str, inside: str, steps: int) -> list[str]:
    """Put the entries of T batch norms, ``prefix + inside + "3.weight"``, into rows, in place; return what is wrong.

    Example:
        >>> state = {f"norm.{t}.{name}": torch.full((2,), t + 1.0) for t in range(3) for name in _KEPT}
        >>> _stack_steps(state, "norm.", "", 3), {name: list(rows.shape) for name, rows in state.items()}
        ([], {'norm.weight': [3, 2], 'norm.running_mean': [3, 2], 'norm.running_var': [3, 2]})
    """
    keys = [key for key in state if re.fullmatch(rf"{re.escape(prefix + inside)}\d+\.\w+", key)]
    if not keys:
        return []
    count = 1 + max(int(key[len(prefix + inside) :].partition(".")[0]) for key in keys)
    parts = {name: [state.get(f"{prefix}{inside}{t}.{name}") for t in range(count)] for name in (*_KEPT, "bias")}
    for key in keys:
        del state[key]
    if count != steps:
        return [f"{prefix}: {count} batch norms, one for each step, and this norm has {steps} steps"]
    if any(bias is not None and bias.any() for bias in parts["bias"]):
        return [f"{prefix}: its batch norms have shifts (bias), which batch norm through time has not"]
    for name in _KEPT:
        rows = [part for part in parts[name] if part is not None]
        if len({part.shape for part in rows}) > 1:
            return [f"{prefix}: its batch norms have different numbers of channels"]
        if len(rows) == count:
            state[prefix + name] = torch.stack(rows)
    return []
