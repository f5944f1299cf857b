"""Classes and functions of the user's own: imported from a file next to the recipe, or from an installed module."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from torch import nn

from bitspike.errors import BitspikeError, RecipeError, some
from bitspike.recipe.words.own import Own
from bitspike.runs.construct.weights_file import places


def own(word: Own) -> Callable[..., Any]:
    """Return a function that calls what a word names, with its arguments and those that it gets.

    Raises:
        RecipeError: there is no such module or function. Its own calls raise one where the user's code fails, or
            returns something of another class than the word asks for.
    """
    where = f"{word.section}.factory {word.factory}"
    make, kind = _function(word, where), resolve_name(word.makes)

    def call(**more: Any) -> Any:
        added = [", ".join({**word.added, **more})] if word.added or more else []
        try:
            result = make(**{**word.arguments, **word.added, **more})
        except BitspikeError:  # it says what was wrong, and the way out
            raise
        except Exception as error:  # the user's code may raise anything
            raise RecipeError(
                f"{where} failed: {type(error).__name__}: {error}",
                fix=" together with ".join([f"{word.section}.arguments are what it is called with", *added]),
            ) from error
        if not isinstance(result, kind):
            needed = "an nn.Module" if kind is nn.Module else f"a {word.makes.replace(':', '.')}"
            raise RecipeError(
                f"{where} made a {type(result).__name__}, needed is {needed}",
                fix=f"{word.factory.partition(':')[2]} has to return {needed}",
            )
        return result

    return call


def _function(word: Own, where: str) -> Callable[..., Any]:
    """Return the class or function that ``module:name`` names; ``where`` it stands in a recipe is for messages."""
    name, _, attributes = word.factory.partition(":")
    module = _module(name, places(word.folder), where)
    there = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
    fix = f"--set {word.section}.factory={name}:FUNCTION"
    function: Any = module
    for attribute in attributes.split("."):
        if not hasattr(function, attribute):
            has = f"it has {some(there)}" if there else "it has no functions"
            raise RecipeError(f"{where}: {name} has no {attributes!r}; {has}", fix=fix)
        function = getattr(function, attribute)
    if not callable(function):
        raise RecipeError(f"{where}: {attributes} is a {type(function).__name__} and cannot be called", fix=fix)
    return function  # type: ignore[no-any-return]


def _module(name: str, places: list[Path], where: str) -> Any:
    """Import a module: a file in the folder of the recipe or in the working directory, else an installed one."""
    written = Path(name) if name.endswith(".py") else Path(*name.split(".")).with_suffix(".py")
    package = written.with_suffix("") / "__init__.py"
    path = next((p / f for p in places for f in (written, package) if (p / f).is_file()), None)
    try:
        if path is not None:
            return _from_file(path)
        if name.endswith(".py"):
            raise ModuleNotFoundError(f"there is no file {' and '.join(str(p / written) for p in places)}")
        return importlib.import_module(name)
    except Exception as error:  # the user's code may raise anything
        raise RecipeError(
            f"{where}: {path or name} cannot be imported: {type(error).__name__}: {error}",
            fix="module:function, or file.py:function in the folder of the recipe or in the working directory",
        ) from error


def _from_file(path: Path) -> Any:
    """Import a file under a name of its own, anew, so that two recipes may each have a ``net.py``."""
    path = path.resolve()
    known_as = f"bitspike_recipe_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(known_as, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[known_as] = module  # dataclasses and torch look modules up by name
    with _importable(path.parent):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a file import its neighbors for the length of a block."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
