"""Run folders: in which state one is, how a run begins or goes on in it, how a finished one is opened.

``recipe.yaml`` is the first file that a run writes and ``report.json`` the last; each appears whole. A folder with the
first is a run, a folder with both is a finished run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bitspike.digests import read_json
from bitspike.errors import BitspikeError, PackageError, RunError, command
from bitspike.files import is_left_over, locked, obstacle, previous, remove_partial, write_whole
from bitspike.recipe import AnyRecipe, dump, load
from bitspike.recipe.text import leaves
from bitspike.runs.origin import ORIGIN, go_on, placed, write_origin

RECIPE, REPORT = "recipe.yaml", "report.json"
_ELSEWHERE = "--out ANOTHER_FOLDER"
_WAY = "the folder of a run, such as runs/quickstart; 'bitspike run' makes one"


@contextmanager
def begun(folder: Path, recipe: AnyRecipe, *, resume: bool, command: str) -> Iterator[None]:
    """Keep a run folder to this process for a block: a new and empty one, or one left by the same recipe unfinished.

    If the block fails nothing half-written is left, and no folder where nothing was done; a run that was there stays.

    Args:
        folder: of the run; made if it is not there.
        recipe: of the run.
        resume: whether to go on with an unfinished run.
        command: that begins the run; it is kept.

    Raises:
        RunError: the folder is finished, unfinished without ``resume``, of another recipe, not a run's, in use by
            another process, or cannot be written. It is then as it was.
    """
    names = _names_in(folder, _ELSEWHERE)
    refuse_taken(folder, recipe, resume=resume)
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder) as mine:
        if not mine:
            raise RunError(
                f"another process is at work in {folder}: {progress(folder)}",
                fix="wait until it has ended, or --out ANOTHER_FOLDER",
            )
        try:
            with _writing(folder):
                remove_partial(folder)
                if RECIPE not in names:
                    write_whole(folder / RECIPE, dump(recipe))
                    write_origin(folder, command)
            yield
        except BaseException as error:
            remove_partial(folder)
            new = RECIPE not in names and isinstance(error, BitspikeError)
            if new and {RECIPE} <= _names_in(folder) <= {RECIPE, ORIGIN}:
                for name in (RECIPE, ORIGIN):  # nothing was done yet
                    (folder / name).unlink(missing_ok=True)
                folder.rmdir()
            raise


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is not None and _is_place_error(error):
            raise RunError(
                f"the run folder {folder} cannot be written: {error.strerror}", fix="--out ANOTHER_FOLDER"
            ) from error
        raise


def refuse_taken(folder: Path, recipe: AnyRecipe, *, resume: bool) -> None:
    """Raise RunError where a run of a recipe cannot begin in a folder, or with ``resume`` go on there."""
    names = _names_in(folder, _ELSEWHERE)
    if REPORT in names:
        raise RunError(
            f"{folder} holds a finished run, and nothing is overwritten",
            fix="--out ANOTHER_FOLDER" + ("" if resume else f", or see it again: {command('evaluate', folder)}"),
        )
    if RECIPE in names and not resume:
        raise RunError(
            f"{folder} holds a run that is not finished: {progress(folder)}",
            fix=f"go on with it: {go_on(folder)}\n       or start anew elsewhere: --out ANOTHER_FOLDER",
        )
    if RECIPE in names:
        same_recipe(folder, recipe)
    elif names:
        raise RunError(
            f"{folder} is not empty and no run of bitspike ({', '.join(sorted(names)[:3])}, ...)",
            fix="--out ANOTHER_FOLDER",
        )
    elif resume and not folder.is_dir():  # an empty one was left by a run that was killed before its first file
        raise RunError(f"there is no run in {folder} to go on with", fix="leave --resume out to start one")


def need_place(folder: Path) -> None:
    """Raise RunError where the results of long work could not be written into a folder; nothing is made.

    Example:
        >>> need_place(Path("runs/new"))
    """
    if (reason := obstacle(folder)) is not None:
        raise RunError(f"{folder} cannot be written: {reason}", fix="--out ANOTHER_FOLDER")


def progress(folder: Path) -> str:
    """Say how far the run in a folder has come.

    Example:
        >>> progress(Path("no-such-folder"))
        'no epoch is done yet'
    """
    # The first section of epochs saves in the folder of the run, each later one in a folder of its own.
    parts = [folder / "checkpoints", *sorted(folder.glob("*/checkpoints"))]
    done = [text for part in parts if (text := _epochs(part)) is not None]
    return " and ".join(done) + " epochs are done" if done else "no epoch is done yet"


def _epochs(checkpoints: Path) -> str | None:
    """Return how many epochs of a training are saved, in words; None where none are."""
    for last in (checkpoints / "last", previous(checkpoints / "last")):
        try:
            state = read_json(last / "state.json", finite=False)
            return f"{state['epoch']} of {state['epochs']}"
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def unfinished(folder: Path) -> AnyRecipe:
    """Return the recipe of an unfinished run.

    Raises:
        RunError: there is no such folder, it is no run, or the run is finished.
    """
    names = _names_in(folder)
    _need_run(folder, names)
    if REPORT in names:
        raise RunError(f"the run in {folder} is finished", fix=f"see it again: {command('evaluate', folder)}")
    return load(folder / RECIPE)


def _need_run(folder: Path, names: Collection[str]) -> None:
    if RECIPE not in names:
        what = "there is no folder" if not folder.exists() else "this is no run of bitspike:"
        raise RunError(f"{what} {folder}", fix=_WAY)


def opened(folder: Path) -> tuple[AnyRecipe, dict[str, Any]]:
    """Return recipe and report of a finished run.

    Raises:
        RunError: there is no such folder, it is no run, or the run is not finished.
        PackageError: a file in it is damaged.
    """
    names = _names_in(folder)
    _need_run(folder, names)
    if REPORT not in names:
        raise RunError(f"the run in {folder} is not finished: {progress(folder)}", fix=go_on(folder))
    recipe = load(folder / RECIPE)
    try:
        report = read_json(folder / REPORT, finite=False)
        if not isinstance(report, dict):
            raise ValueError("it is no mapping")
    except (OSError, ValueError) as error:
        raise PackageError(
            f"{folder / REPORT} cannot be read: {error}",
            fix=f"move {folder / REPORT} away, then {go_on(folder)}: it is written anew",
        ) from error
    return recipe, report


def _names_in(folder: Path, way: str = _WAY) -> set[str]:
    """Return the names of the files in a folder: half-written ones do not count; none where it cannot be listed."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; a run needs a folder", fix=way)
    try:
        return {path.name for path in folder.iterdir() if not is_left_over(path)}
    except OSError:
        return set()


def same_recipe(folder: Path, recipe: AnyRecipe) -> None:
    """Raise RunError where the run in a folder is of another recipe; the message names every difference."""
    older, newer = (leaves(r.model_dump(mode="json")) for r in (placed(load(folder / RECIPE)), placed(recipe)))
    differing = [k for k in {**older, **newer} if older.get(k, "absent") != newer.get(k, "absent")]
    # Which of the values came from the file, and which from --set, is no difference.
    changed = [key for key in differing if key.partition(".")[0] != "changed"]
    if changed:
        lines = [f"  {key}: {older.get(key, 'absent')!r} there, {newer.get(key, 'absent')!r} now" for key in changed]
        raise RunError(
            "\n".join([f"{folder} was begun with another recipe", *lines]),
            fix="give the same recipe and --set values, or --out ANOTHER_FOLDER",
        )


def _is_place_error(error: OSError) -> bool:
    return isinstance(error, PermissionError | NotADirectoryError | FileExistsError | FileNotFoundError) or (
        error.strerror or ""
    ).startswith(("Read-only", "File name too long", "Not a directory"))
