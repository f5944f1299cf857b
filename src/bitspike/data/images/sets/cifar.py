"""CIFAR-10 and CIFAR-100: 50,000 and 10,000 small color images each, of 10 and of 100 classes."""

from __future__ import annotations

from bitspike.data.images.info import DatasetInfo
from bitspike.data.images.official import Archive, check_sums
from bitspike.data.images.on_disk import OnDisk
from bitspike.data.images.pixels import PixelGrid

# Deviations of the color channels are close to 64 pixels, which is a power of two; the offsets are the rounded means.
_GRID = PixelGrid(scale=2**-6, offset=(125, 123, 114))
_SOURCE = "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
_FINE_LABELS = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""

SETS = (
    DatasetInfo(
        name="cifar10",
        title="CIFAR-10",
        shape=(32, 32, 3),
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        pixel_grid=_GRID,
        source=_SOURCE,
        read=OnDisk(Archive("CIFAR10", "cifar-10-batches-py", "170 MB", check_sums)),
    ),
    DatasetInfo(
        name="cifar100",
        title="CIFAR-100",
        shape=(32, 32, 3),
        classes=tuple(_FINE_LABELS.split()),
        pixel_grid=_GRID,
        source=_SOURCE,
        read=OnDisk(Archive("CIFAR100", "cifar-100-python", "169 MB", check_sums)),
    ),
)
