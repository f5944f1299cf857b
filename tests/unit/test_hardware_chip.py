from __future__ import annotations

from pathlib import Path

import pytest

from bitspike.errors import ConstraintError
from bitspike.hardware.chips.chip import PROFILES, Chip, Rule, load, names, parse


@pytest.mark.parametrize("name", names())
def test_a_shipped_profile_loads_under_its_name_and_names_its_sources(name: str) -> None:
    chip = load(name)
    assert chip.name == name
    assert chip.description
    assert chip.sources or name == "generic-int"
    assert load(chip) is chip
    assert load(PROFILES / f"{name}.toml") == chip


def test_there_are_profiles() -> None:
    assert {"generic-int", "fanin1024-v1"} <= set(names())


def test_a_chip_without_limits_has_none() -> None:
    chip = load("generic-int")
    assert chip == Chip(name="generic-int", description=chip.description)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'format = 1\nname = "mine"\nweight_bits = [2]\nreset = ["hard"]\n'
        '[[rules]]\nname = "cells"\ncost = "bits * taps"\nlimit = 18\n'
    )
    chip = load(path)
    assert chip.weight_bits == (2,)
    assert chip.reset == ("hard",)
    assert chip.rules == (Rule(name="cells", cost="bits * taps", limit=18),)
    assert load(str(path)) == chip


def test_an_unknown_chip_lists_those_there_are() -> None:
    with pytest.raises(ConstraintError, match=r"shipped are .*fanin1024-v1") as error:
        load("fanin1024")
    assert error.value.fix is not None


def test_all_mistakes_of_a_profile_are_listed_with_what_is_allowed() -> None:
    values = {
        "format": 1,
        "name": "x",
        "weight_bit": [1],
        "theta_bits": "8",
        "leak": 1,
        "rules": [{"name": "r", "cost": "bits", "limt": 3}],
    }
    with pytest.raises(ConstraintError) as error:
        parse(values)
    text = str(error.value)
    assert "weight_bit: unknown; allowed are name," in text
    assert "weight_bits" in text
    assert "theta_bits = '8': a whole number is needed" in text
    assert "leak = 1: true or false is needed" in text
    assert "rules[0].limt: unknown; allowed are name, cost, limit" in text


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"format": 2}, "reads format = 1"),
        ({"name": 3}, "name = 3: text is needed"),
        ({"reset": ["none"]}, "reset = 'none': allowed are soft, hard"),
        ({"ops": ["conv"]}, "ops = 'conv': allowed are convolution"),
        ({"bias": "axons"}, "bias = 'axons'"),
        ({"v0": ["one"]}, "v0 = 'one'"),
        ({"potential_bits": 0}, "potential_bits = 0: 1 to 1024 are possible"),
        ({"k_max": -1}, "k_max = -1: 0 to 1024 are possible"),
        ({"weight_bits": [0]}, r"weight_bits = \[0\]: 1 to 1024 are possible"),
        ({"weight_bits": 4}, "a list of numbers is needed"),
        ({"rules": {"name": "x"}}, r"a list of tables \[\[rules\]\]"),
        ({"rules": [{"name": "r"}]}, r"rules\[0\].cost: is missing"),
        ({"rules": [{"name": "r", "cost": "bits"}]}, "exactly one of limit and allowed"),
        ({"rules": [{"name": "r", "cost": "bit", "limit": 1}]}, "unknown bit; there are bits"),
        ({"rules": [{"name": "r", "cost": "bits", "limit": 1, "per": "core"}]}, "allowed are neuron, layer, network"),
        ({"rules": [{"name": "r", "cost": "bits", "limit": 1, "applies_to": ["conv"]}]}, "applies_to"),
        ({"rules": [{"name": "r", "cost": "bits", "limit": 1, "code": "X1"}]}, "code='X1'"),
    ],
)
def test_a_wrong_value_is_refused(more: dict[str, object], match: str) -> None:
    with pytest.raises(ConstraintError, match=match):
        parse({"format": 1, "name": "x"} | more)


def test_a_name_is_needed() -> None:
    with pytest.raises(ConstraintError, match="name: is missing"):
        parse({"format": 1})


def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("format = ")
    with pytest.raises(ConstraintError, match=r"broken\.toml: cannot be read"):
        load(path)


def test_a_rule_says_what_it_demands() -> None:
    assert str(load("fanin1024-v1").rules[0]) == "fan-in memory: bits * taps * inputs / groups <= 1024"
    assert str(Rule(name="stride", cost="stride", allowed=(1, 2), per="layer")) == "stride: stride in {1, 2}"
