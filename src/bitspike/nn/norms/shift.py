"""A batch norm on a grid: gains are powers of two, shifts multiples of a step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.nn.norms.base import AffineNorm
from bitspike.ops.grids import is_power_of_two
from bitspike.ops.rounding import round_through


@checked
class ShiftBatchNorm(AffineNorm):
    """Batch norm on a declared grid: its gain is a power of two, its shift a multiple of ``grid``.

    y = 2**e * x + round(bias - 2**e * mean)  with  e = round(log2(gain / std)), per channel.

    After weights and inputs on dyadic grids every value it gives is exactly representable, so the integers that are
    lowered from it do what training did, bit for bit. The exponent follows the running variance in training too: batch
    statistics would make it jump between batches. Statistics are over batch, time and space.

    Args:
        channels: C.
        gain: standard deviation that the output is given, up to the rounding of the exponent.
        grid: step of the shift, a power of two.
        eps, momentum: as torch's batch norms.

    Shape: [N, C, ...] to the same (time folded into N).
    Source of the idea: shift-based batch normalization, Hubara et al., NeurIPS 2016, arXiv 1602.02830, alg. 2.

    Example:
        >>> norm = ShiftBatchNorm(1).eval()
        >>> norm(torch.tensor([[0.3]])).item() == torch.tensor(0.3).item()
        True
    """

    running_mean: Tensor
    running_var: Tensor
    tracked: Tensor

    def __init__(
        self, channels: int, *, gain: float = 1.0, grid: float = 2**-8, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__(channels)
        if not is_power_of_two(grid):
            raise ConstraintError(
                f"ShiftBatchNorm(grid={grid}): must be a power of two, such as 2**-8", fix="grid=2**-8"
            )
        if not gain > 0:
            raise ConstraintError(f"ShiftBatchNorm(gain={gain}): must be above 0", fix="gain=1.0")
        self.gain, self.grid, self.eps, self.momentum = gain, grid, eps, momentum
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("tracked", torch.zeros((), dtype=torch.int64))

    def _power(self) -> Tensor:
        exponent = torch.round(torch.log2(self.gain / (self.running_var.double() + self.eps).sqrt()))
        return torch.exp2(exponent).to(self.running_var.dtype)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() < 2 or x.shape[1] != self.channels or (self.training and x.numel() == 0):
            raise ConstraintError(
                f"ShiftBatchNorm({self.channels}) got {list(x.shape)}: needed is [N, C, ...] with C = {self.channels}"
                + (", and at least one sample in training" if self.training else ""),
                fix="channels is the out_channels or out_features of the layer before it; in a network over time, "
                "bs.TimeDistributed(layer, norm)",
            )
        mean, shape = self.running_mean, (-1, *[1] * (x.dim() - 2))
        if self.training:
            axes, dtype = [0, *range(2, x.dim())], mean.dtype
            wide = x.to(dtype)
            mean = wide.mean(axes)
            with torch.no_grad():
                # Two passes over contiguous memory: many times as fast as Tensor.var over these axes, and as exact.
                var = (wide - mean.view(shape)).square_().mean(axes)
                # The first batch is taken whole; a start at variance 1 would choose wrong exponents for many steps.
                # Chosen on the device: asking the host for the count would make an accelerator wait.
                weight = torch.where(self.tracked == 0, 1.0, self.momentum).to(dtype)
                self.running_mean.lerp_(mean, weight)
                self.running_var.lerp_(var, weight)
                self.tracked += 1
        power = self._power()
        shift = round_through(self.bias - mean * power, self.grid)
        return x * power.view(shape).to(x.dtype) + shift.view(shape).to(x.dtype)

    def affine(self) -> tuple[Tensor, Tensor]:
        power = self._power()
        shift = torch.round((self.bias.detach() - self.running_mean * power) / self.grid) * self.grid
        return power.double(), shift.double()

    def extra_repr(self) -> str:
        return f"{self.channels}, grid={self.grid:g}"
