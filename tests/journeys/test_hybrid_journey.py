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


@pytest.fixture(scope="module")
def staged_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small run in four stages: baseline, varied, recovered, pruned."""
    folder = tmp_path_factory.mktemp("staged") / "run"
    changes = ["model.width=0.25", "data.limit=100", "training.epochs=1", "stages.3.weights.prune.threshold=0.4"]
    bs.run("digits-hybrid-memory", set=changes, out=folder)
    return folder


def test_the_journey_in_stages_names_parents_and_its_last_network_is_that_of_all(staged_run: Path) -> None:
    parents = {}
    for name in ("baseline", "varied", "recovered", "pruned"):
        part = json.loads((staged_run / name / "report.json").read_text())
        assert part["certificate"]["equal"]
        assert part["agreement"]["spikes"] == 1.0
        parents[name] = part["stage"]["parent"]
    assert parents == {"baseline": None, "varied": "baseline", "recovered": "varied", "pruned": "varied"}
    report = json.loads((staged_run / "report.json").read_text())
    assert bs.evaluate(staged_run)["accuracy"] == report["accuracy"]["test"]
    assert bs.yield_(staged_run, chips=2, samples=20).by == "integers"
    rram = {
        name: load_file(staged_run / name / "model.safetensors")["layer2.conv.parametrizations.weight.original"]
        for name in parents
    }
    assert not torch.equal(rram["baseline"], rram["varied"])
    assert torch.equal(rram["varied"], rram["recovered"]), "what varies is frozen"
    assert torch.equal(rram["varied"], rram["pruned"])
    with pytest.raises(ConstraintError, match=r"fix: --set 'stages.0.weights.vary=\{kind: rram, bits: 4\}'"):
        bs.yield_(staged_run / "baseline")
    vary = ["stages.0.weights.vary={kind: rram, bits: 4}"]
    assert bs.yield_(staged_run / "baseline", chips=2, samples=20, set=vary).by == "integers"


def test_cells_and_bits_of_the_journey_follow_from_its_stages(staged_run: Path, bitspike: Bitspike) -> None:
    costs = {name: bs.cost(staged_run / name, samples=20) for name in ("baseline", "varied", "recovered", "pruned")}
    weights = costs["baseline"].weights
    assert {name: cost.cells for name, cost in costs.items()} == {
        "baseline": 0,
        **dict.fromkeys(("varied", "recovered", "pruned"), 2 * weights),
    }
    assert {name: cost.device_size for name, cost in costs.items()}["varied"] == 4 * weights
    assert [costs[name].sram_size for name in ("baseline", "varied", "recovered")] == [4 * weights, 0, 2 * weights]
    pruned, recovered = costs["pruned"], costs["recovered"]
    assert pruned.layers[0].sram_size == recovered.layers[0].sram_size, "the first layer is not pruned"
    for layer in pruned.layers[1:]:
        state = load_file(staged_run / "pruned" / "model.safetensors")
        master = state[f"{layer.path}.parametrizations.weight.0.recover.master"].abs()
        kept = int((master > 0.4 * master.max()).sum())
        assert layer.sram_size <= layer.weights + 2 * kept, "two bits of what stays, and a map"
    code, text, _ = bitspike("cost", staged_run / "pruned", "--samples", "20", "--json")
    assert code == 0
    assert json.loads(text) == json.loads(json.dumps(pruned.to_dict()))
    assert json.loads(text)["data"] == "digits, test split"
    assert bs.cost(staged_run, samples=20) == pruned, "the whole run stands for its last stage"
    varied = bs.cost(staged_run / "baseline", samples=20, set=["stages.0.weights.vary={kind: rram, bits: 4}"])
    assert (varied.cells, varied.sram_size) == (2 * weights, 0)


def test_the_report_of_a_run_in_cells_says_what_they_cost(staged_run: Path) -> None:
    recovered, whole = (
        json.loads((place / "report.json").read_text()) for place in (staged_run / "recovered", staged_run)
    )
    assert recovered["memory"] == bs.cost(staged_run / "recovered").to_dict()
    assert "memory" not in json.loads((staged_run / "baseline" / "report.json").read_text()), "nothing lies in cells"
    by_name = {row["name"]: row.get("memory") for row in whole["stages"]}
    assert by_name["recovered"]["energy"] == recovered["memory"]["energy"]["total"]
    assert by_name["baseline"] is None
    page = (staged_run / "recovered" / "report.html").read_text()
    assert "Weights in memory" in page
    assert f"{recovered['memory']['cells']:,} cells" in page
    assert "Weights in memory" not in (staged_run / "baseline" / "report.html").read_text()
    assert f"{by_name['pruned']['sram_size']:,}" in (staged_run / "report.html").read_text()


def test_bitspike_pareto_measures_runs_once_and_says_who_is_beaten(
    staged_run: Path, bitspike: Bitspike, tmp_path: Path
) -> None:
    runs = [staged_run / name for name in ("baseline", "varied", "recovered")]
    words = ["--chips", "3", "--samples", "40", "--out", tmp_path / "front"]
    code, text, said = bitspike("pareto", *runs, *words)
    assert code == 0, said
    assert said.count("3 of 3 chips") == 2
    assert str(tmp_path / "front" / "pareto.svg") in text
    code, text, said = bitspike("pareto", *runs, *words, "--by", "bits", "--json")
    assert "of 3 chips" not in said, "they are measured already"
    result = json.loads(text)
    points = {Path(point["network"]).name: point for point in result["points"]}
    varied = bs.yield_(staged_run / "varied", chips=3, samples=40)
    assert points["varied"]["accuracy"] == varied.statistics.mean.value
    assert points["varied"]["ideal"] == varied.ideal
    assert points["varied"]["energy_pj"] == bs.cost(staged_run / "varied", samples=40).to_dict()["energy"]["total"]
    assert (points["baseline"]["chips"], points["baseline"]["low"]) == (0, None)
    assert result["samples"] == 40
    assert len(result["front"]) >= 1
    code, _, said = bitspike("pareto", *runs, "--chips", "3", "--samples", "41", "--out", tmp_path / "other")
    assert code == 2
    assert "another setting (samples)" in said
    assert f"remove {staged_run / 'varied' / 'yield'}" in said
    assert not (tmp_path / "other").exists()


def test_a_run_that_does_not_vary_stands_with_its_own_accuracy(staged_run: Path) -> None:
    (point,) = bs.pareto([staged_run / "baseline"]).points
    report = json.loads((staged_run / "baseline" / "report.json").read_text())
    assert point.accuracy == point.ideal == report["accuracy"]["test"]
    (fewer,) = bs.pareto([staged_run / "baseline"], samples=30).points
    assert fewer.accuracy * 30 == pytest.approx(round(fewer.accuracy * 30))


def test_runs_on_other_data_are_not_compared(staged_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "run"
    bs.run("quickstart", set=[*SMALL, "data.limit=30", "training.epochs=1"], out=other)
    with pytest.raises(ConstraintError, match=r"on 30 samples of digits: their accuracies cannot be compared"):
        bs.pareto([staged_run / "baseline", other])


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
