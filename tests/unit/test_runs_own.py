"""What a user's own file gives a recipe: neuron, norm, scheme, network and images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bitspike.errors import RecipeError
from bitspike.nn import AffineNorm
from bitspike.recipe import load
from bitspike.recipe.text import dump
from bitspike.runs.construct.data import build_data
from bitspike.runs.kinds.train import build_model
from bitspike.runs.sketch import sketch

OWN = """
import dataclasses
import torch
import bitspike as bs
from bitspike.models import digits_net
from bitspike.nn import AffineNorm


class Sixteenths(bs.LIF):
    def law(self):
        return dataclasses.replace(super().law(), decay=round(self.decay * 16) / 16)


class Halve(AffineNorm):
    def __init__(self, channels, *, shift=0.0):
        super().__init__(channels)
        self.shift = shift

    def forward(self, x):
        return x / 2 + self.shift

    def affine(self):
        return torch.full((self.channels,), 0.5).double(), torch.full((self.channels,), self.shift).double()


def uniform(bits, **more):
    return bs.Uniform(bits=bits, scale=bs.Dyadic(), **more)


def net(**arguments):
    assert arguments.pop("wide") == 3
    return digits_net(**arguments)


def images(split):
    count = {"train": 40, "test": 10}[split]
    return bs.data.ImageSet(torch.zeros(count, 8, 8, 1).byte(), torch.arange(count) % 2, ("no", "yes"), "ones")


def nothing(**arguments):
    return None


number = 3
"""
CHANGES = [
    'neuron={kind: factory, factory: "own.py:Sixteenths", arguments: {decay: 0.7}}',
    'norm={kind: factory, factory: "own.py:Halve", arguments: {shift: 0.25}}',
    'weights.quantize={kind: factory, factory: "own.py:uniform", bits: 3, arguments: {per_channel: true}}',
    'model={kind: factory, factory: "own.py:net", steps: 2, width: 0.25, arguments: {wide: 3}}',
    'data={kind: factory, factory: "own.py:images", high_pixel: 15, pixels: {scale: 0.0625}, validation: 0.25}',
]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    path = tmp_path / "mine.yaml"
    path.write_text(dump(load("quickstart")))
    return path


def test_every_part_may_be_of_the_users_own(recipe: Path) -> None:
    mine = load(recipe, CHANGES)
    data = build_data(mine)
    assert (len(data.train), len(data.test), data.train.classes) == (30, 10, ("no", "yes"))
    assert (data.grid.low, data.grid.high) == (0, 15)
    net = build_model(mine, data.train)
    assert {type(m).__name__ for m in net.modules()} >= {"Sixteenths", "Halve"}
    assert {m.shift for m in net.modules() if isinstance(m, AffineNorm)} == {0.25}
    found = sketch(mine).net
    assert [(n.leak.numerator, n.leak.shift) for n in found.neurons] == [(11, 4)] * 2
    assert {n.weight.bits for n in found.weighted} == {3} == {mine.bits}


def test_files_lie_next_to_the_recipe_and_stay_known_when_it_is_written(recipe: Path, tmp_path: Path) -> None:
    mine = load(recipe, CHANGES)
    assert {mine.neuron.folder, mine.weights.quantize.folder, mine.data.folder} == {str(tmp_path)}
    elsewhere = tmp_path / "elsewhere" / "mine.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(dump(mine))
    assert load(elsewhere) == mine
    assert torch.equal(*(build_model(r, build_data(r).train)(torch.ones(1, 1, 8, 8)) for r in (mine, load(elsewhere))))


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (
            "none.py:Sixteenths",
            r"neuron.factory none.py:Sixteenths: none.py cannot be imported: .*no file.*\n  fix: ",
        ),
        (
            "own.py:Sixteen",
            r"own.py has no 'Sixteen'; it has .*Sixteenths.*\n  fix: --set neuron.factory=own.py:FUNCTION",
        ),
        ("own.py:number", r"number is a int and cannot be called\n  fix: "),
        ("own.py:nothing", r"made a NoneType, needed is a bitspike.nn.Neuron\n  fix: nothing has to return a bitspike"),
        ("own.py:net", r"own.py:net failed: KeyError: 'wide'\n  fix: neuron.arguments are what it is called with$"),
    ],
)
def test_what_cannot_be_made_is_told_by_its_place(recipe: Path, factory: str, message: str) -> None:
    mine = load(recipe, [f'neuron={{kind: factory, factory: "{factory}"}}'])
    with pytest.raises(RecipeError, match=message):
        build_model(mine, build_data(mine).train)


def test_what_stands_in_arguments_is_passed_on_as_it_is(recipe: Path) -> None:
    inside = {"kind": "factory", "factory": "own.py:number"}
    mine = load(recipe, [f'neuron={{kind: factory, factory: "own.py:Sixteenths", arguments: {{decay: {inside}}}}}'])
    assert mine.neuron.arguments == {"decay": inside}


def test_an_unknown_kind_is_told_of_the_way_to_ones_own() -> None:
    with pytest.raises(
        RecipeError, match="allowed are if, lif, plif, signed_if, spike_time_lif; kind: factory is for one of your own"
    ):
        load("quickstart", ["neuron.kind=adaptive"])
