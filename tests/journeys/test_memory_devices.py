"""The page about memory devices: its Python as it stands, its commands in their order on a few small images."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from journey_parts import sets

PAGE = (Path(__file__).parents[2] / "docs" / "memory-devices.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.S)
SMALL = ("model.width=0.25", "data.limit=40", "training.epochs=1", "model.steps=2", "expect=null")
Bitspike = Callable[..., tuple[int, str, str]]


def test_the_code_of_the_page_runs_in_its_order() -> None:
    names: dict[str, Any] = {}
    for language, text in BLOCKS:
        if language == "python":
            exec(compile(text, "memory-devices.md", "exec"), names)  # noqa: S102
    assert "model" in names


def test_the_commands_of_the_page_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bitspike: Bitspike
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for language, text in BLOCKS if language == "bash" for line in text.splitlines()]
    assert len(lines) > 10
    for line in lines:
        program, *words = shlex.split(line.replace("--chips 40", "--chips 3").replace("--chips 20", "--chips 2"))
        assert program == "bitspike"
        code, out, err = bitspike(*words, *(sets(*SMALL) if words[0] == "run" else []))
        assert code == 0, f"{line}\n{out}{err}"
        if "--chips 40" in line:
            assert "1 of 1 chips" in err, "those that were measured before are not measured again"
    files = {path.name for path in Path("runs/memory/yield").iterdir()}
    assert files == {"chips.jsonl", "yield.json", "yield.csv", "yield.svg"}
    assert json.loads(Path("runs/adapted/yield.json").read_text())["by"] == "torch"
    assert (Path("c") / "network.c").is_file()
    for folder, runs in (("pareto", 4), ("runs/by-area", 2)):
        assert {path.name for path in Path(folder).iterdir()} == {"pareto.json", "pareto.csv", "pareto.svg"}
        assert len(json.loads((Path(folder) / "pareto.json").read_text())["points"]) == runs


def test_the_table_names_every_kind_of_variation_of_a_recipe() -> None:
    from bitspike.recipe.words import devices

    kinds = {
        value.model_fields["kind"].annotation.__args__[0]
        for value in vars(devices).values()
        if isinstance(value, type) and issubclass(value, devices._Variation) and "kind" in value.model_fields
    }
    assert kinds == set(re.findall(r"^\| `bs\.\S+.*?` \| `(\w+)`", PAGE, re.M))
