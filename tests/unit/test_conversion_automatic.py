"""What is corrected where nothing is asked for, and what the record says of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.conversion.correct.automatic import CHOSEN, HELD, LEAST, MOST, WORK, choose
from bitspike.conversion.correct.walk import find_shifts
from bitspike.conversion.result import conversion_of
from bitspike.conversion.settings import Settings
from bitspike.errors import ConstraintError
from bitspike.graph.ir import Graph, Op


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


class Block(nn.Module):
    """A stem, a block with a skip, a pool and a read-out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.one, self.two = (nn.Conv2d(i, 6, 3, padding=1) for i in (2, 6, 6))
        self.last = nn.Linear(6 * 9, 4)

    def forward(self, x: Tensor) -> Tensor:
        a = self.stem(x).relu()
        a = (self.two(self.one(a).relu()) + a).relu()
        out: Tensor = self.last(nn.functional.max_pool2d(a, 2).flatten(1))
        return out


def record(calibrate: Any, **choices: Any) -> Any:
    x = images(64, 2, 6, 6)
    return conversion_of(bs.convert(Block().eval(), x[:1], calibrate=calibrate, **{"steps": 4, **choices}))


def untouched(found: Any) -> bool:
    return not any((found.shifts.weights, found.shifts.bias, found.shifts.initial))


def core(values: int) -> Graph:
    return Graph((Op(id="r", kind="relu", path="r", inputs=("x",), shape=(values,), attrs={"clip": None}),), {})


def decide(asked: Any = "auto", *, values: int = 100, samples: int = 1024, given: bool = False, **choices: Any) -> Any:
    return choose(asked, core(values), Settings(**choices), valued=given, samples=samples)


# ---- the choice --------------------------------------------------------------------------------------------------


def test_unasked_weights_and_potentials_are_corrected_on_some_samples() -> None:
    choice = decide()
    assert (choice.kinds, choice.samples, choice.automatic, choice.notes) == (CHOSEN, MOST, True, ())
    assert decide(samples=20).samples == 20
    assert decide(neuron=bs.SignedIF).kinds == ("potential",)


@pytest.mark.parametrize("steps", [1, 16, 64])
def test_the_work_is_bounded(steps: int) -> None:
    for values in (10**3, 10**5, 10**6):
        choice = decide(values=values, steps=steps)
        assert choice.samples * values * steps <= max(WORK, 512 * values)
        assert choice.samples * values * steps <= max(WORK, HELD)
        assert choice.kinds
    assert decide(values=10**9, steps=steps).kinds == ()


def test_what_is_asked_for_is_done_and_nothing_else() -> None:
    for asked, kinds in ((None, ()), ("light", ("bias",)), (("potential",), ("potential",))):
        choice = decide(asked, values=10**9, samples=3)
        assert (choice.kinds, choice.automatic, choice.notes) == (kinds, False, ())
    assert decide("bias", samples=1024).samples == MOST


@pytest.mark.parametrize(
    ("said", "choices"),
    [
        ("values of spikes are given", {"given": True}),
        ("layer by layer", {"schedule": "layerwise"}),
        ("coding='bernoulli'", {"coding": "bernoulli"}),
        ("coding='events'", {"coding": "events"}),
    ],
)
def test_nothing_is_corrected_where_it_would_be_wrong(said: str, choices: dict[str, Any]) -> None:
    choice = decide(**choices)
    assert choice.kinds == ()
    assert choice.notes == ()
    assert said in choice.why


@pytest.mark.parametrize(
    ("said", "choices"), [("there are 7 samples", {"samples": LEAST - 1}), ("too long", {"values": 10**9})]
)
def test_where_it_cannot_be_done_a_warning_says_why(said: str, choices: dict[str, int]) -> None:
    (note,) = decide(**choices).notes
    assert note.startswith("W209")
    assert said in note


# ---- conversions -------------------------------------------------------------------------------------------------


def test_the_default_is_what_the_record_says() -> None:
    x = images(64, 2, 6, 6)
    found = record(x)
    assert found.correction["kinds"] == list(CHOSEN)
    assert found.correction["samples"] == 64
    assert found.shifts.weights
    assert found.shifts.initial
    same = record(x, correct=CHOSEN)
    assert same.shifts.weights.keys() == found.shifts.weights.keys()
    assert all(torch.equal(same.shifts.weights[id], w) for id, w in found.shifts.weights.items())
    said = repr(found)
    for part in (
        "T = 4, IF",
        "mse, of 64 samples",
        "least_squares and potential on 64 samples",
        "SignedIF",
        "correct=None",
    ):
        assert part in said
    assert "correct=('least_squares', 'potential')" in repr(same)


