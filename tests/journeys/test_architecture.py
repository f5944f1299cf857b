"""The two walks of docs/architecture.md, taken: what they name is called, and in that order."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn
from typer.testing import CliRunner

import bitspike as bs
from bitspike.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
SOURCE = Path(bs.__file__).parent


def walk(heading: str) -> list[str]:
    """Return the functions that a walk names, ``file.py: function``, in order; parentheses are off the way."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}")[1].split("\n\n")[1]
    steps = re.findall(r"`([\w/]+\.py: [\w.]+)`", re.sub(r"\([^()]*\)", "", section))
    return [step for step in steps if not step.rpartition(".")[2].rpartition(": ")[2][0].isupper()]  # classes


def calls_of(steps: list[str], journey: Callable[[], Any]) -> list[str]:
    """Return which of the steps are called, in order and as often as they are."""
    calls: list[str] = []
    wanted, names, root = set(steps), {step.partition(": ")[2] for step in steps}, f"{SOURCE}/"

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_qualname in names and code.co_filename.startswith(root):
            call = f"{code.co_filename.removeprefix(root)}: {code.co_qualname}"
            if call in wanted:
                calls.append(call)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        journey()
    finally:
        sys.setprofile(before)
    return calls


def need_order(steps: list[str], calls: list[str]) -> None:
    assert [step for step in steps if step not in calls] == [], "not called at all"
    rest = iter(calls)
    for before, step in zip(["the start", *steps], steps, strict=False):
        assert step in rest, f"{step} is not called after {before}"


def test_a_users_model_is_converted_lowered_and_verified_as_the_page_says() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()
    images = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def journey() -> None:
        spiking = bs.convert(model, images[:1], calibrate=images, steps=4, bits=4)
        assert bs.verify(bs.lower(spiking, images[:1]), images).equal

    steps = walk("A user's model")
    assert len(steps) > 30
    need_order(steps, calls_of(steps, journey))


def test_a_recipe_is_run_as_the_page_says(tmp_path: Path) -> None:
    words = ["run", "quickstart", "--set", "training.epochs=1", "--set", "expect=null", "--out", str(tmp_path / "run")]

    def journey() -> None:
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output

    steps = walk("A recipe")
    assert len(steps) > 25
    need_order(steps, calls_of(steps, journey))
