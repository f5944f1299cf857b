"""Images in memory: known sets, integer input grids, batched augmentation, batches."""

from bitspike.data.images.augment import Augmentation, Compose, Flip, Shift
from bitspike.data.images.batches import Batches
from bitspike.data.images.crop import RandomCrop
from bitspike.data.images.datasets import DATASETS, describe, load
from bitspike.data.images.image_set import ImageSet, validation_split
from bitspike.data.images.info import DatasetInfo
from bitspike.data.images.pixels import Normalization, PixelGrid

__all__ = [
    "DATASETS",
    "Augmentation",
    "Batches",
    "Compose",
    "DatasetInfo",
    "Flip",
    "ImageSet",
    "Normalization",
    "PixelGrid",
    "RandomCrop",
    "Shift",
    "describe",
    "load",
    "validation_split",
]
