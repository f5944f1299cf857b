"""A known set in a folder, in any of three layouts: the official archive, NAME.npz, or NAME/{train,test}/<class>."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bitspike.data.images import arrays, folders
from bitspike.data.images.image_set import ImageSet
from bitspike.data.images.info import DatasetInfo, Request
from bitspike.data.images.official import Archive, download_official, read_official
from bitspike.errors import DataError
from bitspike.places import download_place, missing, places

Read = Callable[[str], tuple[Tensor, Tensor]]
"""From the name of a split to images uint8 [N, H, W, C] and labels int64 [N]."""


@dataclass(frozen=True)
class OnDisk:
    """Reads a set from where it lies, or downloads its official archive first."""

    archive: Archive

    def __call__(self, info: DatasetInfo, request: Request) -> ImageSet:
        """Read one split.

        Raises:
            DataError: the set is missing or damaged, or its images and labels are not what its name says.
        """
        where, read = self._find(info, request)
        images, labels = read(request.split)
        if len(images) != len(labels):
            raise DataError(
                f"{where} holds {len(labels)} labels for {len(images)} images of {request.split}", fix=_COPY
            )
        if tuple(images.shape[1:]) != info.shape:
            raise DataError(
                f"{where} holds images of {tuple(images.shape[1:])}, {info.name} has {info.shape}", fix=_COPY
            )
        assert info.classes is not None
        try:
            return ImageSet(images, labels, info.classes, info.name)
        except DataError as error:
            raise DataError(f"{where}: {error.message}", fix=error.fix) from None

    def place(self, info: DatasetInfo, root: str | Path | None = None) -> Path | None:
        """Return where the set lies, by what exists if it does; None where it is in none of the folders."""
        signs = (sign for folder in places(root) for sign in self._layouts(info, folder))
        return next((sign for sign in signs if sign.exists()), None)

    def _find(self, info: DatasetInfo, request: Request) -> tuple[Path, Read]:
        """Return where the set lies, and what reads a split of it."""
        looked = places(request.root)
        layouts = {sign: read for folder in looked for sign, read in self._layouts(info, folder).items()}
        where = self.place(info, request.root)
        if where is None and not request.download:
            accepted = [
                f"{self.archive.folder}/  (the official archive, unpacked)",
                f"{info.name}.npz  (arrays {arrays.LAYOUT})",
                f"{info.name}/{folders.LAYOUT}",
            ]
            raise missing(info.name, looked, accepted, download=f"the official archive, {self.archive.weight}")
        # An archive that lacks a file is completed; a copy in another layout is the user's own, and left alone.
        home = next((folder for folder in looked if folder / self.archive.folder == where), None)
        if request.download and (where is None or home is not None):
            home = home or download_place(request.root)
            download_official(info.name, self.archive, home)
            where, layouts = home / self.archive.folder, self._layouts(info, home)
        assert where is not None
        return where.absolute(), layouts[where]

    def _layouts(self, info: DatasetInfo, root: Path) -> dict[Path, Read]:
        """Return the ways in which the set may lie in a folder: by what exists if it does, what reads a split."""
        packed, unpacked = root / f"{info.name}.npz", root / info.name
        return {
            root / self.archive.folder: lambda split: read_official(self.archive, root, split),
            packed: lambda split: arrays.read_arrays(packed, split),
            unpacked / "train": lambda split: _read_own_folders(info, unpacked, split),
        }


_COPY = "use an undamaged copy of the set, or load('folder', root=FOLDER) for images of your own"


def _read_own_folders(info: DatasetInfo, root: Path, split: str) -> tuple[Tensor, Tensor]:
    images, labels, classes = folders.read_folders(root, split)
    if classes != info.classes and set(classes) != set(info.classes or ()):
        raise DataError(
            f"{root.absolute()} has the classes {', '.join(classes)}; {info.name} has {', '.join(info.classes or ())}",
            fix=f"load('folder', root={str(root)!r})",
        )
    return images, labels
