"""Photos in the layout of ImageNet, ROOT/{train,val}/<class>/<file>, read from disk when they are needed."""

from __future__ import annotations

from bitspike.data.images.info import DatasetInfo, Request
from bitspike.data.images.listing import layout
from bitspike.data.images.pixels import Normalization
from bitspike.data.stream.streamed_set import StreamedSet, open_photos
from bitspike.errors import ConstraintError, DataError


def _open(info: DatasetInfo, request: Request) -> StreamedSet:
    if request.root is None:
        raise DataError(
            f"the data set {info.name!r} needs root=FOLDER", fix=f"a folder laid out as {layout(('train', 'val'))}"
        )
    if not isinstance(request.size, int | None):
        raise ConstraintError(
            f"size={request.size}: photos become squares", fix=f"size={max(request.size)}: one number for both sides"
        )
    return open_photos(
        request.root,
        request.split,
        size=224 if request.size is None else request.size,
        resize=request.resize,
        channels=3 if request.channels is None else request.channels,
        reader=request.reader,
        workers=request.workers,
    )


SETS = (
    DatasetInfo(
        name="imagenet",
        title="photos in class folders, as ImageNet has them",
        shape=None,
        classes=None,
        pixel_grid=Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), folded=True),
        source="your own copy; O. Russakovsky et al., IJCV 2015, arXiv 1409.0575, for research",
        read=_open,
        streamed=True,
    ),
)
