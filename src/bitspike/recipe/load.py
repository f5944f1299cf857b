"""From a name or a path, with ``--set`` values, to a checked recipe, or to a list of all that is wrong with it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from bitspike.errors import RecipeError, some
from bitspike.recipe.any_recipe import AnyRecipe
from bitspike.recipe.changes import changes as differing
from bitspike.recipe.kinds import USUAL, kinds
from bitspike.recipe.other_data import with_other_data
from bitspike.recipe.problems import Problem, problems
from bitspike.recipe.text import KeyPath, Text, dump, parse, parse_value
from bitspike.recipe.unread import refuse_unread

_SHELF = resources.files("bitspike") / "recipes"


def names() -> list[str]:
    """Return the names of the recipes of the package, in alphabetical order; none of them is read.

    Example:
        >>> "quickstart" in names()
        True
    """
    files = [file.name for file in _SHELF.iterdir() if file.name.endswith(".yaml")]
    return [name.removesuffix(".yaml") for name in sorted(files)]


def shipped() -> dict[str, str]:
    """Return the text of every recipe of the package by its name, in alphabetical order."""
    return {name: _shipped(name) for name in names()}


def _shipped(name: str) -> str:
    return (_SHELF / f"{name}.yaml").read_text(encoding="utf-8")


def load(recipe: str | Path | AnyRecipe, set: Iterable[str] = ()) -> AnyRecipe:
    """Return a recipe, checked as a whole: an object of the class that belongs to its kind.

    Args:
        recipe: the name of a shipped one, the path of a YAML file, or a recipe.
        set: changes such as ``training.epochs=1``: a dotted key (list positions are numbers), then a YAML value.

    Raises:
        RecipeError: there is no such recipe, or something in it is wrong. The message lists every problem with its
            line, what was found and what is allowed. Or no stage reads what is changed.

    Example:
        >>> load("quickstart", ["training.epochs=1"]).trainings["training"].epochs
        1
    """
    text, source, folder = _read(recipe)
    changed: dict[KeyPath, str] = {}
    values = text.values
    changes = tuple(set)
    for change in changes:
        values, key_path = _change(values, change)
        changed[key_path] = f"--set {change}"
    values = with_other_data(text.values, values, changed)
    kind, known = values.get("kind", USUAL), kinds()
    if not isinstance(kind, str) or kind not in known:
        where = _origin(("kind",), text, changed)
        raise RecipeError(
            f"{source}, {where}: kind: found {kind!r}; allowed are {', '.join(known)}",
            fix=f"write one of these kinds; without the key a recipe is of kind {USUAL}",
        )
    placed = values if folder is None else known[kind].lying_in(folder, values)
    try:
        checked = known[kind].model_validate(_noted(placed, differing(text.values, values, changed)))
    except ValidationError as error:
        wrong = problems(error, values, known[kind])
    else:
        refuse_unread(checked, changes)
        return checked
    places = [(problem.key_path or _named_first(problem.text, text, changed), problem.text) for problem in wrong]
    places.sort(key=lambda place: text.line(place[0]))
    lines = [f"  {_origin(key_path, text, changed)}: {said}" for key_path, said in places]
    count, them = ("1 problem", "it") if len(lines) == 1 else (f"{len(lines)} problems", "every one of them")
    ways = [_instead(problem, changed) for problem in wrong]
    way = " ".join(ways) if all(ways) else f"correct {them}"
    raise RecipeError(
        "\n".join([f"{source} has {count}", *lines]), fix=f"{way}; 'bitspike recipes' lists recipes that are right"
    )


def _instead(problem: Problem, changed: Mapping[KeyPath, str]) -> str:
    """Return the change that was meant, or the one that is missing; empty where it cannot be told."""
    named = all(isinstance(part, str) for part in problem.key_path)
    nearby = any(key_path[0] == problem.key_path[0] and len(key_path) > 1 for key_path in changed if problem.missing)
    if named and nearby:
        return f"--set {'.'.join(map(str, problem.key_path))}={problem.missing} as well"
    place = len(problem.key_path)
    below = [(key_path[place:], change) for key_path, change in changed.items() if key_path[:place] == problem.key_path]
    if not problem.meant or len(below) != 1:
        return ""
    (rest, change) = below[0]
    return f"--set {'.'.join([problem.meant, *map(str, rest)])}={change.partition('=')[2]}"


def _noted(values: Mapping[str, Any], told: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Note in a recipe what was changed in it, besides what was changed before."""
    before = values.get("changed")
    if told is None or (before is not None and not isinstance(before, Mapping)):
        return values

    def meets(key: str) -> bool:
        return any(f"{key}.".startswith(f"{new}.") or f"{new}.".startswith(f"{key}.") for new in told)

    kept = {key: value for key, value in (before or {}).items() if not meets(key)}
    return {**values, "changed": {**kept, **told}}


