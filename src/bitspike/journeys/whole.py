"""The whole journey of a recipe: images, training, measurement, integers, proof, report."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bitspike.analysis.activity import Recorder, raster
from bitspike.analysis.detail import ReportDetail
from bitspike.analysis.report import write_report
from bitspike.integer.agreement import compare
from bitspike.integer.host import encode
from bitspike.integer.lower import lower
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.package import save
from bitspike.integer.vectors import golden
from bitspike.integer.verify import verify
from bitspike.integer.widths import widths
from bitspike.journeys import build as b
from bitspike.journeys.environment import environment
from bitspike.journeys.folder import REPORT, begin
from bitspike.journeys.trouble import explained
from bitspike.nn import Neuron
from bitspike.recipe import Recipe, load
from bitspike.train import Evaluation, History, Observer, Observers, by_step, evaluate, fit
from bitspike.train.checkpoint import state_of, write_weights
from bitspike.train.files import write_whole
from bitspike.train.launch import choose_device, leave, rank, world_size
from bitspike.train.tensorboard import TensorBoard

GOLDEN = 2
"""Test images among the golden vectors, beside the six made ones."""


def run(
    recipe: str | Path | Recipe,
    *,
    set: Iterable[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    observer: Observer | None = None,
) -> dict[str, Any]:
    """Make the whole journey of a recipe and return its report, which is also written as ``report.json``.

    The folder receives ``recipe.yaml``, ``metrics.jsonl``, ``checkpoints/``, ``model.safetensors``, ``network/``,
    ``report.html`` and, last of all, ``report.json``. Under ``torchrun`` the processes train together; the first one
    writes and does the rest, the others return an empty report.

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
    clock = _Clock(observer)
    with explained(folder, again):
        if first:
            begin(folder, chosen, resume=resume, again=f"{again} --resume")
        with clock.stage("data"):
            data = b.build_data(chosen)
            model = b.build_model(chosen, data.train)
        with clock.stage("train"):
            history = _train(chosen, data, model, folder, resume, observer)
            leave()
        if not first:
            return {}
        write_weights(folder / "model.safetensors", state_of(model))
        report, detail = _measure(chosen, data, model, history, folder, clock)
        report["command"] = again
        rows = history.rows()
        with clock.stage("report"):
            write_report(folder, report, rows, detail)
        write_whole(folder / REPORT, json.dumps(report, indent=1) + "\n")
    return report


def _command(recipe: str | Path | Recipe, changes: Iterable[str], out: str | Path | None, chosen: Recipe) -> str:
    name = chosen.name if isinstance(recipe, Recipe) else str(recipe)
    sets = [part for change in changes for part in ("--set", change)]
    return shlex.join(["bitspike", "run", name, *sets, *([] if out is None else ["--out", str(out)])])


def _train(recipe: Recipe, data: b.Data, model: nn.Module, folder: Path, resume: bool, observer: Observer) -> History:
    t, share = recipe.training, {"rank": rank(), "world_size": world_size()}
    held = data.validation
    board = TensorBoard(folder / "tensorboard") if t.tensorboard and rank() == 0 else None
    return fit(
        model,
        b.training_batches(recipe, data, **share),
        epochs=t.epochs,
        seed=recipe.seed,
        validation=None if held is None else b.evaluation_batches(recipe, data, held, **share),
        optimizer=b.build(b.OPTIMIZERS, t.optimizer),
        schedule=b.build(b.SCHEDULES, t.schedule),
        loss=b.build(b.LOSSES, t.loss),
        clip_gradient=b.build(b.CLIPS, t.clip_gradient),
        precision=t.precision,
        device=t.device,
        keep=t.keep,
        observer=Observers(board, observer),
        folder=folder,
        resume=resume,
    )


def _measure(
    recipe: Recipe, data: b.Data, model: nn.Module, history: History, folder: Path, clock: _Clock
) -> tuple[dict[str, Any], ReportDetail]:
    """Measure the trained network, lower it, prove the integers, and put the report together."""
    test = b.evaluation_batches(recipe, data, data.test)
    with clock.stage("evaluate"):
        model.to(choose_device(recipe.training.device))
        with Recorder(model) as recorder:
            tested = evaluate(model, test, loss=b.build(b.LOSSES, recipe.training.loss), seed=recipe.seed)
        steps = by_step(model, test, seed=recipe.seed, final=tested)
        model.to("cpu")
    images, labels = next(iter(test))
    example = images[:1]
    with clock.stage("lower"):
        net = lower(model, example, grid=data.grid, precision=b.build_precision(recipe))
        codes = encode(net, images[:GOLDEN], generator=torch.Generator().manual_seed(recipe.seed))
        save(net, folder / "network", vectors=golden(net, codes, labels[:GOLDEN].numpy(), seed=recipe.seed))
    with clock.stage("verify"):
        certificate = verify(net, test, folder=folder / "network")
    with clock.stage("compare"):
        agreement = compare(model, net, test, seed=recipe.seed)
    kept = history.epochs[-1 if history.kept == "last" else (history.best_epoch or 0) - 1]
    layers = widths(net)
    report: dict[str, Any] = {
        "schema": 1,
        "recipe": recipe.model_dump(mode="json"),
        "accuracy": {
            "test": tested.accuracy,
            "validation": kept.validation_accuracy,
            "by_step": steps,
            "lowered": agreement.lowered_accuracy,
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
        "notes": list(net.notes),
        "activity": {name: layer.to_dict() for name, layer in recorder.layers().items()},
        "seconds": {**clock.seconds, "train": history.seconds, "total": clock.total(train=history.seconds)},
        "epochs": {"run": len(history.epochs), "best": history.best_epoch, "kept": kept.epoch},
        "seed": recipe.seed,
        "environment": environment(history),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    report["checks"] = _checks(report)
    return report, _detail(data, model, net, tested, example)


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


@dataclass
class _Clock:
    """Tells the observer each stage, and measures it."""

    observer: Observer
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.observer.stage(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def total(self, *, train: float) -> float:
        """Return the time of all stages, with the training of earlier sittings."""
        return sum(self.seconds.values()) - self.seconds.get("train", 0.0) + train
