"""Optimizers of torch in ``fit``: the same steps as the user's own loop, and refusals with the way out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bitspike as bs
from bitspike import train
from bitspike.errors import ConstraintError
from bitspike.train import fit

X = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3
LOADER = [(X[:6], Y[:6]), (X[6:], Y[6:])]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def trained_by_hand(model: nn.Module, optimizer: torch.optim.Optimizer, epochs: int) -> dict[str, Tensor]:
    for _ in range(epochs):
        for x, y in LOADER:
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model.state_dict()


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.NAdam])
def test_it_makes_the_steps_of_ones_own_loop(make: Any) -> None:
    by_hand, model = network(), network()
    expected = trained_by_hand(by_hand, make(by_hand.parameters(), lr=0.01), 3)
    optimizer = make(model.parameters(), lr=0.01)
    fit(model, LOADER, epochs=3, optimizer=optimizer, schedule=train.Constant(), device="cpu", precision="fp32")
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name])


def test_groups_keep_their_learning_rates_and_have_them_again_afterwards() -> None:
    model = network()
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2].parameters(), "lr": 0.01}]
    optimizer = torch.optim.SGD(groups)
    seen: list[list[float]] = []
    optimizer.register_step_post_hook(lambda o, *_: seen.append([g["lr"] for g in o.param_groups]))
    history = fit(model, LOADER, epochs=2, optimizer=optimizer, device="cpu")
    assert [rates[0] / rates[1] for rates in seen] == pytest.approx([10.0] * 4)
    assert seen[0][0] > seen[-1][0]
    assert history.epochs[-1].learning_rate == seen[-1][0]
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.01]


def test_lr_takes_the_place_of_that_of_a_value() -> None:
    one, other = network(), network()
    fit(one, LOADER, epochs=2, optimizer=train.AdamW(lr=0.02), device="cpu")
    fit(other, LOADER, epochs=2, optimizer=train.AdamW(), lr=0.02, device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert (
        bs.fit(network(), LOADER, epochs=1, lr=0.5, schedule=train.Constant(), device="cpu").epochs[0].learning_rate
        == 0.5
    )


def test_a_killed_run_goes_on_with_it(tmp_path: Path) -> None:
    whole, parted = network(), network()
    fit(
        whole,
        LOADER,
        epochs=4,
        optimizer=torch.optim.Adam(whole.parameters(), lr=0.01),
        folder=tmp_path / "a",
        device="cpu",
    )

    class Killed(Exception):
        pass

    class Kill(train.Observer):
        def epoch_done(self, record: train.EpochRecord) -> None:
            if record.epoch == 2:
                raise Killed

    first = torch.optim.Adam(parted.parameters(), lr=0.01)
    with pytest.raises(Killed):
        fit(parted, LOADER, epochs=4, optimizer=first, folder=tmp_path / "b", device="cpu", observer=Kill())
    again = network()
    second = torch.optim.Adam(again.parameters(), lr=0.01)
    fit(again, LOADER, epochs=4, optimizer=second, folder=tmp_path / "b", resume=True, device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_weights_with_paths_are_trained_when_it_was_made_after_attach() -> None:
    model = network()
    bs.attach(model, quantize=bs.Ternary())
    before = copy.deepcopy(model.state_dict())
    fit(model, LOADER, epochs=1, optimizer=torch.optim.Adam(model.parameters(), lr=0.01), device="cpu")
    assert not any(torch.equal(before[name], value) for name, value in model.state_dict().items() if value.dim() == 2)


def test_what_it_does_not_have_is_said() -> None:
    heard: list[str] = []

    class Hear(train.Observer):
        def note(self, text: str) -> None:
            heard.append(text)

    model = network()
    head = torch.optim.SGD(model[2].parameters(), lr=0.1)
    still = model[0].weight.clone()
    fit(model, LOADER, epochs=1, optimizer=head, device="cpu", observer=Hear())
    assert torch.equal(model[0].weight, still)
    assert heard == ["the optimizer has 2 of 4 parameters: 0.weight, 0.bias stay as they are"]


MODEL = network()
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a class": ({"optimizer": torch.optim.Adam}, "optimizer=torch.optim.Adam(model.parameters(), lr=1e-3)"),
    "a word": ({"optimizer": "adam"}, "optimizer=bs.train.AdamW(lr=1e-3)"),
    "a class of ours": ({"optimizer": train.SGD}, "optimizer=bs.train.SGD(lr=0.1)"),
    "of another model": (
        {"optimizer": torch.optim.Adam(network().parameters(), lr=0.1)},
        "torch.optim.Adam(model.parameters(), ...), made last of all",
    ),
    "two learning rates": (
        {"optimizer": torch.optim.Adam(MODEL.parameters()), "lr": 0.1},
        "torch.optim.Adam(model.parameters(), lr=0.1)",
    ),
    "several readings": ({"optimizer": torch.optim.LBFGS(MODEL.parameters())}, "a training loop of your own"),
    "a scheduler of torch": (
        {"schedule": torch.optim.lr_scheduler.ConstantLR(torch.optim.SGD(MODEL.parameters(), lr=0.1))},
        "schedule=bs.train.Cosine(), bs.train.Steps(...) or bs.train.Constant(); a scheduler of torch",
    ),
    "a schedule in a word": ({"schedule": "cosine"}, "schedule=bs.train.Cosine()"),
    "a loss in a word": ({"loss": "mse"}, "loss=torch.nn.functional.cross_entropy"),
    "a limit of what": ({"clip_gradient": 5.0}, "clip_gradient=bs.train.ClipNorm(5.0) or bs.train.ClipValue(5.0)"),
    "a function that listens": ({"observer": print}, "an object of a class below bs.train.Observer"),
    "a rate of zero": ({"lr": 0.0}, "lr=0.001"),
    "a rate in a word": ({"lr": "0.1"}, "lr=0.1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_choice_is_refused_with_the_way_out(case: str) -> None:
    options, way = WRONG[case]
    with pytest.raises(ConstraintError) as caught:
        bs.fit(MODEL, LOADER, epochs=1, device="cpu", **options)
    assert caught.value.fix is not None
    assert caught.value.fix.startswith(way)


def test_an_optimizer_made_before_attach_that_has_none_of_the_parameters_is_refused() -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model[0] = nn.Linear(4, 8)
    with pytest.raises(ConstraintError, match="2 of its parameters are none of the model's"):
        fit(model, LOADER, epochs=1, optimizer=optimizer, device="cpu")
