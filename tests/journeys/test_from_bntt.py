"""The page for users of BNTT: its commands, run in order as they stand on a few small images, and its code."""

from __future__ import annotations

import itertools
import json
import re
import runpy
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from journey_parts import lay_out_tiny_imagenet, sets

from bitspike.models import bntt_vgg
from bitspike.nn import Repeat
from bitspike.recipe import load, shipped
from bitspike.recipe.kinds.train import TrainRecipe

PAGE = (Path(__file__).parents[2] / "docs" / "from" / "bntt.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S) for line in block.splitlines() if line]
COMMANDS = [line for line in LINES if not line.startswith("#")]
SMALL = (
    *("data.limit=24", "training.epochs=1", "training.batch_size=12", "model.width=0.03", "expect=null"),
    *("evaluation.batch_size=24", "norm.momentum=1.0"),  # statistics of the last batch: two do not move them far enough
)
Bitspike = Callable[..., tuple[int, str, str]]


def run(line: str, bitspike: Bitspike) -> str:
    """Run a command of the page, shrunk where it trains; return what it prints."""
    program, *arguments = shlex.split(line)
    assert program == "bitspike"
    if arguments[0] == "run":
        arguments += sets(
            *SMALL, f"model.steps={4 if 'rows' in line else 3}", *(["data.kind=cifar10"] if "cifar100" in line else [])
        )
    if "--steps" in arguments:
        arguments[-1] = "2"
    code, out, err = bitspike(*arguments)
    assert code == 0, f"{line}\n{out}{err}"
    return out


def test_the_commands_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cifar10_root: Path, mnist_root: Path, bitspike: Bitspike
) -> None:
    (tmp_path / "data").symlink_to(cifar10_root)
    (tmp_path / "digits").symlink_to(mnist_root)
    lay_out_tiny_imagenet(tmp_path / "tiny", 20, 24)
    monkeypatch.chdir(tmp_path)
    for line in COMMANDS:
        said = run(line, bitspike)
        if "evaluate" in line:
            assert f"at T = {2 if '--steps' in line else 3} " in said
    for folder in Path("runs").iterdir():
        report = json.loads((folder / "report.json").read_text())
        assert report["certificate"]["equal"]
        if "vgg5-cifar10-w4" in folder.name:
            assert report["agreement"]["spikes"] == 1.0, "everything lies on a grid"
            assert not any("rounded" in note for note in report["notes"])
    assert (Path("c") / "network.c").exists()


def test_every_command_of_the_originals_has_one_of_bitspike_under_it() -> None:
    theirs = [i for i, line in enumerate(LINES) if line.startswith("# python")]
    assert len(theirs) == 2 + 5 + 1
    for i in theirs:
        assert LINES[i + 1].startswith("bitspike ")
        assert ("--eva" in LINES[i]) == LINES[i + 1].startswith("bitspike evaluate")


def test_the_page_and_the_recipes_say_what_the_documented_runs_say() -> None:
    for line, command in itertools.pairwise(LINES):
        if not line.startswith("# python") or "..." in line:
            continue
        words = dict(re.findall(r"--(\w+) \"?([\w.]+)", line))
        recipe = load(command.split()[2])
        assert isinstance(recipe, TrainRecipe)
        assert (recipe.model.steps, recipe.data.kind) == (int(words["num_steps"]), words["dataset"])
        assert f"vgg{recipe.model.depth}" == words["arch"]
        assert recipe.neuron.decay == float(words["leak_mem"])
        training = recipe.training
        assert (training.optimizer.lr, training.batch_size) == (float(words["lr"]), int(words["batch_size"]))
        assert training.epochs == int(words["num_epochs"])
        assert training.schedule.milestones == tuple(training.epochs * part / 10 for part in (5, 7, 9))
        assert recipe.bits == int(words.get("quant", 32))


def test_the_page_names_every_recipe_and_counts_every_network() -> None:
    named = set(re.findall(r"bntt-(?:vgg\d+|mnist)-[a-z\d-]+", PAGE))
    assert named <= set(shipped())
    assert named >= {name for name in shipped() if name.startswith("bntt-")}
    rows = re.findall(r"^\| VGG(\d+), T = (\d+), (\d+) classes \| .* \| ([\d,]+) \|$", PAGE, re.M)
    assert len(rows) == 4
    for depth, steps, classes, number in rows:
        with torch.device("meta"):
            net = bntt_vgg(depth=int(depth), steps=int(steps), num_classes=int(classes), encoder=Repeat)
        assert sum(p.numel() for p in net.parameters()) == int(number.replace(",", ""))


def test_the_code_of_the_page_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    (tmp_path / "page.py").write_text(code, encoding="utf-8")
    runpy.run_path(str(tmp_path / "page.py"))
