"""The public surface, pinned: the table of homes, the imports that type checkers see, and what each name brings."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bitspike

# What the example of the architecture page calls, as far as it has been built.
EXAMPLE = {
    "LIF",
    "Lognormal",
    "RateReadout",
    "Repeat",
    "SignedIF",
    "Ternary",
    "TimeDistributed",
    "Triangle",
    "attach",
    "check",
    "fit",
    "lower",
    "save",
    "verify",
    "write_c",
    "write_nir",
}
VERBS = {"analyze", "check", "doctor", "energy", "evaluate", "export", "fit", "recipes", "run", "verify", "yield_"}
NAMES = [name for name in bitspike.__all__ if name != "__version__"]


def typed_imports() -> dict[str, str]:
    """Return {name: module} of the imports under ``if TYPE_CHECKING``."""
    assert bitspike.__file__ is not None
    tree = ast.parse(Path(bitspike.__file__).read_text())
    (block,) = [
        n for n in tree.body if isinstance(n, ast.If) and isinstance(n.test, ast.Name) and n.test.id == "TYPE_CHECKING"
    ]
    found: dict[str, str] = {}
    for statement in block.body:
        assert isinstance(statement, ast.ImportFrom)
        assert statement.module is not None
        for alias in statement.names:
            assert alias.asname == alias.name, f"{alias.name}: 'import X as X' is what marks a name as public"
            assert alias.name not in found
            found[alias.name] = statement.module
    return found


def test_the_three_lists_of_names_agree() -> None:
    homes = {name: module for module, names in bitspike._HOMES.items() for name in names}
    assert homes == typed_imports()
    assert set(bitspike.__all__) == {*homes, "__version__"}
    assert len(bitspike.__all__) == len(set(bitspike.__all__))
    assert sum(map(len, bitspike._HOMES.values())) == len(homes), "a name has two homes"
    assert set(bitspike.__all__) <= set(dir(bitspike))


def test_the_example_and_the_verbs_are_there() -> None:
    assert set(NAMES) >= EXAMPLE | VERBS


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_exists_and_says_what_it_is_for(name: str) -> None:
    value = getattr(bitspike, name)
    if not (inspect.isclass(value) or callable(value)):
        return
    assert value.__name__ == name
    doc = (value.__doc__ or "").strip()
    assert doc, f"{name} has no docstring"
    # A dataclass without one is given its signature.
    assert not doc.startswith(f"{name}("), f"{name} has no docstring of its own"
    assert doc.splitlines()[0].endswith((".", ":", ",")) or "." in doc, f"{name}: a docstring begins with a sentence"


def test_what_pages_and_messages_write_after_bs_is_there_in_a_fresh_process() -> None:
    """``bs.models.stbp_lif`` works after ``import bitspike as bs`` alone, whoever else has imported the room or not."""
    root = Path(__file__).parents[2]
    texts = [*root.glob("*.md"), *(root / "docs").rglob("*.md"), *(root / "src").rglob("*.py")]
    said = {
        found
        for path in texts
        for found in re.findall(r"(?<![\w.])bs\.(\w+)(?:\.([a-zA-Z]\w+))?", path.read_text("utf-8"))
    }
    assert len(said) > 80
    for name, inner in sorted(said):
        assert name in bitspike.__all__ or name in bitspike._ROOMS, f"bs.{name}"
        if name in bitspike._ROOMS and inner:
            assert hasattr(bitspike.__getattr__(name), inner), f"bs.{name}.{inner}"
    program = "import bitspike as bs; [getattr(bs, name) for name in bs._ROOMS]; print(bs.models.stbp_lif().threshold)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "0.4\n", done.stderr


def test_the_version_is_a_version() -> None:
    assert all(part.isdigit() for part in bitspike.__version__.split("."))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'bitspike' has no attribute 'LIFE'"):
        bitspike.LIFE  # noqa: B018
    assert not hasattr(bitspike, "nothing")
    with pytest.raises(ImportError):
        from bitspike import nothing  # noqa: F401


def test_a_name_is_looked_up_once() -> None:
    assert bitspike.Grid is bitspike.Grid
    assert "Grid" in vars(bitspike)
