"""Learning-rate schedules, optimizers, clipping and losses against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bitspike.errors import ConstraintError
from bitspike.train import SGD, AdamW, ClipNorm, ClipValue, Constant, Cosine, CrossEntropy, MeanSquare, Steps
from bitspike.train.schedules import Schedule


def test_cosine_falls_from_one_to_its_floor() -> None:
    schedule = Cosine(floor=0.2)
    assert schedule.factor(0, 8) == 1.0
    assert schedule.factor(4, 8) == pytest.approx(0.6)
    assert schedule.factor(8, 8) == pytest.approx(0.2)


def test_warm_up_rises_in_a_line_and_the_cosine_begins_behind_it() -> None:
    schedule = Cosine(warmup_epochs=2)
    assert [schedule.factor(t, 10) for t in (0.5, 1.0, 2.0)] == [0.25, 0.5, 1.0]
    assert schedule.factor(6, 10) == pytest.approx(0.5)


def test_steps_multiply_at_each_milestone() -> None:
    assert [Steps(milestones=(3, 6)).factor(t, 9) for t in (2.9, 3, 7)] == pytest.approx([1, 0.1, 0.01])


@pytest.mark.parametrize("schedule", [Constant(warmup_epochs=1), Cosine(warmup_epochs=1), Steps(milestones=(2,))])
def test_the_factor_never_leaves_zero_to_one(schedule: Schedule) -> None:
    assert all(0 <= schedule.factor(t / 10, 5) <= 1 for t in range(51))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Cosine(floor=1.5),
        lambda: Constant(warmup_epochs=-1),
        lambda: Steps(milestones=(5, 2)),
        lambda: Steps(milestones=()),
        lambda: SGD(lr=0),
        lambda: SGD(momentum=1.0),
        lambda: SGD(momentum=0.0, nesterov=True),
        lambda: AdamW(betas=(0.9, 1.0)),
        lambda: ClipNorm(0.0),
        lambda: CrossEntropy(label_smoothing=1.0),
        lambda: CrossEntropy(scale=0.0),
    ],
)
def test_wrong_values_fail_when_the_object_is_built(build: object) -> None:
    with pytest.raises(ConstraintError):
        build()  # type: ignore[operator]


@pytest.mark.parametrize("spec", [SGD(lr=0.1, weight_decay=0.5), AdamW(lr=0.1, weight_decay=0.5)])
def test_only_weights_decay(spec: SGD | AdamW) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    decays = {id(p): g["weight_decay"] for g in spec.build(model).param_groups for p in g["params"]}
    assert decays == {id(p): (0.5 if p.dim() > 1 else 0.0) for p in model.parameters()}


def test_a_model_without_parameters_cannot_be_trained() -> None:
    with pytest.raises(ConstraintError, match="nothing can be trained"):
        SGD().build(nn.Flatten())


def test_clipping_by_norm_and_by_value() -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    ClipNorm(1.0).apply([weight])
    assert weight.grad.tolist() == pytest.approx([0.6, 0.8], abs=1e-5)
    ClipValue(0.7).apply([weight])
    assert weight.grad.tolist() == pytest.approx([0.6, 0.7], abs=1e-5)


def test_a_perfect_answer_in_rates_still_costs_ln_of_1_plus_9_over_e() -> None:
    loss = CrossEntropy()(torch.eye(10), torch.arange(10))
    assert loss.item() == pytest.approx(math.log(1 + 9 / math.e), abs=1e-6)
    assert CrossEntropy(scale=10.0)(torch.eye(10), torch.arange(10)).item() < 1e-3


def test_mean_square_compares_rates_with_one_hot() -> None:
    assert MeanSquare()(torch.tensor([[1.0, 0.5]]), torch.tensor([0])).item() == pytest.approx(0.125)
