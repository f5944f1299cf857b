"""Images per second into training: our batches against torchvision's transforms of single images in two workers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.case import Call, Case, Group, Target, Variant
from bitspike.data import Batches, Flip, ImageSet, PixelGrid, Shift

BATCH = 128
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def groups(tiny: bool) -> list[Group]:
    """Return one epoch over a synthetic set of the shape of CIFAR-10."""
    count = 256 if tiny else 50_000
    # Workers take long to start: the per-image pipelines go over a part of the set, as images per second are compared.
    part = 256 if tiny else 12_800
    peer = "torchvision, 2 workers"
    return [
        Group(
            name="epoch",
            shape=f"{count} images 3x32x32, batch {BATCH}",
            unit="images/s",
            peer=peer,
            variants=[
                Variant(name="Bitspike Batches", images=count, build=lambda: _read(_ours(count))),
                Variant(name=peer, images=part, build=lambda: _read(_torchvision(part, workers=2))),
                Variant(
                    name="torchvision, in this process", images=part, build=lambda: _read(_torchvision(part, workers=0))
                ),
            ],
            targets=[Target(variant="Bitspike Batches", against=peer, bound=8)],
        )
    ]


def pixels(count: int) -> tuple[Tensor, Tensor]:
    """Return random images uint8 [N, H, W, C] and labels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 32, 32, 3), generator=generator, dtype=torch.uint8)
    return images, torch.randint(0, 10, (count,), generator=generator)


def _ours(count: int) -> Batches:
    images, labels = pixels(count)
    names = tuple(str(i) for i in range(10))
    grid = PixelGrid(scale=2**-6, offset=(125, 123, 114))
    held = ImageSet(images, labels, names, "synthetic")
    return Batches(held, BATCH, pixel_grid=grid, augment=(Shift(4), Flip()), shuffle=True, drop_last=True)


class _Images(Dataset[tuple[Tensor, int]]):
    """Images in memory as torchvision's CIFAR10 holds them: an array, made a PIL image and transformed one by one."""

    def __init__(self, count: int) -> None:
        from torchvision import transforms

        images, labels = pixels(count)
        self.images: np.ndarray = images.numpy()
        self.labels = labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, DEVIATION),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def _torchvision(count: int, *, workers: int) -> Iterable[tuple[Tensor, Tensor]]:
    return DataLoader(
        _Images(count), BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )


def _read(batches: Iterable[tuple[Tensor, Tensor]]) -> Call:
    def epoch() -> None:
        if isinstance(batches, Batches):
            batches.set_epoch(batches.epoch + 1)
        for _ in batches:
            pass

    return epoch


CASE = Case(
    name="data",
    title="Images per second into training",
    about=(
        "One epoch over a synthetic set of the shape of CIFAR-10, in memory: random crop with a padding of 4, mirror "
        "image, normalisation, batches of 128 floats. The peer is what tutorials write: PIL images, transforms of "
        "torchvision, a DataLoader with two workers that stay alive between epochs."
    ),
    groups=groups,
)
