"""Inputs that bring their own steps, samples first: recordings of event cameras, video."""

from __future__ import annotations

from torch import Tensor

from bitspike.errors import ConstraintError
from bitspike.nn.encoders import Encoder


class Frames(Encoder):
    """Take a frame at every step: [N, T, ...], as loaders stack recordings, to [T, N, ...], without a copy.

    The first ``steps`` frames are run. In training mode there may be fewer, for those who train on some of the frames;
    all of them are run then.

    Raises:
        ConstraintError: there are fewer frames than steps, in evaluation mode, or the input has no axis of frames.

    Example:
        >>> import torch
        >>> Frames(steps=4)(torch.zeros(8, 5, 2, 16, 16)).shape
        torch.Size([4, 8, 2, 16, 16])
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() < 3 or x.shape[1] < (1 if self.training else self.steps):
            raise ConstraintError(
                f"Frames(steps={self.steps}) gets {list(x.shape)}, needed is [N, T, ...] with {self.steps} frames or "
                "more",
                fix="frames after the samples, or bs.set_steps(model, T) for a run of fewer steps",
            )
        return x[:, : self.steps].transpose(0, 1)
