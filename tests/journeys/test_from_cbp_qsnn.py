"""The page for users of CBP-QSNN: its commands are recipes with the numbers of theirs; test_every_recipe runs them."""

from __future__ import annotations

import itertools
import re
import shlex
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from journey_parts import (
    is_silent_alone,
    lay_out_cifar10_dvs,
    lay_out_gestures,
    lay_out_photos,
    read_report,
    sets,
)
from torch import nn

import bitspike as bs
from bitspike.recipe import load, shipped
from bitspike.recipe.kinds.progressive import ProgressiveRecipe
from bitspike.recipe.kinds.train import TrainRecipe

PAGE = (Path(__file__).parents[2] / "docs" / "from" / "cbp-qsnn.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S) for line in block.splitlines() if line]
LEVELS = {"bin": (-1, 1), "ter": (-1, 0, 1)}


def test_every_command_of_the_calibration_backbone_has_one_of_bitspike_under_it() -> None:
    theirs = [(line, after) for line, after in itertools.pairwise(LINES) if "main_calibration" in line]
    assert len(theirs) == 4
    for line, ours in theirs:
        data, quant = re.search(r"--dataset (\w+)", line)[1].lower(), re.search(r"--quant (\w+)", line)[1]
        recipe = load(shlex.split(ours)[2])
        assert recipe.name == f"cbp-vgg16-{data}-{quant}"
        assert isinstance(recipe, ProgressiveRecipe)
        assert recipe.data.kind == data
        weights, training = recipe.quantize.weights, recipe.over_time
        assert (weights.levels, weights.multiplier_lr, weights.patience) == (LEVELS[quant], 1e-3, 20)
        assert (training.optimizer.lr, training.optimizer.weight_decay, training.batch_size) == (1e-2, 1e-4, 128)


def test_every_command_of_tssl_bp_and_stbp_has_one_of_bitspike_under_it() -> None:
    theirs = [(line, ours) for line, ours in itertools.pairwise(LINES) if re.search("-config|--thresh", line)]
    assert len(theirs) == 6
    for line, ours in theirs:
        quant, data = re.search("bin|ter", line)[0], re.search(r"CIFAR\d+", line)[0].lower()
        words = shlex.split(ours)
        recipe = load(words[2])
        assert isinstance(recipe, TrainRecipe)
        assert recipe.name == f"cbp-{'tssl' if '-config' in line else 'stbp'}-{data}-{quant}"
        floats, last = recipe.stages
        assert (floats.weights, last.name, last.weights.quantize.levels) == ("float", quant, LEVELS[quant])
        assert last.weights.quantize.patience == 20
        if found := re.search(r"--decay (\S+) --thresh (\S+) --lens (\S+) --T (\d+)", line):
            neuron = recipe.neuron
            numbers = neuron.decay, neuron.threshold, neuron.surrogate.width / 2, recipe.steps
            assert [f"{number:g}" for number in numbers] == list(found.groups())


def test_the_page_names_recipes_that_exist() -> None:
    assert set(re.findall(r"`((?:cbp|calibration)-[\w-]+\w)`", PAGE)) <= set(shipped())


def test_the_network_of_spike_times_on_the_page_is_lowered_without_a_note() -> None:
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "SpikeTimeLIF" in code]
    names: dict[str, Any] = {"torch": torch, "nn": nn, "bs": bs}
    exec(compile(code, "cbp-qsnn.md", "exec"), names)  # noqa: S102
    assert names["integers"].notes == ()


def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE, re.S)[0]
    names: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "cbp-qsnn.md", "exec"), names)  # noqa: S102
    assert names["bs"].constraint_failure(names["model"]).weights == 8 * 8 * 9, "the middle convolution alone"
    assert (tmp_path / "net.safetensors").is_file()


# ---- SEW-ResNet ---------------------------------------------------------------------------------------------------

SEW = [line for line in LINES if re.search(r"sew|gesture|cifar10-dvs|-cnf|connect_f", line)]
SHORT = tuple(f"stages.{n}.{key}" for n in range(3) for key in ("epochs=1", "schedule={kind: constant}"))
SMALL = ("data.limit=20", "data.validation=0", "training.batch_size=10", "evaluation.proof=2")
EVENTS = ("model.width=0.03", "model.steps=2", "data.cache=cache")
SMALLER = {
    "gesture": (*SMALL, *EVENTS, "data.augment=[{kind: some_frames, frames: 1, of: 2}]"),
    "cifar10-dvs": (*SMALL, *EVENTS),
    "sew18": (*SMALL, "model.width=0.06", "model.steps=1", "data.size=32", "data.resize=36"),
    "sew34": (*SMALL, "model.width=0.06", "model.steps=1", "data.size=32", "data.resize=36"),
}
"""What makes a second's work of each network of the page."""


