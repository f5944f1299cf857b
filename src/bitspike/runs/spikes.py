"""How many spikes a finished run's network sends on test images: what energies are billed by."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bitspike.hardware.energy import counts
from bitspike.integer.codes import counted_codes
from bitspike.integer.engine import TorchEngine
from bitspike.integer.network import IntegerNetwork
from bitspike.ops.entering import Clipped


def mean_counts(
    net: IntegerNetwork, inputs: Iterable[Tensor], *, seed: int = 0
) -> tuple[dict[str, npt.NDArray[np.float64]], int]:
    """Run an integer network batch by batch; return the mean counts of its spikes by node id, and how many samples ran.

    Args:
        net: the network.
        inputs: batches as :func:`bitspike.integer.codes.encode` takes them.
        seed: of random coders.
    """
    engine, total, clipped, ran = TorchEngine(net), dict[str, npt.NDArray[np.float64]](), Clipped(), 0
    for number, x in enumerate(inputs):
        codes = counted_codes(net, x, clipped, generator=torch.Generator().manual_seed(seed + number))
        samples = codes.shape[1]
        for id, mean in counts(net, engine.run(codes), codes=codes).items():
            total[id] = total.get(id, np.zeros(())) + mean * samples
        ran += samples
    clipped.warn()
    return {id: value / ran for id, value in total.items()}, ran
