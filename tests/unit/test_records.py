"""Run records: what is kept of a run, and the table that is made from them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from benchmarks import staged

from bitspike.recipe import AnyRecipe, load

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def records(tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("records", ROOT / "benchmarks" / "records.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.RECORDS = tmp_path / "records"  # type: ignore[attr-defined]
    return module


def report(recipe: AnyRecipe, test: float) -> dict[str, Any]:
    return {
        "recipe": recipe.model_dump(mode="json"),
        "accuracy": {"test": test, "validation": 0.9, "by_step": [0.5, test], "lowered": test},
        "published": None if recipe.published is None else recipe.published.model_dump(mode="json"),
        "expected": None,
        "certificate": {"equal": True, "samples": 10, "spikes_compared": 5, "membranes_compared": 5},
        "agreement": {"spikes": 1.0, "accuracy_difference": 0.0, "samples": 10},
        "bits": {"a": 4, "b": 4},
        "bytes": {"weights_packed": 2048, "weights_float32": 16384, "package": 4096},
        "seconds": {"train": 60.0, "total": 100.0},
        "environment": {
            "bitspike": "0.1.0",
            "torch": "2.6",
            "python": "3.11",
            "cpu": "Example",
            "threads": 2,
            "device": "cpu",
            "precision": "fp32",
            "workers": 1,
            "platform": "x",
        },
        "stage": {
            "accuracy": {"ann": {"validation": 0.9, "test": test + 0.004}, "if": {"validation": 0.7, "test": 0.5}},
            "mismatch": {
                "images": 256,
                "before": {"relu": {"share": 0.1}, "relu2": {"share": 0.3}},
                "after": {"relu": {"share": 0.2}, "relu2": {"share": 0.2}},
            },
        },
        "finished": "2026-01-01T00:00:00+00:00",
    }


def keep(records: ModuleType, folder: Path, recipe: AnyRecipe, test: float) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report(recipe, test)))
    kept: Path = records.record(folder)
    return kept


def test_the_table_shows_mean_and_spread_beside_the_published_figure(records: ModuleType, tmp_path: Path) -> None:
    for seed, test in enumerate([0.989, 0.990, 0.991]):
        recipe = load("mnist-stbp-w4", [f"seed={seed}", "data.root=elsewhere"])
        path = keep(records, tmp_path / "run", recipe, test)
        assert path.name == f"mnist-stbp-w4-seed{seed}.json"
    row = next(line for line in records.table(records.read()).splitlines() if "w4" in line)
    assert row.startswith("| `mnist-stbp-w4` | 4 bits | 2 | **99.00** ± 0.10 % (3 seeds) | 97.56 % | 100 % of spikes |")
    assert "| 2.0 KiB | 100 s |" in row
    assert "Example, 2 threads, fp32, torch 2.6" in records.table(records.read())


def test_the_commit_of_a_record_is_that_of_the_run(records: ModuleType, tmp_path: Path) -> None:
    recipe = load("mnist-stbp-w4")
    assert records.compact({**report(recipe, 0.99), "commit": "abc1234+"}, recipe)["commit"] == "abc1234+"
    assert records.compact(report(recipe, 0.99), recipe)["commit"] == "unknown", "of a report without one"


def test_almost_all_spikes_are_not_all(records: ModuleType, tmp_path: Path) -> None:
    path = keep(records, tmp_path / "run", load("mnist-stbp-fp32"), 0.99)
    kept = json.loads(path.read_text())
    kept["agreement"]["spikes"] = 0.9999999
    assert "| > 99.99 % of spikes |" in records.table([kept])


def test_a_converted_network_is_a_record_wherever_its_weights_lie(records: ModuleType, tmp_path: Path) -> None:
    places = ["model.weights=mine/resnet20.th", "data.root=elsewhere", "model.folder=there"]
    path = keep(records, tmp_path / "run", load("resnet20-cifar10-convert", places), 0.9)
    entry = json.loads(path.read_text())
    assert (entry["steps"], entry["epochs"]) == (32, 0)
    row = next(line for line in records.table(records.read()).splitlines() if "resnet20" in line)
    assert row.startswith("| `resnet20-cifar10-convert` | 4 bits | 32 | **90.00** % (1 seed) | 91.73 % |")
    with pytest.raises(records.RecordError, match="changed the recipe"):
        keep(records, tmp_path / "run", load("resnet20-cifar10-convert", ["convert.steps=8"]), 0.5)
    for recipe in (load("digits-convert"), load("digits-convert", ["finetune.device=cpu"])):
        assert json.loads(keep(records, tmp_path / "run", recipe, 0.97).read_text())["epochs"] == 12


def test_a_run_in_stages_is_a_record_and_a_row_for_each(records: ModuleType, tmp_path: Path) -> None:
    for seed in (0, 1):
        whole = load("digits-progressive", [f"seed={seed}"])
        for n, (name, part) in enumerate(whole.parts.items()):
            (tmp_path / "run" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "run" / name / "report.json").write_text(json.dumps(report(part, 0.97 - n / 100 + seed / 100)))
        last = keep(records, tmp_path / "run", whole, 0.95)
        assert last.name == f"digits-progressive-2bit-seed{seed}.json"
    entries = records.read()
    assert [(e["stage"], e["steps"], e["epochs"]) for e in entries if e["seed"] == 0] == [
        (2, 3, 6),
        (32, 15, 10),
        (4, 15, 6),
    ]
    rows = [line for line in records.table(entries).splitlines() if line.startswith("| `digits")]
    assert [row.split(" |")[0] for row in rows] == [f"| `digits-progressive`, {bits} bit" for bits in (32, 4, 2)]
    assert rows[-1].startswith("| `digits-progressive`, 2 bit | 4 bits | 3 | **95.50** ± 0.71 % (2 seeds) |")
    assert "| float32 | 15 | **97.50**" in rows[0]
    with pytest.raises(records.RecordError, match="this is one stage"):
        records.record(tmp_path / "run" / "4bit")


def test_the_stages_of_the_pretrained_network_are_a_table_too(records: ModuleType, tmp_path: Path) -> None:
    assert staged.section([]) == []
    for recipe, seed in ((staged.RECIPE, 0), (staged.RECIPE, 1), (f"{staged.RECIPE}-wb", 0)):
        whole = load(recipe, [f"seed={seed}"])
        for name, part in whole.parts.items():
            (tmp_path / "run" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "run" / name / "report.json").write_text(json.dumps(report(part, 0.9 + seed / 100)))
        keep(records, tmp_path / "run", whole, 0.9)
    rows = [line for line in staged.section(records.read()) if line.startswith("| ") and line[2].isdigit()]
    assert [row.split(" | ")[1:4] for row in rows] == [
        [weights, steps, seeds] for weights, seeds in (("4", "2"), ("b", "1")) for steps in ("15", "7", "3")
    ]
    assert "| 2 | 90.9 ± 0.7 | **90.5 ± 0.7** (-0.4) | 50.0 ± 0.0 | 89.55 at T = 8 | 20.0 % |" in rows[1]
    assert rows[1].endswith("| 2, 2 | equal |")


def test_a_run_that_changed_its_recipe_is_no_record(records: ModuleType, tmp_path: Path) -> None:
    for change in ("training.epochs=1", "data.limit=100", "weights.quantize.bits=3", "name=mine"):
        with pytest.raises(records.RecordError, match=r"changed the recipe|no shipped recipe"):
            keep(records, tmp_path / "run", load("mnist-stbp-w4", [change]), 0.5)
    with pytest.raises(records.RecordError, match="no finished run"):
        records.record(tmp_path / "nowhere")


def test_a_record_of_an_older_recipe_is_not_shown(records: ModuleType, tmp_path: Path) -> None:
    path = keep(records, tmp_path / "run", load("quickstart"), 0.98)
    entry = json.loads(path.read_text())
    path.write_text(json.dumps({**entry, "experiment": "0" * 16}))
    with pytest.raises(records.RecordError, match="of an older recipe"):
        records.table(records.read())


def test_only_the_part_between_the_markers_is_replaced(records: ModuleType) -> None:
    text = f"a\n{records.BEGIN}\nold\n{records.END}\nb"
    assert records.put(text, "new") == f"a\n{records.BEGIN}\nnew\n{records.END}\nb"
    for broken in ("none", f"{records.END}{records.BEGIN}", text + text):
        with pytest.raises(records.RecordError, match="needs one"):
            records.put(broken, "new")


def test_the_records_in_the_repository_belong_to_the_recipes_in_it(records: ModuleType) -> None:
    records.RECORDS = ROOT / "benchmarks" / "records"  # type: ignore[attr-defined]
    found = records.read()
    assert records.table(found).count("\n| `") == len({(r["name"], r.get("stage")) for r in found})


def test_trainings_in_stages_are_rows_in_their_order_each_with_its_figure(records: ModuleType, tmp_path: Path) -> None:
    whole = load("stbp-mnist")
    for n, (name, part) in enumerate(whole.parts.items()):
        figure = None if part.compared is None else part.compared.model_dump(mode="json")
        kept = report(part, 0.99 - n / 1000) | {"published": figure, "stage": {"name": name}}
        (tmp_path / "run" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name / "report.json").write_text(json.dumps(kept))
    assert keep(records, tmp_path / "run", whole, 0.985).name == "stbp-mnist-w1-seed0.json"
    entries = records.read()
    assert {entry["stage"]: entry["epochs"] for entry in entries} == {
        "fp32": 12, "w8": 6, "w4": 6, "w2": 10, "ternary": 10, "w1": 12,
    }  # fmt: skip
    rows = [line for line in records.table(entries).splitlines() if line.startswith("| `stbp")]
    assert [row.split(" |")[0] for row in rows] == [f"| `stbp-mnist`, {name}" for name in whole.parts]
    assert "| float32 | 2 | **99.00** % (1 seed) | 97.96 % |" in rows[0]
    assert "| 4 bits | 2 | **98.80** % (1 seed) | 97.56 % |" in rows[2]
    with pytest.raises(records.RecordError, match="this is one stage"):
        records.record(tmp_path / "run" / "w4")
    with pytest.raises(records.RecordError, match="changed the recipe"):
        keep(records, tmp_path / "run", load("stbp-mnist", ["stages.2.epochs=7"]), 0.5)
    with pytest.raises(records.RecordError, match="changed the recipe"):
        keep(records, tmp_path / "run", load("mnist-stbp-w4", ["init=elsewhere"]), 0.5)
