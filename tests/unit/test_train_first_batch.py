"""Data and networks that do not go together are refused at the first batch, with the way out, and others are not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import BitspikeError, ConstraintError
from bitspike.train import fit

X, Y = torch.rand(8, 4), torch.arange(8) % 2
IMAGES = torch.rand(8, 1, 6, 6)


def timed(features: int = 6) -> nn.Module:
    layers = [bs.TimeDistributed(nn.Linear(4, features)), bs.LIF(), bs.TimeDistributed(nn.Linear(features, 2))]
    return nn.Sequential(bs.Repeat(4), *layers, bs.RateReadout())


class OwnEncoder(nn.Module):
    """Stacks the input over time without a class of the package."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.fire, self.head = steps, bs.LIF(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fire(torch.stack([x] * self.steps))).mean(0)


class TimeFirst(nn.Module):
    """Reads [T, N, ...]."""

    def __init__(self) -> None:
        super().__init__()
        self.fire, self.head = bs.LIF(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fire(x)).mean(0)


@pytest.mark.parametrize("features", [8, 16, 7, 5])
def test_samples_are_not_taken_for_time_steps(features: int) -> None:
    model = nn.Sequential(nn.Linear(4, features), bs.LIF(), nn.Linear(features, 2))
    with pytest.raises(
        ConstraintError, match=rf"1 \(LIF\) gets \[8, {features}\]: its first axis is the 8 samples"
    ) as caught:
        fit(model, [(X, Y)], epochs=1, device="cpu")
    assert caught.value.fix is not None
    assert caught.value.fix.startswith("bs.Repeat(steps=4) before the first layer")


def test_nor_are_those_of_images() -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3), bs.IF(), nn.Flatten(), nn.Linear(128, 2))
    with pytest.raises(ConstraintError, match=r"gets \[8, 8, 4, 4\]"):
        fit(model, [(IMAGES, Y)], epochs=1, device="cpu")


@pytest.mark.parametrize("steps", [3, 7, 8])
def test_an_encoder_of_ones_own_and_data_over_time_are_right(steps: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # layers may stay silent
        fit(OwnEncoder(steps), [(X, Y)], epochs=1, device="cpu")
        fit(TimeFirst(), [(torch.rand(steps, 8, 4), Y)], epochs=1, device="cpu")


class OfOneSize(OwnEncoder):
    """Knows how many samples a batch has."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fire(x.reshape(1, 8, 4).repeat(self.steps, 1, 1))).mean(0)


class ByName(OwnEncoder):
    """Names the argument of its neurons, whose threshold keeps them silent."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fire(x=torch.stack([1e-3 * x] * self.steps))).mean(0)


class EveryStep(TimeFirst):
    """Answers at every step of [T, N, ...]."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fire(x))


class Dealt(torch.utils.data.IterableDataset[Any]):
    """A data set of torch that deals out batches; its length is not known."""

    def __iter__(self) -> Any:
        return iter([(X, Y), (X, Y)])


class DealtByNumber(torch.utils.data.Dataset[Any]):
    """A data set of torch whose items are batches."""

    def __getitem__(self, number: int) -> Any:
        return [(X, Y), (X, Y)][number]


class Samples(torch.utils.data.IterableDataset[Any]):
    def __iter__(self) -> Any:
        return zip(X, Y, strict=True)


RIGHT: dict[str, Callable[[], Any]] = {
    "batches of one size": lambda: fit(OfOneSize(4), [(X, Y)], epochs=1, device="cpu"),
    "an argument by name": lambda: fit(ByName(4), [(X, Y)], epochs=1, device="cpu"),
    "labels of every step": lambda: fit(
        EveryStep(),
        [(torch.rand(12, 8, 4), torch.randint(0, 2, (12, 8)))],
        epochs=1,
        device="cpu",
        loss=lambda outputs, labels: nn.functional.cross_entropy(outputs.flatten(0, 1), labels.flatten()),
    ),
    "values of every step": lambda: fit(
        EveryStep(),
        [(torch.rand(12, 8, 4), torch.rand(12, 8, 2))],
        epochs=1,
        device="cpu",
        loss=nn.functional.mse_loss,
    ),
    "batches of a data set": lambda: fit(timed(), Dealt(), epochs=1, validation=Dealt(), device="cpu"),
    "batches by number": lambda: fit(timed(), DealtByNumber(), epochs=1, validation=DealtByNumber(), device="cpu"),  # type: ignore[arg-type]
    "a loader without a length": lambda: fit(
        timed(), torch.utils.data.DataLoader(Dealt(), batch_size=None), epochs=1, device="cpu"
    ),
    "a device of torch": lambda: fit(timed(), [(X, Y)], epochs=1, device=torch.device("cpu")),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_goes_together_is_trained(case: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # layers may stay silent
        assert len(RIGHT[case]().epochs) == 1


def test_looking_leaves_no_trace() -> None:
    torch.manual_seed(0)
    one, other = OwnEncoder(3), OwnEncoder(3)
    other.load_state_dict(one.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(one, [(X, Y)], epochs=1, device="cpu", seed=3)
        fit(nn.Sequential(other, nn.Identity()), [(X, Y)], epochs=1, device="cpu", seed=3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not one.fire._forward_pre_hooks


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "bytes": (lambda: fit(timed(), [((X * 255).byte(), Y)], epochs=1, device="cpu"), "x.float() / 255"),
    "a convolution over time": (
        lambda: fit(nn.Sequential(bs.Repeat(4), nn.Conv2d(1, 4, 3), bs.LIF()), [(IMAGES, Y)], epochs=1, device="cpu"),
        "bs.TimeDistributed(nn.Conv2d",
    ),
    "a data set of torch": (
        lambda: fit(timed(), torch.utils.data.TensorDataset(X, Y), epochs=1),  # type: ignore[arg-type]
        "train_loader=torch.utils.data.DataLoader(",
    ),
    "samples without a length": (
        lambda: fit(timed(), Samples(), epochs=1, device="cpu"),
        "train_loader=torch.utils.data.DataLoader(train_loader, batch_size=64)",
    ),
    "images of the package": (
        lambda: fit(timed(), bs.data.load("digits"), epochs=1),  # type: ignore[arg-type]
        "bs.data.Batches(train_loader, 64",
    ),
    "a pair": (lambda: fit(timed(), (X, Y), epochs=1), "[(inputs, labels)], or list(zip("),  # type: ignore[arg-type]
    "a pair to validate": (
        lambda: fit(timed(), [(X, Y)], epochs=1, validation=(X, Y)),  # type: ignore[arg-type]
        "[(inputs, labels)], or list(zip(",
    ),
    "a number": (lambda: fit(timed(), 3, epochs=1), "[(inputs, labels)]"),  # type: ignore[arg-type]
    "a rule in a word": (lambda: bs.Uniform(4, scale="max"), "scale=bs.weights.Max()"),  # type: ignore[arg-type]
    "a rule's class": (lambda: bs.APoT(4, scale=bs.weights.MSE), "scale=bs.weights.MSE()"),  # type: ignore[arg-type]
    "a rule's number": (lambda: bs.PowerOfTwo(4, scale=0.5), "scale=bs.weights.Max()"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_go_together_is_told_with_the_way_out(case: str) -> None:
    call, way = WRONG[case]
    with pytest.raises(BitspikeError) as caught:
        call()
    assert caught.value.fix is not None
    assert caught.value.fix.startswith(way)


def test_other_errors_of_a_network_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        fit(nn.Linear(5, 2), [(X, Y)], epochs=1, device="cpu")
