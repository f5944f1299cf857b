"""What a report shows and ``report.json`` is too small to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bitspike.tasks.report import Exhibit


@dataclass(frozen=True, eq=False)
class ReportDetail:
    """Pictures of one run, handed over in memory; every part may be missing.

    Args:
        raster: layer -> [T, neurons] spikes of one test image, in the order of the network.
        raster_image: [H, W] or [H, W, C] pixels of that image.
        raster_label: the right answer for it, in words.
        raster_prediction: the answer of the network, in words.
        code_histograms: layer -> weight code -> how often it occurs.
        exhibits: what the task shows of the answers over the test images.
        samples: how many test images there are; None if not known.
    """

    raster: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    raster_image: NDArray[np.uint8] | None = None
    raster_label: str = ""
    raster_prediction: str = ""
    code_histograms: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    exhibits: Sequence[Exhibit] = ()
    samples: int | None = None
