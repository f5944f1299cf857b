"""Corrections: what they add, that they never make the measured error larger."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bitspike as bs
from bitspike.conversion.correct.corrections import (
    Correction,
    Delta,
    bias_delta,
    calibrate_weight,
    correct,
    error_of,
    potential_delta,
)
from bitspike.errors import ConstraintError
from bitspike.nn import IF, Repeat
from bitspike.nn.clip_floor_shift import clip_floor_shift
from bitspike.weights import Uniform

F64 = torch.float64


class Spiking:
    """A stack of fully connected spiking layers next to the float one; bias or potential of each can be changed."""

    def __init__(self, steps: int = 8, sizes: tuple[int, ...] = (6, 10, 8, 5), noise: float = 0.1) -> None:
        self.steps = steps
        generator = torch.Generator().manual_seed(0)
        pairs = list(zip(sizes[1:], sizes[:-1], strict=True))
        self.weights = [torch.randn(o, i, generator=generator, dtype=F64) / i**0.5 for o, i in pairs]
        self.rough = [w + noise * torch.randn(w.shape, generator=generator, dtype=F64) for w in self.weights]
        self.biases = [torch.zeros(o, dtype=F64) for o, _ in pairs]
        self.initials = [torch.zeros(o, dtype=F64) for o, _ in pairs]
        self.x = torch.rand(256, sizes[0], generator=generator, dtype=F64)
        self.references, a = [], self.x
        for w in self.weights:
            a = (a @ w.T).relu()
            self.references.append(a)
        self.tops = [float(a.max()) for a in self.references]
        self.runs = 0

    def decoded(self, last: int) -> Tensor:
        self.runs += 1
        spikes = Repeat(self.steps)(self.x)
        for w, b, v, top in list(zip(self.rough, self.biases, self.initials, self.tops, strict=True))[: last + 1]:
            current = spikes @ w.T + b
            current = torch.cat([current[:1] + v, current[1:]])
            spikes = IF(top, initial=0.0)(current) * top
        return spikes.mean(0)

    def correct(self, what: str, delta: Delta = bias_delta) -> list[Correction]:
        return [done for layer in self.layers(what) for done in correct(layer, delta)]

    def layers(self, what: str) -> list[Layer]:
        return [Layer(self, i, getattr(self, what)) for i in range(len(self.rough))]


class Layer:
    def __init__(self, net: Spiking, index: int, values: list[Tensor]) -> None:
        self.net, self.index, self.values = net, index, values

    def reference(self) -> Tensor:
        return self.net.references[self.index]

    def decoded(self) -> Tensor:
        return self.net.decoded(self.index)

    def read(self) -> Tensor:
        return self.values[self.index]

    def write(self, value: Tensor) -> None:
        self.values[self.index] = value


def test_the_bias_correction_is_the_mean_difference_of_each_channel() -> None:
    a, b = torch.randn(8, 3, 4, 4), torch.randn(8, 3, 4, 4)
    torch.testing.assert_close(bias_delta(a, b), (a - b).double().mean((0, 2, 3)))
    torch.testing.assert_close(bias_delta(a[:, :, 0, 0], b[:, :, 0, 0]), (a - b)[:, :, 0, 0].double().mean(0))


def test_the_potential_correction_is_the_same_charge_at_once() -> None:
    a, b = torch.randn(8, 3, 4, 4), torch.randn(8, 3, 4, 4)
    torch.testing.assert_close(potential_delta(a, b, steps=16), 16 * bias_delta(a, b))


@pytest.mark.parametrize("what", ["biases", "initials"])
def test_each_layer_ends_no_worse_than_it_was_found_and_the_network_better(what: str) -> None:
    net = Spiking()
    before = error_of(net.references[-1], net.decoded(2))
    delta = bias_delta if what == "biases" else partial(potential_delta, steps=net.steps)
    done = [*net.correct(what, delta), *net.correct(what, delta)]
    assert len(done) == 6
    assert all(c.after <= c.before for c in done if c.kept)
    assert any(c.kept for c in done)
    assert error_of(net.references[-1], net.decoded(2)) < 0.7 * before


def test_later_layers_see_corrected_inputs() -> None:
    net = Spiking()
    done = net.correct("biases")
    assert done[-1].kept
    # With the last layer put back, what it started from is measured again.
    net.biases[-1] = torch.zeros(5, dtype=F64)
    assert error_of(net.references[-1], net.decoded(2)) == pytest.approx(done[-1].before)


def test_a_change_that_makes_it_worse_is_taken_back() -> None:
    net = Spiking()
    net.biases[0] = torch.full((10,), 0.01, dtype=F64)
    before = [b.clone() for b in net.biases]
    done = net.correct("biases", lambda a, b: torch.full((a.shape[1],), 5.0, dtype=F64))
    assert not any(c.kept for c in done)
    assert all(c.after > c.before for c in done)
    for old, new in zip(before, net.biases, strict=True):
        assert torch.equal(old, new)


def test_a_change_that_gives_nan_is_taken_back() -> None:
    net = Spiking()
    done = net.correct("biases", lambda a, b: torch.full((a.shape[1],), math.nan, dtype=F64))
    assert not any(c.kept for c in done)
    assert all(b.isfinite().all() for b in net.biases)


def test_several_passes_go_on_from_what_was_kept() -> None:
    net = Spiking(noise=0.3)
    done = correct(net.layers("biases")[0], passes=3)
    errors = [done[0].before, *(c.after for c in done if c.kept)]
    assert errors == sorted(errors, reverse=True)
    assert error_of(net.references[0], net.decoded(0)) == pytest.approx(min(errors))


def test_a_layer_may_round_what_is_written() -> None:
    class Rounded(Layer):
        def write(self, value: Tensor) -> None:
            super().write((value * 64).round() / 64)

    net = Spiking()
    for i in range(3):
        correct(Rounded(net, i, net.biases))
    assert all(torch.equal((b * 64).round(), b * 64) for b in net.biases)


def test_nothing_to_correct_changes_nothing() -> None:
    a = torch.rand(4, 3)
    assert torch.equal(bias_delta(a, a), torch.zeros(3, dtype=F64))


def test_wrong_uses_are_refused() -> None:
    with pytest.raises(ConstraintError, match=r"\[4, 3\].*\[4, 2\]"):
        bias_delta(torch.zeros(4, 3), torch.zeros(4, 2))
    with pytest.raises(ConstraintError, match="at least one sample"):
        error_of(torch.zeros(0, 3), torch.zeros(0, 3))


# ---- weights -----------------------------------------------------------------------------------------------------


def layer_error(w: Tensor, b: Tensor, x: Tensor, y: Tensor, top: Tensor, steps: int) -> float:
    return float((clip_floor_shift(F.conv2d(x, w, b, padding=1), top, steps) - y).square().mean())


def test_calibrated_weights_come_closer() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(128, 3, 6, 6, generator=generator)
    w = torch.randn(4, 3, 3, 3, generator=generator) / 5
    b = torch.randn(4, generator=generator) / 10
    y = F.conv2d(x, w, b, padding=1).relu()
    top = y.max()
    rough = w + 0.1 * torch.randn(w.shape, generator=generator)
    kept = rough.clone()
    found = calibrate_weight(
        rough, x, y, lambda v, w: F.conv2d(v, w, b, padding=1), threshold=top, steps=8, iterations=150, lr=0.02
    )
    assert torch.equal(rough, kept)
    before, after = (layer_error(v, b, x, y, top, 8) for v in (rough, found))
    assert after < 0.5 * before


def test_quantized_weights_are_calibrated_through_their_scheme() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(128, 3, 6, 6, generator=generator)
    w = torch.randn(4, 3, 3, 3, generator=generator) / 5
    y = F.conv2d(x, w, padding=1).relu()
    scheme, top = Uniform(3), y.max()
    found = calibrate_weight(
        w, x, y, partial(F.conv2d, padding=1), threshold=top, steps=16, iterations=150, lr=0.05,
        quantize=scheme.quantize,
    )  # fmt: skip
    zero = torch.zeros(4)
    before, after = (layer_error(scheme.quantize(v), zero, x, y, top, 16) for v in (w, found))
    assert after < 0.9 * before


def test_weights_are_never_worse_than_they_were_and_the_seed_repeats_them() -> None:
    x = torch.rand(64, 3)
    w = torch.randn(2, 3)
    y = F.linear(x, w).relu()
    run = partial(calibrate_weight, w, x, y, F.linear, threshold=y.max(), steps=4, iterations=20)
    wild = run(lr=100.0)

    def error(v: Tensor) -> float:
        return error_of(y, clip_floor_shift(F.linear(x, v), y.max(), 4))

    assert error(wild) <= error(w)
    assert torch.equal(run(seed=1), run(seed=1))


def test_no_more_samples_count_than_are_allowed() -> None:
    x = torch.rand(1100, 3)
    w = torch.randn(2, 3)
    y = F.linear(x, w).relu()
    run = partial(calibrate_weight, w + 0.1, threshold=y.max(), steps=4, iterations=5, apply=F.linear)
    assert torch.equal(run(inputs=x, reference=y), run(inputs=x[:1024], reference=y[:1024]))


class Difference(nn.Module):
    """A neuron that reads spikes alone: no layer of its own could take a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 5), nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.a(x).relu() - self.b(x).relu()).relu())  # type: ignore[no-any-return]


@pytest.mark.parametrize("correct", ["bias", ("weights", "bias"), ("bias", "potential")])
def test_every_recorded_bias_is_one_that_the_network_holds(correct: str | tuple[str, ...]) -> None:
    torch.manual_seed(0)
    x = torch.rand(64, 6)
    snn = bs.convert(Difference(), x[:1], calibrate=x, steps=6, correct=correct)
    conversion = snn.conversion
    assert conversion.shifts.bias, "the neurons of the two layers are corrected"
    assert all(conversion.layers[id].weights for id in conversion.shifts.bias)
    for id, bias in conversion.shifts.bias.items():
        other = replace(conversion, shifts=replace(conversion.shifts, bias={**conversion.shifts.bias, id: bias + 10}))
        assert not torch.equal(other.build()(x), snn(x)), f"the bias of {id} is not in the network"
