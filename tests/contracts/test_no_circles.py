"""No module of the package imports itself in a circle, and an import inside a function has a reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2] / "src"
LATE = {
    "bitspike.__main__": "the command line starts without torch",
    "bitspike.cli": "the version is read when it is asked for",
    "bitspike.cli.completion": "what the shell offers takes the words of recipes, which --help does without",
    "bitspike.cli.recipes": "what a verb needs takes torch, which --help does without",
    "bitspike.cli.runs": "what a verb needs takes torch, which --help does without",
    "bitspike.cli.to_chip": "what a verb needs takes torch, which --help does without",
    "bitspike.cli.zoo": "what a verb needs takes torch, which --help does without",
    "bitspike.verbs.doctor": "a torch that cannot be imported is what it reports, not its own end",
}
"""Modules that may import the package inside functions, and why."""


def _circles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that reach each other by imports (Tarjan's strongly connected components)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        path.append(name)
        for other in imports[name]:
            if other not in number:
                visit(other)
            if other in path:
                lowest[name] = min(lowest[name], lowest[other])
        if lowest[name] == number[name]:
            at = path.index(name)
            groups.append(sorted(path[at:]))
            del path[at:]

    for name in imports:
        if name not in number:
            visit(name)
    return [group for group in groups if len(group) > 1 or group[0] in imports[group[0]]]


def test_circles_are_seen() -> None:
    assert _circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "e"}, "e": set(), "f": {"f"}}) == [
        ["a", "b", "c"],
        ["f"],
    ]


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = grimp.build_graph("bitspike", exclude_type_checking_imports=True, cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert len(imports) > 300
    assert sum(map(len, imports.values())) > 1000
    assert _circles(imports) == []


def _late_imports(tree: ast.Module) -> Iterator[str]:
    """Yield what of the package is imported inside functions."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for node in ast.walk(function):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                yield from (name for name in names if name.partition(".")[0] == "bitspike")


def test_late_imports_are_seen() -> None:
    code = "import bitspike.a\ndef f():\n    from bitspike.b import c\n    import torch, bitspike.d\n"
    assert list(_late_imports(ast.parse(code))) == ["bitspike.b", "bitspike.d"]


def test_an_import_inside_a_function_has_a_reason() -> None:
    late: dict[str, list[str]] = {}
    for file in sorted((ROOT / "bitspike").rglob("*.py")):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if imports := list(_late_imports(ast.parse(file.read_text()))):
            late[name] = imports
    assert {name: imports for name, imports in late.items() if name not in LATE} == {}
    assert set(LATE) <= set(late), "a reason for an import that is gone"
