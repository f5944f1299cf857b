"""The journey of a recipe of kind convert, from a float network to its chip, and the verbs along the way."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_overloads

import pytest
import torch
from journey_parts import sets
from safetensors.torch import load_file
from test_stopped_runs import STAGES, Full, no_part_is_left

import bitspike as bs
from bitspike import files
from bitspike.analysis.report.report import summary
from bitspike.errors import RunError
from bitspike.formats.c import c_memory
from bitspike.hardware.energy.operations import MemoryModel
from bitspike.recipe import ConvertRecipe, load
from bitspike.runs.construct.factory import build_network
from bitspike.runs.job import finished
from bitspike.train import EpochRecord, Observer
from bitspike.train import fit as fit_to_data
from bitspike.verbs import fit as fits

Bitspike = Callable[..., tuple[int, str, str]]
SMALL = ("model.arguments={width: 0.5}", "data.limit=200", "finetune.epochs=2", "expect=null", "convert.samples=128")


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small finished run of kind convert; copy it before changing it."""
    torch.use_deterministic_algorithms(True)
    folder = tmp_path_factory.mktemp("converted") / "run"
    bs.run("digits-convert", set=[*SMALL, "data.limit=null", "finetune.epochs=10"], out=folder)
    return folder


def report_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def test_the_folder_and_the_report_hold_what_was_promised(converted: Path) -> None:
    names = {str(p.relative_to(converted)) for p in converted.rglob("*") if p.is_file()}
    assert names == {
        *("recipe.yaml", "origin.json", "metrics.jsonl", "model.safetensors", "report.json", "report.html"),
        *(f"checkpoints/last/{name}" for name in ("model.safetensors", "optimizer.pt", "state.json")),
        *(f"checkpoints/best/{name}" for name in ("model.safetensors", "state.json")),
        *(f"network/{name}" for name in ("manifest.json", "weights.safetensors", "vectors.safetensors")),
    }
    report = report_of(converted)
    assert set(report) >= {
        *("recipe", "accuracy", "published", "certificate", "agreement", "bits", "bytes", "seconds"),
        *("seed", "environment", "widths", "activity", "finished", "schema", "expected", "checks", "command"),
        "conversion",
    }
    accuracy = report["accuracy"]
    assert set(accuracy) == {"test", "validation", "by_step", "lowered", "float"}
    assert len(accuracy["by_step"]) == 8
    assert accuracy["by_step"][-1] == accuracy["test"] == accuracy["lowered"]
    assert accuracy["float"] > 0.9
    assert abs(accuracy["test"] - accuracy["float"]) < 0.15
    # Nothing is left to round: the integers do exactly what the spiking network does.
    assert report["certificate"]["equal"] is True
    assert report["certificate"]["samples"] == 359
    assert report["agreement"] == {"spikes": 1.0, "accuracy_difference": 0.0, "samples": 359}
    assert report["bits"] == {"conv1": 8, "conv2": 4, "linear": 8}
    assert report["conversion"]["settings"]["steps"] == 8
    assert report["conversion"]["partial"] is False
    assert load(converted / "recipe.yaml").model_dump(mode="json") == report["recipe"]
    assert (converted / "report.html").stat().st_size > 10_000


def test_the_float_weights_are_kept_under_their_own_names(converted: Path) -> None:
    recipe = load(converted / "recipe.yaml")
    assert isinstance(recipe, ConvertRecipe)
    assert set(load_file(converted / "model.safetensors")) == set(build_network(recipe).state_dict())


def test_evaluate_finds_the_reported_accuracies_again(converted: Path, bitspike: Bitspike) -> None:
    report = report_of(converted)
    code, out, _ = bitspike("evaluate", converted, "--json")
    assert code == 0
    assert json.loads(out)["accuracy"] == json.loads(out)["reported"] == report["accuracy"]["test"]
    for steps in (1, 3):
        found = bs.evaluate(converted, steps=steps)
        assert (found["accuracy"], found["steps"]) == (report["accuracy"]["by_step"][steps - 1], steps)
    assert bs.evaluate(converted, set=["convert.steps=32"])["steps"] == 32


def test_weights_of_a_file_are_converted_without_training(converted: Path, tmp_path: Path) -> None:
    weights = converted / "model.safetensors"
    changes = [*SMALL, "data.limit=null", "finetune=null", f"model.weights={weights}", "convert.steps=4"]
    changes += ["evaluation.proof=40"]
    report = bs.run("digits-convert", set=changes, out=tmp_path / "run")
    assert report["accuracy"]["float"] == report_of(converted)["accuracy"]["float"]
    assert report["certificate"]["samples"] == report["agreement"]["samples"] == 40
    assert report["accuracy"]["lowered"] is None
    assert report["epochs"] == {"run": 0, "best": None, "kept": None}
    assert "train" not in report["seconds"]
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert bs.evaluate(tmp_path / "run")["accuracy"] == report["accuracy"]["test"]


