"""The whole run of a recipe, in order: data, training, measurement, integers, proof, report."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from bitspike.analysis.report.report import write_report
from bitspike.files import write_whole
from bitspike.recipe import AnyRecipe
from bitspike.runs.construct.words import build
from bitspike.runs.folder import RECIPE, REPORT, begun
from bitspike.runs.interruptions import explained
from bitspike.runs.job import Job
from bitspike.runs.measure import measure
from bitspike.runs.origin import again, origin
from bitspike.train import History, Observers, fit
from bitspike.train.checkpoint import MODEL, state_of, write_weights
from bitspike.train.launch import leave, rank, world_size
from bitspike.train.tensorboard import TensorBoard


def carry_out(job: Job, *, resume: bool, command: str, last: bool = True, whole: Path | None = None) -> dict[str, Any]:
    """Run a recipe into its job's folder and return its report; under ``torchrun`` all but the first return ``{}``.

    Args:
        job: the recipe and what is made of it, with the folder ``into`` which the run goes.
        resume: go on with an unfinished run.
        command: that began the run, for messages and the report.
        last: the processes train nothing together afterwards.
        whole: the folder of the run that this one is a part of.
    """
    assert job.into is not None, "a job that is carried out has a folder"
    folder, first = job.into, rank() == 0
    nothing = first and resume and not (folder / RECIPE).exists()  # before the block writes it
    mine = taken(folder, job.recipe, resume=resume, command=command)
    with explained(folder, command, whole=whole), mine:
        if nothing:
            job.clock.observer.note(f"nothing was saved in {folder} yet: the run starts from the beginning")
        with job.clock.stage("data"):
            model = job.model
        for text in job.kind.notes:
            job.clock.observer.note(text)
        history = _trained(job, folder, resume=resume)
        if last:
            leave()
        if not first:
            return {}
        if job.kind.tunes:
            with job.clock.stage("tune"):
                job.kind.tune(model, folder / MODEL, job.clock.observer)
        for name, state in job.kind.weights(model).items():
            write_weights(folder / name, state)
        # With this file all training is done.
        write_weights(folder / MODEL, state_of(model))
        report, detail = measure(job, history, folder)
        report |= stated(job.recipe, folder, command)
        with job.clock.stage("report"):
            write_report(folder, report, [] if history is None else history.rows(), detail)
        # The last file of a run: with it the run is finished.
        write_whole(folder / REPORT, json.dumps(report, indent=1) + "\n")
    return report


def stated(recipe: AnyRecipe, folder: Path, command: str) -> dict[str, Any]:
    """Return what a report says about how its run began, and how to run it again."""
    return {**origin(folder, command), "again": again(recipe, folder)}


def taken(folder: Path, recipe: AnyRecipe, *, resume: bool, command: str) -> AbstractContextManager[None]:
    """Return the context in which the first process keeps a run folder to itself; the others write nothing."""
    return begun(folder, recipe, resume=resume, command=command) if rank() == 0 else nullcontext()


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
        **job.kind.taught(section),
        task=job.task,
        observer=Observers(board, job.clock.observer),
        folder=folder,
        resume=resume,
    )
