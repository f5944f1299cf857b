"""The page for users of CBP-QSNN: its commands are recipes with the numbers of theirs; test_every_recipe runs them."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from bitspike.recipe import load, shipped
from bitspike.recipe.kinds.progressive import ProgressiveRecipe

PAGE = (Path(__file__).parents[2] / "docs" / "from" / "cbp-qsnn.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S) for line in block.splitlines() if line]
LEVELS = {"bin": (-1, 1), "ter": (-1, 0, 1)}


def test_every_command_of_the_calibration_backbone_has_one_of_bitspike_under_it() -> None:
    theirs = [(line, after) for line, after in itertools.pairwise(LINES) if line.startswith("# python")]
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


def test_the_page_names_recipes_that_exist() -> None:
    assert set(re.findall(r"`((?:cbp|calibration)-[\w-]+\w)`", PAGE)) <= set(shipped())


def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    names: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "cbp-qsnn.md", "exec"), names)  # noqa: S102
    assert names["bs"].constraint_failure(names["model"]).weights == 8 * 8 * 9, "the middle convolution alone"
    assert (tmp_path / "net.safetensors").is_file()
