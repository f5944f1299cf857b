"""The image sets that Bitspike knows by name, and the one door to them."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bitspike.data.images import arrays, folders
from bitspike.data.images.image_set import ImageSet
from bitspike.data.images.official import ARCHIVES, download_official, read_official
from bitspike.data.images.pixels import PixelGrid
from bitspike.data.images.places import download_place, missing, places
from bitspike.data.images.sets.digits import read_digits
from bitspike.errors import ConstraintError, DataError
from bitspike.ops.grids import Grid


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a set before it is read.

    Args:
        name: as in recipes.
        title: for people.
        shape: rows, columns and channels of an image; None where the files decide.
        classes: names of the classes; None where the files decide.
        pixel_grid: how pixels become inputs, unless a recipe says otherwise.
        source: who made it, and under which terms it may be used.
        high_pixel: the largest pixel.
    """

    name: str
    title: str
    shape: tuple[int, int, int] | None
    classes: tuple[str, ...] | None
    pixel_grid: PixelGrid
    source: str
    high_pixel: int = 255

    @property
    def grid(self) -> Grid:
        """The integer grid of the inputs that ``pixel_grid`` makes."""
        return self.pixel_grid.grid(self.high_pixel)


# Deviations of the color channels are close to 64 pixels, those of MNIST to 79; both are rounded to a power of two.
_CIFAR_GRID = PixelGrid(scale=2**-6, offset=(125, 123, 114))
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""

DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo(
            name="digits",
            title="UCI handwritten digits",
            shape=(8, 8, 1),
            classes=tuple("0123456789"),
            pixel_grid=PixelGrid(scale=1 / 16),
            source="E. Alpaydin and C. Kaynak, UCI Machine Learning Repository 1998, doi 10.24432/C50P49, CC BY 4.0",
            high_pixel=16,
        ),
        DatasetInfo(
            name="mnist",
            title="MNIST handwritten digits",
            shape=(28, 28, 1),
            classes=tuple("0123456789"),
            pixel_grid=PixelGrid(scale=2**-8),
            source="Y. LeCun, C. Cortes and C. Burges 1998, CC BY-SA 3.0",
        ),
        DatasetInfo(
            name="cifar10",
            title="CIFAR-10",
            shape=(32, 32, 3),
            classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
            pixel_grid=_CIFAR_GRID,
            source="A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        ),
        DatasetInfo(
            name="cifar100",
            title="CIFAR-100",
            shape=(32, 32, 3),
            classes=tuple(_CIFAR100.split()),
            pixel_grid=_CIFAR_GRID,
            source="A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        ),
        DatasetInfo(
            name="folder",
            title="your own images",
            shape=None,
            classes=None,
            pixel_grid=PixelGrid(scale=2**-8),
            source="your own",
        ),
    )
}


def load(
    name: str,
    split: str = "train",
    *,
    root: str | Path | None = None,
    download: bool = False,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
) -> ImageSet:
    """Read one split of an image set into memory.

    ``digits`` is part of the package. ``mnist``, ``cifar10`` and ``cifar100`` are searched for in ``root``; without one
    in the folder that the environment variable BITSPIKE_DATA names, in ``./data``, and in the user's cache. In each of
    them three layouts are known: the official archive as torchvision unpacks it, NAME.npz with the arrays
    ``train_images``, ``train_labels``, ``test_images`` and ``test_labels``, and NAME/{train,test}/<class>/<image>.
    ``folder`` is any set of images ROOT/{train,test}/<class>/<image>.

    Args:
        name: a key of ``DATASETS``.
        split: ``train`` or ``test``; take validation images from ``train`` with :meth:`ImageSet.split`.
        root: the folder to look in.
        download: fetch an official archive that is not found. Of several processes let one do it first.
        size: of ``folder`` only: crop the middle and resize to (height, width), or to a square.
        channels: of ``folder`` only: 1 turns all images to gray, 3 to color.

    Raises:
        DataError: the set is unknown, missing, damaged, or not what its name says.
        ConstraintError: an argument is not allowed, or has no meaning for this set.

    Example:
        >>> digits = load("digits", "test")
        >>> digits.images.shape, digits.classes[int(digits.labels[0])]
        (torch.Size([359, 8, 8, 1]), '5')
    """
    info = describe(name)
    if split not in ("train", "test"):
        raise ConstraintError(f"split={split!r}: allowed are 'train' and 'test'", fix="load(name).split(0.1, seed=0)")
    if name != "folder" and not (size is None and channels is None):
        raise ConstraintError(f"size and channels are for 'folder'; the images of {name!r} are {info.shape}")
    if name == "digits":
        return read_digits(split)
    if name == "folder":
        if root is None:
            raise DataError("the data set 'folder' needs root=FOLDER", fix=f"a folder laid out as {folders.LAYOUT}")
        images, labels, classes = folders.read_folders(places(root)[0], split, size=size, channels=channels)
        return ImageSet(images, labels, classes, name=places(root)[0].absolute().name)
    return _load_known(info, split, root, download)


