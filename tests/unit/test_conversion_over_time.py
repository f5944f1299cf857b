"""Fine-tuning over time: what is trained step by step is what the converted network does."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bitspike as bs
from bitspike.conversion.finetune.over_time import ClipNeuron
from bitspike.errors import ConstraintError
from bitspike.nn.clip_floor_shift import ClipFloorShift
from bitspike.train import AdamW


class Residual(nn.Module):
    """A skip, a pool of counts, a pool of sums and a join."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.outer = nn.Conv2d(8, 8, 3, padding=1)
        self.side = nn.Conv2d(8, 4, 1)
        self.read = nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = F.relu(self.outer(F.relu(self.inner(x))) + x)
        x = torch.cat([x, F.relu(self.side(x))], 1)
        return self.read(F.adaptive_avg_pool2d(x, 1).flatten(1))


def residual() -> Residual:
    torch.manual_seed(0)
    model = Residual()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2)
    return model.eval()


def images(count: int) -> torch.Tensor:
    """Return pixels that the 8-bit grid of the converted network holds exactly."""
    return torch.randint(0, 256, (count, 2, 8, 8)) / 255


@pytest.mark.parametrize("neuron", [bs.IF, bs.SignedIF])
@pytest.mark.parametrize("steps", [1, 4])
def test_what_is_trained_over_time_is_what_the_converted_network_does(neuron: type[bs.Neuron], steps: int) -> None:
    x = images(64)
    prepared = bs.prepare(residual(), x[:1], calibrate=x, bits=4, steps=steps)
    timed = bs.over_time(prepared, neuron=neuron)
    # Biases and thresholds of the converted network are rounded, by far less than what a spike is worth.
    snn = bs.finish(prepared, x[:1], neuron=neuron, data=x, tolerance=1e-5, max_fraction_bits=20)
    with torch.no_grad():
        got, wanted, steady = timed(x), snn(x), prepared(x)
    scale = wanted.abs().max()
    assert (got - wanted).abs().mean() < 0.01 * scale
    if steps > 1:
        assert (got - wanted).abs().mean() < 0.2 * (steady - wanted).abs().mean()


def test_parameters_are_shared_and_learn_from_the_spikes() -> None:
    x, y = images(32), torch.randint(0, 3, (32,))
    prepared = bs.prepare(residual(), x[:1], calibrate=x, bits=4, steps=4)
    timed = bs.over_time(prepared, neuron=bs.SignedIF)
    assert {id(p) for p in timed.parameters()} == {id(p) for p in prepared.parameters()}

    F.cross_entropy(timed(x), y).backward()
    for name, parameter in prepared.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name

    def loss() -> float:
        with torch.no_grad():
            return F.cross_entropy(timed(x), y).item()

    before = loss()
    bs.fit(timed, [(x, y)], epochs=20, optimizer=AdamW(lr=3e-3), precision="fp32", device="cpu")
    assert loss() < 0.8 * before
    snn = bs.finish(prepared, x[:1], neuron=bs.SignedIF, data=x, tolerance=1e-5, max_fraction_bits=20)
    with torch.no_grad():
        assert F.cross_entropy(snn(x), y).item() < 0.85 * before


@pytest.mark.parametrize("names", ["front a middle b flat read softmax", "0 1 2 3 4 5 6"])
def test_what_stays_real_runs_once_on_mean_values(names: str) -> None:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(2, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 3),
        nn.Softmax(1),
    ]
    paths = names.split()
    model, x = nn.Sequential(OrderedDict(zip(paths, layers, strict=True))).eval(), images(32)
    prepared = bs.prepare(model, x[:1], calibrate=x, bits=6, steps=8, include=paths[2:6])
    rows: list[int] = []
    real = prepared.folded.modules[paths[0]]
    handle = real.register_forward_hook(lambda m, i, o: rows.append(len(o)))
    try:
        with torch.no_grad():
            got = bs.over_time(prepared)(x)
    finally:
        handle.remove()
    assert rows == [32]
    assert torch.allclose(got.sum(1), torch.ones(32))  # the softmax of a mean, not a mean of softmaxes
    with torch.no_grad():
        wanted = bs.finish(prepared, x[:1], data=x, tolerance=1e-5, max_fraction_bits=20)(x)
    assert (got - wanted).abs().mean() < 0.005


class Normalized(nn.Module):
    """Mean and deviation of the images inside the network, before a layer that pads."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = residual()
        self.register_buffer("mean", torch.tensor([0.5, 0.25]).view(2, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.inner((x - self.mean) / 0.25)
        return result


def test_a_normalization_inside_the_network_is_trained_over_time_too() -> None:
    x = images(64)
    prepared = bs.prepare(Normalized().eval(), x[:1], calibrate=x, bits=4, steps=4)
    timed = bs.over_time(prepared, neuron=bs.SignedIF)
    snn = bs.finish(prepared, x[:1], neuron=bs.SignedIF, data=x, tolerance=1e-5, max_fraction_bits=20)
    with torch.no_grad():
        got, wanted = timed(x), snn(x)
    assert (got - wanted).abs().mean() < 0.01 * wanted.abs().max()


def test_a_neuron_per_channel_has_a_clip_per_channel() -> None:
    neuron = ClipNeuron(ClipFloorShift(2, torch.tensor([1.0, 4.0])))
    currents = torch.tensor([[[1.0], [1.0]], [[0.0], [1.0]]])  # two steps of one sample with two channels
    assert neuron(currents).flatten().tolist() == [1.0, 0.0, 0.0, 4.0]


def test_other_neurons_are_refused() -> None:
    x = torch.rand(4, 4)
    prepared = bs.prepare(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), x[:1], calibrate=x)
    with pytest.raises(ConstraintError, match=r"over_time\(neuron=.*LIF.*SignedIF"):
        bs.over_time(prepared, neuron=bs.LIF)
