"""The grid of memory devices and the pretrained network on many chips: their records, and what the document says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import hybrid, hybrid_resnet20

from bitspike.models.resnet_cifar import resnet_cifar

SMALL = ("model.width=0.25", "data.limit=60", "training.epochs=1")


def test_the_recipe_of_the_grid_has_every_network_with_its_parent() -> None:
    stages = {stage.name: stage for stage in hybrid.recipe_of(3, seed=1).stages}
    assert len(stages) == 1 + 4 + 5 + 5
    for name, bits, scale, parent in (
        ("aware-scale2", 3, 2.0, "baseline"),
        ("sram4-scale1", 3, 1.0, "aware-scale1"),
        ("pruned-scale0", 3, 0.0, "baseline"),
    ):
        weights = stages[name].weights
        assert (weights.quantize.bits, weights.vary.bits, weights.vary.scale) == (bits, bits, scale)
        assert stages[name].parent == parent
    assert stages["sram4-scale1"].weights.recover.bits == 4
    assert stages["baseline"].weights.quantize.bits == 3
    assert stages["baseline"].weights.vary is None
    assert stages["pruned-scale2"].weights.prune is not None


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the line of one bit at scale 2 with one width of SRAM; it is asked for twice, and made once."""
    folder = tmp_path_factory.mktemp("grid")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hybrid, "SCALES", (2,))
        patch.setattr(hybrid, "SRAM", (2,))
        first = hybrid.measured(folder, 1, 0, chips=2, changes=SMALL)
        written = {path: path.stat().st_mtime_ns for path in folder.rglob("model.safetensors")}
        again = hybrid.measured(folder, 1, 0, chips=2, changes=SMALL)
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("model.safetensors")} == written
    assert again | {"run": ""} == first | {"run": ""}
    assert json.loads(json.dumps(first)) == first
    return first


def test_every_network_of_a_row_is_measured_on_its_chips_and_proven(line: dict[str, Any]) -> None:
    (row,) = line["rows"]
    for key in ("untrained", "aware", "2", "pruned"):
        assert row[key]["certificate"] is True
        assert row[key]["images"] == 60
        assert row[key]["mean"]["low"] <= row[key]["mean"]["value"] <= row[key]["mean"]["high"]
    assert row["untrained"]["clean"] != row["aware"]["clean"]
    assert 0 < row["sparsity"]["weights"] < 1


def row_of(scale: int, clean: float, untrained: float, recovered: float) -> dict[str, Any]:
    def network(mean: float) -> dict[str, Any]:
        middle = {"value": mean, "low": mean, "high": mean}
        return {"clean": clean, "mean": middle, "deviation": 0.01, "images": 9, "certificate": True, "seconds": 60}

    kept = {key: network(recovered) for key in ("aware", *map(str, hybrid.SRAM), "pruned")}
    return {"scale": scale, "untrained": network(untrained), **kept, "sparsity": {"weights": 0.25, "groups": 0.0}}


def made(bits: int, seed: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    place = {"hardware": "Example", "threads": 1, "versions": {"bitspike": "1", "torch": "2"}, "commit": "abc"}
    return {"bits": bits, "seed": seed, "chips": 20, "epochs": 15, "steps": 4, "rows": rows, **place}


def test_the_table_says_where_less_came_back_than_was_asked() -> None:
    """Of 40 points, 20 are half; a row that lost 2 points is not asked."""
    lines = [made(2, 0, [row_of(2, 0.9, 0.5, 0.7)]), made(4, 0, [row_of(2, 0.9, 0.88, 0.89)])]
    lines.append(made(4, 1, [row_of(2, 0.8, 0.6, 0.79)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hybrid, "SCALES", (2,))
        text = "\n".join(hybrid.tables(lines))
    assert "| 2 | 2 | 90.0 | 50.0 ± 1.0 | 70.0 ± 1.0 |" in text
    assert "| 25.0% | 50% |" in text
    assert "in 1 of 2 rows; missed with 2 bits (50%)" in text
    assert "| 2 | 85.0 ± 7.1 | 74.0 ± 19.8 |" in text, "over the seeds of 4 bits"


def test_the_pretrained_network_is_measured_before_and_after_recovery(tmp_path: Path, cifar10_root: Path) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "weights.pt"
    torch.save({"state_dict": {f"module.{k}": v for k, v in resnet_cifar(depth=8).state_dict().items()}}, weights)
    changes = ("data.limit=20", "model.arguments={depth: 8}", "evaluation.batch_size=20", "finetune.batch_size=10")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hybrid_resnet20, "STAGES", dict.fromkeys(hybrid_resnet20.STAGES, 1))
        first = hybrid_resnet20.measured(weights, cifar10_root, tmp_path, chips=2, changes=changes)
        again = hybrid_resnet20.measured(weights, cifar10_root, tmp_path, chips=3, changes=changes)
        (tmp_path / "untrained" / "seconds.json").unlink()  # as a command leaves it that was stopped there
        assert (
            hybrid_resnet20.measured(weights, cifar10_root, tmp_path, chips=3, changes=changes)["untrained"]["chips"]
            == 3
        )
    for name in ("untrained", "aware", "recovered"):
        assert (first[name]["chips"], again[name]["chips"]) == (2, 3)
        assert first[name]["clean"] == again[name]["clean"], "nothing was trained again"
        assert first[name]["by"] == "torch"
    text = "\n".join(hybrid_resnet20.table(again))
    assert "3 chips" in text
    assert f"| {100 * again['aware']['clean']:.1f} |" in text


@pytest.mark.parametrize("module", [hybrid, hybrid_resnet20])
def test_the_document_is_that_of_the_records(module: Any) -> None:
    text = module.DOCUMENT.read_text(encoding="utf-8")
    assert module.document(text, module.latest()) == text
    with pytest.raises(ValueError, match="no place"):
        module.document("nothing", [])
