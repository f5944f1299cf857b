"""A network in memory devices from training to its chips: accuracies that come back exactly, and the order of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from journey_parts import SMALL
from safetensors.torch import load_file

import bitspike as bs
from bitspike.data import Batches, PixelGrid, load
from bitspike.errors import ConstraintError
from bitspike.models import bntt_vgg
from bitspike.train import evaluate

Bitspike = Callable[..., tuple[int, str, str]]
MEMORY = [
    *SMALL,
    "weights.quantize={kind: midrise, bits: 4}",
    "weights.vary={kind: rram, bits: 4, scale: 2.0, seed: 3, fixed: true, resolution: 7}",
    "weights.recover={bits: 2}",
    "weights.prune={threshold: 0.05}",
]


@pytest.fixture(scope="module")
def chip_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hybrid") / "run"
    bs.run("quickstart", set=MEMORY, out=folder)
    return folder


def test_hybrid_check_11_a_recovered_and_pruned_run_comes_back_exactly(chip_run: Path, bitspike: Bitspike) -> None:
    """The same chip seed and input seed give the accuracy that was reported, by torch and by the proven integers."""
    report = json.loads((chip_run / "report.json").read_text())
    again = bs.evaluate(chip_run)
    assert again["accuracy"] == report["accuracy"]["test"]
    assert again["loss"] == bs.evaluate(chip_run)["loss"]
    assert report["certificate"]["equal"]
    assert report["agreement"]["spikes"] == 1.0
    assert report["accuracy"]["lowered"] == report["accuracy"]["test"]
    other = bs.evaluate(chip_run, set=["weights.vary.seed=4"])
    assert other["loss"] != again["loss"]
    assert bitspike("verify", chip_run)[0] == 0
    mine = bs.yield_(chip_run, chips=1, seed=3)
    assert mine.accuracies == (report["accuracy"]["test"],)
    assert mine.by == "integers"


def test_bitspike_yield_measures_goes_on_and_refuses(chip_run: Path, bitspike: Bitspike, tmp_path: Path) -> None:
    out = tmp_path / "y"
    code, text, said = bitspike("yield", chip_run, "--chips", "4", "--required", "0.5", "--samples", "40", "--out", out)
    assert code == 0, said
    assert "4 chips on 40 samples, by integers, cells read with 7 bits" in text
    assert "yield " in text
    assert "1 of 4 chips" in said
    code, text, said = bitspike("yield", chip_run, "--chips", "6", "--samples", "40", "--json", "--out", out)
    assert "2 of 2 chips" in said, "four of six were measured before"
    result = json.loads(text)
    assert (result["chips"], len(result["accuracies"]), result["yield"]) == (6, 6, None)
    assert (out / "yield.svg").exists()
    adapted = bs.yield_(chip_run, chips=2, samples=40, adapt=60, out=tmp_path / "adapted")
    assert (adapted.by, adapted.adapted) == ("torch", 60)
    assert bs.yield_(chip_run, chips=1, samples=40, adapt=5000, out=tmp_path / "all").adapted == 108, (
        "there are no more"
    )
    for words, wanted in (
        (["--chips", "0"], "chips is 0"),
        (["--resolution", "1"], "from 2 to 15"),
        (["--samples", "41", "--out", str(out)], "another setting (samples)"),
        (["--set", "weights.recover.bits=9"], "weights.recover.bits"),
    ):
        code, _, said = bitspike("yield", chip_run, *words)
        assert code == 2
        assert wanted in said


def test_the_journey_in_stages_names_parents_and_its_last_network_is_that_of_all(tmp_path: Path) -> None:
    changes = ["model.width=0.25", "data.limit=100", "training.epochs=1"]
    report = bs.run("digits-hybrid-memory", set=changes, out=tmp_path / "run")
    parents = {}
    for name in ("baseline", "varied", "recovered", "pruned"):
        part = json.loads((tmp_path / "run" / name / "report.json").read_text())
        assert part["certificate"]["equal"]
        assert part["agreement"]["spikes"] == 1.0
        parents[name] = part["stage"]["parent"]
    assert parents == {"baseline": None, "varied": "baseline", "recovered": "varied", "pruned": "varied"}
    assert bs.evaluate(tmp_path / "run")["accuracy"] == report["accuracy"]["test"]
    assert bs.yield_(tmp_path / "run", chips=2, samples=20).by == "integers"
    rram = {
        name: load_file(tmp_path / "run" / name / "model.safetensors")["layer2.conv.parametrizations.weight.original"]
        for name in parents
    }
    assert not torch.equal(rram["baseline"], rram["varied"])
    assert torch.equal(rram["varied"], rram["recovered"]), "what varies is frozen"
    assert torch.equal(rram["varied"], rram["pruned"])
    with pytest.raises(ConstraintError, match=r"fix: --set 'stages.0.weights.vary=\{kind: rram, bits: 4\}'"):
        bs.yield_(tmp_path / "run" / "baseline")
    vary = ["stages.0.weights.vary={kind: rram, bits: 4}"]
    assert bs.yield_(tmp_path / "run" / "baseline", chips=2, samples=20, set=vary).by == "integers"


def test_a_run_without_variation_is_told_how_to_vary(run_folder: Path, bitspike: Bitspike) -> None:
    code, _, said = bitspike("yield", run_folder)
    assert code == 2
    assert "no weight varies" in said
    done = bitspike("yield", run_folder, "--chips", "2", "--set", "weights.vary={kind: lognormal, sigma: 0.3}")
    assert done[0] == 0, done[2]


def test_hybrid_check_12_training_learns_and_variation_costs() -> None:
    """VGG5 with T = 8 learns with 1 bit, 4 bits and floats; chips of twice the sigma answer worse than without any."""
    pixels = PixelGrid(scale=1 / 8)
    sets_of = {split: load("digits", split).subset(range(200)) for split in ("train", "test")}
    train = Batches(sets_of["train"], 50, pixel_grid=pixels, shuffle=True)
    test = Batches(sets_of["test"], 200, pixel_grid=pixels)
    accuracy, models = {}, {}
    for bits in (1, 4, 32):
        torch.manual_seed(0)
        model = bntt_vgg(depth=5, steps=8, width=1 / 8, in_channels=1, image_size=8)
        if bits < 32:
            bs.attach(model, quantize=bs.Midrise(bits), include="*.conv")
        history = bs.fit(model, train, epochs=5, device="cpu", precision="fp32")
        assert history.epochs[-1].train_loss < 0.8 * math.log(10)
        accuracy[bits], models[bits] = evaluate(model, test).accuracy, model
    assert accuracy[32] >= accuracy[4] - 0.03, "4 bits cost little, in this little training nothing"
    varied = bs.attach(models[4], vary=bs.Lognormal.for_bits(4, 2.0), include="*.conv")
    chips = bs.yield_(varied, test, chips=3, resolution=None)
    assert chips.ideal == accuracy[4]
    assert chips.statistics.mean.value < accuracy[4]