def test_every_command_of_sew_resnet_has_one_of_bitspike_under_it() -> None:
    theirs = [(line, ours) for line, ours in itertools.pairwise(SEW) if line.startswith("# python")]
    assert len(theirs) == 16
    for line, ours in theirs:
        quant = re.search(r"--?quant (\w+)", line)[1]
        if "test-only" in line:
            assert re.fullmatch(rf"bitspike evaluate runs/[\w-]+/{quant}", ours)
            continue
        assert ours.startswith("torchrun") == ("distributed" in line)
        words = shlex.split(ours.partition("bitspike ")[2])
        recipe = load(words[1], [words[n + 1] for n, word in enumerate(words) if word == "--set"])
        assert isinstance(recipe, TrainRecipe)
        assert recipe.stage == quant == Path(words[-1]).name
        weights = recipe.weights.quantize
        assert (weights.levels, weights.multiplier_lr, weights.patience) == (LEVELS[quant], 1e-2, 20)
        assert recipe.model.connect == re.search(r"-(?:cnf|-connect_f) (\w+)", line)[1].lower()
        assert str(recipe.training.epochs) == re.search(r"epochs? (\d+)", line)[1]
        if found := re.search(r"--T (\d+)", line):
            assert str(recipe.steps) == found[1]
        if found := re.search(r"--T_train (\d+) --T (\d+)", line):
            assert [(str(word.frames), str(word.of)) for word in recipe.data.augment] == [found.groups()]
        if found := re.search(r"sew_resnet(\d+)", line):
            assert str(recipe.model.depth) == found[1]


@pytest.mark.parametrize("network", list(SMALLER))
def test_the_commands_of_a_sew_network_run_in_order(
    network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bitspike: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    if network == "gesture":
        lay_out_gestures(tmp_path / "datasets" / "DVS128Gesture", 22, 22)
    elif network == "cifar10-dvs":
        lay_out_cifar10_dvs(tmp_path / "datasets" / "CIFAR10DVS", 20)
    else:
        lay_out_photos(tmp_path / "datasets" / "imagenet", {"ant": 10, "bee": 10}, {"ant": 10, "bee": 10}, side=36)
    commands = [line for line in SEW if re.search(rf"runs/{network}/", line)]
    assert len(commands) == 5
    for line in commands:
        words = shlex.split(line.partition("bitspike ")[2])
        small = sets(*SMALLER[network], *SHORT) if words[0] == "run" else []
        code, out, err = bitspike(*words, *small)
        assert code == 0 or is_silent_alone(code, err), f"{line}\n{out}{err}"
    reports = {stage: read_report(tmp_path / "runs" / network / stage) for stage in ("fp32", "bin", "ter")}
    assert [report["stage"]["parent"] for report in reports.values()] == [None, "fp32", "fp32"]
    ends = {"layer1.conv", "stem.conv", "head.linear"}
    bits = {stage: {b for layer, b in report["bits"].items() if layer not in ends} for stage, report in reports.items()}
    assert (bits["bin"], bits["ter"]) == ({1}, {2})


class Theirs(nn.Sequential):
    """A block of the published SEW-ResNet, as its state names and orders it."""

    def __init__(self, inputs: int, out: int, stride: int) -> None:
        super().__init__()

        def container(kernel: int, channels: int, step: int) -> nn.Module:
            conv = nn.Conv2d(channels, out, kernel, step, kernel // 2, bias=False)
            return nn.Sequential(OrderedDict(module=nn.Sequential(conv, nn.BatchNorm2d(out))))

        self.conv1, self.conv2 = container(3, inputs, stride), container(3, out, 1)
        if stride > 1:
            self.downsample = nn.Sequential(container(1, inputs, stride))


def test_a_published_state_of_a_sew_resnet_is_taken_over_by_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    sides = [(64, 64), (64, 128), (128, 256), (256, 512)]
    theirs = nn.Module()
    theirs.conv1, theirs.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
    for number, (inputs, out) in enumerate(sides, start=1):
        stage = nn.Sequential(Theirs(inputs, out, 1 if number == 1 else 2), Theirs(out, out, 1))
        setattr(theirs, f"layer{number}", stage)
    theirs.fc = nn.Linear(512, 1000)
    torch.save({"model": theirs.state_dict()}, "sew18_checkpoint_319.pth")
    code = re.findall(r"```python\n(.*?)```", PAGE, re.S)[1]
    exec(compile(code, "cbp-qsnn.md", "exec"), {"torch": torch, "bs": bs})  # noqa: S102
    ours = torch.load("sew18.pt")
    assert torch.equal(ours["block3.shortcut.layer.conv.weight"], theirs.layer2[0].downsample[0].module[0].weight)
    assert torch.equal(ours["block8.layer2.norm.weight"], theirs.layer4[1].conv2.module[1].weight)
    first = theirs.conv1.weight * (64 / 255) / torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    torch.testing.assert_close(ours["stem.conv.weight"], first)
