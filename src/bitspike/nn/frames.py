"""Inputs that bring their own steps, samples first: recordings of event cameras, video."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

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


@contextmanager
def as_in_training(model: nn.Module, x: Any) -> Iterator[None]:
    """Let a model take a batch of its training for the length of a block, whatever mode it is in.

    Its :class:`Frames` run all frames of ``x`` where these are fewer than their steps.

    Example:
        >>> import torch
        >>> frames, x = Frames(steps=4).eval(), torch.zeros(8, 3, 2, 16, 16)
        >>> with as_in_training(frames, x):
        ...     print(frames(x).shape)
        torch.Size([3, 8, 2, 16, 16])
        >>> frames.steps
        4
    """
    there = x.shape[1] if isinstance(x, Tensor) and x.dim() > 1 else 0
    changed = [(m, m.steps) for m in model.modules() if isinstance(m, Frames) and 0 < there < m.steps]
    try:
        for module, _ in changed:
            module.steps = there
        yield
    finally:
        for module, steps in changed:
            module.steps = steps
