"""A set of images in memory, and ways to take a part of it.

Legend of shapes: N images, H rows, W columns, C channels.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.data.images.crop import Draws
from bitspike.data.images.images import Images, Wanted
from bitspike.errors import ConstraintError, DataError
from bitspike.tasks.classify import Classification
from bitspike.tasks.task import Task


@checked
@dataclass(repr=False, frozen=True, eq=False)
class ImageSet:
    """Hold labeled images as bytes, ready for batched augmentation.

    Args:
        images: uint8 [N, H, W, C].
        labels: int64 [N], each the index of a name in ``classes``.
        classes: the names of the classes.
        name: what the set is called in reports and messages.

    Raises:
        ConstraintError: a tensor has another shape or dtype.
        DataError: a label has no class.

    Example:
        >>> images = torch.zeros(3, 8, 8, 1, dtype=torch.uint8)
        >>> tiny = ImageSet(images, torch.tensor([0, 1, 1]), ("no", "yes"), "tiny")
        >>> len(tiny), tiny.shape, tiny.counts()
        (3, (8, 8, 1), [1, 2])
        >>> tiny
        ImageSet(tiny: 3 images of 8 x 8 x 1, 2 classes)
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.dim() != 4:
            form = f"{self.images.dtype} {list(self.images.shape)}"
            raise ConstraintError(
                f"{self.name}: images are {form}, needed is torch.uint8 [N, H, W, C]",
                fix="pixels from 0 to 255 with the channels last: images.permute(0, 2, 3, 1) of [N, C, H, W]",
            )
        check_labels(self.name, self.labels, len(self.images), self.classes, each="image")

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        return f"ImageSet({self.name}: {len(self):,} images of {size}, {len(self.classes)} classes)"

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def task(self) -> Task:
        """What networks learn from such a set: to name the class of an image."""
        return Classification()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and channels of every image."""
        _, height, width, channels = self.images.shape
        return height, width, channels

    @property
    def device(self) -> torch.device:
        """Where images and labels lie."""
        return self.images.device

    @property
    def cut_while_read(self) -> bool:
        """False: the images have their size already."""
        return False

    def brightest(self) -> int:
        """Return the largest pixel."""
        return int(self.images.max())

    def first(self, count: int) -> Tensor:
        """Return the first ``count`` images: uint8 [n, H, W, C]."""
        return self.images[:count]

    def read(
        self, wanted: Iterable[Wanted], *, draws: Draws | None = None, device: torch.device | None = None
    ) -> Generator[Tensor, None, None]:
        """Yield the images of each batch: uint8 [n, H, W, C], where the set lies."""
        return (self.images.index_select(0, where) for where, _ in wanted)

    def counts(self) -> list[int]:
        """Return the number of images of each class."""
        return [int(n) for n in torch.bincount(self.labels, minlength=len(self.classes))]

    def subset(self, indices: Tensor | Sequence[int]) -> ImageSet:
        """Return the images at these positions, in this order.

        Args:
            indices: int64 [M], or whole numbers, each from 0 to N - 1.
        """
        where = positions(self, indices).to(self.device)
        return replace(self, images=self.images.index_select(0, where), labels=self.labels.index_select(0, where))

    def to(self, device: torch.device | str) -> ImageSet:
        """Return the set with its tensors on a device; batches are then made there."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def split(self, amount: int | float, *, seed: int = 0, last: bool = False) -> tuple[ImageSet, ImageSet]:
        """Take some images away; see :func:`validation_split`."""
        return validation_split(self, amount, seed=seed, last=last)


AnySet = TypeVar("AnySet", bound=Images)


