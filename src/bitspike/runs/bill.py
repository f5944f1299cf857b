"""The energy of a saved network on real images: the test images of its run, or those among its golden vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from bitspike.errors import ConstraintError, PackageError
from bitspike.hardware.energy.activity import counts
from bitspike.hardware.energy.operations import MemoryModel, energy
from bitspike.hardware.energy.report import EnergyReport
from bitspike.hardware.energy.technology import Technology
from bitspike.integer.codes import counted_codes
from bitspike.integer.engine import TorchEngine
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.saved.folder import VECTORS, read_tensors
from bitspike.integer.simulate import Trace
from bitspike.ops.entering import Clipped
from bitspike.runs.job import Job
from bitspike.runs.saved import read_network


def bill_test_images(
    job: Job, net: IntegerNetwork, samples: int, *, table: str | Path | Technology, memory: MemoryModel | None
) -> EnergyReport:
    """Bill the network of a run by the spikes of its first test images.

    Args:
        job: of the finished run.
        net: its integers.
        samples: the most images, at least 1.
        table, memory: as for ``bs.energy``.
    """
    batches = job.data.test_batches(samples)
    engine, total, clipped = TorchEngine(net), dict[str, npt.NDArray[np.float64]](), Clipped()
    for number, (x, y) in enumerate(batches):
        codes = counted_codes(net, x, clipped, generator=torch.Generator().manual_seed(job.recipe.seed + number))
        for id, mean in counts(net, engine.run(codes), codes=codes).items():
            total[id] = total.get(id, np.zeros(())) + mean * len(y)
    clipped.warn()
    ran = len(batches.image_set)
    data = f"{job.data.test.name}, test split"
    means = {id: value / ran for id, value in total.items()}
    return energy(net, means, table=table, memory=memory, samples=ran, data=data)


def bill_golden_vectors(folder: Path, *, table: str | Path | Technology, memory: MemoryModel | None) -> EnergyReport:
    """Bill a saved network by the spikes of the real images among its golden vectors."""
    net, vectors = read_network(folder), read_tensors(folder, VECTORS)
    labels = vectors.get("labels")
    if labels is None or not (labels >= 0).any():
        raise ConstraintError(
            f"{folder}: its golden vectors hold made inputs only, whose spikes say nothing about real ones",
            fix="bitspike energy RUN --samples 100, or bs.energy(net, bs.simulate(net, codes)) with codes of your own",
        )
    real = np.flatnonzero(labels >= 0)
    try:
        trace = Trace({n.id: vectors[f"{n.id}.spikes"][:, real] for n in net.neurons}, {}, {})
        codes = vectors["input_codes"][:, real].astype(np.int64)
    except KeyError as error:
        raise PackageError(
            f"{folder / VECTORS} lacks {error.args[0]!r}",
            fix="bitspike energy RUN --samples 100 counts the spikes of test images instead",
        ) from error
    return energy(net, trace, table=table, memory=memory, codes=codes, data="the test images among the golden vectors")
