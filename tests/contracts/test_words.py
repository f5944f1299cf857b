"""Errors name a way out, names say what a thing is, prose uses plain prepositions: Words in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from bitspike import errors

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "bitspike"
CHANGELOG = ROOT / "CHANGELOG.md"  # its older entries stay as they were written
DOCUMENTS = sorted(
    {*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/tutorials/*.md"), *SOURCE.rglob("*.md")}
    - {CHANGELOG}
)
ROOMS = sorted(path.stem for path in SOURCE.iterdir() if path.name not in ("__pycache__", "py.typed"))
NAMES = ("made", "found", "held", "given")
"""Past participles say what happened to a thing, not what it is."""
PREPOSITIONS = re.compile(r"(?<!nothing )(?<!\")\b(behind|beside|in front of)\b", re.IGNORECASE)
"""Say after, before, next to; what leaves nothing behind may do so, and the list of words may quote them."""
KEPT = "running counts in front of "
"""A comment of the C programs that users have: their text does not change."""
KINDS = (".py", ".h", ".cpp", ".yaml", ".toml")
ERROR_TYPE = re.compile(r"type\[\w*Error\]")
"""An argument of this type is a class of errors that the function raises."""
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def files(room: str) -> list[Path]:
    """Return the files of a room that people write: a folder, or one Python file."""
    folder = SOURCE / room
    return sorted(path for path in folder.rglob("*") if path.suffix in KINDS) or [SOURCE / f"{room}.py"]


@cache
def error_classes() -> set[str]:
    """Return the names of the errors of ``bitspike.errors`` and of every class below ``src`` that inherits from one."""
    names = {name for name, value in vars(errors).items() if isinstance(value, type)}
    classes = [
        node for path in SOURCE.rglob("*.py") for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef)
    ]
    while more := {c.name for c in classes if names & {ast.unparse(base) for base in c.bases}} - names:
        names |= more
    return names


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def where(path: Path, line: int) -> str:
    return f"src/bitspike/{path.relative_to(SOURCE).as_posix()}:{line}"


def optional_arguments(function: ast.AST) -> set[str]:
    """Return the arguments of a function that are None unless somebody passes them."""
    if not isinstance(function, FUNCTIONS):
        return set()
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [*zip(reversed(positional), reversed(arguments.defaults), strict=False)]
    defaults += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {a.arg for a, default in defaults if isinstance(default, ast.Constant) and default.value is None}


def without_fix(tree: ast.Module, classes: set[str]) -> Iterator[ast.Call]:
    """Yield where an error is made without ``fix=``, or with one that may be None."""
    classes = classes | {
        a.arg
        for a in ast.walk(tree)
        if isinstance(a, ast.arg) and a.annotation and ERROR_TYPE.match(ast.unparse(a.annotation))
    }
    open_nodes: list[tuple[ast.AST, set[str]]] = [(tree, set())]
    while open_nodes:
        node, optional = open_nodes.pop()
        optional = optional | optional_arguments(node)
        open_nodes += [(child, optional) for child in ast.iter_child_nodes(node)]
        if not isinstance(node, ast.Call) or ast.unparse(node.func).rpartition(".")[2] not in classes:
            continue
        fixes = [keyword.value for keyword in node.keywords if keyword.arg == "fix"]
        choices = [fixes[0].body, fixes[0].orelse] if fixes and isinstance(fixes[0], ast.IfExp) else fixes
        if not fixes or any(ast.unparse(choice) in {"None", "''", *optional} for choice in choices):
            yield node


def names_bound(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield the names of variables, arguments and functions, with their lines. Fields of a class are its own matter."""
    fields = {
        id(field.target)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for field in node.body
        if isinstance(field, ast.AnnAssign)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in fields:
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.FunctionDef):
            yield node.name.lstrip("_"), node.lineno


def prose(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the comments and strings of a Python file, or all lines of another, with their numbers."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from ((line, number) for number, line in enumerate(text.splitlines(), 1))
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string, token.start[0]
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value.removeprefix(KEPT), node.lineno


def broken(room: str) -> Iterator[str]:
    """Yield what a room has to mend, a line each."""
    classes = error_classes()
    for path in files(room):
        for text, line in prose(path):
            if hit := PREPOSITIONS.search(text):
                yield f"{where(path, line)} says {hit[0]!r}: say after, before, next to"
        if path.suffix == ".py":
            tree = parsed(path)
            for call in without_fix(tree, classes):
                yield f"{where(path, call.lineno)} names no way out (fix=): {ast.unparse(call)[:120]}"
            for name, line in names_bound(tree):
                if name in NAMES:
                    yield f"{where(path, line)} calls a thing {name!r}: say what it is"


@pytest.mark.parametrize("room", ROOMS)
def test_errors_names_and_prose_keep_the_rules(room: str) -> None:
    problems = list(broken(room))
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents_say_after_before_and_next_to(document: Path) -> None:
    lines = [f"line {number} says {hit[0]!r}" for text, number in prose(document) if (hit := PREPOSITIONS.search(text))]
    assert not lines, "\n".join(lines)


def test_the_rules_see_what_breaks_them() -> None:
    tree = ast.parse(
        "def check(fix=None, *, help=None):\n"
        "    raise DataError('no image')\n"
        "    raise DataError('no image', fix=fix)\n"
        "    raise errors.RunError('stopped', fix=help)\n"
        "    raise DataError('no image', fix='name a folder that exists')\n"
        "    raise DataError('no image', fix='name a folder' if help else None)\n"
        "made = {found: 0 for found in held}\n"
        "class Field:\n"
        "    found: int\n"
    )
    assert sorted(call.lineno for call in without_fix(tree, error_classes())) == [2, 3, 4, 6]
    assert sorted(name for name, _ in names_bound(tree) if name in NAMES) == ["found", "made"]
    assert PREPOSITIONS.search("the layer in front of it")
    assert not PREPOSITIONS.search("the layer before it")


if __name__ == "__main__":  # python tests/contracts/test_words.py ROOM ...: what these rooms have to mend
    sys.stdout.writelines(f"{problem}\n" for room in sys.argv[1:] for problem in broken(room))
