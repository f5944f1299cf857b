"""The benchmark of layer-wise fine-tuning: the stages it adds to the recipe, and the table of what it kept."""

from __future__ import annotations

from pathlib import Path

from benchmarks import layerwise


def report(share: float, tuning: object) -> dict[str, object]:
    missed = {"relu": {"share": 0.0}, "layer1.0.relu": {"share": share}, "layer1.0.relu#1": {"share": share / 2}}
    accuracy = {"ann": {"validation": 0.92, "test": 0.884}, "if": {"validation": 0.7, "test": 0.6}}
    return {
        "seed": 0,
        "accuracy": {"test": 0.85 + share, "validation": 0.9},
        "certificate": {"equal": True, "samples": 1000},
        "stage": {
            "steps": 3,
            "accuracy": accuracy,
            "tuning": tuning,
            "mismatch": {"images": 1000, "before": missed, "after": missed},
        },
    }


def test_the_stage_that_tunes_is_the_last_one_of_the_recipe_and_starts_where_it_is_told(tmp_path: Path) -> None:
    recipe = layerwise.recipe_of_stage(tmp_path, ["seed=1"], 1, "tuned")
    assert recipe.seed == 1
    assert recipe.chosen.bits == 2
    assert recipe.tuning is not None
    assert recipe.tuning.samples == layerwise.SAMPLES
    assert not recipe.trainings
    assert layerwise.recipe_of_stage(tmp_path, [], 0, "converted").tuning is None


def test_the_table_names_every_layer_that_can_miss_a_count() -> None:
    tuning = {
        "samples": 5000,
        "judged": 4000,
        "layers": [{"path": "layer1.0.relu", "epochs_kept": 1}, {"path": "layer1.0.relu#1", "epochs_kept": 0}],
    }
    line = layerwise.line({"converted": report(0.02, None), "tuned": report(0.01, tuning)})
    place = {"hardware": "a processor", "threads": 1, "versions": {"torch": "2.6"}, "commit": "abc"}
    text = "\n".join(layerwise.section([{**line, **place}]))
    assert "| 0 | converted | 87.0 | 90.0 | 1.5 % |  | equal |" in text
    assert "| 0 | tuned | 86.0 | 90.0 | 0.8 % | 1 of 2 | equal |" in text
    assert "| `layer1.0.relu` | 2.0 | 1.0 |" in text
    assert "| `layer1.0.relu#1` | 1.0 | 0.5 |" in text
    assert "(which answers 88.4 % of them)" in text
    assert layerwise.section([]) == []
