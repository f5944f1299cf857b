"""The journey of mixed precision: a trained network, bits per layer under a budget, and the run of the new recipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import bitspike as bs
from bitspike.errors import ConstraintError, RecipeError, RunError
from bitspike.recipe import load

NET = """
from torch import nn


def net():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 16, 3), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10),
    )
"""
SIZES = {"3": 864, "6": 1728, "10": 1536}
KEPT = {"0": 72, "12": 240}
Bitspike = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a recipe, ``mine.yaml``, whose network was trained in floating point."""
    torch.use_deterministic_algorithms(True)
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "net.py").write_text(NET)
    text = bs.recipe.dump(load("digits-convert")).replace("bitspike.models.digits_ann:digits_ann", "net.py:net")
    (folder / "mine.yaml").write_text(text.replace("  folder: null\n", ""))
    changes = ["finetune.epochs=4", "expect=null", "convert.steps=4"]
    bs.run(folder / "mine.yaml", set=changes, out=folder / "float")
    trained = load(folder / "mine.yaml", [*changes, f"model.weights={folder / 'float' / 'model.safetensors'}"])
    tuned = load(trained, ["finetune.quantized=true", "finetune.epochs=6", "finetune.optimizer.lr=0.005"])
    (folder / "mine.yaml").write_text(bs.recipe.dump(tuned))
    return folder


def total_bytes(bits: dict[str, int]) -> int:
    return sum(-(-{**SIZES, **KEPT}[path] * b // 8) for path, b in bits.items())


def test_the_new_recipe_makes_the_network_that_was_promised(folder: Path, tmp_path: Path) -> None:
    mixture = bs.mix(folder / "mine.yaml", bits=2.5, out=tmp_path / "mixed.yaml")
    assert {path: mixture.bits[path] for path in KEPT} == {"0": 8, "12": 8}
    assert mixture.price == total_bytes(mixture.bits) <= mixture.budget == 312 + 4128 * 2.5 // 8
    assert 2 < mixture.mean_bits <= 2.5
    assert mixture.loss == pytest.approx(sum(layer.loss for layer in mixture.layers if layer.loss is not None))
    # What it costs: three layers with eight numbers of bits each, and the reference; not more than a tenth.
    assert mixture.passes == 25 * mixture.images
    assert mixture.share == pytest.approx(mixture.passes / (6 * 3 * 1294))
    assert 0 < mixture.share <= 0.1
    assert "mean" in str(mixture)
    assert mixture.trains_codes
    assert "NOT TRAINED" not in str(mixture)
    assert json.loads(json.dumps(mixture.to_dict()))["layers"][0]["loss"] is None

    recipe = load(tmp_path / "mixed.yaml")
    assert recipe.name == "digits-convert-mixed"
    assert recipe.question.endswith("(Mixed precision: bits per layer by sensitivity, at most 1,602 bytes of weights.)")
    report = bs.run(recipe, out=tmp_path / "run")
    assert report["bits"] == mixture.bits
    assert report["bytes"]["weights_packed"] == mixture.price
    assert report["certificate"]["equal"]
    assert report["accuracy"]["test"] > 0.8
    with pytest.raises(RunError, match="nothing is overwritten"):
        bs.mix(folder / "mine.yaml", bits=2.5, out=tmp_path / "mixed.yaml")


def test_the_same_budget_gives_the_same_bits_and_more_bytes_never_predict_more_loss(
    folder: Path, tmp_path: Path, bitspike: Bitspike
) -> None:
    code, out, _ = bitspike("mix", folder / "mine.yaml", "--bytes", "1600", "--out", tmp_path / "a.yaml", "--json")
    assert code == 0
    first = json.loads(out)
    again = bs.mix(folder / "mine.yaml", bytes=1600, out=tmp_path / "b.yaml")
    assert {layer["path"]: layer["bits"] for layer in first["layers"]} == again.bits
    assert first["price"] == again.price <= 1600
    assert again.uniform is not None
    assert (again.uniform[0], again.uniform[1]) == (2, total_bytes({"0": 8, "3": 2, "6": 2, "10": 2, "12": 8}))
    assert again.loss <= again.uniform[2]
    more = bs.mix(folder / "mine.yaml", bytes=2400, steps=8, out=tmp_path / "c.yaml")
    floats = bs.mix(folder / "mine.yaml", bytes=1600, out=tmp_path / "f.yaml", set=["finetune.quantized=false"])
    assert not floats.trains_codes
    assert "NOT TRAINED weights are rounded to these bits" in str(floats)
    assert more.loss <= again.loss
    assert load(tmp_path / "c.yaml").steps == more.steps == 8


def test_a_budget_of_energy_is_kept_by_the_spikes_of_the_mixture(folder: Path, tmp_path: Path) -> None:
    whole = bs.mix(folder / "mine.yaml", energy=1e9, out=tmp_path / "whole.yaml")
    least = bs.mix(folder / "mine.yaml", energy=1e9, allowed=[1], out=tmp_path / "least.yaml")
    budget = (whole.price + least.price) / 2
    mixture = bs.mix(folder / "mine.yaml", energy=budget, out=tmp_path / "mixed.yaml")
    assert mixture.unit == "pJ"
    assert mixture.price <= budget
    assert least.mean_bits == 1 < mixture.mean_bits < whole.mean_bits
    steps = bs.mix(folder / "mine.yaml", energy=budget, choose_steps=True, out=tmp_path / "steps.yaml")
    assert steps.price <= budget
    assert load(tmp_path / "steps.yaml").steps == steps.steps
    assert list(steps.steps_losses) == [2, 3, 4, 6, 8, 12, 16]
    assert steps.steps_losses[16] < steps.steps_losses[2]
    with pytest.raises(ConstraintError, match=r"the budget is 10 pJ, and the layers need [\d,.]+ at least"):
        bs.mix(folder / "mine.yaml", energy=10, out=tmp_path / "none.yaml")
    assert not (tmp_path / "none.yaml").exists()


def test_what_cannot_be_mixed_is_refused_with_a_way_out(folder: Path, tmp_path: Path) -> None:
    mine, out = folder / "mine.yaml", tmp_path / "none.yaml"
    with pytest.raises(ConstraintError, match="one budget is needed, found none"):
        bs.mix(mine, out=out)
    with pytest.raises(ConstraintError, match=r"found bytes=9, bits=2"):
        bs.mix(mine, bytes=9, bits=2, out=out)
    with pytest.raises(ConstraintError, match="a budget of bytes, which does not grow with T"):
        bs.mix(mine, bytes=9, choose_steps=True, out=out)
    with pytest.raises(ConstraintError, match=r"allowed=\(9,\)"):
        bs.mix(mine, bits=2, allowed=[9], out=out)
    with pytest.raises(ConstraintError, match="steps=0"):
        bs.mix(mine, bits=2, steps=0, out=out)
    smallest = total_bytes({"0": 8, "3": 1, "6": 1, "10": 1, "12": 8})
    with pytest.raises(ConstraintError, match=f"the budget is 400 bytes, and the layers need {smallest} at least"):
        bs.mix(mine, bytes=400, out=out)
    assert bs.mix(mine, bytes=smallest, out=tmp_path / "least.yaml").price == smallest  # the way out works
    with pytest.raises(RecipeError, match=r"model\.weights is null"):
        bs.mix("digits-convert", bits=2, out=out)
    with pytest.raises(RecipeError, match="found kind 'train'"):
        bs.mix("quickstart", bits=2, out=out)
    assert not out.exists()
