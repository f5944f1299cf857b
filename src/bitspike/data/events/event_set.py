"""A set of recordings as frames of counts, in memory or mapped from a file.

Legend of shapes: N recordings, T frames, H rows, W columns, C channels: 2, darker and brighter.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.data.images.crop import Draws
from bitspike.data.images.image_set import check_labels, positions, validation_split
from bitspike.data.images.images import Wanted
from bitspike.errors import ConstraintError
from bitspike.tasks.classify import Classification
from bitspike.tasks.task import Task

CPU = torch.device("cpu")


@checked
@dataclass(frozen=True, eq=False, repr=False)
class EventSet:
    """Hold labeled recordings, each as T frames of counts, or images in T parts.

    Args:
        frames: uint8 or int16 [M, T, H, W, C], no count below 0; they may be mapped from a file, and are not written.
        labels: int64 [N], each the index of a name in ``classes``.
        classes: the names of the classes.
        name: what the set is called in reports and messages.
        where: int64 [N], which of the M recordings are in the set, in its order; None is all of them.
        digest: SHA-256 of the list of the recordings and their files; empty where there are no files.
        largest: the largest count, where it is known; None looks for it when it is needed.
        most: counts above it are cut to it, as a counter of so many bits does; None cuts nothing.
        whole: rows and columns of the image that the frames are the parts of, one after the other; None where every
            frame shows the whole sensor.

    Raises:
        ConstraintError: a tensor has another shape or dtype, or ``most`` is below 1.
        DataError: a label has no class.

    Example:
        >>> frames = torch.zeros(3, 4, 8, 8, 2, dtype=torch.uint8)
        >>> tiny = EventSet(frames, torch.tensor([0, 1, 1]), ("no", "yes"), "tiny")
        >>> tiny
        EventSet(tiny: 3 recordings of 4 frames of 8 x 8 x 2, 2 classes)
        >>> tiny.subset([2]).labels.tolist()
        [1]
    """

    frames: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str
    where: Tensor | None = None
    digest: str = ""
    largest: int | None = None
    most: int | None = None
    whole: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.frames.dtype not in (torch.uint8, torch.int16) or self.frames.dim() != 5:
            form = f"{self.frames.dtype} {list(self.frames.shape)}"
            raise ConstraintError(
                f"{self.name}: frames are {form}, needed is torch.uint8 or torch.int16 [N, T, H, W, C]",
                fix="whole numbers with the channels last: frames.permute(0, 1, 3, 4, 2) of [N, T, C, H, W]",
            )
        count = len(self.frames) if self.where is None else len(self.where)
        check_labels(self.name, self.labels, count, self.classes, each="recording")
        if self.most is not None and self.most < 1:
            raise ConstraintError(f"{self.name}: most={self.most}: a count of at least 1 is needed", fix="most=255")

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        parts = f"images in {self.steps} parts" if self.whole else f"recordings of {self.steps} frames"
        what = f"{len(self):,} {parts} of {size}"
        return f"EventSet({self.name}: {what}, {len(self.classes)} classes)"

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def steps(self) -> int:
        """T, the frames of every recording."""
        return int(self.frames.shape[1])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and channels of every frame."""
        *_, height, width, channels = self.frames.shape
        return height, width, channels

    @property
    def task(self) -> Task:
        """What networks learn from such a set: to name the class of a recording."""
        return Classification()

    @property
    def device(self) -> torch.device:
        """The CPU, where the frames lie."""
        return CPU

    @property
    def cut_while_read(self) -> bool:
        """False: frames have the size of the sensor."""
        return False

    def brightest(self) -> int:
        """Return the largest count that may occur."""
        largest = self.largest
        if largest is None:
            largest = int(self.frames.max()) if self.frames.numel() else 0
        return largest if self.most is None else min(self.most, largest)

    def first(self, count: int) -> Tensor:
        """Return the frames of the first ``count`` recordings: uint8 or int16 [n, T, H, W, C]."""
        return self._at(torch.arange(min(count, len(self))))

    def read(
        self, wanted: Iterable[Wanted], *, draws: Draws | None = None, device: torch.device | None = None
    ) -> Generator[Tensor, None, None]:
        """Yield the frames of each batch: uint8 or int16 [n, T, H, W, C]."""
        return (self._at(where) for where, _ in wanted)

    def counts(self) -> list[int]:
        """Return the number of recordings of each class."""
        return [int(n) for n in torch.bincount(self.labels, minlength=len(self.classes))]

    def subset(self, indices: Tensor | Sequence[int]) -> EventSet:
        """Return the recordings at these positions, in this order; frames are not copied.

        Args:
            indices: int64 [M], or whole numbers, each from 0 to N - 1.
        """
        at = positions(self, indices)
        where = at if self.where is None else self.where.index_select(0, at)
        return replace(self, where=where, labels=self.labels.index_select(0, at))

    def split(self, amount: int | float, *, seed: int = 0, last: bool = False) -> tuple[EventSet, EventSet]:
        """Take some recordings away; see :func:`bitspike.data.validation_split`."""
        return validation_split(self, amount, seed=seed, last=last)

    def _at(self, at: Tensor) -> Tensor:
        frames = self.frames.index_select(0, at if self.where is None else self.where.index_select(0, at))
        # What is not above `most` is not touched, so that a counter as wide as the counts costs nothing.
        cuts = self.most is not None and (self.largest is None or self.largest > self.most)
        return frames.clamp(max=self.most) if cuts else frames
