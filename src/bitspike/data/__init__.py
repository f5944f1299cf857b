"""Images in memory and on disk: known sets, integer input grids, batched augmentation, batches."""

from bitspike.data.images.augment import Augmentation, Compose, Flip, Shift
from bitspike.data.images.batches import Batches
from bitspike.data.images.crop import RandomCrop
from bitspike.data.images.datasets import DATASETS, describe, load
from bitspike.data.images.image_set import ImageSet, validation_split
from bitspike.data.images.images import Images
from bitspike.data.images.info import DatasetInfo
from bitspike.data.images.pixels import Normalization, PixelGrid
from bitspike.data.stream.streamed_set import StreamedSet, open_photos

__all__ = [
    "DATASETS",
    "Augmentation",
    "Batches",
    "Compose",
    "DatasetInfo",
    "Flip",
    "ImageSet",
    "Images",
    "Normalization",
    "PixelGrid",
    "RandomCrop",
    "Shift",
    "StreamedSet",
    "describe",
    "load",
    "open_photos",
    "validation_split",
]
