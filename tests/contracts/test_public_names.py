"""The public surface, pinned: the table of homes, the imports that type checkers see, and what each name brings."""

from __future__ import annotations

import ast
import inspect
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