def recipe_of(values: Mapping[str, Any]) -> AnyRecipe:
    """Return the recipe of plain values, such as those that a report keeps.

    Raises:
        RecipeError: they are no recipe.

    Example:
        >>> recipe_of(load("quickstart").model_dump(mode="json")) == load("quickstart")
        True
    """
    kind = values.get("kind", USUAL)
    try:
        return kinds()[kind].model_validate(values)
    except (KeyError, TypeError, ValidationError) as error:
        raise RecipeError(
            f"these values are no recipe of kind {kind!r}: {error}",
            fix="the values of recipe.model_dump(mode='json'), such as report['recipe']",
        ) from error


def _origin(key_path: KeyPath, text: Text, changed: Mapping[KeyPath, str]) -> str:
    """Say where a value comes from: a change on the command line, or a line of the file."""
    around = [key_path[:n] for n in range(len(key_path), -1, -1)]
    # A mapping that is not in the file was created when one of its keys was changed.
    absent = key_path not in text.lines
    creators = [change for key, change in changed.items() if absent and key[: len(key_path)] == key_path]
    return next((changed[p] for p in around if p in changed), next(iter(creators), f"line {text.line(key_path)}"))


def _named_first(said: str, text: Text, changed: Mapping[KeyPath, str]) -> KeyPath:
    """Return the key that a sentence about the whole recipe begins with, ``stages.1.bits is 9``; empty if with none."""
    key_path = tuple(int(part) if part.isdecimal() else part for part in said.partition(" ")[0].split("."))
    return key_path if key_path in text.lines or key_path in changed else ()


def text_of(recipe: str | Path, set: Iterable[str] = ()) -> str:
    """Return the text of a recipe that is right, as it is written; with changes, all of its values.

    Raises:
        RecipeError: as :func:`load`.

    Example:
        >>> print(text_of("quickstart").splitlines()[2])
        name: quickstart
    """
    changes = tuple(set)
    checked = load(recipe, changes)
    if changes:
        return dump(checked)
    if isinstance(recipe, str) and recipe in names():
        return _shipped(recipe)
    return Path(recipe).read_text(encoding="utf-8")


