"""One contract for every task, and two tasks of other kinds that pass through training, comparison and ledger."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bitspike as bs
from bitspike import tasks
from bitspike.analysis.ledger.analyze import analyze
from bitspike.errors import ConstraintError, DataError
from bitspike.tasks.classify import Classification, confused
from bitspike.tasks.report import WORDINGS, Exhibit, Wording, wording_of
from bitspike.tasks.task import AddUp, Agreed, Task, judged
from bitspike.train import SGD, evaluate

# Shapes: N samples, L steps of a sequence, K symbols, F features.
L, K = 3, 4


class Symbols:
    """Counts right steps of sequences, those that have ended left out."""

    def __init__(self) -> None:
        self.counts = torch.zeros(2, dtype=torch.float64)

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        there = labels >= 0
        right = (outputs.argmax(2) == labels) & there
        self.counts = self.counts + torch.stack([right.sum(), there.sum()]).double()

    def add_up(self, over: AddUp) -> None:
        self.counts = over(self.counts)

    @property
    def value(self) -> float:
        return float(self.counts[0] / self.counts[1])

    @property
    def detail(self) -> list[float]:
        return self.counts.tolist()


@dataclass
class SameSequence:
    samples: int = 0
    same: int = 0

    def add(self, first: Tensor, second: Tensor, labels: Tensor) -> None:
        self.scores = getattr(self, "scores", (Symbols(), Symbols()))
        for score, outputs in zip(self.scores, (first, second), strict=True):
            score.add(outputs, labels)
        self.samples += len(labels)
        self.same += int((first.argmax(2) == second.argmax(2)).all(1).sum())

    def result(self) -> Agreed:
        return Agreed(self.same / self.samples, *(score.value for score in self.scores))


class Sequences:
    """A label for every step: outputs [N, L, K], labels int64 [N, L], -1 where a sequence has ended."""

    wording = Wording(metric="symbols", lead="{score} of the symbols of {samples} are read with {setting}.")

    @staticmethod
    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs.transpose(1, 2), labels, ignore_index=-1)

    def need(self, outputs: Any, labels: Any) -> None:
        if self.truth(outputs, labels) is None:
            raise DataError("these are no sequences", fix="labels int64 [N, L]")

    def need_outputs(self, count: int) -> None:
        if count != 1:
            raise ConstraintError(f"{count} read-outs; a sequence comes from one", fix="one read-out")

    def answers(self, outputs: Tensor) -> Tensor:
        return outputs.argmax(2)

    def truth(self, outputs: Any, labels: Any) -> Tensor | None:
        return labels if isinstance(labels, Tensor) and labels.shape == outputs.shape[:2] else None

    def right(self, answers: Tensor, truth: Tensor) -> Tensor:
        there = truth >= 0
        return ((answers == truth) & there).sum(1) / there.sum(1)

    def score(self) -> Symbols:
        return Symbols()

    def comparison(self) -> SameSequence:
        return SameSequence()

    def named(self, answers: Tensor, names: Sequence[str]) -> list[str]:
        return [" ".join(names[i] for i in row) for row in answers.tolist()]

    def exhibits(self, detail: list[float], names: Sequence[str]) -> tuple[Exhibit, ...]:
        del names
        return (Exhibit("Symbols", "of the test set", columns=("right", "all"), rows=[detail]),)


class Boxes(Sequences):
    """A task that judges no sample alone, as detection does."""

    wording = Wording(metric="precision", lead="{score} is the precision over {samples} with {setting}.")

    def right(self, answers: Tensor, truth: Tensor) -> Tensor | None:  # type: ignore[override]
        del answers, truth
        return None


class Reader(nn.Module):
    """Reads L symbols from features: a hidden layer of neurons, and K outputs for each step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, L * K))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).unflatten(1, (L, K))  # type: ignore[no-any-return]


X = torch.rand(24, 6, generator=torch.Generator().manual_seed(0))
Y = torch.randint(0, K, (24, L), generator=torch.Generator().manual_seed(1))
Y[::3, -1] = -1
FAST: dict[str, Any] = {"device": "cpu", "precision": "fp32", "optimizer": SGD(lr=0.2)}

CASES: list[tuple[Task, Tensor, Tensor]] = [
    (Classification(), torch.rand(24, K, generator=torch.Generator().manual_seed(2)), Y[:, 0]),
    (Sequences(), torch.rand(24, L, K, generator=torch.Generator().manual_seed(2)), Y),
]
ALL = [pytest.param(*case, id=type(case[0]).__name__) for case in CASES]


def test_every_task_is_held_to_the_contract() -> None:
    modules = {
        m.name: importlib.import_module(f"bitspike.tasks.{m.name}") for m in pkgutil.iter_modules(tasks.__path__)
    }
    found = {
        name: kind
        for name, module in modules.items()
        for kind in vars(module).values()
        if isinstance(kind, type)
        and kind.__module__ == module.__name__
        and hasattr(kind, "wording")
        and kind is not Task
    }
    assert found
    assert set(found.values()) <= {type(task) for task, *_ in CASES}
    assert {name: kind.wording for name, kind in found.items()} == WORDINGS
    assert wording_of({}) is wording_of({"task": "classify"}) is WORDINGS["classify"]


@pytest.mark.parametrize(("task", "outputs", "labels"), ALL)
def test_a_score_is_the_same_however_a_set_is_cut_and_dealt_out(task: Task, outputs: Tensor, labels: Tensor) -> None:
    whole, parts = task.score(), task.score()
    whole.add(outputs, labels)
    for some in torch.arange(24).split(7):
        parts.add(outputs[some], labels[some])
    assert whole.value == parts.value
    parts.add_up(lambda counts: 3 * counts)
    assert whole.value == parts.value
    assert 0 < (whole.value or 0) < 1


