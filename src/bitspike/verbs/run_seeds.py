"""A recipe once for each of several seeds, and what became of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bitspike.analysis.comparison.comparison import Comparison
from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.recipe import AnyRecipe, load
from bitspike.runs.folder import REPORT, refuse_taken, same_recipe
from bitspike.runs.origin import placed
from bitspike.runs.several import wait_for
from bitspike.runs.shown import watched
from bitspike.train import Observer, Observers
from bitspike.train.launch import rank
from bitspike.verbs.compare import compare_runs
from bitspike.verbs.run import carried_out, command_of, folder_of


@checked
def run_seeds(
    recipe: str | Path | AnyRecipe,
    seeds: Sequence[int],
    *,
    set: Iterable[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    observer: Observer | None = None,
) -> Comparison:
    """Run a recipe once for each of several seeds, and compare the runs: mean accuracy and its spread.

    Args:
        recipe, set: as of :func:`run`; without a seed.
        seeds: of the runs, which lie next to each other in folders with ``-seed0``, ``-seed1`` at the end.
        out: what stands before that end; None is ``runs/NAME``.
        resume: go on: finished runs stay, an unfinished one goes on where it stopped, and the others are run.
        observer: is called at every stage, batch and epoch of every run; None shows them in a terminal and a notebook.

    Returns:
        the runs next to each other, in one row; under ``torchrun`` all processes but the first get no row.

    Raises:
        ConstraintError: there is no seed, or one is negative, given twice, or set in two ways.
        RunError: a folder is taken, which is known before the first run begins, or what :func:`run` says.
    """
    changes = tuple(set)
    _need_seeds(seeds, changes)
    usual = folder_of(load(recipe, changes), out)
    places = {usual.with_name(f"{usual.name}-seed{seed}"): (*changes, f"seed={seed}") for seed in seeds}
    recipes = {folder: placed(load(recipe, mine)) for folder, mine in places.items()}
    first = rank() == 0
    if first:  # the others would see what the first one has begun
        for folder, seeded in recipes.items():
            _need_place(folder, seeded, resume=resume)
    with watched(observer) as seen:
        watching = Observers(seen) if first else Observer()
        for number, (folder, mine) in enumerate(places.items(), start=1):
            finished, last = (folder / REPORT).exists(), number == len(places)
            watching.note(f"{folder}: {number} of {len(places)}{', finished before' if finished else ''}")
            if finished:
                continue
            command = command_of(recipe, mine, folder)
            carried_out(recipes[folder], folder, watching, resume=resume, command=command, last=last)
            if not last:
                wait_for(folder / REPORT)
    return compare_runs(*places) if first else Comparison(())


def _need_place(folder: Path, recipe: AnyRecipe, *, resume: bool) -> None:
    """Raise RunError where the run of a seed cannot begin or go on; with ``resume`` a run that was not begun begins."""
    if not resume:
        refuse_taken(folder, recipe, resume=False)
    elif (folder / REPORT).exists():
        same_recipe(folder, recipe)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        refuse_taken(folder, recipe, resume=True)


def _need_seeds(seeds: Sequence[int], changes: Iterable[str]) -> None:
    if not seeds or min(seeds) < 0 or len({*seeds}) < len(seeds):
        raise ConstraintError(
            f"seeds are {list(seeds)}; needed are whole numbers from 0, each of them once",
            fix="seeds=(0, 1, 2) (--seeds 0,1,2)",
        )
    if (own := [change for change in changes if change.partition("=")[0].strip() == "seed"]) != []:
        raise ConstraintError(f"--set {own[0]}: the seeds say it too, {list(seeds)}", fix="leave this change out")
