"""Advice names the largest part of the gap and an argument of bs.convert that exists."""

from __future__ import annotations

import ast
import inspect
import re
from typing import Any

import pytest
import torch
from ledger_networks import Chain, images, on_grid

import bitspike as bs
from bitspike.analysis.ledger.advice import advise
from bitspike.analysis.ledger.parts import TERMS, Gap, LayerErrors, Part
from bitspike.conversion.settings import Settings

SETTINGS = Settings().to_dict()


def gap(rms: float = 0.1, **shares: float) -> Gap:
    parts = tuple(
        Part(term=term, share=share, part=share * rms, along=share, rms=share * rms, mean=0.0, cosine=1.0)
        for term, share in shares.items()
    )
    return Gap(rms=rms, mean=0.0, cosine=1.0, parts=parts)


def layer(path: str, own: Gap) -> LayerErrors:
    return LayerErrors(
        id=path, path=path, kind="neuron", weights=(f"{path}.conv",), elements=1, local=own, cumulative=own
    )


@pytest.mark.parametrize("term", TERMS)
def test_every_term_has_advice_that_can_be_typed(term: str) -> None:
    allowed = {*inspect.signature(bs.convert).parameters, *Settings.__dataclass_fields__}
    (found,) = advise(gap(**{term: 1.0}), (), SETTINGS, {"statistic": "percentile", "percentile": 99.9}, steps=16)
    assert found.term == term
    assert found.options
    for option in found.options:
        if (name := re.match(r"(\w+)=", option)) is not None:
            assert name[1] in allowed, option
        for public in re.findall(r"bs\.(\w+)", option):
            assert hasattr(bs, public), option


def test_small_gaps_need_nothing() -> None:
    assert advise(gap(rms=0.005, weights=1.0), (), SETTINGS, {}, steps=16) == ()


def test_the_largest_term_comes_first_and_small_ones_not_at_all() -> None:
    found = advise(gap(weights=0.25, truncation=0.7, integer=0.05), (), SETTINGS, {}, steps=16)
    assert [a.term for a in found] == ["truncation", "weights"]


def test_what_a_correction_costs_is_judged_with_what_it_makes_up_for() -> None:
    made_up = advise(gap(truncation=0.9, correction=0.7, unevenness=-0.6), (), SETTINGS, {}, steps=16)
    assert [a.term for a in made_up] == ["truncation"]
    (left,) = advise(gap(truncation=0.1, correction=0.7, unevenness=0.2), (), SETTINGS, {}, steps=16)
    assert left.term == "unevenness"
    assert left.share == pytest.approx(0.9)


@pytest.mark.parametrize(("lost", "won", "silent"), [(0, 0, True), (4, 0, True), (5, 0, False), (30, 20, True)])
def test_within_the_error_of_the_sample_nothing_is_advised(lost: int, won: int, silent: bool) -> None:
    found = advise(gap(weights=1.0), (), SETTINGS, {}, steps=16, changed=(lost, won))
    assert (found == ()) is silent


def test_what_is_set_already_is_not_advised() -> None:
    def options(term: str, **changes: object) -> tuple[str, ...]:
        calibration = changes.pop("calibration", {})
        assert isinstance(calibration, dict)
        return advise(gap(**{term: 1.0}), (), SETTINGS | changes, calibration, steps=16)[0].options

    assert "initial=0.5" in options("truncation", initial=0.0)
    assert "initial=0.5" not in options("truncation")
    assert "threshold=bs.MSEThreshold()" not in options("truncation", calibration={"statistic": "mse"})
    assert "steps=32" in options("truncation")
    assert 'schedule="layerwise"' in options("unevenness")
    assert 'schedule="layerwise"' not in options("unevenness", schedule="layerwise")
    assert "neuron=bs.SignedIF" not in options("unevenness", neuron="SignedIF")
    assert 'correct=("least_squares", "potential")' in options("unevenness")
    assert 'correct="advanced"' in options("unevenness", corrected=("least_squares", "potential"))
    assert not any("correct" in o for o in options("unevenness", corrected=("weights", "potential")))
    assert options("weights", per_channel=False)[0] == "per_channel=True"
    assert "bs.prepare" in options("weights", bits=2, per_channel=False)[0]
    assert options("integer", max_fraction_bits=0) == ("max_fraction_bits=8",)
    assert options("integer", fraction_bits=3)[0].startswith("bits=")
    assert options("clipping", calibration={"statistic": "percentile", "percentile": 99.9})[0] == (
        "threshold=bs.PercentileThreshold(99.99)"
    )


@pytest.mark.parametrize(
    ("term", "choices"),
    [
        ("weights", {"bits": 2, "first_bits": 2, "last_bits": 2, "steps": 64}),
        ("clipping", {"threshold": bs.PercentileThreshold(90.0), "steps": 64}),
        ("truncation", {"initial": 0.0, "steps": 8, "schedule": "layerwise"}),
        ("truncation", {"steps": 3, "schedule": "layerwise", "threshold": bs.MSEThreshold()}),
        ("reset", {"reset": "hard", "steps": 32}),
        ("integer", {"max_fraction_bits": 0, "bits": 2, "schedule": "layerwise", "steps": 256}),
    ],
)
def test_following_the_advice_makes_the_part_smaller(term: str, choices: dict[str, Any]) -> None:
    torch.manual_seed(1)
    model, x = Chain(), images(24)
    if term == "integer":  # nothing else is left to lose
        on_grid(model, 2)
        choices |= {"first_bits": 2, "last_bits": 8, "threshold": bs.MaxThreshold()}
    before = bs.analyze(bs.convert(model, x[:2], calibrate=x, **choices), x)
    found = next(a for a in before.advice if a.term == term)
    option = next(o for o in found.options if not o.startswith("bs."))
    name, _, text = option.partition("=")
    known = {"bs.MaxThreshold()": bs.MaxThreshold(), "bs.MSEThreshold()": bs.MSEThreshold()}
    if text.startswith("bs.PercentileThreshold"):
        value: Any = bs.PercentileThreshold(float(text.split("(")[1].rstrip(")")))
    else:
        value = known[text] if text in known else ast.literal_eval(text)
    after = bs.analyze(bs.convert(model, x[:2], calibrate=x, **{**choices, name: value}), x)
    part = next((p for p in after.output.parts if p.term == term), None)
    assert part is None or part.rms < before.output[term].rms, option
    assert after.output.rms < before.output.rms, option


def test_the_worst_layer_gets_the_bits() -> None:
    layers = (layer("layer1.0", gap(0.01, weights=1.0)), layer("layer2.0", gap(0.3, weights=1.0)))
    (found,) = advise(gap(weights=1.0), layers, SETTINGS | {"bits": 4}, {}, steps=16)
    assert found.layer == "layer2.0"
    assert "bits={'*': 4, 'layer2.0.conv': 8}" in found.options
