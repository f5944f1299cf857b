"""From a trained network to its report: the spiking network, its accuracy, its integers, their proof."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bitspike.analysis.exits.rules import gammas_of
from bitspike.analysis.exits.study import study
from bitspike.analysis.report.facts import ReportDetail
from bitspike.analysis.summary import summary
from bitspike.hardware.energy.operations import energy
from bitspike.hardware.memory.cost import cost
from bitspike.integer.codes import encode
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.saved.folder import save
from bitspike.integer.saved.vectors import golden
from bitspike.integer.verify import verify
from bitspike.lowering.agreement import compare
from bitspike.lowering.lower import lower
from bitspike.nn.firing import Recorder
from bitspike.recipe.words.value import Value
from bitspike.runs.construct.data import Data
from bitspike.runs.integers import agreement_of, codes_of, sizes_of
from bitspike.runs.job import Job
from bitspike.runs.memories import SPIKES, memories
from bitspike.runs.pictures import images_shown
from bitspike.runs.record import checks_of, environment, epochs_of, seconds_of
from bitspike.runs.spikes import of_test_images
from bitspike.train import Evaluation, History
from bitspike.weights.chips import varies

SHOWN = 3
"""Test images whose spikes the report shows."""
_COLUMNS = ("layer", "kind", "shape", "weights", "bits", "neurons")
GOLDEN = 2
"""Test images among the golden vectors, next to the six synthetic inputs."""


def measure(job: Job, history: History | None, folder: Path) -> tuple[dict[str, Any], ReportDetail]:
    """Make the spiking network of a trained model, measure it, lower it, prove the integers, put the report together.

    The folder of the run receives the integers and the ledger.
    """
    kind, clock, data, seed = job.kind, job.clock, job.data, job.recipe.seed
    baselines = kind.baselines(job.model, job.test, clock)
    spiking = job.spiking
    network = spiking.network
    with clock.stage("evaluate"):
        each_step = kind.stops_anywhere(spiking) and job.one_run_tells(network)
        with Recorder(network) as recorder:
            tested = job.evaluate(network, each_step=each_step)
        steps = kind.by_step(spiking, job.test, tested)
        exits = None if tested.answers is None else study(tested.answers, gammas_of(network))
        validation = kind.validation(network, history)
        network.to("cpu")  # integers are computed there
    images, labels = next(iter(job.test))
    example = images[:1]
    with clock.stage("lower"):
        net = lower(network, example, grid=spiking.grid, precision=spiking.precision)
        codes = encode(net, spiking.enter(images[:GOLDEN]), generator=torch.Generator().manual_seed(seed))
        save(net, folder / "network", vectors=golden(net, codes, labels[:GOLDEN].numpy(), seed=seed))
    # The saved folder is what is proven: it is read back.
    with clock.stage("verify"):
        certificate = verify(net, ((spiking.enter(x), y) for x, y in job.proof), folder=folder / "network")
    with clock.stage("compare"):
        agreement = compare(network, net, job.proof, seed=seed, task=job.task)
    with clock.stage("energy"):
        means, ran, of = of_test_images(job, net, SPIKES)
        bill = energy(net, means, samples=ran, data=of)
    # Only on all test images do the integers have a test accuracy.
    whole, metric = job.proof.image_set is data.test, job.task.wording.metric
    recipe = job.recipe.model_dump(mode="json")
    sizes = sizes_of(net)
    sizes["bytes"]["package"] = sum(f.stat().st_size for f in (folder / "network").iterdir())
    report: dict[str, Any] = {
        "schema": 1,
        "recipe": recipe,
        metric: {
            "test": tested.accuracy,
            "validation": validation,
            "by_step": steps,
            "lowered": agreement.lowered_accuracy if whole else None,
            **baselines,
        },
        # Figures for other data say nothing about these.
        "published": None if job.recipe.elsewhere else _plain(job.recipe.compared),
        "expected": None if job.recipe.elsewhere else _plain(job.recipe.promised),
        "certificate": certificate.to_dict(),
        "agreement": agreement_of(agreement, metric),
        **sizes,
        "network": layers_of(net),
        "energy": bill.to_dict(),
        "notes": [*kind.notes, *(() if spiking.record is None else spiking.record.notes), *net.notes],
        "exits": None if exits is None else exits.to_dict(),
        "activity": {name: layer.to_dict() for name, layer in recorder.layers().items()},
        "seconds": {},
        "epochs": epochs_of(history),
        "seed": seed,
        "environment": environment(history, job.device),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if varies(network):
        report["memory"] = cost(memories(network, net), net, means, samples=ran, data=of).to_dict()
    report |= kind.report_entries(spiking, net, job.test, folder, clock)
    report["seconds"] = seconds_of(clock, history)
    report["checks"] = checks_of(report)
    return report, _detail(data, network, net, tested, images[:SHOWN])


def layers_of(net: IntegerNetwork) -> dict[str, Any]:
    """Return the layers of a network as ``bs.summary`` lists them, without the columns that other entries hold."""
    shown = summary(net)
    kept = [n for n, name in enumerate(shown.columns) if name in _COLUMNS and any(row[n] for row in shown.rows)]
    rows = [[row[n] for n in kept] for row in shown.rows]
    return {"title": shown.title, "columns": [shown.columns[n] for n in kept], "rows": rows}


def _plain(value: Value | None) -> dict[str, Any] | None:
    return None if value is None else value.model_dump(mode="json")


def _detail(
    data: Data, model: nn.Module, net: IntegerNetwork, tested: Evaluation, images: torch.Tensor
) -> ReportDetail:
    """Collect the pictures: test images with their spikes, code histograms, and what the task shows."""
    return ReportDetail(
        images=images_shown(model, data.test, images),
        code_histograms=codes_of(net),
        exhibits=data.test.task.exhibits(tested.confusion, data.test.classes),
        samples=tested.samples,
    )
