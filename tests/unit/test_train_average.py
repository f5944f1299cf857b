"""The moving average of weights: its values, what it leaves alone; it is what is measured, kept and resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from bitspike import weights
from bitspike.errors import ConstraintError, PackageError, RunError
from bitspike.train import EMA, SGD, AdamW, Constant, EpochRecord, Observer, evaluate, fit
from bitspike.train.average import Average
from bitspike.train.checkpoint import AVERAGE, STATE

GENERATOR = torch.Generator().manual_seed(0)
BATCHES = [(torch.randn(16, 3, generator=GENERATOR), torch.arange(16) % 2) for _ in range(3)]


class StopAfter(Observer):
    """Stops a run after an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def epoch_done(self, record: EpochRecord) -> None:
        if record.epoch == self.epoch:
            raise KeyboardInterrupt


def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.1), nn.Linear(6, 2))
    weights.attach(model, quantize=weights.Uniform(bits=4))
    model[0].bias.requires_grad_(False)
    return model


def train(folder: Path | None = None, average: EMA | None = EMA(decay=0.9), **more: Any) -> tuple[nn.Module, Any]:
    model = network()
    options = {"epochs": 4, "optimizer": SGD(lr=0.3), "device": "cpu", "precision": "fp32", **more}
    return model, fit(model, BATCHES, folder=folder, average=average, schedule=Constant(), **options)


def test_it_is_the_average_that_the_formula_gives() -> None:
    model, decay, by_hand = nn.BatchNorm1d(2), 0.9, dict[str, Tensor]()
    average = Average(model, EMA(decay=decay))
    for step in range(4):
        model(torch.randn(5, 2, generator=GENERATOR))
        with torch.no_grad():
            model.weight.add_(torch.randn(2, generator=GENERATOR))
        average.update()
        for name, value in model.state_dict().items():
            by_hand[name] = value.clone() if step == 0 else decay * by_hand[name] + (1 - decay) * value
    mean = average.network.state_dict()
    for name in ("weight", "running_mean", "running_var"):
        torch.testing.assert_close(mean[name], by_hand[name])
        assert not torch.equal(mean[name], model.state_dict()[name])
    assert mean["num_batches_tracked"] == model.num_batches_tracked == 4, "a counter has no average"


def test_what_is_frozen_and_what_is_not_saved_stays_what_it_is() -> None:
    model = network()
    model.register_buffer("noise", torch.zeros(1), persistent=False)
    average, frozen = Average(model, EMA()), model[0].bias.clone()
    for value in (1.0, 2.0, 3.0):
        model.noise.fill_(value)
        average.update()
    assert torch.equal(average.network[0].bias, frozen)
    assert average.network.get_buffer("noise") == 3.0


def test_the_averaged_master_is_quantized_anew() -> None:
    model, _ = train()
    for layer in (model[0], model[4]):
        assert layer.weight.unique().numel() <= 15
        assert not torch.equal(layer.weight, layer.parametrizations.weight.original)


def test_the_averaged_network_is_measured_and_kept() -> None:
    raw, _ = train(average=None)
    model, history = train(validation=BATCHES)
    measured = evaluate(model, BATCHES)
    kept = history.epochs[history.best_epoch - 1]
    assert history.kept == "best"
    assert (measured.accuracy, measured.loss) == (kept.validation_accuracy, pytest.approx(kept.validation_loss))
    last, _ = train(keep="last")
    assert not torch.equal(last[4].weight, raw[4].weight)
    # The weights themselves are trained as without an average: the last loss of training is the same.
    _, alone = train(average=None)
    assert alone.epochs[-1].train_loss == history.epochs[-1].train_loss


@pytest.mark.parametrize("optimizer", [SGD(lr=0.3), AdamW(lr=0.01)])
@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_stopped_run_ends_at_the_same_average(tmp_path: Path, optimizer: Any, keep: str) -> None:
    options = {"optimizer": optimizer, "keep": keep, "validation": BATCHES}
    whole, told = train(tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", observer=StopAfter(2), **options)
    parts, again = train(tmp_path / "parts", resume=True, **options)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True))
    assert [e.validation_loss for e in told.epochs] == [e.validation_loss for e in again.epochs]
    for name in (f"last/{AVERAGE}", "best/model.safetensors"):
        first, second = ((tmp_path / f / "checkpoints" / name).read_bytes() for f in ("whole", "parts"))
        assert first == second, name


def test_another_average_than_that_of_the_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", observer=StopAfter(1))
    for average, said in ((None, "this run has average None"), (EMA(decay=0.5), "this run has average 0.5")):
        with pytest.raises(RunError, match=rf"was made with average 0.9, {said}\n  fix: go on with average 0.9"):
            train(tmp_path / "run", average=average, resume=True)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "plain", average=None, observer=StopAfter(1))
    with pytest.raises(RunError, match=r"was made with average None, this run has average 0\.9"):
        train(tmp_path / "plain", resume=True)


def test_a_damaged_average_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", observer=StopAfter(1))
    last = tmp_path / "run" / "checkpoints" / "last"
    state = safetensors.torch.load_file(last / AVERAGE)
    state["4.bias"][0] = 1.0
    safetensors.torch.save_file(state, last / AVERAGE)
    with pytest.raises(PackageError, match=f"{AVERAGE} is not what was written"):
        train(tmp_path / "run", resume=True)
    (last / AVERAGE).unlink()
    with pytest.raises(PackageError, match=f"{AVERAGE} cannot be read"):
        train(tmp_path / "run", resume=True)


def test_a_checkpoint_of_a_run_without_average_is_as_before(tmp_path: Path) -> None:
    train(tmp_path / "run", average=None)
    last = tmp_path / "run" / "checkpoints" / "last"
    assert {p.name for p in last.iterdir()} == {"model.safetensors", "optimizer.pt", "state.json"}
    assert "average" not in json.loads((last / STATE).read_text())


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1, float("nan")])
def test_a_decay_that_averages_nothing_is_refused(decay: float) -> None:
    with pytest.raises(ConstraintError, match=r"decay must lie in \(0, 1\)\n  fix: decay=0.999"):
        EMA(decay=decay)


def test_an_average_over_more_steps_than_there_are_is_doubted() -> None:
    heard: list[str] = []

    class Ears(Observer):
        def note(self, text: str) -> None:
            heard.append(text)

    train(observer=Ears())  # decay 0.9 is over 10 steps, and there are 12
    assert [
        text.startswith("the average of decay 0.9 is over 10 steps, and there are 12: a decay of") for text in heard
    ] == [True]
    train(observer=Ears(), average=EMA(decay=0.5))
    assert len(heard) == 1
