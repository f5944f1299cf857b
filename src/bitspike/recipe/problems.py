"""What is wrong with a recipe, in the words of the recipe: where, what was found, what is allowed."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from bitspike.errors import short
from bitspike.other_words import SAME
from bitspike.recipe.text import KeyPath, leaves, value_at
from bitspike.recipe.words.own import OWN

_NEEDED = ", needed is "


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, a sentence about it, the key that was meant, and what a missing key may be."""

    key_path: KeyPath
    text: str
    meant: str = ""
    missing: str = ""


def problems(error: ValidationError, values: Any, root: type[BaseModel]) -> list[Problem]:
    """Turn pydantic's findings into sentences, one for each value, in the order of the schema ``root``."""
    said: dict[KeyPath, list[str]] = {}
    meant: dict[KeyPath, str] = {}
    missing: dict[KeyPath, str] = {}
    for finding in error.errors(include_url=False):
        key_path, options = _locate(finding["loc"], values, root)
        if finding["type"] == "too_short" and _long_enough(value_at(values, key_path), finding["ctx"]):
            continue  # What is wrong with its members is said of each of them.
        text = _sentence(finding, key_path, options, values)
        if finding["type"] == "extra_forbidden" and (key := _meant(key_path, options, values)):
            meant[key_path] = key
            above, _, name = key.rpartition(".")
            here = above == ".".join(map(str, key_path[:-1]))
            text += f"; did you mean {(name if here else key)!r}?"
        if finding["type"] == "missing":
            choices = _choices(str(key_path[-1]), _locate(finding["loc"][:-1], values, root)[1])
            text += f"; allowed are {', '.join(choices)}" if choices else ""
            missing[key_path] = choices[0] if choices else "VALUE"
        if finding["type"] == "union_tag_invalid":
            key_path = (*key_path, "kind")
        said.setdefault(key_path, []).append(text)
    return [
        Problem(
            key_path,
            _joined(key_path, list(dict.fromkeys(texts))),
            meant.get(key_path, ""),
            missing.get(key_path, ""),
        )
        for key_path, texts in said.items()
    ]


def _joined(key_path: KeyPath, texts: list[str]) -> str:
    """Join what the members of a union say about one value; what was found is said once."""
    first, *others = texts
    text = " or ".join([first, *(t.split(_NEEDED)[-1] for t in others)])
    return f"{'.'.join(map(str, key_path))}: {text}" if key_path else text


def _sentence(finding: Any, key_path: KeyPath, options: Sequence[type[BaseModel]], values: Any) -> str:
    kind, context = finding["type"], finding.get("ctx", {})
    if kind == "extra_forbidden":
        allowed = list(dict.fromkeys(name for option in options for name in _keys(option)))
        return f"unknown key; allowed are {', '.join(allowed)}"
    if kind == "missing":
        return "is missing"
    if kind == "union_tag_invalid":
        allowed = [tag.strip().strip("'") for tag in context["expected_tags"].split(",")]
        own = "; kind: factory is for one of your own" if OWN in allowed else ""
        words = ", ".join(kind for kind in allowed if kind != OWN)
        return f"found {context['tag']!r}; allowed are {words}{_hint(context['tag'], allowed)}{own}"
    value = value_at(values, key_path)
    if kind in ("too_long", "too_short"):
        return f"found {short(value)}{_NEEDED}{_lengths(context)}"
    if kind == "union_tag_not_found":
        allowed = [kind for option in options for kind in _kinds(option)]
        return f"found {short(value)}, needed is a mapping with the key kind: {', '.join(allowed)}"
    if kind in ("tuple_type", "list_type"):
        return f"found {short(value)}{_NEEDED}a list"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"found {short(value)}, needed is a mapping of keys to values"
    if kind == "value_error":
        return str(context["error"])
    needed = finding["msg"].removeprefix("Input should be ")
    return f"found {short(value)}{_NEEDED}{'a value ' if needed.startswith(('greater', 'less')) else ''}{needed}"


def _choices(name: str, options: Sequence[type[BaseModel]]) -> list[str]:
    """Return the words that a key may be, where there are only so many."""
    fields = [option.model_fields[name].annotation for option in options if name in option.model_fields]
    return [str(word) for annotation in fields if get_origin(annotation) is Literal for word in get_args(annotation)]


def _long_enough(value: Any, context: Mapping[str, Any]) -> bool:
    return isinstance(value, list | tuple) and len(value) >= context["min_length"]


def _lengths(context: Mapping[str, Any]) -> str:
    """Say how many members a list may have: those of an error of pydantic about its length."""
    most, least = context.get("max_length"), context.get("min_length")
    if most == 0:
        return "an empty list"
    return f"a list of at most {most}" if most is not None else f"a list of at least {least}"


def _meant(key_path: KeyPath, options: Sequence[type[BaseModel]], values: Any) -> str:
    """Return the dotted key that an unknown one may stand for: one there, or one that the recipe has elsewhere."""
    *above, name = map(str, key_path)
    allowed = [key for option in options for key in _keys(option)]
    own = [SAME[name]] if SAME.get(name) in allowed else difflib.get_close_matches(name, allowed, n=1)
    if own:
        return ".".join([*above, own[0]])
    elsewhere = [key for key in leaves(values) if "." in key and key != ".".join(map(str, key_path))]
    return next((key for key in elsewhere if key.rpartition(".")[2] in (name, SAME.get(name))), "")


def _keys(option: type[BaseModel]) -> list[str]:
    """Return the keys that a person may write."""
    return [name for name in option.model_fields if name not in getattr(option, "noted", ())]


def _hint(word: object, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(word), allowed, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _locate(loc: tuple[str | int, ...], values: Any, root: type[BaseModel]) -> tuple[KeyPath, list[type[BaseModel]]]:
    """Follow pydantic's path, which names union members on the way, to a key of the file.

    Returns:
        the path of the key, and the models allowed there; for an unknown key, those of the mapping around it.
    """
    key_path: list[str | int] = []
    options: list[type[BaseModel]] = [root]
    for part in loc:
        chosen = [o for o in options if len(options) > 1 and part in _kinds(o)]
        owners = [o for o in options if part in o.model_fields]
        if chosen:
            options = chosen
        elif owners:
            key_path.append(part)
            options = [m for o in owners for m in models_in(o.model_fields[str(part)].annotation)]
        elif isinstance(part, int) or (isinstance(at := value_at(values, tuple(key_path)), Mapping) and part in at):
            key_path.append(part)
    return tuple(key_path), options


def _kinds(option: type[BaseModel]) -> tuple[str, ...]:
    field = option.model_fields.get("kind")
    return get_args(field.annotation) if field else ()


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that an annotation allows, through Annotated, unions and sequences."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Annotated, Union, types.UnionType, tuple, list, dict):
        return [m for argument in get_args(annotation) for m in models_in(argument)]
    return []
