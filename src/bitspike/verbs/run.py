"""The whole journey of a recipe: images, training, measurement, integers, proof, report."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import nn

from bitspike.analysis.report.report import write_report
from bitspike.files import write_whole
from bitspike.recipe import AnyRecipe, load
from bitspike.recipe.words.training import Training
from bitspike.runs.build import words as b
from bitspike.runs.folder import RECIPE, REPORT, begun
from bitspike.runs.interruptions import explained
from bitspike.runs.kinds.choose import way_of
from bitspike.runs.measure import measure
from bitspike.runs.stages import Clock
from bitspike.train import History, Observer, Observers, fit
from bitspike.train.checkpoint import state_of, write_weights
from bitspike.train.launch import leave, rank, world_size
from bitspike.train.tensorboard import TensorBoard


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
        report, detail = measure(chosen, data, way, model, history, folder, clock)
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
