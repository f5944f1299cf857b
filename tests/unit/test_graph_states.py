"""The state_dict of converted and prepared networks: what it carries, what it refuses, and the ways out."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import bitspike as bs

X = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
FAINT = X * 0.3


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 3), nn.Softmax(1)
    ).eval()


def converted(images: Tensor = X, **choices: Any) -> Any:
    return bs.convert(network(), X[:1], calibrate=images, **{"steps": 8, "correct": None, **choices})


WAYS: list[dict[str, Any]] = [
    {}, {"neuron": bs.SignedIF}, {"per_channel": False}, {"include": ["0", "2"]}, {"coding": "rate"},
    {"threshold": bs.PercentileThreshold(99.0)}, {"coding": "split"},
]  # fmt: skip


@pytest.mark.parametrize("choices", WAYS)
def test_a_state_of_other_images_is_refused_and_its_own_values_make_the_same_network(choices: dict[str, Any]) -> None:
    first, other = converted(**choices), converted(FAINT, **choices)
    before = other(X)
    assert not torch.equal(first(X), before)
    state = first.state_dict()
    with pytest.raises(RuntimeError, match="calibrate=state"):
        other.load_state_dict(state)
    with pytest.raises(RuntimeError, match="calibrate=state"):
        other.load_state_dict(state, strict=False)
    assert torch.equal(other(X), before)  # a refusal changes nothing
    again = bs.convert(network(), X[:1], calibrate=state, **{"steps": 8, "correct": None, **choices})
    again.load_state_dict(state)
    assert torch.equal(again(X), first(X))


def test_a_state_of_the_same_calibration_loads_strictly() -> None:
    first, second = converted(), converted()
    with torch.no_grad():
        next(second.parameters()).zero_()
    assert not torch.equal(first(X), second(X))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(X), second(X))


def test_another_number_of_steps_is_another_network() -> None:
    with pytest.raises(RuntimeError, match="other values of spikes, steps"):
        converted(steps=4).load_state_dict(converted(steps=8).state_dict())


@pytest.mark.parametrize("correct", ["auto", "light", "advanced", "potential", ("least_squares", "bias")])
def test_a_corrected_state_makes_the_same_network_again_and_is_refused_by_others(correct: Any) -> None:
    plain, first = converted(), converted(correct=correct)
    before = plain(X)
    assert not torch.equal(before, first(X))
    state = first.state_dict()
    with pytest.raises(RuntimeError, match="calibrate=state"):
        plain.load_state_dict(state)
    with pytest.raises(RuntimeError, match="calibrate=state"):
        first.load_state_dict(plain.state_dict())
    assert torch.equal(plain(X), before)
    again = bs.convert(network(), X[:1], calibrate=state, steps=8)
    assert torch.equal(again(X), first(X))  # from the float weights alone
    again.load_state_dict(state)
    assert torch.equal(again(X), first(X))
    assert torch.equal(again.conversion.build(steps=4)(X), first.conversion.build(steps=4)(X))
    assert "as the state holds them" in repr(again.conversion)
    behind = bs.convert(network(), X[:1], calibrate={f"module.{key}": x for key, x in state.items()}, steps=8)
    assert torch.equal(behind(X), first(X))  # saved from inside DataParallel
    assert "W206" not in repr(again.conversion.notes)  # nothing was measured on the example


def test_the_values_of_a_corrected_state_without_its_corrections() -> None:
    state = converted(correct="potential").state_dict()
    again = bs.convert(network(), X[:1], calibrate=state, steps=8, correct=None)
    assert torch.equal(again(X), converted()(X))


@pytest.mark.parametrize("strict", [True, False])
def test_a_float_state_is_refused_by_a_converted_network(strict: bool) -> None:
    snn, before = converted(), converted()(X)
    with pytest.raises(RuntimeError, match="not that of a converted network"):
        snn.load_state_dict(network().state_dict(), strict=strict)
    assert torch.equal(snn(X), before)


def test_a_state_survives_files_without_pickles(tmp_path: Path) -> None:
    first = converted()
    save_file(first.state_dict(), tmp_path / "state.safetensors")
    converted().load_state_dict(load_file(tmp_path / "state.safetensors"))
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    read = torch.load(buffer, weights_only=True)
    with pytest.raises(RuntimeError, match="calibrate=state"):
        converted(FAINT).load_state_dict(read)
    second = bs.convert(network(), X[:1], calibrate=read, steps=8)
    second.load_state_dict(read)
    assert torch.equal(second(X), first(X))


@pytest.mark.parametrize("choices", [{}, {"include": ["0", "2"]}])
def test_a_deep_copy_is_a_converted_network_too(choices: dict[str, Any]) -> None:
    first = converted(**choices)
    second = copy.deepcopy(first)
    assert torch.equal(second(X), first(X))
    assert second.conversion is first.conversion
    assert bs.spiking_part(second) is not bs.spiking_part(first)
    assert bs.spiking_part(second) in set(second.modules())
    net = bs.lower(second, X[:1])
    assert bs.verify(net, second.conversion.packed(X)).equal
    with torch.no_grad():
        next(second.parameters()).zero_()
    assert not torch.equal(second(X), first(X))
    second.load_state_dict(first.state_dict())
    assert torch.equal(second(X), first(X))
    shallow = copy.copy(first)
    assert torch.equal(shallow(X), first(X))
    assert shallow.state_dict().keys() == first.state_dict().keys()
    assert bs.spiking_part(shallow) in set(shallow.modules())


def test_a_converted_network_inside_another_module_keeps_its_rules() -> None:
    class Outer(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner, self.conv = inner, nn.Linear(3, 2)

    first, second, other = Outer(converted()), Outer(converted()), Outer(converted(FAINT))
    second.load_state_dict(first.state_dict())
    with pytest.raises(RuntimeError, match="calibrate=state"):
        other.load_state_dict(first.state_dict())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_names_from_a_wrapper_are_understood(prefix: str) -> None:
    first, second = converted(), converted()
    second.load_state_dict({prefix + key: value for key, value in first.state_dict().items()})
    tuned = bs.prepare(network(), X[:1], calibrate=X)
    other = bs.prepare(network(), X[:1], calibrate=FAINT)
    other.load_state_dict({prefix + key: value for key, value in tuned.state_dict().items()})
    assert torch.equal(tuned(X), other(X))  # type: ignore[arg-type]


@pytest.mark.parametrize("with_time", [False, True])
def test_a_prepared_state_brings_clips_and_weights_whatever_calibrated_before(with_time: bool) -> None:
    first, other = (bs.prepare(network(), X[:1], calibrate=images, steps=4) for images in (X, FAINT))
    runs = (bs.over_time(first), bs.over_time(other)) if with_time else (first, other)
    assert not torch.equal(runs[0](X), runs[1](X))  # type: ignore[arg-type]
    runs[1].load_state_dict(runs[0].state_dict())
    assert torch.equal(runs[0](X), runs[1](X))  # type: ignore[arg-type]
    grid = bs.Grid(1 / 255, 0, 255)
    made = [bs.finish(p, X[:1], input_grid=grid) for p in (first, other)]
    assert torch.equal(made[0](X), made[1](X))


def test_a_deep_copy_of_a_prepared_network_trains_apart_and_finishes() -> None:
    first = bs.prepare(network(), X[:1], calibrate=X, steps=4)
    second = copy.deepcopy(first)
    before = first(X)
    bs.fit(second, [(X, torch.arange(32) % 3)], epochs=2, device="cpu", precision="fp32")
    assert torch.equal(first(X), before)  # type: ignore[arg-type]
    snn = bs.finish(second, X[:1])
    assert bs.verify(bs.lower(snn, X[:1]), bs.conversion_of(snn).packed(X)).equal


def test_a_float_state_is_refused_by_a_prepared_network_with_the_way_out() -> None:
    with pytest.raises(RuntimeError, match="load it into the network that is prepared"):
        bs.prepare(network(), X[:1], calibrate=X).load_state_dict(network().state_dict())