@pytest.mark.parametrize(("task", "outputs", "labels"), ALL)
def test_the_truth_is_right_and_is_what_the_best_outputs_answer(task: Task, outputs: Tensor, labels: Tensor) -> None:
    task.need(outputs, labels)
    truth = task.truth(outputs, labels)
    best = F.one_hot(labels.clamp(min=0), K).double()
    right = judged(task, best, labels)
    assert right is not None
    assert right.shape == (24,)
    assert bool((right == 1).all())
    assert bool((task.right(truth, truth) == 1).all())  # type: ignore[union-attr]
    score = task.score()
    score.add(best, labels)
    assert score.value == 1


@pytest.mark.parametrize(("task", "outputs", "labels"), ALL)
def test_a_network_agrees_with_itself_and_less_with_another(task: Task, outputs: Tensor, labels: Tensor) -> None:
    score, other = task.score(), torch.rand(outputs.shape, generator=torch.Generator().manual_seed(3))
    score.add(outputs, labels)
    itself, both = task.comparison(), task.comparison()
    for some in torch.arange(24).split(7):
        itself.add(outputs[some], outputs[some].double(), labels[some])
        both.add(outputs[some], other[some], labels[some])
    assert itself.samples == 24
    assert itself.result() == (1.0, score.value, score.value)
    assert both.result().answers < 1
    assert both.result().first == score.value


@pytest.mark.parametrize(("task", "outputs", "labels"), ALL)
def test_foreign_labels_have_no_truth_and_are_refused_where_they_are_needed(
    task: Task, outputs: Tensor, labels: Tensor
) -> None:
    assert task.truth(outputs, {"boxes": labels}) is None
    assert judged(task, outputs, {"boxes": labels}) is None
    with pytest.raises(DataError):
        task.need(outputs, {"boxes": labels})
    with pytest.raises(ConstraintError):
        task.need_outputs(2)


@pytest.mark.parametrize(("task", "outputs", "labels"), ALL)
def test_answers_have_words_and_the_counts_an_exhibit(task: Task, outputs: Tensor, labels: Tensor) -> None:
    score = task.score()
    score.add(outputs, labels)
    assert len(task.named(task.answers(outputs), "abcd")) == 24
    assert all(exhibit.title and exhibit.text for exhibit in task.exhibits(score.detail, "abcd"))
    assert {"{score}", "{setting}"} <= {word.strip(".") for word in task.wording.lead.split()}


def test_a_task_of_sequences_is_trained_measured_compared_and_analyzed() -> None:
    task, model = Sequences(), Reader()
    still = bs.fit(model, [(X, Y)], epochs=1, task=task, **{**FAST, "optimizer": SGD(lr=1e-30)})  # type: ignore[call-overload]
    assert still.epochs[0].train_accuracy == pytest.approx(float(judged(task, model(X), Y).mean()))  # type: ignore[union-attr]
    before = evaluate(model, [(X, Y)], task=task)
    history = bs.fit(model, [(X, Y)], epochs=60, task=task, validation=[(X, Y)], **FAST)  # type: ignore[call-overload]
    after = evaluate(model, [(X[:5], Y[:5]), (X[5:], Y[5:])], task=task)
    assert after.accuracy > before.accuracy + 0.2
    assert history.best_epoch == max(history.epochs, key=lambda e: (e.validation_accuracy, e.epoch)).epoch

    snn = bs.convert(model.eval(), X[:1], calibrate=X, steps=16)
    net = bs.lower(snn, X[:1])
    found = bs.compare(snn, net, [(X, Y)], task=task)
    assert (found.spikes, found.predictions, found.samples) == (1.0, 1.0, 24)
    assert found.accuracy == found.lowered_accuracy == evaluate(snn, [(X, Y)], task=task).accuracy
    ledger = bs.analyze(snn, [(X, Y)], task=task)
    assert ledger.accuracy["M0"] == pytest.approx(float(judged(task, model(X), Y).double().mean()))  # type: ignore[union-attr]
    assert ledger.accuracy["M7"] == pytest.approx(float(judged(task, snn(X), Y).double().mean()))  # type: ignore[union-attr]


def test_the_ledger_asks_the_task_which_answers_are_right() -> None:
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, K)).eval()
    snn = bs.convert(model, X[:1], calibrate=X, steps=4)

    class Opposite(Classification):
        wording = Wording(metric="share of wrong answers", lead="{score} of {samples} are wrong with {setting}.")

        def right(self, answers: Tensor, truth: Tensor) -> Tensor:
            return answers != truth

    usual, opposite = (analyze(snn, [(X, Y[:, 0])], task=task) for task in (Classification(), Opposite()))
    assert usual.accuracy.keys() == opposite.accuracy.keys()
    assert opposite.accuracy == pytest.approx({rung: 1 - share for rung, share in usual.accuracy.items()})
    assert "share of wrong answers" in str(opposite)
    unjudged = analyze(snn, [(X, Y[:, 0])], task=Boxes())
    assert not unjudged.accuracy
    assert unjudged.output == usual.output


def test_a_task_that_judges_no_sample_alone_trains_on_its_loss() -> None:
    history = bs.fit(Reader(), [(X, Y)], epochs=2, task=Boxes(), validation=[(X, Y)], **FAST)  # type: ignore[call-overload]
    assert [e.train_accuracy for e in history.epochs] == [None, None]
    assert all(e.validation_accuracy is not None for e in history.epochs)


def test_the_most_frequent_errors_come_first() -> None:
    matrix = np.array([[9, 1, 0], [3, 9, 0], [0, 0, 9]])
    assert confused(matrix, ["a", "b", "c"]) == [("b", "a", 3), ("a", "b", 1)]
    assert confused(np.eye(3, dtype=np.int64), "abc") == []
