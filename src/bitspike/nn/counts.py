"""Arithmetic on spikes that stays in whole numbers: pools by sums and by counts, gains, bursts, input codes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.ops.entering import need_numbers
from bitspike.ops.grids import Grid

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


class _Window(nn.Module):
    def __init__(
        self, kernel: tuple[int, ...], stride: tuple[int, ...] | None = None, padding: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        self.kernel = tuple(kernel)
        self.stride = self.kernel if stride is None else tuple(stride)
        self.padding = (0,) * len(self.kernel) if padding is None else tuple(padding)
        if not len(self.kernel) == len(self.stride) == len(self.padding) in (1, 2, 3):
            raise ConstraintError(
                f"{type(self).__name__}({self.kernel}, {self.stride}, {self.padding}): one number per axis is needed",
                fix="kernel=(2, 2) for images; stride and padding of the same length, or None",
            )

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}, padding={self.padding}"


class SumPool(_Window):
    """Add up each window: [T, N, C, ...] to [T, N, C, ...]. An average pool whose division the next layer carries.

    Example:
        >>> SumPool((2, 2))(torch.ones(1, 1, 1, 4, 4)).flatten().tolist()
        [4.0, 4.0, 4.0, 4.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        steps, samples = x.shape[:2]
        y = x.flatten(0, 1)
        if len(self.kernel) == 1:
            y = F.avg_pool2d(
                y.unsqueeze(2), (1, *self.kernel), (1, *self.stride), (0, *self.padding), divisor_override=1
            ).squeeze(2)
        elif len(self.kernel) == 2:
            y = F.avg_pool2d(y, self.kernel, self.stride, self.padding, divisor_override=1)
        else:
            y = F.avg_pool3d(y, self.kernel, self.stride, self.padding, divisor_override=1)
        return y.view(steps, samples, *y.shape[1:])


class CountMaxPool(_Window):
    """Max pooling of spike counts, step by step: emits what the largest count of a window grows by.

        out[t] = max_i N_i[t] - max_i N_i[t-1],   N_i[t] = s_i[0] + ... + s_i[t]

    For spikes of 0 and 1 the result is 0 or 1, and its count is the largest count of the window. A padded place counts
    0. Source: the exact form of the spiking max pool of Rueckauer et al. 2017, doi 10.3389/fnins.2017.00682.

    Example:
        >>> spikes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]).view(3, 1, 1, 2)
        >>> CountMaxPool((2,))(spikes).flatten().tolist()
        [1.0, 0.0, 1.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        steps, samples = x.shape[:2]
        counts = x.cumsum(0, dtype=x.dtype if x.dtype == torch.float64 else torch.float32).flatten(0, 1)
        sides = [n for p in reversed(self.padding) for n in (p, p)]
        largest = _MAX[len(self.kernel)](F.pad(counts, sides), self.kernel, self.stride)
        largest = largest.view(steps, samples, *largest.shape[1:])
        grown = largest.clone()
        grown[1:] -= largest[:-1]
        return grown.to(x.dtype)


@checked
class Gain(nn.Module):
    """Multiply by a constant, one number or one per channel: how strongly a skip connection arrives.

    Args:
        gain: a number, or a tensor [C].
        shift: [C], added afterwards; None adds nothing.

    Example:
        >>> Gain(3.0)(torch.ones(1, 1, 2)).flatten().tolist()
        [3.0, 3.0]
    """

    gain: Tensor | float

    shift: Tensor | None

    def __init__(self, gain: float | Tensor, shift: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("shift", None if shift is None else shift.detach().clone())
        if isinstance(gain, Tensor) and gain.dim() == 1:
            self.register_buffer("gain", gain.detach().clone())
        else:
            self.gain = float(gain)

    def forward(self, x: Tensor) -> Tensor:
        gain, shape = self.gain, (-1, *[1] * (x.dim() - 3))
        x = x * (gain.to(x.dtype).view(shape) if isinstance(gain, Tensor) else gain)
        return x if self.shift is None else x + self.shift.to(x.dtype).view(shape)

    def extra_repr(self) -> str:
        return f"[{self.gain.numel()}]" if isinstance(self.gain, Tensor) else f"{self.gain:g}"


class Burst(nn.Module):
    """Deliver the whole charge at the first step: the sum over time, then nothing.

    Before a neuron this is the schedule layer by layer: the neuron fires when all of its input is there, and its
    spike count is ``clip(floor((initial + charge) / threshold), 0, T)`` exactly.

    Example:
        >>> Burst()(torch.ones(3, 1, 1)).flatten().tolist()
        [3.0, 0.0, 0.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.sum(0, keepdim=True), x.new_zeros(()).expand(x.shape[0] - 1, *x.shape[1:])])


class Codes(nn.Module):
    """Put real inputs on an integer grid and return the codes: ``clip(round(x / scale), low, high)`` as whole floats.

    Integers, such as bytes, are refused where the grid holds real values.
    :func:`bitspike.nn.entering.counted_inputs` counts what is clipped.

    Example:
        >>> Codes(Grid(scale=0.5, low=-2, high=2))(torch.tensor([0.6, -9.0])).tolist()
        [1.0, -2.0]
    """

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        need_numbers(x, self.grid)
        return self.grid.encode(x).to(x.dtype if x.is_floating_point() else torch.get_default_dtype())

    def extra_repr(self) -> str:
        return f"{self.grid}"
