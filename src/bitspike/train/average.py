"""The exponential moving average of a network's weights, which is measured and kept in the place of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.train.checkpoint import restore, state_of


@checked
@dataclass(frozen=True, kw_only=True)
class EMA:
    """After every step ``average = decay * average + (1 - decay) * weights``; the first step copies them.

    The average is over the last ``1 / (1 - decay)`` steps, roughly; these should be a small part of the training.
    Source: Polyak and Juditsky 1992, SIAM J. Control Optim. 30(4), for the idea; ``torch.optim.swa_utils`` averages.

    Args:
        decay: in (0, 1).

    Raises:
        ConstraintError: a value outside what is allowed.
    """

    decay: float = 0.999

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ConstraintError(f"{self}: decay must lie in (0, 1)", fix="decay=0.999")

    def doubt(self, steps: int) -> str:
        """Say that the average reaches back to the initial weights, where a training of so many steps is too short.

        Example:
            >>> EMA(decay=0.999).doubt(100)
            'the average of decay 0.999 is over 1,000 steps, and there are 100: a decay of 0.95 is over a fifth of them'
            >>> EMA(decay=0.999).doubt(10_000)
            ''
        """
        if 2 / (1 - self.decay) <= steps:
            return ""
        return (
            f"the average of decay {self.decay:g} is over {1 / (1 - self.decay):,.0f} steps, and there are {steps:,}: "
            f"a decay of {max(0.1, 1 - 5 / steps):.4g} is over a fifth of them"
        )


class Average:
    """A copy of a network that follows its weights.

    Parameters and running statistics are averaged. Other buffers are copied: counters, flags, masks, and what is not
    saved, such as the noise of a device, for which a mean has no meaning. Of a quantized weight the float master is
    averaged, and quantized anew.

    Args:
        model: the network that is trained, on its device.
        ema: says how it is followed.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> average = Average(model, EMA(decay=0.75))
        >>> for value in (0.0, 4.0):
        ...     _ = nn.init.constant_(model.weight, value)
        ...     average.update()
        >>> average.network.weight.item()
        1.0
    """

    def __init__(self, model: nn.Module, ema: EMA) -> None:
        self.ema, self._model = ema, model
        follow = get_ema_multi_avg_fn(ema.decay)  # type: ignore[no-untyped-call, unused-ignore]
        self._mean = AveragedModel(model, multi_avg_fn=follow, use_buffers=True)
        self.network: nn.Module = self._mean.module
        saved = model.state_dict()
        self._copied = [n for n, b in model.named_buffers() if n not in saved or not b.is_floating_point()]

    def update(self) -> None:
        """Follow the weights after a step."""
        self._mean.update_parameters(self._model)
        self.copy_buffers()

    @torch.no_grad()
    def copy_buffers(self) -> None:
        """Take over the buffers that are no running statistics, as hooks of weights may have changed them."""
        for name in self._copied:
            self.network.get_buffer(name).copy_(self._model.get_buffer(name))

    @property
    def about(self) -> dict[str, Any]:
        """What a checkpoint notes next to :meth:`state`."""
        return {"decay": self.ema.decay, "updates": int(self._mean.n_averaged)}

    def state(self) -> dict[str, Tensor]:
        """Return a copy of the averaged state on the CPU; its names are those of the network's state."""
        return state_of(self.network)

    def go_on(self, state: dict[str, Tensor], updates: int, source: str) -> None:
        """Continue from what a checkpoint holds."""
        restore(self.network, state, source=source)
        self._mean.n_averaged.fill_(updates)
