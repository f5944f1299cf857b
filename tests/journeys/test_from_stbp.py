"""The page for users of STBP-train-and-compression: its commands and its code, run in order as they stand."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from journey_parts import by_two, is_silent_alone, sets

from bitspike.data import DATASETS
from bitspike.recipe import load, shipped
from bitspike.recipe.kinds.train import TrainRecipe
from bitspike.runs.kinds.train import build_float

PAGE = (Path(__file__).parents[2] / "docs" / "from" / "stbp.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S) for line in block.splitlines() if line]
COMMANDS = [line for line in LINES if not line.startswith("#")]
SMALL = (
    *("data.limit=20", "training.batch_size=10", "model.width=0.02", "model.steps=1"),
    "evaluation.proof=4",
)
SHORT = tuple(f"stages.{n}.{key}" for n in range(3) for key in ("epochs=1", "schedule={kind: constant}"))
Bitspike = Callable[..., tuple[int, str, str]]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cifar10_root: Path) -> Path:
    """Return a working directory with the data where the page says that they are."""
    (tmp_path / "data").symlink_to(cifar10_root)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str, bitspike: Bitspike, *, together: bool) -> str:
    """Run a command of the page, shrunk where it trains, by two processes if together; return what it prints."""
    launcher, _, words = line.rpartition("-m bitspike ")
    program, *arguments = shlex.split(f"bitspike {words}" if launcher else line)
    assert program == "bitspike"
    assert launcher.split() in ([], ["torchrun", "--nproc-per-node=2"])
    if arguments[0] == "run":
        arguments += sets(*SMALL, *(SHORT if "stages=[" not in line else SHORT[:2]))
    if launcher and together:
        done = by_two(*arguments)
        code, out, err = done.returncode, done.stdout, done.stderr
    else:
        code, out, err = bitspike(*arguments)
    assert code == 0 or is_silent_alone(code, err), f"{line}\n{out}{err}"
    return out


def test_every_command_of_the_readme_has_one_of_bitspike_under_it() -> None:
    theirs = [(line, following) for line, following in itertools.pairwise(LINES) if line.startswith("# python")]
    assert len(theirs) == 6
    for line, ours in theirs:
        assert ("distributed" in line) == ours.startswith("torchrun")
        assert (" -q" in line) == bool(re.search(r"stage=w|name: w", ours))
        assert ("--lr 0.01" in line) == ("lr=0.01" in ours)
        assert ("--bit 4" in line) == ("stage=w4" in ours)
        if "--resume" in line:
            assert "init=" in ours or "stage=w4" in ours


def test_the_commands_run_in_order(workplace: Path, bitspike: Bitspike) -> None:
    for line in COMMANDS:
        said = run(line, bitspike, together="runs/two/w8" in line)
        if "evaluate" in line:
            assert "at T = 1 " in said
    runs = workplace / "runs"
    whole = runs / "stbp-resnet19-cifar10"
    assert [path.name for path in sorted(whole.glob("*/report.json"))] == ["report.json"] * 3
    for stage in ("fp32", "w4"):
        one, other = (folder / stage / "model.safetensors" for folder in (whole, runs / "mine"))
        assert one.read_bytes() == other.read_bytes(), "stages alone are the stages of the whole run"
    reports = {f: json.loads((runs / f / "report.json").read_text()) for f in ("two/w8", "again/fp32", "new/w8")}
    assert reports["two/w8"]["environment"]["workers"] == 2
    assert reports["two/w8"]["stage"]["start"]["source"].endswith("runs/two/fp32/model.safetensors")
    assert reports["again/fp32"]["stage"]["start"]["bits"] == 32
    assert reports["new/w8"]["stage"]["start"] is None
    assert set(reports["new/w8"]["bits"].values()) == {8}


def test_the_code_of_the_page_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(compile(code, "stbp.md", "exec"), {"__name__": "page"})  # noqa: S102


def test_the_page_names_every_recipe_of_stbp_with_the_size_of_its_network() -> None:
    named = set(re.findall(r"stbp-[\w-]+", PAGE)) & set(shipped())
    assert named == {name for name in shipped() if name.startswith("stbp-")}
    rows = re.findall(r"^\| .*\| `(stbp-[\w-]+)` \| ([\d,]+) \| (\d+) \|", PAGE, re.M)
    assert {name for name, *_ in rows} == named
    for name, number, steps in rows:
        recipe = load(name)
        assert isinstance(recipe, TrainRecipe)
        assert recipe.steps == int(steps)
        shape, classes = Shape(recipe.data.kind), DATASETS[recipe.data.kind].classes
        assert sum(p.numel() for p in build_float(recipe, shape).parameters()) == int(number.replace(",", ""))
        assert classes is not None


class Shape:
    """Images that have a size and classes, and no pixels."""

    def __init__(self, kind: str) -> None:
        self.shape, self.classes = DATASETS[kind].shape, DATASETS[kind].classes
