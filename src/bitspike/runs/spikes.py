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
from bitspike.runs.job import Job

Means = dict[str, npt.NDArray[np.float64]]
"""Mean counts by node id."""


def of_test_images(job: Job, net: IntegerNetwork, samples: int, *, whole: bool = False) -> tuple[Means, int, str]:
    """Run the integers of a finished run on its first ``samples`` test images.

    Args:
        job: of the run.
        net: its integers.
        samples: how many images at most.
        whole: whether the integers are known to take the images themselves, so that no real part before them is built.

    Returns:
        mean counts by node id, how many samples ran, and the name of the data.
    """
    inputs: Iterable[Tensor] = (x for x, _ in job.data.test_batches(samples))
    if not whole:
        job.spiking.network.to("cpu")
        inputs = map(job.spiking.enter, inputs)
    return *mean_counts(net, inputs, seed=job.recipe.seed), f"{job.data.test.name}, test split"


def mean_counts(net: IntegerNetwork, inputs: Iterable[Tensor], *, seed: int = 0) -> tuple[Means, int]:
    """Run an integer network batch by batch; return the mean counts of its spikes by node id, and how many samples ran.

    Args:
        net: the network.
        inputs: batches as :func:`bitspike.integer.codes.encode` takes them.
        seed: of random coders.
    """
    engine, total, clipped, ran = TorchEngine(net), Means(), Clipped(), 0
    for number, x in enumerate(inputs):
        codes = counted_codes(net, x, clipped, generator=torch.Generator().manual_seed(seed + number))
        samples = codes.shape[1]
        for id, mean in counts(net, engine.run(codes), codes=codes).items():
            total[id] = total.get(id, np.zeros(())) + mean * samples
        ran += samples
    clipped.warn()
    return {id: value / ran for id, value in total.items()}, ran
