"""A loss on what a read-out reads at every step: the currents of the last synapse against those of a wanted train.

    L = scale * 1/2 * mean over samples of  sum over classes and steps of (a[t] - y[t])^2

a are the currents of the classes, y those that the wanted train makes when it goes through the synapse ``passes``
times. The right class is to fire at all steps but the first, from ten steps on at every second one; all others are to
be silent. Source: Zhang and Li, NeurIPS 2020, arXiv 2002.10085, eq. 5, and its code, in which the wanted train passes
the synapse twice and the mean is a sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.ops.precision import single
from bitspike.tasks.classes import need_classes


@checked
@dataclass(frozen=True, kw_only=True)
class SpikeTrains:
    """The kernel loss of TSSL-BP; it is given what the read-out reads, [T, N, classes], and the labels.

    Args:
        synapse_decay: of the last synapse, whose gain is ``1 - synapse_decay``, in [0, 1).
        passes: how often the wanted train goes through it, at least 1.
        scale: factor on the mean over the samples, above 0; the size of a batch makes it the sum of the paper's code.

    Raises:
        ConstraintError: a number outside what is allowed.

    Example:
        >>> silent = torch.zeros(5, 1, 2)
        >>> round(SpikeTrains(synapse_decay=0.5, passes=1)(silent, torch.tensor([0])).item(), 4)
        1.2285
    """

    over_time: ClassVar[bool] = True
    """It is given what the read-out reads, and not the outputs: :mod:`bitspike.train.over_time`."""

    synapse_decay: float = 2 / 3
    passes: int = 2
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.synapse_decay < 1:
            raise ConstraintError(f"{self}: synapse_decay must lie in [0, 1)", fix="synapse_decay=2 / 3")
        if not (isinstance(self.passes, int) and self.passes >= 1):
            raise ConstraintError(f"{self}: passes must be a whole number of at least 1", fix="passes=2")
        if not 0 < self.scale < float("inf"):
            raise ConstraintError(f"{self}: scale must be finite and above 0", fix="scale=1.0")

    def __call__(self, over_time: Tensor, labels: Tensor) -> Tensor:
        wanted = self.wanted(len(over_time))
        need_classes(over_time[0], labels)
        over_time = single(over_time)
        shares = labels if labels.is_floating_point() else F.one_hot(labels.long(), over_time.shape[2])
        apart = over_time - wanted.to(over_time).view(-1, 1, 1) * shares.to(over_time)
        return self.scale / 2 * apart.square().sum((0, 2)).mean()

    def wanted(self, steps: int) -> Tensor:
        """Return the currents of the right class, float64 [T].

        Raises:
            ConstraintError: ``steps`` is below 1.

        Example:
            >>> SpikeTrains(synapse_decay=0.5, passes=1).wanted(4).tolist()
            [0.0, 0.5, 0.75, 0.875]
        """
        if steps < 1:
            raise ConstraintError(f"SpikeTrains: {steps} steps have no train; at least 1 is needed", fix="bs.Repeat(5)")
        y = torch.arange(steps, dtype=torch.float64)
        y = y % 2 if steps >= 10 else (y > 0).double() if steps > 1 else y + 1
        for _ in range(self.passes):
            kept, filtered = torch.zeros((), dtype=torch.float64), []
            for value in y:
                kept = self.synapse_decay * kept + (1 - self.synapse_decay) * value
                filtered.append(kept)
            y = torch.stack(filtered)
        return y
