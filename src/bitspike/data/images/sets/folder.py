"""Images of one's own: ROOT/{train,test}/<class>/<image>."""

from __future__ import annotations

from bitspike.data.images.folders import LAYOUT, read_folders
from bitspike.data.images.image_set import ImageSet
from bitspike.data.images.info import DatasetInfo, Request
from bitspike.data.images.pixels import PixelGrid
from bitspike.errors import DataError
from bitspike.places import places


def _read(info: DatasetInfo, request: Request) -> ImageSet:
    if request.root is None:
        raise DataError(f"the data set {info.name!r} needs root=FOLDER", fix=f"a folder laid out as {LAYOUT}")
    (root,) = places(request.root)
    images, labels, classes = read_folders(root, request.split, size=request.size, channels=request.channels)
    return ImageSet(images, labels, classes, name=root.absolute().name)


SETS = (
    DatasetInfo(
        name="folder",
        title="your own images",
        shape=None,
        classes=None,
        pixel_grid=PixelGrid(scale=2**-8),
        source="your own",
        read=_read,
    ),
)
