"""The tutorials, run as they stand: their files are written, their Python and their commands are run, in order.

A block whose first line is ``# NAME`` is the file of that name. A command ends with exit code 0 unless a comment after
it says another.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pages import blocks_of

FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"
TUTORIALS = [*sorted(FOLDER.glob("*.md")), FOLDER.parent / "extending.md", FOLDER.parent / "events.md"]
Bitspike = Callable[..., tuple[int, str, str]]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return an empty working directory whose Python files can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_there_are_tutorials() -> None:
    pages = {"convert-your-network", "from-torchvision-to-firmware", "prepare-for-a-chip", "read-the-ledger"}
    pages |= {"train-a-spiking-network"}
    assert {path.stem for path in TUTORIALS} >= pages


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_as_it_stands(path: Path, workplace: Path, bitspike: Bitspike) -> None:
    names: dict[str, Any] = {}
    blocks = [block for block in blocks_of(path.read_text(encoding="utf-8")) if block[0]]  # others show what is printed
    assert {language for language, _ in blocks} <= {"python", "yaml", "toml", "bash"}
    for language, text in blocks:
        if named := re.match(r"# (\S+\.\w+)\n", text):
            (workplace / named[1]).write_text(text)
        elif language == "python":
            exec(compile(text, path.name, "exec"), names)  # noqa: S102
        else:
            assert language == "bash", f"a block of {language} without a name: {text}"
            for line in text.splitlines():
                command, _, comment = line.partition(" #")
                wanted = int(said[1]) if (said := re.search(r"exit code (\d)", comment)) else 0
                program, *words = shlex.split(command)
                assert program == "bitspike"
                code, out, err = bitspike(*words)
                assert code == wanted, f"{line}\n{out}{err}"
