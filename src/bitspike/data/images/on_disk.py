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
from bitspike.data.images.places import download_place, missing, places
from bitspike.errors import DataError


@dataclass(frozen=True)
class OnDisk:
    """Reads a set from where it lies, or downloads its official archive first.

    Args:
        archive: as its authors publish it.
    """

    archive: Archive

    def __call__(self, info: DatasetInfo, request: Request) -> ImageSet:
        """Read one split.

        Raises:
            DataError: the set is missing or damaged, or its images and labels are not what its name says.
        """
        layout = self._layout(info, request)
        where, split = layout.sign.absolute(), request.split
        images, labels = layout.read(split)
        if len(images) != len(labels):
            raise DataError(f"{where} holds {len(labels)} labels for {len(images)} images of {split}", fix=_COPY)
        if tuple(images.shape[1:]) != info.shape:
            raise DataError(
                f"{where} holds images of {tuple(images.shape[1:])}, {info.name} has {info.shape}", fix=_COPY
            )
        assert info.classes is not None
        try:
            return ImageSet(images, labels, info.classes, info.name)
        except DataError as error:
            raise DataError(f"{where}: {error.message}", fix=error.fix) from None

    def _layout(self, info: DatasetInfo, request: Request) -> _Layout:
        looked = places(request.root)
        layouts = (layout for folder in looked for layout in _layouts(info, self.archive, folder))
        present = next((layout for layout in layouts if layout.sign.exists()), None)
        if present is None and not request.download:
            accepted = [
                f"{self.archive.folder}/  (the official archive, unpacked)",
                f"{info.name}.npz  (arrays {arrays.LAYOUT})",
                f"{info.name}/{folders.LAYOUT}",
            ]
            raise missing(info.name, looked, accepted, download=f"the official archive, {self.archive.weight}")
        # An archive that lacks a file is completed; a copy in another layout is the user's own, and left alone.
        if request.download and (present is None or present.official):
            target = download_place(request.root) if present is None else present.root
            download_official(info.name, self.archive, target)
            present = _layouts(info, self.archive, target)[0]
        assert present is not None
        return present


_COPY = "use an undamaged copy of the set, or load('folder', root=FOLDER) for images of your own"


@dataclass(frozen=True)
class _Layout:
    """A way in which a set may lie in a folder: ``sign`` exists if it does, ``read`` reads a split."""

    root: Path
    sign: Path
    read: Callable[[str], tuple[Tensor, Tensor]]
    official: bool = False


def _layouts(info: DatasetInfo, archive: Archive, root: Path) -> tuple[_Layout, ...]:
    packed, unpacked = root / f"{info.name}.npz", root / info.name
    return (
        _Layout(root, root / archive.folder, lambda split: read_official(archive, root, split), official=True),
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
