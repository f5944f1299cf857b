"""Photos per second into training: our readers against torchvision's ImageFolder and a DataLoader."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.case import Call, Case, Group, Target, Variant
from bitspike.data import Batches, Flip, Normalization, RandomCrop, open_photos

BATCH, WORKERS = 64, 2
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AREA, ASPECT = (0.1, 1.0), (0.8, 1.25)
FAST, SLOW = f"Bitspike, simplejpeg, {WORKERS} threads", f"Bitspike, Pillow, {WORKERS} threads"


def groups(tiny: bool) -> list[Group]:
    """Return one epoch over generated photos of about the size of those of ImageNet."""
    count, side = (8, 40) if tiny else (1024, 400)
    peer = f"torchvision ImageFolder, {WORKERS} processes"
    return [
        Group(
            name="epoch",
            shape=f"{count} photos of about {side}x{side * 5 // 4} in JPEG files, batch {BATCH} of 3x224x224",
            unit="images/s",
            peer=peer,
            variants=[
                Variant(
                    name=f"Bitspike, simplejpeg, {WORKERS} threads",
                    images=count,
                    build=lambda: _ours(count, side, "simplejpeg"),
                ),
                Variant(
                    name=f"Bitspike, Pillow, {WORKERS} threads",
                    images=count,
                    build=lambda: _ours(count, side, "pillow"),
                ),
                Variant(name=peer, images=count, build=lambda: _theirs(count, side)),
            ],
            targets=[Target(variant=FAST, against=peer, bound=None)],
            agree=lambda: _agree(count, side),
        )
    ]


@functools.cache
def _folder(count: int, side: int) -> tempfile.TemporaryDirectory[str]:
    """Write photos: smooth colors with noise of several sizes, which compress about as photos do."""
    place = tempfile.TemporaryDirectory(prefix="bitspike-photos-")
    generator = np.random.default_rng(0)
    for number in range(count):
        height, width = side + number % 37, side * 5 // 4 - number % 23
        values = np.zeros((height, width, 3))
        for cell, strength in ((64, 60), (16, 8), (4, 10), (1, 6)):
            coarse = generator.normal(0, strength, (height // cell + 2, width // cell + 2, 3))
            values += np.kron(coarse, np.ones((cell, cell, 1)))[:height, :width]
        for split in ("train", "val"):
            path = Path(place.name, split, f"class{number % 4}", f"{number:05d}.JPEG")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(128 + values, 0, 255).astype(np.uint8)).save(path, quality=90)
    return place


def _ours(count: int, side: int, reader: str) -> Call:
    photos = open_photos(_folder(count, side).name, "train", reader=reader, workers=WORKERS)
    batches = Batches(
        photos,
        BATCH,
        pixel_grid=Normalization(MEAN, DEVIATION),
        augment=(RandomCrop(AREA, ASPECT), Flip()),
        shuffle=True,
    )
    return lambda: _read(batches)


def _theirs(count: int, side: int) -> Call:
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(224, scale=AREA, ratio=ASPECT),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, DEVIATION),
        ]
    )
    photos = ImageFolder(Path(_folder(count, side).name, "train"), transform)
    loader = DataLoader(photos, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    return lambda: _read(loader)


def _read(batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    if isinstance(batches, Batches):
        batches.set_epoch(batches.epoch + 1)
    for _ in batches:
        pass


def _agree(count: int, side: int) -> str:
    """Compare the middles of some photos with those that torchvision cuts out."""
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    transform = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.PILToTensor()])
    theirs = ImageFolder(Path(_folder(count, side).name, "val"), transform)
    ours = open_photos(_folder(count, side).name, "test", reader="simplejpeg", workers=0).first(8)
    worst = max(int((ours[i].permute(2, 0, 1).int() - theirs[i][0].int()).abs().max()) for i in range(8))
    if worst > 1:
        raise AssertionError(f"the middles of photos differ from torchvision's by up to {worst} of 255")
    return f"the middles of 8 photos, up to {worst} of 255"


CASE = Case(
    name="photos",
    title="Photos per second into training",
    about=(
        "One epoch over generated photos on disk, of about the size and the compression of ImageNet: read, decode, a "
        "random box resized to 224 pixels, mirror image, normalisation, batches of floats. The peer is what tutorials "
        "write: ImageFolder, transforms of torchvision, a DataLoader with as many workers that stay alive between "
        "epochs."
    ),
    groups=groups,
)
