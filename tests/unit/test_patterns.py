"""One glob matcher for every door, and one error where a pattern matches nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import bitspike as bs
from bitspike.errors import BitspikeError, ConversionError
from bitspike.patterns import last_match, matching

NAMES = ["conv1", "layer1.0", "layer1.1", "layer2.0"]


def test_matches_come_in_the_order_of_the_names() -> None:
    assert matching(["layer2.*", "conv?", "layer1.1"], NAMES, argument="include") == ("conv1", "layer1.1", "layer2.0")
    assert matching("*", NAMES, argument="include") == tuple(NAMES)
    assert matching([], NAMES, argument="include") == ()


def test_a_thing_may_answer_to_several_names() -> None:
    things = {"a": ("a", "outer"), "b": ("b", "outer"), "c": ("c",)}
    assert matching("outer", things, argument="include") == ("a", "b")


def test_the_last_match_holds() -> None:
    assert [last_match({"layer1.*": 4, "*.1": 2}, name) for name in NAMES] == [None, 4, 2, None]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("layer9.0", "include: no layer matches 'layer9.0'; there are 'conv1'.*\n  fix: 'layer[12].0' instead of"),
        ("layer1", "fix: 'layer1.\\*' instead of 'layer1'"),
        ("CONV1", "no layer matches 'CONV1'"),
    ],
)
def test_a_pattern_that_matches_nothing_names_what_there_is(pattern: str, says: str) -> None:
    with pytest.raises(ConversionError, match=says) as caught:
        matching(["*", pattern], NAMES, argument="include", error=ConversionError)
    way_out = str(caught.value.fix).split("'")[1]
    assert matching(way_out, NAMES, argument="include")


def test_long_lists_are_cut_and_empty_ones_said() -> None:
    with pytest.raises(BitspikeError, match=r"'n19', \.\.\. 5 more"):
        matching("x", [f"n{i}" for i in range(25)], argument="skip")
    with pytest.raises(BitspikeError, match="there is no module\n  fix: leave keep_real out"):
        matching("x", [], argument="keep_real", noun="module")


def _ann() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))


DOORS: dict[str, Callable[[torch.Tensor], Any]] = {
    "include": lambda x: bs.convert(_ann(), x[:1], calibrate=x, include="head"),
    "exclude": lambda x: bs.convert(_ann(), x[:1], calibrate=x, exclude=["head"]),
    "keep_real": lambda x: bs.convert(_ann(), x[:1], calibrate=x, keep_real="head"),
    "bits": lambda x: bs.convert(_ann(), x[:1], calibrate=x, bits={"*": 8, "head": 4}),
    "threshold": lambda x: bs.convert(_ann(), x[:1], calibrate=x, threshold={"head": bs.MaxThreshold()}),
    "prepare(bits)": lambda x: bs.prepare(_ann(), x[:1], calibrate=x, bits={"*": 8, "head": 4}, steps=4),
    "attach(include)": lambda x: bs.attach(_ann(), quantize=bs.Ternary(), include="head"),
    "attach(skip)": lambda x: bs.attach(_ann(), quantize=bs.Ternary(), skip="head"),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_refuses_a_pattern_without_a_match_in_the_same_words(door: str) -> None:
    with pytest.raises(BitspikeError, match=r"no \w+ matches 'head'; there are '\d'.*\n  fix: '\d' instead of 'head'"):
        DOORS[door](torch.rand(8, 4))
