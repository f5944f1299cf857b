"""A set of photos on disk that are read when they are needed.

Legend of shapes: N photos, C channels.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.data.images.crop import Draws
from bitspike.data.images.image_set import positions, validation_split
from bitspike.data.images.images import Wanted
from bitspike.data.images.listing import Listing, list_images
from bitspike.data.stream.photo import Form, Photo, Reader
from bitspike.data.stream.readers import choose_reader, usual_workers
from bitspike.errors import ConstraintError
from bitspike.places import places
from bitspike.tasks.classify import Classification
from bitspike.tasks.task import Task

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class StreamedSet:
    """Hold the names of labeled photos, and read each one when it is needed.

    Without a random crop a photo's shorter side becomes ``form.shorter`` and its middle is taken.

    Args:
        listing: the files.
        where: int64 [N], which of them are in the set, in its order.
        name: what the set is called in reports and messages.
        form: what every photo becomes.
        reader: reads and decodes.
        workers: threads of the reader; 0 reads in the thread that asks.
    """

    listing: Listing
    where: Tensor
    name: str
    form: Form
    reader: Reader
    workers: int

    def __len__(self) -> int:
        return len(self.where)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes: those of the folders of the training split."""
        return self.listing.classes

    @cached_property
    def labels(self) -> Tensor:
        """int64 [N], each the index of a name in ``classes``."""
        return self.listing.labels.index_select(0, self.where)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and channels of every image."""
        return self.form.size, self.form.size, self.form.channels

    @property
    def task(self) -> Task:
        """What networks learn from such a set: to name the class of a photo."""
        return Classification()

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return CPU

    @property
    def cut_while_read(self) -> bool:
        """True: photos are larger than the images that are made of them."""
        return True

    def brightest(self) -> int:
        """Return the largest pixel."""
        return 255

    def counts(self) -> list[int]:
        """Return the number of photos of each class."""
        return [int(n) for n in torch.bincount(self.labels, minlength=len(self.classes))]

    def path(self, index: int) -> Path:
        """Return the file of a photo, by its position from 0 to N - 1."""
        return self.listing.path(int(self.where[index]))

    def first(self, count: int) -> Tensor:
        """Read the first ``count`` photos, of each its middle: uint8 [n, size, size, C]."""
        some = torch.arange(min(count, len(self)))
        (images,) = self.read([Wanted(some, some)])
        return images

    def subset(self, indices: Tensor | Sequence[int]) -> StreamedSet:
        """Return the photos at these positions, in this order; nothing is read.

        Args:
            indices: int64 [M], or whole numbers, each from 0 to N - 1.
        """
        return replace(self, where=self.where.index_select(0, positions(self, indices)))

    def split(self, amount: int | float, *, seed: int = 0, last: bool = False) -> tuple[StreamedSet, StreamedSet]:
        """Take some photos away; see :func:`bitspike.data.validation_split`."""
        return validation_split(self, amount, seed=seed, last=last)

    def read(
        self, wanted: Iterable[Wanted], *, draws: Draws | None = None, device: torch.device | None = None
    ) -> Generator[Tensor, None, None]:
        """Yield the photos of each batch, read ahead: uint8 [n, size, size, C].

        Args:
            wanted: the batches, in order.
            draws: cuts each photo at random; None takes its middle.
            device: where they will be needed.

        Raises:
            DataError: a file cannot be used; it is named.
        """
        return self.reader.read(
            (self._photos(batch, draws) for batch in wanted), self.form, workers=self.workers, device=device or CPU
        )

    def _photos(self, batch: Wanted, draws: Draws | None) -> list[Photo]:
        files = self.where.index_select(0, batch.where).tolist()
        return [Photo(self.listing, f, p, draws) for f, p in zip(files, batch.places.tolist(), strict=True)]


@checked
def open_photos(
    root: str | Path,
    split: str = "train",
    *,
    size: int = 224,
    resize: int | None = None,
    channels: int = 3,
    reader: str = "auto",
    workers: int | None = None,
) -> StreamedSet:
    """List the photos of ROOT/{train,val}/<class>/<file>, the layout of ImageNet, and return them as a set.

    Files are listed by name; none is opened. Where there is no folder ``val`` it may be called ``test``.

    Args:
        root: the folder.
        split: ``train``, or ``test`` for the other one.
        size: rows and columns of the images that photos become.
        resize: what the shorter side of a photo becomes where its middle is taken; None is 8/7 of ``size``, 256 of
            224.
        channels: 1 turns photos to gray, 3 to color.
        reader: see :func:`bitspike.data.stream.readers.choose_reader`.
        workers: threads that read; 0 reads in the thread that asks, None is one for each core of this process.

    Raises:
        ConstraintError: an argument is not allowed.
        DataError: a folder is missing or empty, or holds other files.
    """
    if split not in ("train", "test"):
        raise ConstraintError(
            f"split={split!r}: allowed are 'train', and 'test' for the other one, whatever its folder is called",
            fix="split='test'; photos of train to choose by: open_photos(root).split(0.1, seed=0)",
        )
    resize = round(size * 8 / 7) if resize is None else resize
    if size < 1 or resize < size:
        raise ConstraintError(
            f"size={size}, resize={resize}: at least 1 pixel, and a resized side no shorter than the image",
            fix=f"size={max(1, size)}, resize={max(1, size, resize)}",
        )
    if channels not in (1, 3):
        raise ConstraintError(f"channels={channels}: 1 for gray, 3 for color", fix="channels=3")
    if workers is not None and workers < 0:
        raise ConstraintError(f"workers={workers}: a number of threads, or 0", fix="workers=4")
    chosen = choose_reader(reader)
    (folder,) = places(root)
    other = "test" if (folder / "test").is_dir() and not (folder / "val").is_dir() else "val"
    listing = list_images(folder, "train" if split == "train" else other, splits=("train", other))
    return StreamedSet(
        listing,
        torch.arange(len(listing)),
        folder.absolute().name,
        Form(size, resize, channels),
        chosen,
        usual_workers() if workers is None else workers,
    )
