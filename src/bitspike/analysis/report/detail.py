"""What a report shows and ``report.json`` is too small to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ReportDetail:
    """Pictures of one run, handed over in memory; every part may be missing.

    Args:
        raster: layer -> [T, neurons] spikes of one test image, in the order of the network.
        raster_image: [H, W] or [H, W, C] pixels of that image.
        raster_label: its true class.
        raster_prediction: the class the network gave it.
        code_histograms: layer -> weight code -> how often it occurs.
        confusion: [classes, classes] test images, a row per true class, a column per predicted one.
        classes: names of the classes.
    """

    raster: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    raster_image: NDArray[np.uint8] | None = None
    raster_label: str = ""
    raster_prediction: str = ""
    code_histograms: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    confusion: NDArray[np.int64] | None = None
    classes: Sequence[str] = ()
