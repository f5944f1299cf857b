"""Calls that a public function does not take: no TypeError that leaves its reader alone, but what was meant."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import bitspike as bs
from bitspike.calls import EXAMPLES
from bitspike.errors import CallError, ConstraintError
from bitspike.other_words import OTHERWISE, SAME

TORCH = {"Chain", "TimeDistributed"}
"""They take what nn.Sequential takes."""
RESULTS = {"Agreement", "Certificate", "Conversion", "IntegerNetwork"}
ROOMS = {"": bs, "data.": bs.data, "models.": bs.models, "plot.": bs.plot, "train.": bs.train}
PLAIN = {"train.BatchRecord", "train.EpochRecord", "train.Evaluation", "train.History", "train.MeanSquare"}
PLAIN |= {"train.Observer", "train.Observers", "data.DatasetInfo", "data.Events", "data.StreamedSet"}
"""What users read, and classes that have nothing to say."""


def callables() -> dict[str, Callable[..., Any]]:
    """Return what users call, by its name below ``bs``."""
    found = {f"{room}{name}": getattr(place, name) for room, place in ROOMS.items() for name in place.__all__}
    left_out = TORCH | RESULTS | PLAIN
    return {
        name: target
        for name, target in found.items()
        if callable(target)
        and name not in left_out
        and not getattr(target, "_is_protocol", False)
        and not (isinstance(target, type) and issubclass(target, Exception))
    }


CALLABLES = callables()
NEEDING = {
    name: [
        p.name
        for p in inspect.signature(target).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    for name, target in CALLABLES.items()
}


def test_there_are_many() -> None:
    assert len(CALLABLES) > 120


@pytest.mark.parametrize("name", CALLABLES)
def test_an_argument_that_is_none_is_named_with_a_way_out(name: str) -> None:
    with pytest.raises(ConstraintError) as caught:
        CALLABLES[name](**dict.fromkeys(NEEDING[name]), no_such_word=1)
    assert caught.value.fix
    assert "no_such_word" in caught.value.message or name in ("fit", "compare")


@pytest.mark.parametrize("name", [name for name, needed in NEEDING.items() if needed])
def test_an_argument_that_is_missing_is_named_with_a_way_out(name: str) -> None:
    with pytest.raises(ConstraintError) as caught:
        CALLABLES[name]()
    assert caught.value.fix
    assert NEEDING[name][0] in caught.value.message or name in ("fit", "compare")


MODEL = nn.Linear(2, 2)
ONE = torch.zeros(1, 2)
MEANT: dict[str, tuple[Callable[[], object], str]] = {
    "snnTorch's leak": (lambda: bs.LIF(beta=0.9), "decay=0.9"),  # type: ignore[call-arg]
    "SpikingJelly's threshold": (lambda: bs.IF(v_threshold=0.5), "threshold=0.5"),  # type: ignore[call-arg]
    "a slip of the pen": (lambda: bs.IF(treshold=0.5), "threshold=0.5"),  # type: ignore[call-arg]
    "a time constant": (lambda: bs.LIF(tau=2.0), "bs.LIF.from_tau(2.0), whose"),  # type: ignore[call-arg]
    "steps": (lambda: bs.Repeat(num_steps=8), "steps=8"),  # type: ignore[call-arg]
    "bits": (lambda: bs.Uniform(weight_bits=4), "bits=4"),  # type: ignore[call-arg]
    "a slope": (lambda: bs.Sigmoid(slope=25), "alpha=25"),  # type: ignore[call-arg]
    "by name": (lambda: bs.train.SGD(0.1), "SGD(lr=0.1)"),  # type: ignore[misc]
    "epochs": (lambda: bs.fit(MODEL, []), "epochs=20"),  # type: ignore[call-overload]
    "other epochs": (lambda: bs.fit(MODEL, [], num_epochs=3), "epochs=3"),  # type: ignore[call-overload]
    "calibration": (lambda: bs.convert(MODEL, ONE), "calibrate=train_loader"),  # type: ignore[call-arg]
    "steps of a conversion": (lambda: bs.convert(MODEL, ONE, calibrate=ONE, timesteps=3), "steps=3"),
    "the order": (lambda: bs.fit([], MODEL, epochs=3), "the model comes first"),  # type: ignore[call-overload]
    "no surrogate of ours": (lambda: bs.LIF(surrogate="atan"), "surrogate=bs.ArcTan(alpha=2.0)"),  # type: ignore[arg-type]
    "a class": (lambda: bs.LIF(surrogate=bs.Sigmoid), "surrogate=bs.Sigmoid(alpha=4.0)"),  # type: ignore[arg-type]
    "steps of a read-out, which reads them": (lambda: bs.RateReadout(steps=4), "RateReadout()"),  # type: ignore[call-arg]
    "blocks": (lambda: bs.models.sew_net(stages=[(32, "7")]), "stages=[(32, 7)]"),  # type: ignore[list-item]
}


@pytest.mark.parametrize("case", MEANT)
def test_what_was_meant_is_the_way_out(case: str) -> None:
    call, way = MEANT[case]
    with pytest.raises(ConstraintError) as caught:
        call()
    assert caught.value.fix is not None
    assert caught.value.fix.startswith(way)


def test_the_words_of_snntorch_and_spikingjelly_lead_somewhere() -> None:
    leaky = "beta threshold spike_grad init_hidden learn_beta learn_threshold reset_mechanism output reset_delay"
    node = "tau decay_input v_threshold v_reset surrogate_function detach_reset step_mode backend store_v_seq"
    ours = inspect.signature(bs.LIF).parameters
    for word in f"{leaky} {node}".split():
        if word in ours:
            continue
        with pytest.raises(CallError) as caught:
            bs.LIF(**{word: 1})  # type: ignore[arg-type]
        assert caught.value.fix != "one of these", word


def test_it_is_still_the_error_that_python_raises() -> None:
    with pytest.raises(TypeError):
        bs.LIF(beta=0.9)  # type: ignore[call-arg]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(CallError) as caught:
        bs.fit(MODEL, [], num_epochs=3, val_loader=[])  # type: ignore[call-overload]
    assert len(caught.value.message.splitlines()) == 2
    assert caught.value.fix == "epochs=3; validation=..."


def test_no_word_has_two_meanings_and_ways_name_arguments_that_there_are() -> None:
    assert not SAME.keys() & OTHERWISE.keys()
    names = {p for target in CALLABLES.values() for p in inspect.signature(target).parameters}
    assert {ours for ours, _ in OTHERWISE.values()} <= names
    assert EXAMPLES.keys() <= names
    assert set(SAME.values()) - names <= {"lr"}
