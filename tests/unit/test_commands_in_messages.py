"""Commands that messages advise can be typed as they stand, also where a folder has a space in its name."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import bitspike as bs
from bitspike import zoo
from bitspike.cli import main
from bitspike.errors import RunError
from bitspike.runs.folder import opened, unfinished


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run in a folder with a space."""
    return zoo.unpack("quickstart", tmp_path_factory.mktemp("of the zoo") / "my run")


@pytest.mark.parametrize(
    "words", [("resume",), ("analyze",), ("evaluate", "--steps", "9"), ("run", "quickstart", "--out")]
)
def test_a_folder_with_a_space_is_quoted(run: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    place = [*words, str(run)] if words[-1] == "--out" else [words[0], str(run), *words[1:]]
    assert main(place) == 2
    advice = capsys.readouterr().err.partition("fix: ")[2]
    typed = shlex.split(advice[advice.index("bitspike ") :].partition(", ")[0])
    assert typed[:3] == ["bitspike", "evaluate", str(run)]


def test_a_new_recipe_is_run_as_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "my first.yaml"
    assert main(["new", "mine", "--out", str(out)]) == 0
    assert shlex.split(capsys.readouterr().out.partition("now: ")[2]) == ["bitspike", "run", str(out)]


@pytest.mark.parametrize("use", [opened, unfinished])
def test_a_file_is_no_run_and_no_option_is_advised_that_there_is_not(
    tmp_path: Path, use: Callable[[Path], object]
) -> None:
    path = bs.new("mine", out=tmp_path / "mine.yaml")
    with pytest.raises(RunError, match="is a file; a run needs a folder") as error:
        use(path)
    assert "--out" not in str(error.value)