def describe(name: str) -> DatasetInfo:
    """Return what is known of a set.

    Raises:
        DataError: no set has this name.

    Example:
        >>> describe("mnist").shape
        (28, 28, 1)
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=1)
        raise DataError(
            f"there is no data set {name!r}; known are {', '.join(DATASETS)}",
            fix=f"{near[0]!r}?" if near else "'folder' reads your own images",
        )
    return DATASETS[name]


def _load_known(info: DatasetInfo, split: str, root: str | Path | None, download: bool) -> ImageSet:
    looked = places(root)
    archive = ARCHIVES[info.name]
    found = next((place for folder in looked for place in _layouts(info, folder) if place.sign.exists()), None)
    if found is None and not download:
        layouts = [
            f"{archive.folder}/  (the official archive, unpacked)",
            f"{info.name}.npz  (arrays {arrays.LAYOUT})",
            f"{info.name}/{folders.LAYOUT}",
        ]
        raise missing(info.name, looked, layouts, download=f"the official archive, {archive.weight}")
    if download and (found is None or found.official):  # an archive that lacks a file is completed
        target = download_place(root) if found is None else found.root
        download_official(info.name, target)
        found = _layouts(info, target)[0]
    assert found is not None
    path = found.sign
    images, labels = found.read(split)
    if len(images) != len(labels):
        raise DataError(f"{path.absolute()} holds {len(labels)} labels for {len(images)} images of {split}")
    if tuple(images.shape[1:]) != info.shape:
        raise DataError(f"{path.absolute()} holds images of {tuple(images.shape[1:])}, {info.name} has {info.shape}")
    assert info.classes is not None
    try:
        return ImageSet(images, labels, info.classes, info.name)
    except DataError as error:
        raise DataError(f"{path.absolute()}: {error.message}", fix=error.fix) from None


@dataclass(frozen=True)
class _Layout:
    """A way in which a set may lie in a folder: ``sign`` exists if it does, ``read`` reads a split."""

    root: Path
    sign: Path
    read: Callable[[str], tuple[Tensor, Tensor]]
    official: bool = False


def _layouts(info: DatasetInfo, root: Path) -> tuple[_Layout, ...]:
    packed, unpacked = root / f"{info.name}.npz", root / info.name
    return (
        _Layout(
            root, root / ARCHIVES[info.name].folder, lambda split: read_official(info.name, root, split), official=True
        ),
        _Layout(root, packed, lambda split: arrays.read_arrays(packed, split)),
        _Layout(root, unpacked / "train", lambda split: _read_own_folders(info, unpacked, split)),
    )


def _read_own_folders(info: DatasetInfo, root: Path, split: str) -> tuple[Tensor, Tensor]:
    images, labels, classes = folders.read_folders(root, split)
    if classes != info.classes and set(classes) != set(info.classes or ()):
        raise DataError(
            f"{root.absolute()} has the classes {', '.join(classes)}; {info.name} has {', '.join(info.classes or ())}",
            fix=f"load('folder', root={str(root)!r})",
        )
    return images, labels
