"""Accuracy, loss, confusion, and accuracy against time steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError, DataError
from bitspike.nn import IF, BernoulliCoder, RateReadout, Repeat, set_steps
from bitspike.tasks.losses import CrossEntropy
from bitspike.train import Evaluation, by_step, evaluate
from bitspike.train.allocator import keep_memory

OUT = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0], [3.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
Y = torch.tensor([0, 1, 2, 1, 2])


def test_counts_by_hand_over_a_ragged_last_batch() -> None:
    found = evaluate(nn.Identity(), [(OUT[:3], Y[:3]), (OUT[3:], Y[3:])])
    assert found.samples == 5
    # The third is a tie, which the first class wins.
    assert found.accuracy == 3 / 5
    assert found.confusion.tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    assert found.loss == pytest.approx(CrossEntropy()(OUT, Y).item(), abs=1e-6)


def test_the_model_is_left_as_it_came_and_saw_evaluation_mode() -> None:
    class Mode(nn.Module):
        seen = True

        def forward(self, x: Tensor) -> Tensor:
            self.seen = self.training or torch.is_grad_enabled()
            return x

    model = Mode().train()
    evaluate(model, [(OUT, Y)])
    assert model.training
    assert not model.seen


def test_a_part_that_was_frozen_in_evaluation_mode_stays_frozen() -> None:
    model = nn.Sequential(nn.Identity(), nn.BatchNorm1d(3).eval()).train()
    model[1].eval()
    evaluate(model, [(OUT, Y)])
    assert [module.training for module in model] == [True, False]


def test_random_coders_are_reproducible_and_torchs_generator_is_left_alone() -> None:
    model = nn.Sequential(BernoulliCoder(3), RateReadout())
    before = torch.get_rng_state()
    batches = [(torch.rand(64, 4, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 4)]
    assert evaluate(model, batches).loss == evaluate(model, batches).loss
    assert torch.equal(torch.get_rng_state(), before)


def test_by_step_runs_only_the_first_steps() -> None:
    # With a threshold of 1 an input of 0.5 spikes at every second step only.
    model = nn.Sequential(Repeat(3), IF(threshold=1.0), RateReadout())
    batches = [(torch.tensor([[0.0, 0.5], [0.0, 0.5]]), torch.tensor([1, 1]))]
    assert by_step(model, batches) == [0.0, 1.0, 1.0]
    known = Evaluation(0.25, 0.0, 1, torch.zeros(2, 2))
    assert by_step(model, batches, final=known) == [0.0, 1.0, 0.25]
    assert model[0].steps == 3


def test_sums_over_processes_are_taken_before_the_means() -> None:
    found = evaluate(nn.Identity(), [(OUT, Y)], add_up=lambda x: 2 * x)
    assert found.samples == 10
    assert found.accuracy == 3 / 5
    assert found.loss == pytest.approx(CrossEntropy()(OUT, Y).item(), abs=1e-6)


def test_an_empty_set_and_labels_outside_the_classes_are_errors() -> None:
    with pytest.raises(DataError, match="no sample"):
        evaluate(nn.Identity(), [])
    with pytest.raises(DataError, match=r"labels run from 0 to 3[\s\S]*num_classes=4"):
        evaluate(nn.Identity(), [(OUT, torch.tensor([0, 1, 2, 3, 0]))])


def test_the_allocator_can_be_asked_anywhere() -> None:
    assert keep_memory() in (True, False)


class Counts(nn.Module):
    """Counts how often it runs; with ``ahead`` it reads all steps at every step."""

    def __init__(self, ahead: bool) -> None:
        super().__init__()
        self.ahead, self.calls = ahead, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x - x.mean(0) if self.ahead else x


def test_by_step_takes_one_run_where_that_tells_and_one_for_each_step_where_not() -> None:
    batches = [(torch.rand(6, 3), torch.arange(6) % 3), (torch.rand(1, 3), torch.tensor([2]))]
    runs = {}
    for ahead in (False, True):
        counts = Counts(ahead)
        model = nn.Sequential(Repeat(5), IF(threshold=0.7), counts, RateReadout())
        found = by_step(model, batches)
        runs[ahead] = counts.calls
        expected = []
        for t in range(1, 6):
            with set_steps(model, t):
                expected.append(evaluate(model, batches).accuracy)
        assert found == expected
    looks = 2  # on the first batch
    assert runs == {False: looks + len(batches), True: looks + 5 * len(batches)}


def test_answers_after_every_step_come_with_the_same_result() -> None:
    model = nn.Sequential(BernoulliCoder(4), IF(threshold=1.0), RateReadout())
    batches = [(torch.rand(6, 3), torch.arange(6) % 3), (torch.rand(1, 3), torch.tensor([2]))]
    plain, found = evaluate(model, batches, seed=3), evaluate(model, batches, seed=3, each_step=True)
    assert (plain.accuracy, plain.loss, plain.samples) == (found.accuracy, found.loss, found.samples)
    assert plain.answers is None
    assert found.answers is not None
    assert (found.answers.steps, found.answers.samples) == (4, 7)
    assert found.answers.accuracies[-1] == plain.accuracy
    assert found.answers.confidence is not None
    assert 1 / 3 <= float(found.answers.confidence.min()) <= float(found.answers.confidence.max()) <= 1


def test_batches_of_different_numbers_of_steps_have_no_accuracy_after_each() -> None:
    model = nn.Sequential(RateReadout())
    batches = [(torch.rand(t, 2, 3), torch.tensor([0, 1])) for t in (4, 5)]
    with pytest.raises(DataError, match=r"5 steps and those before it 4"):
        evaluate(model, batches, each_step=True)


def test_outputs_that_are_nan_are_no_answers() -> None:
    x, y = torch.eye(4), torch.arange(4)
    broken = x.clone()
    broken[1, 3] = torch.nan
    with pytest.raises(ConstraintError, match=r"the outputs of 1 of 4 samples hold NaN[\s\S]*fix: finite inputs"):
        evaluate(nn.Identity(), [(broken, y)])
    model = nn.Sequential(Repeat(2), IF(), RateReadout(), nn.Linear(4, 4))
    with torch.no_grad():
        model[-1].weight.fill_(torch.nan)
    with pytest.raises(ConstraintError, match=r"4 of 4 samples hold NaN"):
        by_step(model, [(x, y)])
    assert [name for name, p in model.state_dict().items() if p.isnan().any()] == ["3.weight"]
    assert evaluate(nn.Identity(), [(x.masked_fill(x == 0, -torch.inf), y)]).accuracy == 1
    assert evaluate(nn.Identity(), [(x[:0], y[:0]), (x, y)]).samples == 4
