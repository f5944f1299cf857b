"""YAML as a tree of values in which every place knows its line, and back to text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from bitspike.errors import RecipeError

Place = tuple[str | int, ...]
"""The keys and list positions that lead to a value."""


@dataclass(frozen=True)
class Text:
    """A YAML document: its values, and the line (from 1) on which each of them begins."""

    values: Any
    lines: dict[Place, int]

    def line(self, place: Place) -> int:
        """Return the line of a place, or of the nearest one around it that is written down."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads ``1e-3`` as text; here it is the number that its writer meant."""


_Loader.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
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
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            lines: dict[Place, int] = {(): 1}
            if node is not None:
                _note_lines(node, (), lines, source)
            values = loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise RecipeError(f"{source}{where}: this is not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{source}: this is not YAML: {error}") from None
    if not isinstance(values, dict):
        found = "nothing" if values is None else f"a {type(values).__name__}"
        raise RecipeError(f"{source} holds {found}; a recipe is a mapping of keys to values")
    return Text(values, lines)


def parse_value(text: str) -> Any:
    """Read one YAML value, as ``--set key=value`` gives it.

    Example:
        >>> parse_value("1e-3"), parse_value("[1, 2]"), parse_value("null")
        (0.001, [1, 2], None)
    """
    return yaml.load(text, Loader=_Loader)  # noqa: S506  a subclass of SafeLoader


def dump(values: Any) -> str:
    """Write a recipe, or plain values, as YAML in the order in which they stand, every ``kind`` first."""
    plain = values.model_dump(mode="json") if hasattr(values, "model_dump") else values
    return yaml.safe_dump(_kind_first(plain), sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


def _kind_first(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _kind_first(value[key]) for key in sorted(value, key=lambda key: key != "kind")}
    return [_kind_first(item) for item in value] if isinstance(value, list) else value


def _note_lines(node: yaml.Node, place: Place, lines: dict[Place, int], source: str) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                dotted = ".".join(map(str, (*place, name)))
                raise RecipeError(f"{source}, line {line}: {dotted} is given twice, first on line {seen[name]}")
            seen[name] = line
            lines[(*place, name)] = line
            _note_lines(value, (*place, name), lines, source)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*place, index)] = value.start_mark.line + 1
            _note_lines(value, (*place, index), lines, source)
