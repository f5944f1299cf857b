"""Distillation: the formula, a teacher that stays as it is, and a student that follows it."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.tasks.losses import CrossEntropy
from bitspike.train import EMA, SGD, Constant, Distillation, EpochRecord, Observer, fit

GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(32, 4, generator=GENERATOR)
BATCHES = [(x, torch.arange(8) % 3) for x in INPUTS.split(8)]


def network(seed: int, classes: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, classes))


def train(model: nn.Module, **more: Any) -> Any:
    options = {"epochs": 3, "optimizer": SGD(lr=0.2), "device": "cpu", "precision": "fp32", **more}
    return fit(model, BATCHES, schedule=Constant(), **options)


def test_the_divergence_is_that_of_the_paper() -> None:
    # At T = 2 the student's outputs 0 and 2 ln 3 are probabilities 1/4 and 3/4, those of the teacher are halves.
    student, teacher = torch.tensor([[0.0, 2 * math.log(3)]]), torch.tensor([[5.0, 5.0]])
    by_hand = 2**2 * (0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75))
    assert Distillation(temperature=2.0).divergence(student, teacher).item() == pytest.approx(by_hand)
    assert Distillation().divergence(teacher, teacher) == 0


def test_at_high_temperatures_the_gradient_is_that_of_centred_outputs() -> None:
    """Of logits z and v of N classes it is (z - v) / N where both are centred: section 2.1 of the paper."""
    z, v = (torch.randn(1, 5, generator=GENERATOR).double() for _ in range(2))
    z, v = (z - z.mean()).requires_grad_(), v - v.mean()
    Distillation(temperature=1000.0).divergence(z, v).backward()
    torch.testing.assert_close(z.grad, ((z - v) / 5).detach(), rtol=1e-2, atol=1e-3, check_dtype=False)


def test_the_loss_is_the_stated_mean_of_labels_and_teacher() -> None:
    model, teacher = network(0)[-1], network(1)[-1]
    x, y = torch.randn(6, 8, generator=GENERATOR), torch.arange(6) % 3
    share = Distillation(weight=0.25, temperature=3.0)
    by_hand = 0.75 * CrossEntropy()(model(x), y) + 0.25 * share.divergence(model(x), teacher(x))
    history = fit(
        model, [(x, y)], epochs=1, teacher=teacher, distill=share, optimizer=SGD(lr=0.1), device="cpu", precision="fp32"
    )
    assert history.epochs[0].train_loss == pytest.approx(by_hand.item())


def test_the_teacher_stays_as_it_is_and_sees_what_the_student_sees() -> None:
    seen: list[Tensor] = []
    teacher = network(1).train()
    teacher[3].eval()
    before = copy.deepcopy(teacher.state_dict())
    teacher.register_forward_pre_hook(lambda module, args: seen.append(args[0]) if not module.training else None)
    model = network(0)
    taught: list[Tensor] = []
    model.register_forward_pre_hook(lambda _module, args: taught.append(args[0]))
    train(model, teacher=teacher)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in teacher.parameters())
    assert [m.training for m in teacher] == [True, True, True, False, True]
    assert len(seen) == 12
    assert all(torch.equal(a, b) for a, b in zip(seen, taught, strict=True))


def test_a_student_learns_what_its_teacher_says_from_labels_that_say_nothing() -> None:
    torch.manual_seed(1)
    teacher, model = nn.Linear(4, 3), nn.Linear(4, 3)

    def agreement() -> float:
        return float((teacher(INPUTS).argmax(1) == model(INPUTS).argmax(1)).double().mean())

    before = agreement()
    train(model, teacher=teacher, distill=Distillation(weight=1.0, temperature=1.0), epochs=100, keep="last")
    assert before < 0.6
    assert agreement() > 0.95


def test_it_computes_in_bf16_as_the_student_does() -> None:
    kinds: list[torch.dtype] = []
    teacher = network(1)
    teacher[0].register_forward_hook(lambda _module, _args, out: kinds.append(out.dtype))
    train(network(0), teacher=teacher, precision="bf16", epochs=1)
    assert kinds == [torch.bfloat16] * 4


class StopAfter(Observer):
    def epoch_done(self, record: EpochRecord) -> None:
        if record.epoch == 1:
            raise KeyboardInterrupt


def test_a_stopped_run_ends_at_the_same_weights(tmp_path: Path) -> None:
    options = {"teacher": network(1), "average": EMA(decay=0.5), "validation": BATCHES}
    whole, parts = network(0), network(0)
    train(whole, folder=tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        train(parts, folder=tmp_path / "parts", observer=StopAfter(), **options)
    parts = network(3)
    train(parts, folder=tmp_path / "parts", resume=True, **options)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True))


def test_what_cannot_teach_is_refused() -> None:
    model = network(0)
    with pytest.raises(ConstraintError, match=r"there is no teacher\n  fix: fit\(teacher=NETWORK"):
        train(model, distill=Distillation())
    with pytest.raises(ConstraintError, match=r"shares 6 parameters with the model.*\n  fix: teacher=copy.deepcopy"):
        train(model, teacher=model)
    with pytest.raises(ConstraintError, match=r"the model gives a tensor \[8, 3\], the teacher a tensor \[8, 4\]"):
        train(model, teacher=network(1, classes=4))


@pytest.mark.parametrize("values", [{"weight": 0.0}, {"weight": 1.5}, {"temperature": 0.0}])
def test_values_outside_what_is_allowed_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConstraintError, match="must"):
        Distillation(**values)
