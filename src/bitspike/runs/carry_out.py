"""The whole run of a recipe, in order: data, training, measurement, integers, proof, report."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from bitspike.analysis.report.report import write_report
from bitspike.files import write_whole
from bitspike.runs.construct.words import build
from bitspike.runs.folder import RECIPE, REPORT, begun
from bitspike.runs.interruptions import explained
from bitspike.runs.job import Job
from bitspike.runs.measure import measure
from bitspike.train import History, Observers, fit
from bitspike.train.checkpoint import state_of, write_weights
from bitspike.train.launch import leave, rank, world_size
from bitspike.train.tensorboard import TensorBoard


def carry_out(job: Job, folder: Path, *, resume: bool, again: str) -> dict[str, Any]:
    """Run a recipe into a folder and return its report; under ``torchrun`` all processes but the first return ``{}``.

    ``again`` is the command that began the run, for messages and the report.
    """
    first = rank() == 0
    taken = begun(folder, job.recipe, resume=resume, again=f"{again} --resume") if first else nullcontext()
    nothing = first and resume and not (folder / RECIPE).exists()  # before the block writes it
    with explained(folder, again), taken:
        if nothing:
            job.clock.observer.note(f"nothing was saved in {folder} yet: the run starts from the beginning")
        with job.clock.stage("data"):
            model = job.model
        history = _trained(job, folder, resume=resume)
        leave()
        if not first:
            return {}
        write_weights(folder / "model.safetensors", state_of(model))
        if (decoded := job.kind.decoded(model)) is not None:
            write_weights(folder / "decoded.safetensors", state_of(decoded))
        report, detail = measure(job, history, folder)
        report["command"] = again
        with job.clock.stage("report"):
            write_report(folder, report, [] if history is None else history.rows(), detail)
        # The last file of a run: with it the run is finished.
        write_whole(folder / REPORT, json.dumps(report, indent=1) + "\n")
    return report


def _trained(job: Job, folder: Path, *, resume: bool) -> History | None:
    """Train what each section of epochs trains, in order; None where nothing is trained."""
    history = None
    for section in job.recipe.trainings:
        # The first epochs are those of the run; each later section has a folder and a stage of its own.
        stage, place = ("train", folder) if history is None else (section, folder / section)
        with job.clock.stage(stage, trains=True):
            latest = _train(job, section, place, resume=resume)
            history = latest if history is None else history.then(latest)
    return history


def _train(job: Job, section: str, folder: Path, *, resume: bool) -> History:
    """Train for the epochs of one section of the recipe."""
    words, data = job.recipe.trainings[section], job.data
    share = {"rank": rank(), "world_size": world_size()}
    board = TensorBoard(folder / "tensorboard") if words.tensorboard and rank() == 0 else None
    return fit(
        job.kind.in_training(job.model, section),
        data.training_batches(section, **share),
        epochs=words.epochs,
        seed=job.recipe.seed,
        validation=None if data.validation is None else data.batches(data.validation, **share),
        optimizer=build(words.optimizer),
        schedule=build(words.schedule),
        loss=build(words.loss),
        clip_gradient=build(words.clip_gradient),
        precision=words.precision,
        device=words.device,
        keep=words.keep,
        average=build(words.average),
        task=job.task,
        observer=Observers(board, job.clock.observer),
        folder=folder,
        resume=resume,
    )
