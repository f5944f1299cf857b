"""The training loop: what it steps, what it refuses, what it leaves."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bitspike import weights
from bitspike.errors import ConstraintError, DataError, RunError
from bitspike.nn import LIF, RateReadout, Repeat, TimeDistributed
from bitspike.train import (
    SGD,
    AdamW,
    BatchRecord,
    ClipNorm,
    Cosine,
    EpochRecord,
    Observer,
    Observers,
    Steps,
    fit,
)
from bitspike.train import loop as loop_module

X = torch.rand(22, 6, generator=torch.Generator().manual_seed(1))
Y = (X.sum(1) > 3).long()
BATCHES = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 22, 8)]


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        Repeat(2), TimeDistributed(nn.Linear(6, 8)), LIF(0.5), TimeDistributed(nn.Linear(8, 2)), RateReadout()
    )


def test_qat_check_11_the_rate_changes_between_epochs_and_momentum_is_in_the_state(tmp_path: Path) -> None:
    history = fit(small_model(), BATCHES, epochs=4, optimizer=SGD(lr=0.1, momentum=0.9), folder=tmp_path)
    rates = [e.learning_rate for e in history.epochs]
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) == 4
    state = torch.load(tmp_path / "checkpoints/last/optimizer.pt", weights_only=True)
    assert all(s["momentum_buffer"].abs().sum() > 0 for s in state["state"].values())
    assert state["param_groups"][0]["momentum"] == 0.9


def test_the_rate_is_set_at_every_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    step = torch.optim.SGD.step

    def watch(self: torch.optim.SGD, *args: object, **kwargs: object) -> object:
        seen.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.optim.SGD, "step", watch)
    fit(small_model(), BATCHES, epochs=2, optimizer=SGD(lr=1.0), schedule=Cosine())
    # Six iterations, each in the middle of its sixth of half a cosine.
    assert seen == pytest.approx([0.5 + 0.5 * math.cos(math.pi * (i + 0.5) / 6) for i in range(6)])


def test_one_step_is_the_step_of_torch() -> None:
    model, twin = nn.Linear(6, 2), nn.Linear(6, 2)
    twin.load_state_dict(model.state_dict())
    sgd, steps = SGD(lr=0.1, momentum=0.0), Steps(milestones=(5,))
    fit(model, BATCHES[:1], epochs=1, optimizer=sgd, schedule=steps, precision="fp32")
    nn.functional.cross_entropy(twin(BATCHES[0][0]), BATCHES[0][1]).backward()
    torch.optim.SGD(twin.parameters(), lr=0.1).step()
    assert torch.equal(model.weight, twin.weight)


def test_it_learns_counts_every_sample_and_tells_of_it() -> None:
    class Ears(Observer):
        batches: list[BatchRecord] = []  # noqa: RUF012
        epochs: list[EpochRecord] = []  # noqa: RUF012

        def batch_done(self, record: BatchRecord) -> None:
            self.batches.append(record)

        def epoch_done(self, record: EpochRecord) -> None:
            self.epochs.append(record)

    ears = Ears()
    history = fit(
        small_model(), BATCHES, epochs=30, optimizer=AdamW(lr=0.05), validation=BATCHES, observer=Observers(None, ears)
    )
    assert max(e.train_accuracy for e in history.epochs) >= 0.9
    assert [b.samples for b in ears.batches[:3]] == [8, 16, 22]
    assert ears.batches[0].batches == 3
    assert tuple(ears.epochs) == history.epochs
    assert history.epochs[0].train_loss > history.epochs[-1].train_loss


def test_the_best_epoch_is_kept_and_the_later_one_on_a_tie() -> None:
    def labels(accuracy: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        yield X, accuracy

    class Scripted:
        """Validation sets whose labels make the first and the third epoch right and the second and fourth wrong."""

        epoch = 0

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            answers = model(X).argmax(1)
            self.epoch += 1
            states.append({k: v.clone() for k, v in model.state_dict().items()})
            return labels(answers if self.epoch in (1, 3) else 1 - answers)

    states: list[dict[str, Tensor]] = []
    model = small_model()
    history = fit(model, BATCHES, epochs=4, validation=Scripted())
    assert history.best_epoch == 3
    assert history.kept == "best"
    assert all(torch.equal(v, states[2][k]) for k, v in model.state_dict().items())


def test_keep_last_leaves_the_last_weights() -> None:
    one, two = small_model(), small_model()
    fit(one, BATCHES, epochs=3, validation=BATCHES, keep="last")
    assert fit(two, BATCHES, epochs=3).kept == "last"
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_the_same_seed_gives_the_same_weights_and_leaves_the_generator_of_torch_alone() -> None:
    def trained(seed: int) -> Tensor:
        model = nn.Sequential(small_model()[0], nn.Dropout(0.5), *list(small_model())[1:])
        fit(model, BATCHES, epochs=2, seed=seed)
        return torch.cat([p.flatten() for p in model.parameters()])

    model = small_model()
    before = torch.get_rng_state()
    fit(model, BATCHES, epochs=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(trained(3), trained(3))
    assert not torch.equal(trained(3), trained(4))


def test_stages_of_the_weight_path_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"step": 0, "epoch": 0, "penalty": 0}

    def count(name: str) -> None:
        calls[name] += 1

    monkeypatch.setattr(loop_module, "after_step", lambda model: count("step"))
    sums: list[float] = []

    def hear(model: nn.Module, *, objective: float) -> None:
        count("epoch")
        sums.append(objective)

    monkeypatch.setattr(loop_module, "after_epoch", hear)

    def penalty(model: nn.Module) -> Tensor:
        count("penalty")
        return 0.5 * model[1][0].weight.square().sum()  # type: ignore[index, union-attr, no-any-return]

    plain, pulled = small_model(), small_model()
    history = fit(plain, BATCHES, epochs=2)
    assert calls == {"step": 6, "epoch": 2, "penalty": 0}
    # What was minimized are the losses of three batches of almost equal size, and no penalty.
    assert sums == pytest.approx([3 * e.train_loss for e in history.epochs], rel=0.05)
    monkeypatch.setattr(loop_module, "penalties", penalty)
    fit(pulled, BATCHES, epochs=2, observer=Observer())  # pulled so far down that a layer falls silent
    assert calls["penalty"] == 6
    assert pulled[1][0].weight.norm() < plain[1][0].weight.norm()


def test_the_masters_train_below_one_quantization_step() -> None:
    model = weights.attach(small_model(), quantize=weights.Uniform(bits=4))
    before = {name: c.codes.clone() for name, c in weights.codes(model).items()}
    fit(model, BATCHES, epochs=20, optimizer=SGD(lr=0.5))
    after = weights.codes(model)
    assert any(not torch.equal(before[name], after[name].codes) for name in before)
    assert all(torch.equal(model[i][0].weight, after[f"{i}.0"].decode()) for i in (1, 3))


def test_clipping_bounds_the_step() -> None:
    model = nn.Linear(6, 2)
    before = model.weight.detach().clone()
    fit(model, BATCHES[:1], epochs=1, optimizer=SGD(lr=1.0, momentum=0.0), clip_gradient=ClipNorm(1e-3))
    assert (model.weight - before).norm() <= 1e-3


def test_bf16_keeps_single_masters_and_trains() -> None:
    model = small_model()
    history = fit(model, BATCHES, epochs=3, precision="bf16")
    assert history.precision == "bf16"
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert all(math.isfinite(e.train_loss) for e in history.epochs)


def test_metrics_are_one_json_object_per_epoch(tmp_path: Path) -> None:
    fit(small_model(), BATCHES, epochs=2, validation=BATCHES, folder=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert set(rows[0]) == {
        "epoch",
        "seconds",
        "learning_rate",
        "train_loss",
        "train_accuracy",
        "validation_loss",
        "validation_accuracy",
        "firing",
    }
    assert set(rows[0]["firing"]) == {"2"}
    assert set(rows[0]["firing"]["2"]) == {"rate", "silent", "saturated"}


def test_a_loader_without_a_length_is_fine() -> None:
    class Stream:
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            return iter(BATCHES)

    rates = [e.learning_rate for e in fit(small_model(), Stream(), epochs=2, optimizer=SGD(lr=1.0)).epochs]
    assert rates == pytest.approx([0.5 + 0.5 * math.cos(math.pi * t) for t in (0.25, 0.75)])


def test_a_loss_that_is_not_finite_names_epoch_and_batch() -> None:
    broken = [BATCHES[0], (torch.full((4, 6), torch.nan), torch.zeros(4, dtype=torch.int64))]
    with pytest.raises(RunError, match=r"the loss became nan in epoch 1, batch 2[\s\S]*clip_gradient"):
        fit(nn.Linear(6, 2), broken, epochs=1)


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ConstraintError, match="epochs=0"):
        fit(small_model(), BATCHES, epochs=0)
    with pytest.raises(ConstraintError, match="keep='first'"):
        fit(small_model(), BATCHES, epochs=1, keep="first")  # type: ignore[arg-type]
    with pytest.raises(ConstraintError, match="precision='fp8'"):
        fit(small_model(), BATCHES, epochs=1, precision="fp8")  # type: ignore[arg-type]
    with pytest.raises(ConstraintError, match="device='tpu'"):
        fit(small_model(), BATCHES, epochs=1, device="tpu")  # type: ignore[arg-type]
    with pytest.raises(ConstraintError, match="which run"):
        fit(small_model(), BATCHES, epochs=1, resume=True)
    with pytest.raises(DataError, match="no batch in epoch 1"):
        fit(small_model(), [], epochs=1)
    with pytest.raises(DataError, match="labels run from 0 to 7, the model has 2 classes"):
        fit(small_model(), [(X[:8], torch.arange(8))], epochs=1)
    with pytest.raises(DataError, match="end the model with a read-out"):
        fit(nn.Sequential(Repeat(2), TimeDistributed(nn.Linear(6, 2))), BATCHES, epochs=1)


def test_a_warning_of_the_network_is_shown_once_and_not_at_every_step() -> None:
    class Warns(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            warnings.warn("said once", stacklevel=1)
            return super().forward(x)

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        fit(Warns(6, 2), BATCHES, epochs=2, device="cpu")
    assert [str(warning.message) for warning in shown] == ["said once"]
