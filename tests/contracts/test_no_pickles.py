"""Nothing that is read can execute code (docs/adr/0006)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "bitspike"
FILES = sorted(SOURCE.rglob("*.py"))


def unsafe_loads(code: str) -> list[int]:
    """Return the lines of calls ``*.load(...)`` on torch or NumPy that would accept a pickle."""
    lines = []
    for node in ast.walk(ast.parse(code)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load"):
            continue
        owner = ast.unparse(node.func.value)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if owner == "torch" and given.get("weights_only") != "True":
            lines.append(node.lineno)
        if owner in {"np", "numpy"} and given.get("allow_pickle", "False") != "False":
            lines.append(node.lineno)
    return lines


def test_the_search_finds_what_it_should() -> None:
    assert unsafe_loads("torch.load(p)\ntorch.load(p, weights_only=True)\ntorch.load(p, weights_only=False)") == [1, 3]
    assert unsafe_loads("np.load(p)\nnp.load(p, allow_pickle=True)") == [2]
    assert len(FILES) > 10


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_file_loads_a_pickle(path: Path) -> None:
    assert unsafe_loads(path.read_text(encoding="utf-8")) == []