def test_random_weights_are_not_converted_by_mistake(tmp_path: Path, bitspike: Bitspike) -> None:
    code, out, err = bitspike("run", "digits-convert", "--set", "finetune=null", "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert "the factory draws its weights at random, and nothing is trained" in err
    assert "fix: --set model.weights=FILE" in err


@pytest.mark.parametrize("finetune", ["finetune=null", "finetune.quantized=true"])
def test_a_factory_may_bring_its_weights(converted: Path, tmp_path: Path, finetune: str) -> None:
    (tmp_path / "mine.py").write_text(
        "from safetensors.torch import load_file\n"
        "from bitspike.models.digits_ann import digits_ann\n"
        "def trained(file):\n"
        "    net = digits_ann(width=0.5)\n"
        "    net.load_state_dict(load_file(file))\n"
        "    return net\n"
    )
    weights = converted / "model.safetensors"
    changes = [
        f"model.factory={tmp_path / 'mine.py'}:trained",
        f"model.arguments={{file: {weights}}}",
        "convert.steps=4",
    ]
    report = bs.run("digits-convert", set=[*changes, *SMALL[2:], "finetune.epochs=1", finetune], out=tmp_path / "run")
    assert report["accuracy"]["float"] == report_of(converted)["accuracy"]["float"]
    assert report["certificate"]["equal"]


@pytest.mark.parametrize("name", ["resnet20-cifar10-convert", "resnet20-cifar10-w4-t4", "resnet20-cifar10-w4-t8"])
def test_a_recipe_of_public_weights_says_where_they_are_looked_for(
    name: str, cifar10_root: Path, tmp_path: Path, bitspike: Bitspike
) -> None:
    code, out, err = bitspike("run", name, "--set", f"data.root={cifar10_root}", "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert "model.weights: there is no file" in err
    assert "resnet20-12fca82f.th" in err
    assert "fix: bitspike fetch resnet20-12fca82f.th" in err
    assert "--set model.weights=FILE" in err
    assert not (tmp_path / "run").exists()


def test_fine_tuning_with_codes_and_levels(tmp_path: Path) -> None:
    changes = [*SMALL, "finetune.quantized=true", "finetune.bits=3", "finetune.steps=4", "convert.steps=6"]
    report = bs.run("digits-convert", set=changes, out=tmp_path / "run")
    assert report["accuracy"]["float"] is None  # no weights were given, so there was nothing to measure
    assert 0 <= report["accuracy"]["finetuned"] <= 1
    assert report["bits"] == {"conv1": 8, "conv2": 3, "linear": 8}
    assert report["certificate"]["equal"]
    assert report["agreement"]["spikes"] == 1.0
    assert bs.evaluate(tmp_path / "run")["accuracy"] == report["accuracy"]["test"]


OVER_TIME = "over_time={epochs: 2, batch_size: 64, optimizer: {kind: adamw}, schedule: {kind: cosine}, keep: last}"


@pytest.mark.parametrize("how", [["finetune.quantized=false"], ["finetune.quantized=true"], None])
def test_a_folded_normalization_leaves_pixels_to_the_integers(tmp_path: Path, how: list[str] | None) -> None:
    how = how or ["finetune.quantized=true", OVER_TIME]
    changes = [*SMALL, "data.pixels={mean: [0.3], std: [0.37]}", *how, "convert.steps=4"]
    report = bs.run("digits-convert", set=changes, out=tmp_path / "run")
    assert report["certificate"]["equal"]
    assert report["agreement"]["spikes"] == 1.0
    entry = bs.load(tmp_path / "run" / "network").input
    assert (entry.grid, entry.shape) == (bs.Grid(1 / 16, 0, 16), (1, 10, 10))  # its border is the mean, not zero
    border = "before the spikes: conv1.pad (a border of 1, 1 around the input: 0.3, codes 5)"
    assert report["conversion"]["host"] == [border]
    assert bs.load(tmp_path / "run" / "network").source["host"] == border
    assert f"stays real      {border}" in summary(report)
    vectors = load_file(tmp_path / "run" / "network" / "vectors.safetensors")
    codes, real = vectors["input_codes"][0], vectors["labels"] >= 0
    pixels = bs.data.load("digits", "test").images.permute(0, 3, 1, 2)
    assert all(any(torch.equal(x[:, 1:-1, 1:-1], p) for p in pixels) for x in codes[real].to(torch.uint8))
    assert set(codes[real][:, :, 0].flatten().tolist()) == {round(0.3 * 16)}


def test_fine_tuning_over_time_goes_on_where_the_levels_ended(tmp_path: Path) -> None:
    changes = [*SMALL, "finetune.quantized=true", "convert.steps=4", "convert.neuron=signed_if", OVER_TIME]
    whole = bs.run("digits-convert", set=changes, out=tmp_path / "whole")
    assert whole["epochs"] == {"run": 4, "best": whole["epochs"]["best"], "kept": 4}
    assert whole["agreement"]["spikes"] == 1.0
    assert (tmp_path / "whole/over_time/metrics.jsonl").read_text().count("\n") == 2
    # What was trained over time is what the converted network does, up to the rounding of biases and thresholds.
    assert abs(whole["accuracy"]["finetuned"] - whole["accuracy"]["test"]) < 0.02

    with pytest.raises(RunError, match="2 of 2 and 1 of 2 epochs are done"):
        bs.run("digits-convert", set=changes, out=tmp_path / "parts", observer=Stop(after=3))
    parts = bs.run("digits-convert", set=changes, out=tmp_path / "parts", resume=True)
    assert parts["epochs"] == whole["epochs"]
    assert (tmp_path / "parts/model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()


class Stop(Observer):
    """Press Ctrl-C after so many epochs."""

    def __init__(self, after: int) -> None:
        self.left = after

    def epoch_done(self, record: EpochRecord) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "choice",
    [
        "convert.schedule=layerwise",
        "convert.coding=split",
        "convert.coding=rate",
        "convert.coding=bernoulli",
        "convert.neuron=signed_if",
        "convert.reset=hard",
        "convert.average_pool=neuron",
        "convert.correct=bias",
        "convert.threshold={kind: max}",
        "data.pixels={mean: [0.3], std: [0.37]}",
        "data.pixels={mean: [0.3], std: [0.37], folded: false}",
    ],
)
def test_every_choice_makes_the_whole_journey(converted: Path, tmp_path: Path, choice: str) -> None:
    changes = [*SMALL, "finetune=null", f"model.weights={converted / 'model.safetensors'}", "data.limit=60"]
    report = bs.run("digits-convert", set=[*changes, "convert.steps=4", choice], out=tmp_path / "run")
    assert report["certificate"]["equal"]
    assert report["agreement"]["spikes"] == 1.0
    assert len(report["accuracy"]["by_step"]) == 4
    assert report["accuracy"]["by_step"][-1] == report["accuracy"]["test"]
    for steps in (1, 4):
        wanted = report["accuracy"]["by_step"][steps - 1]
        # A coder of random or of evenly spread spikes draws others for a shorter run.
        if steps == 4 or not choice.endswith(("rate", "bernoulli")):
            assert bs.evaluate(tmp_path / "run", steps=steps)["accuracy"] == wanted


def test_a_part_is_converted_and_the_rest_stays_real(converted: Path, tmp_path: Path) -> None:
    changes = [*SMALL, "finetune=null", f"model.weights={converted / 'model.safetensors'}", "data.limit=60"]
    changes += ["convert.include=[conv2, relu2]", "convert.steps=6"]
    report = bs.run("digits-convert", set=changes, out=tmp_path / "run")
    assert report["conversion"]["partial"] is True
    assert report["conversion"]["host"] == [
        *(f"before the spikes: {name}" for name in ("conv1 (convolution)", "relu1 (relu)", "pool1 (avg_pool)")),
        *(f"after the spikes: {name}" for name in ("pool2 (avg_pool)", "flatten (reshape)", "linear (linear)")),
    ]
    assert "pool1 (avg_pool)\n  stays real      and 3 operations more, in report.json\n" in summary(report)
    assert report["bits"].keys() == {"conv2"}
    assert report["certificate"]["equal"]
    assert report["agreement"] == {"spikes": 1.0, "accuracy_difference": 0.0, "samples": 60}
    assert bs.evaluate(tmp_path / "run")["accuracy"] == report["accuracy"]["test"]
    # The integers are billed by what enters them, which is no image.
    net, (job, _) = bs.load(tmp_path / "run" / "network"), finished(tmp_path / "run")
    entering = job.spiking.enter(next(iter(job.data.test_batches(8)))[0])
    activity = bs.simulate(net, bs.encode(net, entering))
    assert bs.energy(tmp_path / "run", samples=8).energy_pj == pytest.approx(bs.energy(net, activity).energy_pj)


@pytest.mark.parametrize("stage", STAGES)
def test_interrupted_anywhere_it_goes_on_to_the_same_end(
    tmp_path: Path, bitspike: Bitspike, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    words = ["run", "digits-convert", "--out", tmp_path / "run", *sets(*SMALL)]

    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"bitspike.{stage}", stop)
        code, out, err = bitspike(*words)
    assert (code, out) == (2, "")
    done = "no epoch is done yet" if stage.endswith("fit") else "2 of 2 epochs are done"
    assert f"interrupted: {done}, saved in {tmp_path / 'run'}" in err
    assert not (tmp_path / "run" / "report.json").exists()
    assert not list((tmp_path / "run").rglob("*.partial"))
    assert bitspike(*words, "--resume")[0] == 0
    whole_run = bs.run("digits-convert", set=SMALL, out=tmp_path / "whole")
    assert report_of(tmp_path / "run")["accuracy"] == whole_run["accuracy"]
    for name in ("model.safetensors", "network/weights.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("files_that_fit", [0, 1, 2])
def test_a_full_disk_is_one_message_and_a_conversion_goes_on(
    converted: Path, tmp_path: Path, bitspike: Bitspike, monkeypatch: pytest.MonkeyPatch, files_that_fit: int
) -> None:
    changes = [*SMALL, "finetune=null", f"model.weights={converted / 'model.safetensors'}", "data.limit=40"]
    words = ["run", "digits-convert", "--out", tmp_path / "run", *sets(*changes)]
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", Full(files_that_fit))
        code, out, err = bitspike(*words)
    assert (code, out) == (2, "")
    assert f"the disk is full: {tmp_path / 'run'} has " in err
    assert no_part_is_left(tmp_path / "run")
    assert bitspike(*words, *(["--resume"] if files_that_fit else []))[0] == 0


def test_a_user_s_own_network_makes_the_journey(tmp_path: Path, bitspike: Bitspike) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "def make():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))\n"
    )
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nkind: convert\nquestion: Does it convert?\ndata: {kind: digits, limit: 150}\n"
        'model: {kind: factory, factory: "net:make"}\nconvert: {steps: 4}\n'
        "finetune: {epochs: 2, batch_size: 32, optimizer: {kind: adamw}, schedule: {kind: cosine}, keep: last}\n"
    )
    code, out, err = bitspike("run", tmp_path / "mine.yaml", "--out", tmp_path / "run")
    assert code == 0, err
    assert "100 % equal" in out
    assert "converting" in err
    code, out, _ = bitspike("verify", tmp_path / "run", "--json")
    assert (code, json.loads(out)["equal"]) == (0, True)


# The verbs that bring it to a chip ----------------------------------------------------------------------------------


def test_a_recipe_promises_a_chip_and_keeps_a_ledger(converted: Path, tmp_path: Path, bitspike: Bitspike) -> None:
    changes = [*SMALL, "finetune=null", f"model.weights={converted / 'model.safetensors'}", "data.limit=40"]
    changes += ["convert.steps=4", "chip=fanin1024-v1", "analysis.samples=20"]
    code, _, err = bitspike("run", "digits-convert", "--out", tmp_path / "run", *sets(*changes))
    report = report_of(tmp_path / "run")
    assert report["chip"]["chip"] == "fanin1024-v1"
    # 8-bit weights in the first layer are not among the widths of this chip.
    assert (code, report["chip"]["passed"]) == (1, False)
    assert "of chip 'fanin1024-v1'" in err
    assert report["ledger"]["samples"] == 20
    assert (tmp_path / "run" / "ledger" / "ledger.html").is_file()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "It does not fit its chip" in page
    assert 'href="ledger/ledger.html"' in page


def test_check_takes_networks_and_recipes(converted: Path, bitspike: Bitspike) -> None:
    for what in (converted, converted / "network", "digits-convert"):
        code, out, _ = bitspike("check", what, "--chip", "generic-int")
        assert code == 0, out
        assert "fit" in out
    code, out, _ = bitspike("check", "digits-convert", "--chip", "fanin1024-v1", "--json")
    assert code == 1
    assert json.loads(out)["passed"] is False
    code, _, err = bitspike("check", "digits-convert", "--chip", "nothing")
    assert code == 2
    assert "neither a shipped chip nor a file" in err
    code, _, err = bitspike("check", "digits-konvert", "--chip", "generic-int")
    assert code == 2
    assert "there is no recipe" in err


def test_fit_writes_a_recipe_that_passes_its_check(tmp_path: Path, bitspike: Bitspike) -> None:
    path = tmp_path / "fitted.yaml"
    words = ["fit", "digits-convert", "--chip", "fanin1024-v1", "--out", path]
    code, out, err = bitspike(*words, "--set", "convert.first_bits=4", "--set", "convert.last_bits=4")
    assert code in (0, 1), err
    if code == 0:
        assert bitspike("check", path if path.exists() else "digits-convert", "--chip", "fanin1024-v1")[0] == 0
    wide = ["model.arguments={width: 4}", "convert.first_bits=4", "convert.last_bits=4"]
    code, out, err = bitspike(*words[:4], "--out", tmp_path / "wide.yaml", *sets(*wide), "--json")
    found = json.loads(out)
    assert (code, found["passed"]) == (0, True), found
    assert found["repairs"]
    assert found["certificate"]["equal"]
    assert bitspike("check", tmp_path / "wide.yaml", "--chip", "fanin1024-v1")[0] == 0
    recipe = load(tmp_path / "wide.yaml", ["data.limit=60", "finetune.epochs=1"])
    report = bs.run(recipe, out=tmp_path / "run")
    assert report["certificate"]["equal"]
    code, _, err = bitspike(*words[:4], "--out", tmp_path / "wide.yaml")
    assert code == 2
    assert "nothing is overwritten" in err


def test_fit_proves_a_network_that_normalizes_its_images(tmp_path: Path) -> None:
    changes = ["model.arguments={width: 4}", "convert.first_bits=4", "convert.last_bits=4", "data.limit=60"]
    changes += ["data.pixels={mean: [0.3], std: [0.37]}", "finetune.epochs=1"]
    fitting = bs.fit("digits-convert", "fanin1024-v1", out=tmp_path / "fitted.yaml", set=changes)
    assert fitting.passed
    assert fitting.certificate is not None
    assert fitting.certificate.equal
    assert fitting.path is not None
    report = bs.run(fitting.path, out=tmp_path / "run", set=["expect=null"])
    assert report["certificate"]["equal"]
    assert bs.check(tmp_path / "run", "fanin1024-v1").passed


def test_a_repaired_network_is_trained_in_two_runs(converted: Path, tmp_path: Path, bitspike: Bitspike) -> None:
    """First its weights as codes under live norms, then all of it, as it will spike; every run fits the chip."""
    chip = tmp_path / "own.toml"
    rule = '[[rules]]\nname = "memory"\ncost = "bits * taps * inputs / groups"\nlimit = 60\n'
    chip.write_text(f'format = 1\nname = "own"\nweight_bits = [1, 2, 4]\n{rule}applies_to = ["convolution"]\n')
    path, trained = tmp_path / "fitted.yaml", f"model.weights={converted / 'model.safetensors'}"
    changes = [*SMALL, "data.limit=null", trained, "convert.first_bits=4", "convert.last_bits=4"]
    changes.append("finetune.quantized=weights")
    code, out, err = bitspike("fit", "digits-convert", "--chip", chip, "--out", path, *sets(*changes))
    assert code == 0, out + err
    first = bs.run(path, set=[f"chip={chip}"], out=tmp_path / "first")
    assert first["chip"]["passed"]
    # The float figure is that of the repaired network before any epoch.
    assert first["accuracy"]["finetuned"] > first["accuracy"]["float"] > 0.2
    assert first["certificate"]["equal"]
    assert bs.evaluate(tmp_path / "first")["accuracy"] == first["accuracy"]["test"]
    masters = load_file(tmp_path / "first" / "model.safetensors")
    assert (
        "conv2.layers.parametrizations.weight.original" in masters
        or "conv2.parametrizations.weight.original" in masters
    )
    again = [f"chip={chip}", f"model.weights={tmp_path / 'first' / 'model.safetensors'}", "model.repaired=true"]
    second = bs.run(path, set=[*again, "finetune.quantized=true"], out=tmp_path / "second")
    assert second["chip"]["passed"]
    assert second["bits"] == first["bits"]
    assert second["accuracy"]["float"] > first["accuracy"]["float"]
    assert second["certificate"]["equal"]


def test_partial_sums_keep_the_codes_that_were_trained(converted: Path, tmp_path: Path, bitspike: Bitspike) -> None:
    """Weights are trained as codes before the network is split; the split network computes what was trained."""
    chip = tmp_path / "own.toml"
    rule = '[[rules]]\nname = "memory"\ncost = "bits * taps * inputs / groups"\nlimit = 60\n'
    chip.write_text(f'format = 1\nname = "own"\nweight_bits = [1, 2, 4]\n{rule}applies_to = ["convolution"]\n')
    few = [*SMALL, "data.limit=null", "convert.bits=2", "convert.first_bits=4"]
    given = f"model.weights={converted / 'model.safetensors'}"
    codes = bs.run("digits-convert", set=[*few, given, "finetune.quantized=weights"], out=tmp_path / "codes")
    path, decoded = tmp_path / "fitted.yaml", f"model.weights={tmp_path / 'codes' / 'decoded.safetensors'}"
    changes = [*few[:2], *few[3:], decoded, "finetune=null", "convert.scale={kind: coded}"]
    changes += ["convert.schedule=layerwise", "evaluation.by_step=false"]
    words = ["fit", "digits-convert", "--chip", chip, "--neuron-price", "0.001", "--out", path]
    code, out, err = bitspike(*words, *sets(*changes, f"chip={chip}"))
    assert code == 0, out + err
    assert "3 partial sums" in out
    fitted = load(path)
    assert isinstance(fitted, ConvertRecipe)
    assert isinstance(fitted.convert.threshold, dict)
    assert fitted.convert.threshold["conv2.neurons"].per_channel
    report = bs.run(path, out=tmp_path / "run")
    assert report["chip"]["passed"]
    assert report["certificate"]["equal"]
    assert report["bits"]["conv2.parts"] == 2
    assert report["accuracy"]["float"] == pytest.approx(codes["accuracy"]["finetuned"], abs=0.003)
    assert report["accuracy"]["by_step"] == [*[None] * 7, report["accuracy"]["test"]]
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("way", ["prune", "real"])
def test_fit_may_prune_channels_or_leave_a_layer_to_the_host(
    tmp_path: Path, bitspike: Bitspike, converted: Path, way: str
) -> None:
    chip, path = tmp_path / "own.toml", tmp_path / "fitted.yaml"
    rule = '[[rules]]\nname = "memory"\ncost = "bits * taps * inputs / groups"\nlimit = 200\n'
    chip.write_text('format = 1\nname = "own"\n' + rule + 'applies_to = ["convolution"]\n')
    given = [*SMALL, "data.limit=60", "finetune=null", f"model.weights={converted / 'model.safetensors'}"]
    given += ["convert.bits=4", "convert.first_bits=4"]
    words = ["fit", "digits-convert", "--chip", chip, "--ways", way, "--out", path]
    code, out, err = bitspike(*words, *sets(*given))
    assert code == 0, out + err
    assert f"changed   conv2: {'3 bit, 7 input channels' if way == 'prune' else 'keep it real'}" in out
    report = bs.run(path, set=["evaluation.proof=null"], out=tmp_path / "run")
    assert report["certificate"]["equal"]
    assert ("conv2" in report["bits"]) is (way == "prune")
    assert bs.check(tmp_path / "run", chip).passed


def test_fit_says_what_it_may_do(tmp_path: Path, bitspike: Bitspike) -> None:
    for ways, said in (("bits,cut", "ways: cut; allowed are bits, groups"), ("real", "none can stay real")):
        code, _, err = bitspike("fit", "quickstart", "--chip", "fanin1024-v1", "--ways", ways, "--out", tmp_path / "x")
        assert (code, (tmp_path / "x").exists()) == (2, False)
        assert said in err


def test_fit_says_when_nothing_is_to_be_done_or_can_be(tmp_path: Path, bitspike: Bitspike) -> None:
    code, out, _ = bitspike("fit", "quickstart", "--chip", "generic-int", "--out", tmp_path / "x.yaml")
    left = f"  recipe    nothing was changed: {tmp_path / 'x.yaml'} was not written\n"
    assert (code, out) == (0, f"quickstart fits chip 'generic-int' as it is\n{left}")
    assert not (tmp_path / "x.yaml").exists()
    assert bitspike("fit", "quickstart", "--chip", "generic-int")[1] == "quickstart fits chip 'generic-int' as it is\n"
    chip = tmp_path / "small.toml"
    rule = '[[rules]]\nname = "flash"\nper = "network"\ncost = "weight_bits / 8"\nlimit = 9000\ncode = "E111"\n'
    chip.write_text(f'format = 1\nname = "small"\n{rule}')
    code, out, _ = bitspike("fit", "quickstart", "--chip", chip, "--out", tmp_path / "x.yaml")
    assert (code, left in out) == (1, True)
    assert "to do     flash: weight_bits / 8 <= 9000: the network; weights of at most 1 bit (5238), or fewer" in out


def test_fit_of_a_trained_network_changes_its_width_or_its_layers_or_says_what_to_do(
    tmp_path: Path, bitspike: Bitspike
) -> None:
    chip = tmp_path / "own.toml"
    rule = '[[rules]]\nname = "memory"\ncost = "bits * taps * inputs / groups"\nlimit = {}\n'
    chip.write_text('format = 1\nname = "own"\n' + rule.format(150) + 'applies_to = ["convolution"]\n')
    words = ["fit", "quickstart", "--chip", chip, "--set", "model.width=0.5", "--out"]
    code, out, err = bitspike(*words, tmp_path / "narrow.yaml")
    assert code == 0, out + err
    recipe = load(tmp_path / "narrow.yaml")
    assert recipe.name == "quickstart-own"
    assert recipe.question.endswith("(Changed to fit a chip.)")
    assert recipe.weights is not None  # type: ignore[union-attr]
    assert recipe.weights.quantize.bits == 1  # type: ignore[union-attr]
    chip.write_text('format = 1\nname = "own"\n' + rule.format(60) + 'applies_to = ["convolution"]\n')
    code, out, err = bitspike(*words, tmp_path / "grouped.yaml")
    assert code == 0, out + err
    recipe = load(tmp_path / "grouped.yaml")
    assert recipe.model.repairs  # type: ignore[union-attr]
    assert bitspike("check", tmp_path / "grouped.yaml", "--chip", chip)[0] == 0
    report = bs.run(recipe, set=["data.limit=60", "training.epochs=1"], out=tmp_path / "run")
    assert report["certificate"]["equal"]
    assert bitspike("check", tmp_path / "run", "--chip", chip)[0] == 0
    ternary = ["--set", "weights={quantize: {kind: ternary}}", "--out", tmp_path / "none.yaml"]
    code, out, _ = bitspike(*words[:-1], *ternary)
    assert not (tmp_path / "none.yaml").exists()
    assert "to do" in out


def test_fit_writes_what_it_could_repair_and_lists_the_rest_by_cause(tmp_path: Path, bitspike: Bitspike) -> None:
    chip, path = tmp_path / "own.toml", tmp_path / "partly.yaml"
    rule = '[[rules]]\nname = "memory"\ncost = "bits * taps * inputs / groups"\nlimit = 60\n'
    words = 'format = 1\nname = "own"\npotential_bits = 4\nv0 = ["zero"]\nops = ["convolution", "linear", "reshape"]\n'
    chip.write_text(words + rule + 'applies_to = ["convolution"]\n')
    given = ["convert.bits=4", "convert.first_bits=4", "convert.average_pool=neuron"]
    code, out, err = bitspike("fit", "digits-convert", "--chip", chip, "--out", path, *sets(*given))
    assert code == 1, out + err
    before, after = (
        bs.check(what, chip, set=changes).errors for what, changes in (("digits-convert", given), (path, ()))
    )
    assert {v.code for v in before} - {v.code for v in after} == {"E102"}
    assert "not decided before training" in out  # the widths of potentials, as check says
    todo = [line for line in out.splitlines() if line.startswith("  to do ")]
    rules = list(dict.fromkeys(v.rule for v in after))
    assert [line.split("     ")[1].startswith(rule) for line, rule in zip(todo, rules, strict=True)] == [True] * len(
        rules
    )
    assert len(rules) < len(after)
    assert f"recipe    {path}, with what was changed; it does not fit before the rest is done" in out
    assert load(path).model.repairs  # type: ignore[union-attr]
    code, out, _ = bitspike("fit", "digits-convert", "--chip", chip, "--out", tmp_path / "x", "--json", *sets(*given))
    assert (code, len(json.loads(out)["needed"]), (tmp_path / "x").is_file()) == (1, len(rules), True)
    code, out, _ = bitspike("fit", path, "--chip", chip, "--out", tmp_path / "again.yaml")  # nothing is left to repair
    assert (code, (tmp_path / "again.yaml").exists()) == (1, False)


def test_export_writes_every_format(converted: Path, tmp_path: Path, bitspike: Bitspike) -> None:
    code, out, err = bitspike("export", converted, "--format", "c", "--out", tmp_path / "c")
    assert code == 0, err
    assert out.startswith(f"written: {tmp_path / 'c'}\n")
    assert str(c_memory(bs.load(converted / "network")).table()) in out
    assert {p.name for p in (tmp_path / "c").iterdir()} >= {"network.c", "network.h", "network_test.c"}
    code, out, err = bitspike(
        "export", converted / "network", "--format", "onnx", "--out", tmp_path / "n.onnx", "--json"
    )
    assert code == 0, err
    assert json.loads(out) == {"format": "onnx", "path": str(tmp_path / "n.onnx")}
    assert (tmp_path / "n.onnx").stat().st_size > 0
    for name, format, form in (("q.onnx", "onnx", "qonnx"), ("r.nir", "nir", "real")):
        code, _, err = bitspike("export", converted, "--format", format, "--form", form, "--out", tmp_path / name)
        assert (code, (tmp_path / name).is_file()) == (0, True), err
    for reader, wanted in (("norse", 0), ("spikingjelly", 2)):
        path = tmp_path / f"{reader}.nir"
        code, _, err = bitspike("export", converted, "--format", "nir", "--for", reader, "--out", path)
        assert code == wanted, err
        assert path.exists() is (wanted == 0)
    assert "it resets by subtraction, and SpikingJelly sets a neuron to a value" in err
    assert "--for norse" in err
    code, _, err = bitspike("export", converted, "--format", "onnx", "--for", "norse", "--out", tmp_path / "x")
    assert code == 2
    assert "NIR files are for readers" in err
    code, _, err = bitspike("export", converted, "--format", "nir", "--form", "step", "--out", tmp_path / "x")
    assert code == 2
    assert "allowed are integer, real" in err
    code, _, err = bitspike("export", converted, "--format", "tflite", "--out", tmp_path / "x")
    assert code == 2
    assert "allowed are c, loihi, nir, onnx, verilog" in err


def test_energy_says_which_images_it_counted(converted: Path, tmp_path: Path, bitspike: Bitspike) -> None:
    code, out, err = bitspike("energy", converted / "network")
    assert code == 0, err
    assert "mean of 2 samples of the test images among the golden vectors" in out
    code, out, _ = bitspike("energy", converted, "--samples", "50", "--json")
    found = json.loads(out)
    assert (found["samples"], found["data"]) == (50, "digits, test split")
    assert found["operations"]["sops"] > 0
    for verb in ("energy", "analyze"):
        code, out, err = bitspike(verb, converted, "--samples", "0")
        assert (code, out) == (2, "")
        assert "samples=0: at least one is needed" in err
    code, _, err = bitspike("energy", converted / "network", "--samples", "5")
    assert code == 2
    assert "the folder of a run" in err
    code, _, err = bitspike("energy", converted, "--table", "nothing")
    assert code == 2


def test_the_bill_may_count_memory(converted: Path, bitspike: Bitspike) -> None:
    code, out, err = bitspike("energy", converted, "--memory", "--json")
    assert code == 0, err
    assert json.loads(out) == bs.energy(converted, memory=MemoryModel()).to_dict() != bs.energy(converted).to_dict()


def test_analyze_accounts_for_a_conversion(
    converted: Path, finished_run: Path, tmp_path: Path, bitspike: Bitspike
) -> None:
    folder = Path(shutil.copytree(converted, tmp_path / "run"))
    code, out, err = bitspike("analyze", folder, "--samples", "32")
    assert code == 0, err
    assert str(folder / "ledger" / "ledger.html") in out
    code, out, _ = bitspike("analyze", folder, "--samples", "16", "--out", tmp_path / "there", "--json")
    assert json.loads(out)["samples"] == 16
    assert (tmp_path / "there" / "ledger.json").is_file()
    code, _, err = bitspike("analyze", finished_run)
    assert code == 2
    assert "there is no float network to compare it with" in err


def test_a_verb_is_a_function_of_what_is_in_memory_and_of_what_is_saved(converted: Path, tmp_path: Path) -> None:
    net = bs.load(converted / "network")
    for what in (net, converted, str(converted / "network")):
        assert bs.check(what, chip="fanin1024-v1").to_dict() == bs.check(net, "fanin1024-v1").to_dict()
        assert bs.verify(what).equal
        for format, name in (("c", "c"), ("nir", "n.nir"), ("onnx", "n.onnx")):
            assert bs.export(what, format=format, out=tmp_path / name) == tmp_path / name
        assert (tmp_path / "c" / "network_test.c").is_file()
    images = torch.rand(4, 1, 8, 8)
    assert bs.verify(converted, images).samples == bs.verify(net, images).samples == 4
    activity = bs.simulate(net, bs.encode(net, images))
    assert bs.energy(net, activity).to_dict()["samples"] == 4
    assert bs.energy(converted, samples=3).to_dict()["samples"] == 3


def test_a_verb_says_what_it_takes(converted: Path) -> None:
    net, model = bs.load(converted / "network"), torch.nn.Linear(2, 2)
    for verb in (bs.verify, bs.energy, lambda m: bs.check(m, "generic-int"), lambda m: bs.export(m, "c", "c")):
        with pytest.raises(bs.ConstraintError, match=r"Linear: a module of torch.*\n.*bs\.lower\(model"):
            verb(model)  # type: ignore[operator]
    with pytest.raises(bs.ConstraintError, match=r"billed by its spikes.*\n.*bs\.simulate"):
        bs.energy(net)  # type: ignore[call-overload]
    with pytest.raises(bs.ConstraintError, match="billed by its own vectors or test images"):
        bs.energy(converted, {})  # type: ignore[call-overload]
    with pytest.raises(bs.ConstraintError, match=r"does not know the float network.*\n.*bs\.analyze\(snn"):
        bs.analyze(net)  # type: ignore[call-overload]
    with pytest.raises(bs.ConstraintError, match="measured on its own test images"):
        bs.analyze(converted, torch.rand(2, 1, 8, 8))  # type: ignore[call-overload]


def test_fit_is_of_a_model_to_data_or_of_a_recipe_to_a_chip(tmp_path: Path) -> None:
    fitting = bs.fit("quickstart", chip="fanin1024-v1", out=tmp_path / "fitted.yaml")
    assert fitting.passed
    assert fitting.path == tmp_path / "fitted.yaml"
    assert bs.check(fitting.path, chip="fanin1024-v1").passed
    x, y = torch.eye(2), torch.tensor([0, 1])
    history = bs.fit(model=torch.nn.Linear(2, 2), train_loader=[(x, y)], epochs=1, device="cpu")
    assert len(history.epochs) == 1


def test_the_fit_that_type_checkers_see_is_that_of_training() -> None:
    training, chip = get_overloads(fits.fit)
    assert inspect.signature(training) == inspect.signature(fit_to_data)
    assert inspect.signature(chip) == inspect.signature(fits.fit_to_chip)
