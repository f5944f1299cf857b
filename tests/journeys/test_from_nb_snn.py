"""The page for users of NB-SNN: its commands, run in order as they stand on a few small images."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from journey_parts import by_two, is_silent_alone, lay_out_photos, sets

from bitspike.recipe import load, shipped
from bitspike.recipe.kinds.progressive import ProgressiveRecipe
from bitspike.runs.construct.factory import build_network

PAGE = (Path(__file__).parents[2] / "docs" / "from" / "nb-snn.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S) for line in block.splitlines() if line]
COMMANDS = [line for line in LINES if not line.startswith("#")]
SMALL = (
    *("data.validation=12", "training.epochs=1", "training.batch_size=12", "convert.samples=12"),
    *("evaluation.by_step=false", "evaluation.mismatch=12"),
)
CIFAR10 = (*SMALL, "data.limit=36", "model.arguments={steps: null, width: 0.03}")
IMAGENET = (*SMALL, "data.size=64", "data.resize=72", "model.arguments={num_classes: 2, image_size: 64, width: 0.03}")
Bitspike = Callable[..., tuple[int, str, str]]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cifar10_root: Path) -> Path:
    """Return a working directory with the data where the page says that they are."""
    (tmp_path / "data").symlink_to(cifar10_root)
    lay_out_photos(tmp_path / "imagenet2012", {"ant": 18, "bee": 14}, {"ant": 5, "bee": 2})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str, bitspike: Bitspike, *, together: bool = False) -> str:
    """Run a command of the page, shrunk where it trains, by two processes if together; return what it prints."""
    launcher, _, words = line.rpartition("-m bitspike ")
    program, *arguments = shlex.split(f"bitspike {words}" if launcher else line)
    assert program == "bitspike"
    if arguments[0] == "run":
        arguments += sets(*(IMAGENET if "imagenet" in arguments[1] else CIFAR10))
    assert launcher.split() in ([], ["torchrun", "--nproc-per-node=2"])
    if not (launcher and together):
        code, out, err = bitspike(*arguments)
    else:
        done = by_two(*arguments)
        code, out, err = done.returncode, done.stdout, done.stderr
    assert code == 0 or is_silent_alone(code, err), f"{line}\n{out}{err}"
    return out


def test_every_command_of_nb_snn_has_one_of_bitspike_under_it() -> None:
    theirs = [(line, following) for line, following in itertools.pairwise(LINES) if line.startswith("# python")]
    assert len(theirs) == 4 + 4 + 3 + 4
    for line, ours in theirs:
        name, number = re.search(r"(?:--arch|-a) (\w+)", line)[1], re.search(r"--bit (\d+)", line)[1]
        assert f"nb-snn-{'alexnet' if name == 'alex' else name}-" in ours
        assert ours.endswith(f"stage={number}") or f"/{number}bit" in ours
        assert ("snn.py" in line) == ("evaluate" in ours)
        assert (" -u " in line) == ("convert.neuron=if" in ours)


def test_the_commands_for_cifar_10_run(workplace: Path, bitspike: Bitspike) -> None:
    whole, *stages = [line for line in COMMANDS if "cifar10" in line]
    run(f"{whole} --out whole", bitspike)
    for line in stages:
        said = run(line, bitspike)
        if "evaluate" in line:
            assert f"at T = {3 if '2bit' in line else 7} " in said
    folder = workplace / "runs" / "nb-snn-alexnet-cifar10"
    for bits in (32, 4, 3, 2):
        one, other = (path / f"{bits}bit" / "model.safetensors" for path in (folder, workplace / "whole"))
        assert one.read_bytes() == other.read_bytes(), "stages alone are the stages of the whole run"
        for name in ("network", "checkpoints/last", "metrics.jsonl", "report.html"):
            assert (one.parent / name).exists()
        first, *others, last = json.loads((one.parent / "report.json").read_text())["bits"].values()
        assert (first, last) == (8, 8)
        assert set(others) == {8 if bits == 32 else bits}, "the spiking network keeps the codes of the quantized one"
    assert (workplace / "runs" / "another" / "3bit" / "model.safetensors").read_bytes() == (
        folder / "3bit" / "model.safetensors"
    ).read_bytes()


def test_the_commands_for_imagenet_run(workplace: Path, bitspike: Bitspike) -> None:
    for line in (line for line in COMMANDS if "imagenet" in line):
        run(line, bitspike, together=line.endswith(("stage=32", "stage=2")))
    for bits, steps, workers in ((32, 15, 2), (4, 15, 1), (3, 7, 1), (2, 3, 2)):
        report = json.loads((workplace / "runs" / "nb-snn-alexnet-imagenet" / f"{bits}bit" / "report.json").read_text())
        assert (report["environment"]["workers"], report["certificate"]["samples"]) == (workers, 7)
        assert report["stage"]["steps"] == steps


def test_the_page_names_every_recipe_of_the_paper_and_the_sizes_of_the_networks() -> None:
    named = set(re.findall(r"nb-snn-\w+-\w+", PAGE))
    assert named <= set(shipped())
    assert named >= {name for name in shipped() if re.fullmatch(r"nb-snn-\w+-(cifar10|imagenet)", name)}
    rows = dict(re.findall(r"^\| .* \| `(nb-snn-[\w-]+)` \| ([\d,]+) \|", PAGE, re.M))
    assert len(rows) == 4
    for name, number in rows.items():
        assert parameters(name) == int(number.replace(",", ""))
    deeper = re.findall(r"\d[\d,]+,\d{3}", PAGE.partition("ResNet-32, 44")[2])
    for depth, number in zip((32, 44, 56, 110), deeper, strict=False):
        assert parameters("nb-snn-resnet20-cifar10", f"model.arguments.depth={depth}") == int(number.replace(",", ""))


def parameters(name: str, *changes: str) -> int:
    recipe = load(name, changes)
    assert isinstance(recipe, ProgressiveRecipe)
    return sum(p.numel() for p in build_network(recipe, weights=False).parameters())
