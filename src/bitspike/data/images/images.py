"""What every image set offers, in memory or on disk: to models, batches, recipes and reports."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

from bitspike.data.images.crop import Draws
from bitspike.tasks.task import Task


class Wanted(NamedTuple):
    """The images of one batch.

    Args:
        where: int64 [n], positions in the set.
        places: int64 [n], their places in the epoch, on which random choices depend.
    """

    where: Tensor
    places: Tensor


class Images(Protocol):
    """A set of labeled images of one shape."""

    @property
    def name(self) -> str:
        """What the set is called in reports and messages."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""

    @property
    def labels(self) -> Tensor:
        """int64 [N], each the index of a name in ``classes``."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and channels of every image."""

    @property
    def task(self) -> Task:
        """What networks learn from the set."""

    @property
    def device(self) -> torch.device:
        """Where its labels and images lie."""

    @property
    def cut_while_read(self) -> bool:
        """Whether a :class:`~bitspike.data.images.crop.RandomCrop` can be drawn for an image when it is read."""

    def __len__(self) -> int: ...

    def brightest(self) -> int:
        """Return the largest pixel that may occur."""

    def first(self, count: int) -> Tensor:
        """Return the first ``count`` images, without anything random: uint8 [n, H, W, C]."""

    def subset(self, indices: Tensor | Sequence[int]) -> Self:
        """Return the images at these positions, in this order."""

    def split(self, amount: int | float, *, seed: int = 0, last: bool = False) -> tuple[Self, Self]:
        """Take some images away: those that stay, those that are held out."""

    def read(
        self, wanted: Iterable[Wanted], *, draws: Draws | None = None, device: torch.device | None = None
    ) -> Generator[Tensor, None, None]:
        """Yield the images of each batch: uint8 [n, H, W, C].

        Args:
            wanted: the batches, in order.
            draws: cuts each image out at random; None takes all of an image, or its middle.
            device: where they will be needed; they may already be there.
        """
