"""YAML text to a tree of values in which the line of every value is known, and back to text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from bitspike.errors import RecipeError

_MOST_CHARACTERS, _MOST_PLACES, _DEEPEST = 1 << 16, 10_000, 24
_AS_SHIPPED = "a line per key, 'key: value'; the recipe.yaml of any run is an example"

KeyPath = tuple[str | int, ...]
"""The keys and list positions that lead to a value."""


@dataclass(frozen=True)
class Text:
    """A YAML document: its values, and the line (from 1) on which each of them begins."""

    values: Any
    lines: dict[KeyPath, int]

    def line(self, key_path: KeyPath) -> int:
        """Return the line of a value, or of the nearest value around it that is in the file."""
        while key_path and key_path not in self.lines:
            key_path = key_path[:-1]
        return self.lines.get(key_path, 1)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads ``1e-3`` as text and ``2024-01-01`` as a date; here they are a number and a text."""


_Loader.yaml_implicit_resolvers = {
    k: [(tag, pattern) for tag, pattern in v if tag != "tag:yaml.org,2002:timestamp"]
    for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def parse(text: str, source: str) -> Text:
    """Read a YAML mapping.

    Args:
        text: the document.
        source: its name in messages.

    Raises:
        RecipeError: it is no YAML, no mapping, or has a key twice; the message names the line.

    Example:
        >>> parse("a:\\n  b: 1e-3\\n", "x.yaml")
        Text(values={'a': {'b': 0.001}}, lines={(): 1, ('a',): 1, ('a', 'b'): 2})
    """
    try:
        values, lines = _read(text, source)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise RecipeError(f"{source}{where}: this is not YAML: {error.problem}", fix=_AS_SHIPPED) from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{source}: this is not YAML: {error}", fix=_AS_SHIPPED) from None
    if not isinstance(values, dict):
        content = "nothing" if values is None else f"a {type(values).__name__}"
        raise RecipeError(f"{source} holds {content}; a recipe is a mapping of keys to values", fix=_AS_SHIPPED)
    return Text(values, lines)


def parse_value(text: str) -> Any:
    """Read one YAML value, as ``--set key=value`` gives it.

    Example:
        >>> parse_value("1e-3"), parse_value("[1, 2]"), parse_value("null")
        (0.001, [1, 2], None)
    """
    return _read(text, "a value")[0]


def _read(text: str, source: str) -> tuple[Any, dict[KeyPath, int]]:
    """Return the values of a document and the line of each; a small text never means endless work."""
    if len(text) > _MOST_CHARACTERS:
        raise RecipeError(
            f"{source}: {len(text):,} characters; a recipe has at most {_MOST_CHARACTERS:,}",
            fix="the path of a recipe; of a network, weights or data a recipe only names the files",
        )
    if re.search(rf"(?:[\[{{]\s*){{{_DEEPEST + 1}}}", text):  # the scanner's time grows with the square of these
        raise _too_deep(source)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {(): 1}
        _refuse_endless(node, source)
        lines: dict[KeyPath, int] = {(): 1}
        _note_lines(node, (), lines, source)
        return loader.construct_document(node), lines
    except RecursionError:
        raise _too_deep(source) from None
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, RecipeError):
            raise
        # A tag such as !!int or !!timestamp does not fit the text after it.
        raise RecipeError(f"{source}: a value cannot be read: {error}", fix="leave YAML tags (!!) out") from None
    finally:
        loader.dispose()


def _refuse_endless(node: yaml.Node, source: str) -> None:
    """Refuse nesting and aliases beyond what a person writes; every use of an alias counts its values again."""
    level, count = [node], 0
    for _ in range(_DEEPEST):
        count += len(level)
        if count > _MOST_PLACES:
            line = level[0].start_mark.line + 1
            raise RecipeError(
                f"{source}, line {line}: more than {_MOST_PLACES:,} values, those of aliases included",
                fix="a recipe holds a few dozen values",
            )
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise _too_deep(f"{source}, line {level[0].start_mark.line + 1}")


def _too_deep(where: str) -> RecipeError:
    return RecipeError(
        f"{where}: this is nested too deeply; at most {_DEEPEST} levels are read",
        fix="write the value out with fewer brackets and levels; a recipe needs fewer than ten",
    )


def _inside(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def leaves(values: Any, at: str = "") -> dict[str, Any]:
    """Return nested values by their dotted keys; a list is one value.

    Example:
        >>> leaves({"training": {"epochs": 3, "betas": [0.9, 0.999]}, "norm": None})
        {'training.epochs': 3, 'training.betas': [0.9, 0.999], 'norm': None}
    """
    if isinstance(values, Mapping) and values:
        parts = ((f"{at}.{key}" if at else str(key), part) for key, part in values.items())
        return {key: value for name, part in parts for key, value in leaves(part, name).items()}
    return {at: values}


def value_at(values: Any, key_path: Iterable[str | int]) -> Any:
    """Return the value of a key among nested values; None where there is none.

    Example:
        >>> value_at({"stages": [{"bits": 4}]}, ["stages", "0", "bits"]), value_at({}, ["seed"])
        (4, None)
    """
    for part in key_path:
        if isinstance(values, Mapping):
            values = values.get(part)
        elif isinstance(values, list) and str(part).isdecimal() and int(part) < len(values):
            values = values[int(part)]
        else:
            return None
    return values


def dump(values: Any) -> str:
    """Write a recipe, or plain values, as YAML: keys keep their order, but ``kind`` comes first everywhere."""
    plain = values.model_dump(mode="json") if hasattr(values, "model_dump") else values
    return yaml.safe_dump(_kind_first(plain), sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


def _kind_first(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _kind_first(value[key]) for key in sorted(value, key=lambda key: key != "kind")}
    return [_kind_first(item) for item in value] if isinstance(value, list) else value


def _note_lines(node: yaml.Node, key_path: KeyPath, lines: dict[KeyPath, int], source: str) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                dotted = ".".join(map(str, (*key_path, name)))
                raise RecipeError(
                    f"{source}, line {line}: {dotted} is given twice, first on line {seen[name]}",
                    fix="remove one of the two lines",
                )
            seen[name] = line
            lines[(*key_path, name)] = line
            _note_lines(value, (*key_path, name), lines, source)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*key_path, index)] = value.start_mark.line + 1
            _note_lines(value, (*key_path, index), lines, source)
