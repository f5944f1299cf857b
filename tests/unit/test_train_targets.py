"""Outputs and targets of every kind in training and evaluation: heads, soft labels, and labels of the wrong form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import DataError
from bitspike.tasks.classes import true_classes
from bitspike.train import SGD, CrossEntropy, MeanSquare, evaluate

X = torch.rand(16, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(16) % 3
SOFT = F.one_hot(Y, 3) * 0.8 + 0.2 / 3
FAST: dict[str, Any] = {"device": "cpu", "precision": "fp32", "optimizer": SGD(lr=0.05)}


class Heads(nn.Module):
    """Classes and boxes, as a tuple or by name."""

    def __init__(self, named: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU())
        self.classes, self.boxes, self.named = nn.Linear(8, 3), nn.Linear(8, 2), named

    def forward(self, x: Tensor) -> Any:
        h = self.body(x)
        found = self.classes(h), self.boxes(h)
        return dict(zip(("classes", "boxes"), found, strict=True)) if self.named else found


def classifier() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def both(outputs: Any, targets: Any) -> Tensor:
    classes, boxes = outputs.values() if isinstance(outputs, dict) else outputs
    labels, wanted = targets if isinstance(targets, tuple) else (targets, torch.zeros_like(boxes))
    return F.cross_entropy(classes, labels) + F.mse_loss(boxes, wanted)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("targets", [Y, (Y, torch.ones(16, 2))])
def test_a_loss_of_ones_own_trains_heads_and_accuracy_is_left_out(named: bool, targets: Any, tmp_path: Path) -> None:
    model, reference = Heads(named), Heads(named)
    history = bs.fit(
        model, [(X, targets)], epochs=3, loss=both, validation=[(X, targets)], folder=tmp_path, keep="last", **FAST
    )
    assert [record.train_accuracy for record in history.epochs] == [None] * 3
    assert [record.validation_accuracy for record in history.epochs] == [None] * 3
    # The first epoch's loss is that of the untrained network.
    assert history.epochs[0].train_loss == pytest.approx(both(reference(X), targets).item(), rel=1e-5)
    assert history.epochs[-1].validation_loss == pytest.approx(both(model(X), targets).item(), rel=1e-5)
    best = min(history.epochs, key=lambda record: record.validation_loss or 0.0)
    assert history.best_epoch == best.epoch
    assert '"train_accuracy": null' in (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.parametrize("loss", [CrossEntropy(), MeanSquare(), F.cross_entropy, nn.CrossEntropyLoss()])
def test_the_class_of_a_soft_label_is_its_largest_share(loss: Any) -> None:
    model = classifier()
    right = float((model(X).argmax(1) == Y).float().mean())
    soft, hard = evaluate(model, [(X, SOFT)], loss=loss), evaluate(model, [(X, Y)])
    assert soft.accuracy == hard.accuracy == pytest.approx(right)
    assert torch.equal(soft.confusion, hard.confusion)
    history = bs.fit(model, [(X, SOFT)], epochs=1, loss=loss, **FAST)
    assert history.epochs[0].train_accuracy == pytest.approx(right)


def test_shares_of_one_class_are_labels() -> None:
    outputs, hard = torch.randn(16, 3), F.one_hot(Y, 3).float()
    assert MeanSquare()(outputs, hard) == MeanSquare()(outputs, Y)
    torch.testing.assert_close(CrossEntropy()(outputs, hard), CrossEntropy()(outputs, Y))


WRONG: list[tuple[Callable[[], nn.Module], Any, str]] = [
    (Heads, Y, r"tuple of \[16, 3\], \[16, 2\](.|\n)*model\(x\)\[0\]"),
    (lambda: Heads(named=True), Y, r"the model gave a dict"),
    (classifier, Y.float(), r"torch\.float32 \[16\](.|\n)*labels\.long\(\)"),
    (classifier, Y[:, None], r"torch\.int64 \[16, 1\](.|\n)*labels\.squeeze\(1\)"),
    (classifier, Y[:, None].float(), r"\[16, 1\](.|\n)*labels\.squeeze\(1\)\.long\(\)"),
    (classifier, Y + 1, r"labels run from 1 to 3, the model has 3 classes(.|\n)*num_classes=4"),
    (classifier, Y - 1, r"labels run from -1 to 1"),
    (classifier, Y > 0, r"torch\.bool"),
    (classifier, Y[:8], r"\[16, 3\] for 8 labels"),
    (classifier, {"boxes": Y}, r"the labels are a dict"),
    (lambda: nn.Sequential(bs.Repeat(2)), Y, r"bs\.RateReadout"),
]


@pytest.mark.parametrize(("make", "labels", "said"), WRONG)
def test_what_has_no_classes_is_refused_where_classes_are_needed(
    make: Callable[[], nn.Module], labels: Any, said: str
) -> None:
    for attempt in (
        lambda: evaluate(make(), [(X, labels)], loss=lambda outputs, labels: torch.zeros(())),
        lambda: evaluate(make(), [(X, labels)]),
    ):
        with pytest.raises(DataError, match=said):
            attempt()
    if any(True for _ in make().parameters()):
        with pytest.raises(DataError, match=said):
            bs.fit(make(), [(X, labels)], epochs=1, **FAST)


@pytest.mark.parametrize("loss", [F.cross_entropy, nn.CrossEntropyLoss()])
def test_torchs_own_loss_is_refused_in_the_same_words(loss: Any) -> None:
    with pytest.raises(DataError, match="labels run from 1 to 3"):
        bs.fit(classifier(), [(X, Y + 1)], epochs=1, loss=loss, **FAST)


def test_a_loss_of_ones_own_keeps_its_own_errors() -> None:
    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        bs.fit(classifier(), [(X, Y)], epochs=1, loss=loss, **FAST)


def test_one_output_for_yes_and_no_trains_without_accuracy() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    yes = (Y > 0).float()[:, None]
    history = bs.fit(model, [(X, yes)], epochs=1, loss=F.binary_cross_entropy_with_logits, **FAST)
    assert history.epochs[0].train_accuracy is None


@pytest.mark.parametrize("kind", [torch.int32, torch.uint8, torch.int64])
def test_whole_numbers_of_any_width_are_classes(kind: torch.dtype) -> None:
    found = true_classes(torch.zeros(16, 3), Y.to(kind))
    assert found is not None
    assert torch.equal(found, Y)
    assert evaluate(classifier(), [(X, Y.to(kind))]).accuracy == evaluate(classifier(), [(X, Y)]).accuracy


def test_integers_are_compared_with_soft_labels_too() -> None:
    snn = bs.convert(nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)), X[:1], calibrate=X)
    net = bs.lower(snn, X[:1])
    assert bs.compare(snn, net, [(X, SOFT)]) == bs.compare(snn, net, [(X, Y)])
    with pytest.raises(DataError, match=r"labels\.squeeze\(1\)"):
        bs.compare(snn, net, [(X, Y[:, None])])


class Sum(nn.Module):
    """Two inputs that meet in one neuron."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.out = nn.Linear(16, 8), nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.out(F.relu(self.a(a) + self.b(b)))  # type: ignore[no-any-return]