def check_labels(name: str, labels: Tensor, count: int, classes: Sequence[str], *, each: str) -> None:
    """Check that each of ``count`` samples of a set, an ``each``, has the number of a class.

    Raises:
        ConstraintError: labels have another shape or dtype.
        DataError: a label has no class.
    """
    if labels.dtype != torch.int64 or labels.shape != (count,):
        raise ConstraintError(
            f"{name}: labels are {labels.dtype} {list(labels.shape)}, needed is torch.int64 [{count}]",
            fix=f"one class number for each {each}: labels.long()",
        )
    if count:
        low, high = (int(v) for v in labels.aminmax())
        if low < 0 or high >= len(classes):
            raise DataError(
                f"{name}: labels go from {low} to {high}, but {len(classes)} classes allow 0 to {len(classes) - 1}",
                fix="number the labels from 0 without gaps, or name every class",
            )


def positions(image_set: Images, indices: Tensor | Sequence[int]) -> Tensor:
    """Return positions in a set as int64 [M] on the CPU.

    Raises:
        ConstraintError: one of them lies beyond the set.
    """
    where = torch.as_tensor(indices, dtype=torch.int64, device="cpu")
    if len(where):
        low, high = (int(v) for v in where.aminmax())
        if low < 0 or high >= len(image_set):
            raise ConstraintError(
                f"{image_set.name}: positions {low} to {high}, it has 0 to {len(image_set) - 1}",
                fix=f"range({len(image_set)}) names every image",
            )
    return where


def _amounts(count: int) -> str:
    """Say how much of so many images can be held out."""
    share = next((share for share in (0.1, 0.25, 0.5) if 0 < round(share * count) < count), None)
    if share is None:
        return "two images or more"
    return f"{'1' if count == 2 else f'a whole number from 1 to {count - 1}'}, or a fraction such as {share}"


@checked
def validation_split(
    image_set: AnySet, amount: int | float, *, seed: int = 0, last: bool = False
) -> tuple[AnySet, AnySet]:
    """Divide a set into the images to learn from and the images to choose by.

    The second part holds every class in proportion, within one image, and exactly as many images as asked for. Both
    parts keep the order of the set. The same seed gives the same parts.

    Args:
        image_set: the set to divide.
        amount: images to hold out: a whole number of them, or a fraction between 0 and 1.
        seed: chooses the images.
        last: hold out the last ones instead, as papers on CIFAR-10 do with the last 5,000. ``seed`` is not used.

    Returns:
        the images that stay, the images held out.

    Raises:
        ConstraintError: one of the two parts would be empty.

    Example:
        >>> images = ImageSet(torch.zeros(8, 1, 1, 1, dtype=torch.uint8), torch.tensor([0, 1] * 4), ("a", "b"), "tiny")
        >>> train, validation = validation_split(images, 0.25, seed=0)
        >>> train.counts(), validation.counts()
        ([3, 3], [1, 1])
    """
    count = round(amount * len(image_set)) if isinstance(amount, float) else amount
    if (isinstance(amount, float) and not 0 < amount < 1) or not 0 < count < len(image_set):
        raise ConstraintError(
            f"{image_set.name}: {amount!r} images cannot be held out of {len(image_set)}",
            fix=f"{_amounts(len(image_set))}; data.validation=0 of a recipe holds out none",
        )
    if last:
        chosen = torch.arange(len(image_set)) >= len(image_set) - count
    else:
        chosen = _stratified(image_set.labels.cpu(), count, seed)
    return image_set.subset(torch.nonzero(~chosen)[:, 0]), image_set.subset(torch.nonzero(chosen)[:, 0])


def _stratified(labels: Tensor, count: int, seed: int) -> Tensor:
    """Choose ``count`` images, of each class its share; the largest remainders get the images left over."""
    sizes = torch.bincount(labels)
    # Whole numbers only: a share is count * size / N, and floats could round two equal remainders apart.
    quotas, remainders = count * sizes // len(labels), count * sizes % len(labels)
    extra = torch.argsort(remainders, descending=True, stable=True)[: count - int(quotas.sum())]
    quotas[extra] += 1
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label, quota in enumerate(quotas.tolist()):
        members = torch.nonzero(labels == label)[:, 0]
        chosen[members[torch.randperm(len(members), generator=generator)[:quota]]] = True
    return chosen
