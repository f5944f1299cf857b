"""From a trained network to its report: the spiking network, its accuracy, its integers, their proof."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bitspike.analysis.ledger.analyze import analyze
from bitspike.analysis.report.activity import Recorder, raster
from bitspike.analysis.report.detail import ReportDetail
from bitspike.data import Batches
from bitspike.hardware.chips.check import check
from bitspike.integer.bounds.widths import widths
from bitspike.integer.codes import encode
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.saved.folder import save
from bitspike.integer.saved.vectors import golden
from bitspike.integer.verify import verify
from bitspike.lowering.agreement import compare
from bitspike.lowering.lower import lower
from bitspike.nn import Neuron
from bitspike.recipe import AnyRecipe, ConvertRecipe
from bitspike.runs.build import words as b
from bitspike.runs.build.weights_file import find_chip
from bitspike.runs.environment import environment
from bitspike.runs.kinds.way import Way
from bitspike.runs.record import checks_of, describe_conversion, epochs_of, kept_epoch, seconds_of
from bitspike.runs.stages import Clock
from bitspike.train import Evaluation, History, evaluate
from bitspike.train.launch import choose_device

GOLDEN = 2
"""Test images among the golden vectors, beside the six made ones."""


def measure(
    recipe: AnyRecipe,
    data: b.Data,
    way: Way,
    model: nn.Module,
    history: History | None,
    folder: Path,
    clock: Clock,
) -> tuple[dict[str, Any], ReportDetail]:
    """Make the spiking network, measure it, lower it, prove the integers, and put the report together."""
    test, training, device = (
        b.evaluation_batches(recipe, data, data.test),
        b.training_of(recipe),
        choose_device(recipe.device),
    )
    task = data.test.task
    beside = way.beside(model, test, clock)
    with clock.stage("convert") if isinstance(recipe, ConvertRecipe) else nullcontext():
        made = way.finish(model)
    network = made.network
    with clock.stage("evaluate"):
        network.to(device)
        loss = None if training is None else b.build(training.loss)
        with Recorder(network) as recorder, way.watched(made) as heard:
            tested = evaluate(network, test, loss=loss, seed=recipe.seed, task=task)
        steps = way.by_step(made, test, tested, None if heard is None else heard.accuracies(data.test.labels))
        validation = _validation(recipe, data, network, history)
        network.to("cpu")
    images, labels = next(iter(test))
    example = images[:1]
    with clock.stage("lower"):
        net = lower(network, example, grid=made.grid, precision=made.precision)
        shown = made.enter(images[:GOLDEN])
        codes = encode(net, shown, generator=torch.Generator().manual_seed(recipe.seed))
        save(net, folder / "network", vectors=golden(net, codes, labels[:GOLDEN].numpy(), seed=recipe.seed))
    proven = _proven(recipe, data)
    with clock.stage("verify"):
        certificate = verify(net, made.entered(proven), folder=folder / "network")
    with clock.stage("compare"):
        agreement = compare(network, net, proven, seed=recipe.seed, task=task)
    whole = proven.image_set is data.test
    layers = widths(net)
    report: dict[str, Any] = {
        "schema": 1,
        "recipe": recipe.model_dump(mode="json"),
        task.wording.metric: {
            "test": tested.accuracy,
            "validation": validation,
            "by_step": steps,
            "lowered": agreement.lowered_accuracy if whole else None,
            **beside,
        },
        "published": None if recipe.published is None else recipe.published.model_dump(mode="json"),
        "expected": None if recipe.expect is None else recipe.expect.model_dump(mode="json"),
        "certificate": certificate.to_dict(),
        "agreement": {
            "spikes": agreement.spikes,
            f"{task.wording.metric}_difference": agreement.accuracy_difference,
            "samples": agreement.samples,
        },
        "bits": net.weight_bits(),
        "bytes": {
            "weights_packed": net.weight_bytes(),
            "weights_float32": 4 * net.weight_count(),
            "package": sum(f.stat().st_size for f in (folder / "network").iterdir()),
        },
        "widths": [
            {"layer": w.layer, "accumulator_bits": w.accumulator_bits, "membrane_bits": w.membrane_bits} for w in layers
        ],
        "notes": [*(() if made.record is None else made.record.notes), *net.notes],
        "activity": {name: layer.to_dict() for name, layer in recorder.layers().items()},
        "seconds": {},
        "epochs": epochs_of(history),
        "seed": recipe.seed,
        "environment": environment(history, device),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if made.record is not None:
        report["conversion"] = describe_conversion(made)
    if isinstance(recipe, ConvertRecipe) and recipe.chip is not None:
        report["chip"] = check(net, find_chip(recipe.chip, recipe.model.folder)).to_dict()
    if isinstance(recipe, ConvertRecipe) and recipe.analysis is not None:
        with clock.stage("analyze"):
            ledger = analyze(network, test, samples=recipe.analysis.samples, seed=recipe.seed, task=task)
            ledger.write(folder / "ledger")
        report["ledger"] = ledger.to_dict()
    report["seconds"] = seconds_of(clock, history)
    report["checks"] = checks_of(report)
    return report, _detail(data, network, net, tested, example)


def _validation(recipe: AnyRecipe, data: b.Data, network: nn.Module, history: History | None) -> float | None:
    """Return the accuracy on the images held out: of the epoch that was kept, or of what was converted."""
    if isinstance(recipe, ConvertRecipe):
        held = data.validation
        batches = None if held is None else b.evaluation_batches(recipe, data, held)
        return None if batches is None else evaluate(network, batches, seed=recipe.seed, task=data.test.task).accuracy
    assert history is not None
    return kept_epoch(history).validation_accuracy


def _proven(recipe: AnyRecipe, data: b.Data) -> Batches:
    """Return the test images that are proven: all, or as many as the recipe says."""
    most = recipe.evaluation.proof if isinstance(recipe, ConvertRecipe) else None
    some = most is not None and most < len(data.test)
    return b.evaluation_batches(recipe, data, data.test.subset(range(most)) if some and most else data.test)


def _detail(
    data: b.Data, model: nn.Module, net: IntegerNetwork, tested: Evaluation, example: torch.Tensor
) -> ReportDetail:
    """Collect the pictures: one test image with its spikes, code histograms, and what the task shows."""
    task, names = data.test.task, data.test.classes
    image, high = data.test.images[0], max(1, int(data.test.images.max()))
    with torch.no_grad():
        (answer,) = task.named(task.answers(model.eval()(example)), names)
    histograms = {n.path: np.unique(n.weight.codes, return_counts=True) for n in net.weighted}
    spikes = raster(model, example) if any(isinstance(m, Neuron) for m in model.modules()) else {}
    return ReportDetail(
        raster=spikes,
        raster_image=(image.to(torch.int64) * 255 // high).to(torch.uint8).squeeze(-1).numpy(),
        raster_label=task.named(data.test.labels[:1], names)[0],
        raster_prediction=answer,
        code_histograms={p: dict(zip(c.tolist(), n.tolist(), strict=True)) for p, (c, n) in histograms.items()},
        exhibits=task.exhibits(tested.confusion, names),
        samples=tested.samples,
    )
