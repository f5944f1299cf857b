"""Where spikes go, without arithmetic: reshaping, reordering, cutting, padding, repeating; all over [T, N, ...]."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.arguments import checked


@checked
class Reshape(nn.Module):
    """Give every sample another shape: [T, N, ...] to [T, N, *shape].

    Example:
        >>> import torch
        >>> Reshape((6,))(torch.zeros(4, 2, 3, 2)).shape
        torch.Size([4, 2, 6])
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], *self.shape)

    def extra_repr(self) -> str:
        return f"{self.shape}"


@checked
class Permute(nn.Module):
    """Put the axes of every sample in another order; axis i of the result is axis ``axes[i]``, channels being axis 0.

    Example:
        >>> import torch
        >>> Permute((1, 0))(torch.zeros(4, 2, 3, 5)).shape
        torch.Size([4, 2, 5, 3])
    """

    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.axes = tuple(axes)

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 1, *(axis + 2 for axis in self.axes))

    def extra_repr(self) -> str:
        return f"{self.axes}"


@checked
class Slice(nn.Module):
    """Keep channels ``start`` to ``stop`` (not included).

    Example:
        >>> import torch
        >>> Slice(1, 3)(torch.zeros(4, 2, 5, 7)).shape
        torch.Size([4, 2, 2, 7])
    """

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, self.start : self.stop]

    def extra_repr(self) -> str:
        return f"{self.start}, {self.stop}"


@checked
class Pad(nn.Module):
    """Put zeros around every sample, ``before`` and ``after`` along each axis after the channels.

    Example:
        >>> import torch
        >>> Pad((1, 0), (1, 2))(torch.zeros(4, 2, 3, 5, 5)).shape
        torch.Size([4, 2, 3, 7, 7])
    """

    def __init__(self, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        super().__init__()
        self.before, self.after = tuple(before), tuple(after)

    def forward(self, x: Tensor) -> Tensor:
        pairs = [n for both in zip(reversed(self.before), reversed(self.after), strict=True) for n in both]
        return F.pad(x, pairs)

    def extra_repr(self) -> str:
        return f"{self.before}, {self.after}"


@checked
class Upsample(nn.Module):
    """Repeat every value ``factors`` times along each axis after the channels (nearest neighbour).

    Example:
        >>> import torch
        >>> Upsample((2, 3))(torch.zeros(4, 2, 3, 5, 5)).shape
        torch.Size([4, 2, 3, 10, 15])
    """

    def __init__(self, factors: tuple[int, ...]) -> None:
        super().__init__()
        self.factors = tuple(factors)

    def forward(self, x: Tensor) -> Tensor:
        for axis, factor in enumerate(self.factors):
            x = x.repeat_interleave(factor, dim=axis + 3) if factor > 1 else x
        return x

    def extra_repr(self) -> str:
        return f"{self.factors}"