def _read(recipe: str | Path | AnyRecipe) -> tuple[Text, str, Path | None]:
    """Return a recipe's values, its name in messages, and the folder that it lies in."""
    if isinstance(recipe, AnyRecipe):
        return Text(recipe.model_dump(mode="json"), {}), f"recipe {recipe.name!r}", None
    if not isinstance(recipe, str | Path):
        raise RecipeError(
            f"a {type(recipe).__name__} stands where a recipe is needed",
            fix="the name or file of a recipe, or a recipe that was loaded; of a network in memory bs.check(net, chip) "
            "says what to change",
        )
    if isinstance(recipe, str) and recipe in names():
        return parse(_shipped(recipe), f"{recipe}.yaml"), f"{recipe}.yaml", None
    path = Path(recipe)
    if path.is_file():
        try:
            return parse(path.read_text(encoding="utf-8"), str(path)), str(path), path.resolve().parent
        except UnicodeDecodeError:
            raise RecipeError(
                f"{path} is no recipe: it is no text in UTF-8",
                fix="a YAML file; a network is a folder that bs.save or a run wrote",
            ) from None
        except OSError as error:
            raise RecipeError(f"{path} cannot be read: {error}", fix="a file that you may read") from None
    if path.is_dir():
        raise _folder(path)
    if path.suffix in (".yaml", ".yml") or path.parent != Path():
        raise RecipeError(
            f"there is no file {path}", fix="'bitspike recipes' lists the recipes that come with bitspike"
        )
    known = names()
    near = difflib.get_close_matches(str(recipe), known) or [name for name in known if str(recipe) in name]
    said = f"there is no recipe {str(recipe)!r}" + (f"; the nearest are {some(near, 3)}" if len(near) > 1 else "")
    listed = f"'bitspike recipes' lists all {len(known)}"
    way = f"{near[0]!r}? {listed}" if near else f"{listed}; one of your own is named by the path of its YAML file"
    raise RecipeError(said, fix=way)


def _folder(path: Path) -> RecipeError:
    """Return the error for a folder in the place of a recipe: that of a run has one, also around its network."""
    network = (path / "manifest.json").is_file()
    if (path / "recipe.yaml").is_file():
        way = str(path / "recipe.yaml")
    elif network and (path.absolute().parent / "recipe.yaml").is_file():
        way = f"{path.parent / 'recipe.yaml'}, which made it"
    elif network:
        way = (
            "the recipe that made it, the path of a YAML file; of a saved network 'bitspike check' lists what breaks "
            "the rules of a chip, with the ways out that bs.convert or bs.attach take"
        )
    else:
        way = "the path of a YAML file"
    said = "a saved network, whose weights are integers already" if network else "a folder"
    return RecipeError(f"{path} is {said}, and a recipe is a file", fix=way)


def _change(values: Any, change: str) -> tuple[Any, KeyPath]:
    """Return a copy of the values with one change made, and the path of its key."""
    key, sign, value = change.partition("=")
    parts = key.strip().split(".")
    if not sign or not all(parts):
        raise RecipeError(
            f"--set {change}: needed is key=value, such as training.epochs=1",
            fix=f"--set {key.strip('. ') or 'training.epochs'}=VALUE",
        )
    try:
        new = parse_value(value)
    except yaml.YAMLError:
        raise RecipeError(
            f"--set {change}: {value!r} is no YAML value", fix=f"quote it: --set '{key}=\"TEXT\"'"
        ) from None
    except RecipeError as error:
        raise RecipeError(f"--set {key}: {error.message}", fix=error.fix) from None
    key_path: list[str | int] = []

    def put(old: Any, rest: list[str]) -> Any:
        """Return a copy of ``old`` in which the new value lies at the end of the remaining keys."""
        if not rest:
            return new
        head = rest[0]
        if isinstance(old, list):
            if not head.isdecimal() or int(head) >= len(old):
                where = ".".join(map(str, key_path))
                raise RecipeError(
                    f"--set {change}: {where} is a list of {len(old)}; {head!r} is no position in it",
                    fix=f"a position from 0, or --set '{where}=[...]' for the whole list",
                )
            key_path.append(int(head))
            return [put(item, rest[1:]) if i == int(head) else item for i, item in enumerate(old)]
        if old is not None and not isinstance(old, Mapping):
            where = ".".join(map(str, key_path))
            raise RecipeError(f"--set {change}: {where} is {old!r}, which has no parts", fix=f"--set {where}=VALUE")
        key_path.append(head)
        return {**(old or {}), head: put((old or {}).get(head), rest[1:])}

    return put(values, parts), tuple(key_path)
