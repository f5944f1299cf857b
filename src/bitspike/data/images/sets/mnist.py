"""MNIST: 60,000 and 10,000 handwritten digits of 28x28 pixels."""

from __future__ import annotations

from bitspike.data.images.info import DatasetInfo
from bitspike.data.images.official import Archive, check_idx_files
from bitspike.data.images.on_disk import OnDisk
from bitspike.data.images.pixels import PixelGrid

SETS = (
    DatasetInfo(
        name="mnist",
        title="MNIST handwritten digits",
        shape=(28, 28, 1),
        classes=tuple("0123456789"),
        pixel_grid=PixelGrid(scale=2**-8),
        source="Y. LeCun, C. Cortes and C. Burges 1998, CC BY-SA 3.0",
        read=OnDisk(Archive("MNIST", "MNIST/raw", "12 MB", check_idx_files)),
    ),
)
