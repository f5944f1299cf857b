"""Images in memory: known sets, integer input grids, batched augmentation, batches."""

from bitspike.data.augment import Augmentation, Compose, Flip, Shift
from bitspike.data.batches import Batches
from bitspike.data.datasets import DATASETS, DatasetInfo, describe, load
from bitspike.data.images import ImageSet, validation_split
from bitspike.data.pixels import Normalization, PixelGrid

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
    "Shift",
    "describe",
    "load",
    "validation_split",
]
