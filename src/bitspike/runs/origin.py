"""How a run began: the command and the commit of the code, kept in its folder; and how to run it again."""

from __future__ import annotations

import json
import shlex
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import bitspike
from bitspike.digests import read_json
from bitspike.files import write_whole
from bitspike.recipe import AnyRecipe, recipe_of
from bitspike.recipe.text import leaves, value_at
from bitspike.train.launch import launcher

ORIGIN = "origin.json"
_FILES = ("data.root", "model.weights", "init", "chip")
"""Keys that may name a file or folder in the working directory."""


def write_origin(folder: Path, command: str) -> None:
    """Keep the command that begins a run, and the commit of the code."""
    write_whole(folder / ORIGIN, json.dumps({"command": command, "commit": commit()}, indent=1) + "\n")


def origin(folder: Path, command: str) -> dict[str, Any]:
    """Return the command that began a run, and the commit; those of now where an older version has kept none."""
    try:
        kept = read_json(folder / ORIGIN)
        return {"command": str(kept["command"]), "commit": kept["commit"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {"command": command, "commit": commit()}


def go_on(folder: Path) -> str:
    """Return the command that goes on with an unfinished run.

    Example:
        >>> go_on(Path("runs/mine"))
        'bitspike resume runs/mine'
    """
    return shlex.join([*launcher(), "resume", str(folder)])


def placed(recipe: AnyRecipe) -> AnyRecipe:
    """Return a recipe that names its files and folders in the working directory by their whole paths.

    So a run goes on, and is measured again, from wherever the command is given. What is not there stays as it is.

    Example:
        >>> from bitspike.recipe import load
        >>> placed(load("quickstart")) == load("quickstart")
        True
    """
    whole = _whole_paths(recipe)
    values = recipe.model_dump(mode="json")
    for key, path in whole.items():
        *above, last = key.split(".")
        value_at(values, above)[last] = path
    return recipe_of(values) if whole else recipe


def _whole_paths(recipe: AnyRecipe) -> dict[str, str]:
    """Return the whole paths of the files and folders that a recipe names as they are seen from here."""
    values = leaves(recipe.model_dump(mode="json"))
    named = {key: values.get(key) for key in _FILES}
    texts = {key: Path(v).expanduser() for key, v in named.items() if isinstance(v, str)}
    return {key: str(path.resolve()) for key, path in texts.items() if not path.is_absolute() and path.exists()}


def again(recipe: AnyRecipe, folder: Path) -> str:
    """Return the command that repeats a run, from whatever folder it is given: all files are named by whole paths.

    Example:
        >>> from bitspike.recipe import load
        >>> again(load("quickstart"), Path("/data/runs/quickstart"))
        'bitspike run /data/runs/quickstart/recipe.yaml --out /data/runs/quickstart-again'
    """
    folder = folder.resolve()
    changes = [word for key, path in _whole_paths(recipe).items() for word in ("--set", f"{key}={path}")]
    return shlex.join([*launcher(), "run", str(folder / "recipe.yaml"), "--out", f"{folder}-again", *changes])


def commit() -> str | None:
    """Return the commit of this very code, with a plus where the code differs from it.

    That of the working tree which the package is imported from, or what pip noted when it installed from a repository;
    None of a package that came without either.
    """
    package = Path(bitspike.__file__).parent
    try:
        _git(package, "ls-files", "--error-unmatch", "__init__.py")  # another repository may lie around an environment
        return _git(package, "rev-parse", "--short", "HEAD") + "+" * bool(_git(package, "status", "--porcelain", "."))
    except (OSError, subprocess.CalledProcessError):
        return _noted_by_pip()


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _noted_by_pip() -> str | None:
    """Return the commit in ``direct_url.json``, https://peps.python.org/pep-0610."""
    try:
        noted = json.loads(distribution("bitspike").read_text("direct_url.json") or "{}")
        return str(noted["vcs_info"]["commit_id"])[:9]
    except (PackageNotFoundError, ValueError, KeyError, TypeError):
        return None
