"""Augmentation in time: learn from some of the frames of a recording."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError


@checked
@dataclass(frozen=True)
class SomeFrames:
    """Keep ``frames`` of ``of`` frames, in their order; which ones is drawn for every recording, all equally likely.

    W. Fang et al., Deep Residual Learning in Spiking Neural Networks, 2021, train on 12 of 16 frames and test on 16.

    Args:
        frames: how many are kept, from 1 to ``of``.
        of: T, the frames of a recording.

    Example:
        >>> recording = torch.arange(5, dtype=torch.uint8).view(1, 5, 1, 1, 1)
        >>> SomeFrames(3, of=5).apply(recording, torch.tensor([[4, 1, 1]]), blank=(0,)).flatten().tolist()
        [1, 2, 4]
    """

    frames: int
    of: int

    def __post_init__(self) -> None:
        if not (isinstance(self.frames, int) and isinstance(self.of, int) and 1 <= self.frames <= self.of):
            raise ConstraintError(
                f"{self}: some of the frames, at least one and at most all", fix="SomeFrames(12, of=16)"
            )

    @property
    def choices(self) -> tuple[int, ...]:
        """One frame of all, then one of those that are left, and so on."""
        return tuple(self.of - taken for taken in range(self.frames))

    def apply(self, images: Tensor, chosen: Tensor, *, blank: tuple[int, ...]) -> Tensor:
        """Return the frames that were drawn: [N, frames, H, W, C] of [N, of, H, W, C]."""
        if images.dim() != 5 or images.shape[1] != self.of:
            gets = f"{images.shape[1]} frames" if images.dim() == 5 else "no recordings"
            raise ConstraintError(f"{self} gets {gets}", fix="SomeFrames of as many frames as the recordings have")
        left = torch.arange(self.of, device=images.device).expand(len(images), -1)
        taken = []
        for column in chosen.T.unsqueeze(2):
            taken.append(left.gather(1, column))
            left = left[left != taken[-1]].view(len(images), -1)
        which = torch.cat(taken, 1).sort(1).values
        return images[torch.arange(len(images), device=images.device)[:, None], which]
