"""The whole journey of a recipe: images, training, measurement, integers, proof, report."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
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
from bitspike.analysis.report.report import write_report
from bitspike.data import Batches
from bitspike.files import write_whole
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
from bitspike.recipe import AnyRecipe, ConvertRecipe, load
from bitspike.recipe.words.training import Training
from bitspike.runs.build import words as b
from bitspike.runs.build.factory import find_chip
from bitspike.runs.environment import environment
from bitspike.runs.folder import RECIPE, REPORT, begun
from bitspike.runs.interruptions import explained
from bitspike.runs.kinds.way import Made, Way, way_of
from bitspike.runs.stages import Clock
from bitspike.train import EpochRecord, Evaluation, History, Observer, Observers, evaluate, fit
from bitspike.train.checkpoint import state_of, write_weights
from bitspike.train.launch import choose_device, leave, rank, world_size
from bitspike.train.tensorboard import TensorBoard

GOLDEN = 2
"""Test images among the golden vectors, beside the six made ones."""


def run(
    recipe: str | Path | AnyRecipe,
    *,
    set: Iterable[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    observer: Observer | None = None,
) -> dict[str, Any]:
    """Make the whole journey of a recipe and return its report, which is also written as ``report.json``.

    The folder receives ``recipe.yaml``, ``model.safetensors`` (the weights as they were trained), ``network/``,
    ``report.html`` and, last of all, ``report.json``; also ``metrics.jsonl`` and ``checkpoints/`` where something is
    trained. Under ``torchrun`` the processes train together; the first one writes and does the rest, the others return
    an empty report.

    Args:
        recipe: a shipped name, the path of a YAML file, or a recipe.
        set: changes such as ``training.epochs=1``.
        out: the run folder; None is ``runs/NAME``.
        resume: go on with an unfinished run, which ends at the same weights as one that was never stopped.
        observer: hears of stages, batches and epochs.

    Returns:
        the report; ``report["checks"]`` says which promises were kept.

    Raises:
        RecipeError: the recipe is wrong. DataError: the images are missing or damaged.
        RunError: the folder is taken or cannot be written, the disk is full, or the run was interrupted.
    """
    changes = tuple(set)
    chosen = load(recipe, changes)
    folder = Path("runs") / chosen.name if out is None else Path(out)
    again = _command(recipe, changes, out, chosen)
    first = rank() == 0
    observer = Observers(observer) if first else Observer()
    clock = Clock(observer)
    place = begun(folder, chosen, resume=resume, again=f"{again} --resume") if first else nullcontext()
    nothing = first and resume and not (folder / RECIPE).exists()
    with explained(folder, again), place:
        if nothing:
            observer.note(f"nothing was saved in {folder} yet: the run starts from the beginning")
        with clock.stage("data"):
            data = b.build_data(chosen)
            way = way_of(chosen, data)
            model = way.start()
        history = None
        for section, training in b.trainings_of(chosen).items():
            with clock.stage("over_time" if section == "over_time" else "train"):
                part = way.trained(model, section), folder / section if section == "over_time" else folder
                trained = _train(chosen, section, training, data, *part, resume, observer)
                history = trained if history is None else history.then(trained)
        leave()
        if not first:
            return {}
        write_weights(folder / "model.safetensors", state_of(model))
        if (decoded := way.decoded(model)) is not None:
            write_weights(folder / "decoded.safetensors", state_of(decoded))
        report, detail = _measure(chosen, data, way, model, history, folder, clock)
        report["command"] = again
        rows = [] if history is None else history.rows()
        with clock.stage("report"):
            write_report(folder, report, rows, detail)
        write_whole(folder / REPORT, json.dumps(report, indent=1) + "\n")
    return report


def _command(recipe: str | Path | AnyRecipe, changes: Iterable[str], out: str | Path | None, chosen: AnyRecipe) -> str:
    name = chosen.name if isinstance(recipe, AnyRecipe) else str(recipe)
    sets = [part for change in changes for part in ("--set", change)]
    return shlex.join(["bitspike", "run", name, *sets, *([] if out is None else ["--out", str(out)])])


def _train(
    recipe: AnyRecipe,
    section: str,
    t: Training,
    data: b.Data,
    model: nn.Module,
    folder: Path,
    resume: bool,
    observer: Observer,
) -> History:
    """Train for the epochs of one section of the recipe."""
    share = {"rank": rank(), "world_size": world_size()}
    held = data.validation
    board = TensorBoard(folder / "tensorboard") if t.tensorboard and rank() == 0 else None
    return fit(
        model,
        b.training_batches(recipe, data, section, **share),
        epochs=t.epochs,
        seed=recipe.seed,
        validation=None if held is None else b.evaluation_batches(recipe, data, held, **share),
        optimizer=b.build(t.optimizer),
        schedule=b.build(t.schedule),
        loss=b.build(t.loss),
        clip_gradient=b.build(t.clip_gradient),
        precision=t.precision,
        device=t.device,
        keep=t.keep,
        observer=Observers(board, observer),
        folder=folder,
        resume=resume,
    )


def _measure(
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
    beside = way.beside(model, test, clock)
    with clock.stage("convert") if isinstance(recipe, ConvertRecipe) else nullcontext():
        made = way.finish(model)
    network = made.network
    with clock.stage("evaluate"):
        network.to(device)
        loss = None if training is None else b.build(training.loss)
        with Recorder(network) as recorder, way.watched(made) as heard:
            tested = evaluate(network, test, loss=loss, seed=recipe.seed)
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
        agreement = compare(network, net, proven, seed=recipe.seed)
    whole = proven.image_set is data.test
    layers = widths(net)
    report: dict[str, Any] = {
        "schema": 1,
        "recipe": recipe.model_dump(mode="json"),
        "accuracy": {
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
            "accuracy_difference": agreement.accuracy_difference,
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
        "epochs": _epochs(history),
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
            ledger = analyze(network, test, samples=recipe.analysis.samples, seed=recipe.seed)
            ledger.write(folder / "ledger")
        report["ledger"] = ledger.to_dict()
    report["seconds"] = _seconds(clock, history)
    report["checks"] = _checks(report)
    return report, _detail(data, network, net, tested, example)


def _validation(recipe: AnyRecipe, data: b.Data, network: nn.Module, history: History | None) -> float | None:
    """Return the accuracy on the images held out: of the epoch that was kept, or of what was converted."""
    if isinstance(recipe, ConvertRecipe):
        held = data.validation
        batches = None if held is None else b.evaluation_batches(recipe, data, held)
        return None if batches is None else evaluate(network, batches, seed=recipe.seed).accuracy
    assert history is not None
    return _kept(history).validation_accuracy


def _kept(history: History) -> EpochRecord:
    return history.epochs[-1 if history.kept == "last" else (history.best_epoch or 0) - 1]


def _proven(recipe: AnyRecipe, data: b.Data) -> Batches:
    """Return the test images that are proven: all, or as many as the recipe says."""
    most = recipe.evaluation.proof if isinstance(recipe, ConvertRecipe) else None
    some = most is not None and most < len(data.test)
    return b.evaluation_batches(recipe, data, data.test.subset(range(most)) if some and most else data.test)


def _seconds(clock: Clock, history: History | None) -> dict[str, float]:
    if history is None:
        return {**clock.seconds, "total": clock.total(train=0.0)}
    return {**clock.seconds, "train": history.seconds, "total": clock.total(train=history.seconds)}


def _epochs(history: History | None) -> dict[str, int | None]:
    if history is None:
        return {"run": 0, "best": None, "kept": None}
    return {"run": len(history.epochs), "best": history.best_epoch, "kept": _kept(history).epoch}


def describe_conversion(made: Made) -> dict[str, Any]:
    """Return what a converted network was made with, as plain values."""
    record = made.record
    assert record is not None
    return {
        "settings": record.settings.to_dict(),
        "calibration": dict(record.calibration),
        "correction": dict(record.correction),
        "neurons": sum(layer.kind != "readout" for layer in record.layers.values()),
        "partial": made.partial,
        "host": list(record.host),
    }


def _checks(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the promises of the run, each with whether it was kept."""
    test, expected = report["accuracy"]["test"], report["expected"]
    certificate = report["certificate"]
    checks = [
        {
            "name": "certificate",
            "passed": certificate["equal"],
            "message": "every spike and membrane of the integers is equal"
            if certificate["equal"]
            else f"the integers differ first at {certificate['first_difference']}",
        }
    ]
    if expected is not None:
        checks.append(
            {
                "name": "accuracy",
                "passed": test >= expected["test_accuracy"],
                "message": f"test accuracy {test:.2%}, expected at least {expected['test_accuracy']:.2%}",
            }
        )
    if "chip" in report:
        chip, wrong = report["chip"], sum(v["severity"] == "error" for v in report["chip"]["violations"])
        said = "fits" if chip["passed"] else f"breaks {wrong} rule{'s' * (wrong != 1)} of"
        checks.append(
            {"name": "chip", "passed": chip["passed"], "message": f"the network {said} chip {chip['chip']!r}"}
        )
    return checks


def _detail(
    data: b.Data, model: nn.Module, net: IntegerNetwork, tested: Evaluation, example: torch.Tensor
) -> ReportDetail:
    """Collect the pictures: one test image with its spikes, code histograms, the confusion of classes."""
    image, high = data.test.images[0], max(1, int(data.test.images.max()))
    with torch.no_grad():
        answer = int(model.eval()(example).argmax(1))
    histograms = {n.path: np.unique(n.weight.codes, return_counts=True) for n in net.weighted}
    spikes = raster(model, example) if any(isinstance(m, Neuron) for m in model.modules()) else {}
    return ReportDetail(
        raster=spikes,
        raster_image=(image.to(torch.int64) * 255 // high).to(torch.uint8).squeeze(-1).numpy(),
        raster_label=data.test.classes[int(data.test.labels[0])],
        raster_prediction=data.test.classes[answer],
        code_histograms={p: dict(zip(c.tolist(), n.tolist(), strict=True)) for p, (c, n) in histograms.items()},
        confusion=tested.confusion.numpy(),
        classes=data.test.classes,
    )
