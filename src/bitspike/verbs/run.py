"""The whole run of a recipe: from its images to its report."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bitspike.arguments import checked
from bitspike.recipe import AnyRecipe, load
from bitspike.runs.carry_out import carry_out
from bitspike.runs.job import Job
from bitspike.runs.origin import placed
from bitspike.runs.several import carry_out_parts
from bitspike.runs.shown import watched
from bitspike.runs.stages import Clock
from bitspike.train import Observer, Observers
from bitspike.train.launch import launcher, rank


@checked
def run(
    recipe: str | Path | AnyRecipe,
    *,
    set: Iterable[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    observer: Observer | None = None,
) -> dict[str, Any]:
    """Run a recipe from its images to its report, and return the report, which is also written as ``report.json``.

    The folder receives ``recipe.yaml``, ``model.safetensors`` (the weights as they were trained), ``network/``,
    ``report.html`` and, last of all, ``report.json``; also ``metrics.jsonl`` and ``checkpoints/`` where something is
    trained. Under ``torchrun`` the processes train together; the first one writes and does the rest, the others return
    an empty report.

    Args:
        recipe: a shipped name, the path of a YAML file, or a recipe.
        set: changes such as ``training.epochs=1``.
        out: the run folder; None is ``runs/NAME``, and for one stage of a recipe ``runs/NAME/{bits}bit``.
        resume: go on with an unfinished run, which ends at the same weights as one that was never stopped.
        observer: is called at every stage, batch and epoch; None shows them in a terminal and in a notebook.

    Returns:
        the report; ``report["checks"]`` says which promises were kept.

    Raises:
        RecipeError: the recipe is wrong. DataError: the images are missing or damaged.
        RunError: the folder is taken or cannot be written, the disk is full, or the run was interrupted.
    """
    changes = tuple(set)
    chosen = placed(load(recipe, changes))
    folder = folder_of(chosen, out)
    command = command_of(recipe, changes, out)
    with watched(observer) as seen:
        watching = Observers(seen) if rank() == 0 else Observer()
        return carried_out(chosen, folder, watching, resume=resume, command=command)


def carried_out(
    recipe: AnyRecipe, folder: Path, observer: Observer, *, resume: bool, command: str, last: bool = True
) -> dict[str, Any]:
    """Run a recipe that is loaded, or all of its parts; ``last`` says that the processes train nothing afterwards."""
    if recipe.parts:
        return carry_out_parts(recipe, folder, observer=observer, resume=resume, command=command, last=last)
    job = Job(recipe, into=folder, clock=Clock(observer))
    return carry_out(job, resume=resume, command=command, last=last)


def folder_of(recipe: AnyRecipe, out: str | Path | None = None) -> Path:
    """Return the folder of a recipe's run, where ``out`` is None.

    Example:
        >>> folder_of(load("quickstart")).as_posix()
        'runs/quickstart'
    """
    return Path("runs") / recipe.place if out is None else Path(out)


def command_of(recipe: str | Path | AnyRecipe, changes: Iterable[str], out: str | Path | None) -> str:
    """Return the command line that begins this run."""
    name = recipe.name if isinstance(recipe, AnyRecipe) else str(recipe)
    sets = [part for change in changes for part in ("--set", change)]
    return shlex.join([*launcher(), "run", name, *sets, *([] if out is None else ["--out", str(out)])])