def test_integers_of_several_inputs_are_compared_with_the_network_that_takes_them() -> None:
    a, b = X.flatten(1), X[:, 0, 0]
    snn = bs.convert(Sum().eval(), (a[:1], b[:1]), calibrate=[(a, b)], steps=8)
    net = bs.lower(snn, (a[:1], b[:1]))
    found = bs.compare(snn, net, [((a, b), Y)])
    answers = snn(a, b).argmax(1)
    assert (found.spikes, found.predictions, found.samples) == (1.0, 1.0, 16)
    assert found.accuracy == found.lowered_accuracy == float((answers == Y).double().mean())


@pytest.mark.parametrize("include", [["2", "3"], ["0", "1", "2", "3"]])
def test_integers_of_a_part_are_compared_with_the_whole_network(include: list[str]) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)]
    model = nn.Sequential(*layers, nn.Softmax(1)).eval()
    snn = bs.convert(model, X[:1], calibrate=X, steps=4, include=include)
    net = bs.lower(snn, X[:1])
    found = bs.compare(snn, net, [(X[:7], Y[:7]), (X[7:], Y[7:])])
    assert bs.verify(net, snn.conversion.packed(X)).equal
    assert found.spikes == 1.0
    with pytest.raises(DataError, match=r"gave \[16, 4, 2, 2\] for 16 labels"):
        bs.compare(bs.spiking_part(snn), net, [(snn.conversion.packed(X), Y)])
    assert found.accuracy == found.lowered_accuracy == float((snn(X).argmax(1) == Y).double().mean())
    with torch.no_grad():  # integers of other weights are found out, after the real layers too
        model[5].weight.mul_(-1)
    other = bs.convert(model, X[:1], calibrate=X, steps=4, include=include)
    assert bs.compare(other, net, [(X, Y)]).accuracy == float((other(X).argmax(1) == Y).double().mean())


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        ([X], r"a batch is a tensor \[16, 1, 4, 4\]"),
        ([X[:2]], "a batch is a tensor"),  # two samples are no inputs and labels
        ([{"x": X, "y": Y}], "a batch is a dict"),
        ([(X, Y, Y)], r"a batch is a tuple of \[16, 1, 4, 4\], \[16\], \[16\]"),
        ([((X, X), Y)], r"the inputs of a batch are a tuple of .*needed is a tensor"),
        ([(X.numpy(), Y)], "torch.from_numpy"),
        (X, r"tensor \[16, 1, 4, 4\] stands where batches"),
    ],
)
def test_what_is_no_pair_of_inputs_and_labels_is_named(batches: Any, said: str) -> None:
    snn = bs.convert(nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)), X[:1], calibrate=X)
    net = bs.lower(snn, X[:1])
    uses = [
        lambda: bs.fit(classifier(), batches, epochs=1, **FAST),
        lambda: evaluate(classifier(), batches),
        lambda: bs.compare(snn, net, batches),
    ]
    for use in uses:
        with pytest.raises(DataError, match=said):
            use()


def test_samples_of_event_frames_are_counted_and_not_their_steps() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        bs.TimeDistributed(nn.Flatten(), nn.Linear(16, 8)),
        bs.IF(),
        bs.TimeDistributed(nn.Linear(8, 3)),
        bs.RateReadout(),
    )
    frames = torch.randint(0, 2, (5, 16, 1, 4, 4)).float()  # [T, N, C, H, W]
    batches = [(frames[:, :10], Y[:10]), (frames[:, 10:], Y[10:])]
    history = bs.fit(model, batches, epochs=1, **{**FAST, "optimizer": SGD(lr=1e-30)})
    found = evaluate(model, batches)
    with torch.no_grad():
        out = model.eval()(frames)
    right, loss = float((out.argmax(1) == Y).double().mean()), float(F.cross_entropy(out, Y))
    assert (found.samples, found.accuracy) == (16, right)
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert history.epochs[0].train_accuracy == right
    assert history.epochs[0].train_loss == pytest.approx(loss, rel=1e-5)
