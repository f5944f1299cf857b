"""Images and events, in memory and on disk: known sets, integer input grids, batched augmentation, batches."""

from bitspike.data.events.augment import SomeFrames
from bitspike.data.events.datasets import EVENT_SETS, describe_events, load_events
from bitspike.data.events.event_set import EventSet
from bitspike.data.events.events import Events
from bitspike.data.events.files.read import read_events
from bitspike.data.events.framing import ByNumber, ByTime, counts, voxels
from bitspike.data.events.sequences import as_sequence
from bitspike.data.images.augment import Augmentation, Compose, Flip, Shift
from bitspike.data.images.auto_augment import AutoAugment, Cutout
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
    "EVENT_SETS",
    "Augmentation",
    "AutoAugment",
    "Batches",
    "ByNumber",
    "ByTime",
    "Compose",
    "Cutout",
    "DatasetInfo",
    "EventSet",
    "Events",
    "Flip",
    "ImageSet",
    "Images",
    "Normalization",
    "PixelGrid",
    "RandomCrop",
    "Shift",
    "SomeFrames",
    "StreamedSet",
    "as_sequence",
    "counts",
    "describe",
    "describe_events",
    "load",
    "load_events",
    "open_photos",
    "read_events",
    "validation_split",
    "voxels",
]
