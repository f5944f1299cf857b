"""Where a converted network loses: a network in memory on data that are given, or a run on its test images."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import overload

from torch import nn

from bitspike.analysis.ledger.analyze import Batches
from bitspike.analysis.ledger.analyze import analyze as account
from bitspike.analysis.ledger.ledger import Ledger
from bitspike.arguments import checked
from bitspike.errors import ConstraintError, DataError, RunError, command, short
from bitspike.integer.network import IntegerNetwork
from bitspike.runs.folder import need_place
from bitspike.runs.job import finished
from bitspike.tasks.classify import Classification
from bitspike.tasks.task import Task


@overload
def analyze(
    network: nn.Module,
    batches: Batches,
    *,
    samples: int = 256,
    out: str | Path | None = None,
    limits: IntegerNetwork | None = None,
    batch: int = 16,
    seed: int | None = None,
    task: Task = ...,
) -> Ledger: ...


@overload
def analyze(
    network: str | Path,
    *,
    samples: int = 256,
    out: str | Path | None = None,
    batch: int = 16,
    seed: int | None = None,
    set: Iterable[str] = (),
) -> Ledger: ...


@checked
def analyze(
    network: nn.Module | str | Path,
    batches: Batches | None = None,
    *,
    samples: int = 256,
    out: str | Path | None = None,
    limits: IntegerNetwork | None = None,
    batch: int = 16,
    seed: int | None = None,
    set: Iterable[str] = (),
    task: Task | None = None,
) -> Ledger:
    """Split the gap between a converted network and its float original into its causes, for every layer.

    The parts (input codes, weight rounding, clipping, rounding in time, unevenness, integer rounding, saturation) add
    up to the measured gap. *Local* parts are the layer's own, with the float network's values on its input;
    *cumulative* ones hold what the layers before did too. :mod:`bitspike.analysis.ledger.ladder` defines them.

    Args:
        network: from ``bs.convert`` or ``bs.finish``, whole or hybrid; or the folder of a finished run of kind
            ``convert``.
        batches: for a network in memory a loader, with or without labels, or one tensor of samples; with labels the
            metric of the task is measured on every rung of the ladder too. A run has its test images.
        samples: how many samples are measured.
        out: folder to write the report, the figures and their numbers to; None is ``ledger/`` in the folder of a run,
            and writes nothing for a network in memory.
        limits: the lowered network with the limits of a chip (``floor`` and ``width`` of its neurons); None has none.
        batch: samples at a time; memory grows with it.
        seed: of random input spikes; None is 0, or the seed of the run.
        set: changes to the recipe of a run, such as ``data.root=FOLDER`` or ``convert.steps=32``.
        task: says which answers of a network in memory are right; None is classification. A run has that of its data.

    Returns:
        the ledger; ``print`` shows it as a table.

    Raises:
        ConstraintError: the network was not made by a conversion. DataError: there is nothing to measure, or the
            images of a run are missing. RunError: there is no finished run, or nothing was converted in it.

    Example:
        >>> import torch
        >>> import bitspike as bs
        >>> ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> images = torch.rand(32, 4)
        >>> ledger = analyze(bs.convert(ann, images[:1], calibrate=images, steps=8, correct=None), images)
        >>> ledger.terms, ledger.closure < 0.02
        (('input', 'weights', 'clipping', 'truncation', 'unevenness', 'integer', 'saturation'), True)
    """
    if out is not None:
        need_place(Path(out))
    if isinstance(network, nn.Module):
        if batches is None:
            raise DataError("the analysis needs data and got None", fix="bs.analyze(network, loader)")
        return account(
            network,
            batches,
            out=out,
            samples=samples,
            limits=limits,
            batch=batch,
            seed=seed or 0,
            task=task or Classification(),
        )
    if isinstance(network, IntegerNetwork):
        raise ConstraintError(
            "an integer network does not know the float network that it came from", fix="bs.analyze(snn, loader)"
        )
    if batches is not None or task is not None:
        raise ConstraintError(
            f"bs.analyze({str(network)!r}, ...): a run is measured on its own test images, by the task of its data",
            fix="leave batches and task out: bs.analyze(run, samples=N), or set=['data.root=FOLDER']",
        )
    if not isinstance(network, str | os.PathLike):
        raise ConstraintError(
            f"analyze({short(network)}): a converted network, or the folder of a run, is needed",
            fix="bs.analyze(bs.convert(model, images[:1]), loader)",
        )
    job, report = finished(Path(network), set)
    if "conversion" not in report:
        raise RunError(
            f"the run in {network} trained a spiking network; there is no float network to compare it with",
            fix=f"{command('evaluate', network)}, and report.html for what its neurons do",
        )
    return account(
        job.spiking.network,
        job.test,
        out=Path(network) / "ledger" if out is None else out,
        samples=samples,
        limits=limits,
        batch=batch,
        seed=job.recipe.seed if seed is None else seed,
        task=job.task,
        name=job.recipe.name,
    )
