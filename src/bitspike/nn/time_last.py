"""Adapters for code whose tensors have time as the last axis, [N, C, H, W, T] or [N, F, T]."""

from __future__ import annotations

from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.nn.chain import Chain
from bitspike.nn.encoders import Encoder
from bitspike.nn.readouts import RateReadout, SumReadout


@checked
class TimeLast(Chain):
    """Put layers that take [T, N, ...] into code that has time last: [N, ..., T] comes in and goes out.

    An encoder among the layers comes first and takes [N, ...]; a read-out comes last and returns [N, ...]. Time is
    moved and nothing else: numbers, names and state are those of the layers, and such a network is lowered as any
    other.

    Args:
        layers: of :mod:`bitspike.nn`, in order.

    Shape: [N, ..., T] to [N, ..., T].

    Raises:
        ConstraintError: there is no layer.

    Example:
        >>> import torch
        >>> from bitspike.nn import LIF, TimeDistributed
        >>> layer = TimeLast(TimeDistributed(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), LIF())
        >>> layer(torch.zeros(5, 3, 10, 10, 2)).shape
        torch.Size([5, 8, 8, 8, 2])
    """

    def __init__(self, *layers: nn.Module) -> None:
        if not layers:
            raise ConstraintError("TimeLast() has no layer", fix="TimeLast(bs.TimeDistributed(...), bs.LIF())")
        super().__init__(*layers)

    def forward(self, input: Tensor) -> Tensor:
        x = super().forward(input if isinstance(self[0], Encoder) else input.movedim(-1, 0))
        return x if isinstance(self[-1], RateReadout | SumReadout) else x.movedim(0, -1)


@checked
class TimeFirst(nn.Module):
    """Give a network that takes [N, ..., T] the form that everything of bitspike takes: [T, N, ...].

    What the network returns is passed on as it is: rates [N, K] have no time.

    Args:
        network: takes one tensor, its time last.

    Shape: [T, N, ...] to what the network returns.

    Example:
        >>> import torch
        >>> from bitspike.nn import RateReadout, TimeDistributed
        >>> network = nn.Sequential(TimeLast(TimeDistributed(nn.Linear(4, 3))), TimeLast(RateReadout()))
        >>> TimeFirst(network)(torch.zeros(2, 5, 4)).shape
        torch.Size([5, 3])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.network(x.movedim(0, -1))
        return result
