"""The image sets that Bitspike knows by name, and the one door to them."""

from __future__ import annotations

from pathlib import Path

from bitspike.arguments import checked
from bitspike.data.images import sets
from bitspike.data.images.image_set import ImageSet
from bitspike.data.images.info import DatasetInfo, Request
from bitspike.data.known import known_sets, set_of_name
from bitspike.errors import ConstraintError

DATASETS: dict[str, DatasetInfo] = known_sets(sets)


@checked
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
    ``tiny_imagenet`` is searched for likewise, as its archive unpacks: in a folder ``tiny-imagenet-200``, or ``root``
    is that folder. ``folder`` is any set of images ROOT/{train,test}/<class>/<image>.

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
    if info.shape is not None and not (size is None and channels is None):
        raise ConstraintError(
            f"size and channels are for 'folder'; the images of {name!r} are {info.shape}",
            fix="leave both out, or load('folder', root=FOLDER, size=..., channels=...)",
        )
    if info.streamed:
        raise ConstraintError(
            f"the images of {name!r} are read from disk when they are needed, and load reads a set into memory",
            fix=f"open_photos(root=FOLDER, split={split!r}), or load('folder', root=FOLDER, size=...) for a small set",
        )
    images = info.read(info, Request(split, root, download, size, channels))
    assert isinstance(images, ImageSet)
    return images


@checked
def describe(name: str) -> DatasetInfo:
    """Return what is known of a set.

    Raises:
        DataError: no set has this name.

    Example:
        >>> describe("mnist").shape
        (28, 28, 1)
    """
    return set_of_name(name, DATASETS, what="data set", otherwise="'folder' reads your own images")