def test_explicit_choices_stay() -> None:
    x = images(64, 2, 6, 6)
    none = record(x, correct=None)
    assert untouched(none)
    assert none.correction["why"] == "correct=None"
    rule = bs.MaxThreshold()
    ruled = record(x, threshold=rule)
    assert ruled.calibration["statistic"] == "max"
    assert ruled.correction["kinds"] == list(CHOSEN)
    again = record(ruled.lambdas)
    assert not again.shifts.weights
    assert "given" in again.correction["why"]


def test_a_network_that_was_fine_tuned_is_not_corrected() -> None:
    x = images(64, 2, 6, 6)
    tuned = bs.prepare(Block().eval(), x[:1], calibrate=x, bits=4, steps=4)
    for more in ({}, {"correct": "auto"}):
        made = conversion_of(bs.finish(tuned, x[:1], data=x, **more))
        assert untouched(made)


def test_a_few_samples_convert_without_a_correction_and_say_so() -> None:
    found = record(images(1, 2, 6, 6))
    assert not found.shifts.weights
    assert any(note.startswith("W209: nothing is corrected: there are 1 samples") for note in found.notes)
    assert "W209" in repr(found)


def test_events_have_nothing_to_measure_corrections_on() -> None:
    with pytest.raises(ConstraintError, match=r"(?s)coding='events'.*correct=None"):
        record(images(64, 2, 6, 6), coding="events", correct="bias")


@pytest.mark.parametrize(
    "choices",
    [{}, {"coding": "split"}, {"reset": "hard"}, {"average_pool": "neuron"}, {"bits": 2}],
)
def test_the_default_is_closer_than_none_and_proven(choices: dict[str, Any]) -> None:
    x, model = images(64, 2, 6, 6), Block().eval()
    new = images(64, 2, 6, 6, seed=1)
    errors = []
    for more in ({"correct": None}, {}):
        snn = bs.convert(model, x[:1], calibrate=x, steps=4, **choices, **more)
        net = bs.lower(snn, x[:1])
        assert net.notes == ()
        assert bs.verify(net, new[:4]).equal
        with torch.no_grad():
            errors.append(float((snn(new) - model(new)).square().mean()))
    assert errors[1] < errors[0]


def test_only_a_part_is_corrected_where_only_a_part_spikes() -> None:
    x = images(64, 2, 6, 6)
    found = record(x, exclude=["last"])
    assert found.region
    assert "last" not in found.region
    assert found.shifts.weights.keys() <= {"stem", "one", "two"}
    assert found.correction["kinds"] == list(CHOSEN)


def test_corrections_do_not_depend_on_how_many_samples_are_computed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(12, 2, 6, 6)
    plain = record(x, correct=None)
    whole = find_shifts(plain, [x], kinds=("bias", "potential"))
    monkeypatch.setattr("bitspike.conversion.correct.pieces.PIECE", 1)
    parted = find_shifts(plain, [x], kinds=("bias", "potential"))
    assert whole.bias.keys() == parted.bias.keys()
    for id, shift in whole.bias.items():
        torch.testing.assert_close(parted.bias[id], shift)


def test_inference_mode_around_a_conversion_changes_nothing() -> None:
    x = images(64, 2, 6, 6)
    wanted = bs.convert(Block().eval(), x[:1], calibrate=x, steps=4)
    with torch.inference_mode():
        model, data = Block().eval(), images(64, 2, 6, 6)
        found = bs.convert(model, data[:1], calibrate=data, steps=4)
        tuned = bs.prepare(model, data[:1], calibrate=data, steps=4)
        finished = bs.finish(tuned, data[:1], data=data, correct=("least_squares", "weights"))
    assert torch.equal(found(x), wanted(x))
    for network in (found, tuned, finished):  # what comes out can be trained
        network(x).sum().backward()
        assert any(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("asked", [True, False, "Auto", ["auto"], ("light",), 3])
def test_what_is_no_correction_is_told_what_is(asked: Any) -> None:
    x = images(16, 2, 6, 6)
    with pytest.raises(ConstraintError, match=r"(?s)is no correction.*'least_squares'.*'auto'.*None for nothing"):
        bs.convert(Block().eval(), x[:1], calibrate=x, steps=4, correct=asked)
