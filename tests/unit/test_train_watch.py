"""Layers that never fire, or always, are named while a network trains, with what helps; training takes no notice."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import PackageError
from bitspike.nn import IF, LIF, BernoulliCoder, Frames, RateReadout, Repeat, TimeDistributed
from bitspike.runs.shown import Bar, Lines, shown
from bitspike.train import SGD, EpochRecord, History, Observer, fit
from bitspike.train.checkpoint_checks import records_of

X = torch.rand(12, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3


class Notes(Observer):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def network(*thresholds: float | Tensor, encoder: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = [encoder or Repeat(4)]
    for threshold in thresholds:
        layers += [TimeDistributed(nn.Linear(6, 6, bias=False)), LIF(decay=0.5, threshold=threshold)]
        layers[-2][0].weight.data.abs_()
    return nn.Sequential(*layers, TimeDistributed(nn.Linear(6, 3)), RateReadout())


def trained(model: nn.Module, **choices: Any) -> tuple[History, list[str]]:
    observer = Notes()
    choices = {"epochs": 2, "seed": 0, "device": "cpu", "observer": observer} | choices
    return fit(model, [(X[:8], Y[:8]), (X[8:], Y[8:])], **choices), observer.notes


def test_a_layer_that_never_fires_is_named_once_with_a_threshold_that_makes_it_fire() -> None:
    history, notes = trained(network(1e3))
    assert [record.never_fire for record in history.epochs] == [("2",), ("2",)]
    (note,) = notes
    assert note.startswith("2 never fires: its potential reaches 0.00")
    advised = re.search(r"What helps: threshold=([\d.e+-]+) \(of a recipe: --set neuron.threshold=\1\)", note)
    assert advised is not None
    history, notes = trained(network(float(advised[1])))
    assert history.epochs[-1].never_fire == ()
    assert notes == []


def test_a_layer_that_always_fires_is_named_with_a_threshold_under_which_it_does_not() -> None:
    history, notes = trained(network(1e-3))
    assert [record.always_fire for record in history.epochs] == [("2",), ("2",)]
    (note,) = notes
    assert re.match(r"2 always fires: its potential is at least \d+ times the threshold. What helps: threshold=", note)
    advised = re.search(r"threshold=([\d.e+-]+)", note)
    assert advised is not None
    assert trained(network(float(advised[1])))[1] == []


def test_layers_after_a_silent_one_are_named_with_it_and_the_first_is_to_be_mended() -> None:
    _, notes = trained(network(1e3, 1.0, 1.0))
    (note,) = notes
    assert note.startswith("2, 4, 6 never fire: the potential of 2 reaches")
    assert note.endswith("mend the first one first")


def test_a_layer_most_of_whose_neurons_never_fire_is_named_after_the_first_epoch_alone() -> None:
    model = network(1.0)
    model[1] = TimeDistributed(nn.Linear(6, 20, bias=False))
    model[3] = TimeDistributed(nn.Linear(20, 3))
    with torch.no_grad():
        model[1][0].weight.fill_(-1.0)
        model[1][0].weight[:2] = 1.0
    _, notes = trained(model, optimizer=SGD(lr=1e-6))
    (note,) = notes
    assert note.startswith(
        "90% of the neurons of 2 never fired, over the first batch of the epoch. What helps: another"
    )
    with torch.no_grad():
        model[1][0].weight[:12] = 50.0
    _, notes = trained(model, optimizer=SGD(lr=1e-6))
    assert [n.partition(",")[0] for n in notes] == ["60% of the neurons of 2 always fired"]


def test_thresholds_by_channel_and_potentials_below_zero_have_their_own_words() -> None:
    _, (note,) = trained(network(torch.full((6,), 1e3)))
    assert re.search(r"What helps: thresholds of [\d.e-]+ times their values, a norm", note)
    negative = network(1.0)
    negative[1][0].weight.data.neg_()
    _, (note,) = trained(negative)
    assert "never rises above 0. What helps: a norm before it" in note


def test_of_a_neuron_with_equations_of_its_own_no_potential_is_told() -> None:
    class Mute(IF):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros_like(x)

    model = nn.Sequential(Repeat(2), Mute(), TimeDistributed(nn.Linear(6, 3)), RateReadout())
    _, (note,) = trained(model)
    assert note == (
        "1 never fires. What helps: a lower threshold, a norm before it (bs.ThresholdBatchNorm), other initial "
        "weights, or a lower learning rate"
    )


def test_without_an_observer_python_warns_where_fit_was_called() -> None:
    with pytest.warns(UserWarning, match="2 never fires") as caught:
        fit(network(1e3), [(X, Y)], epochs=2, device="cpu")
    with pytest.warns(UserWarning, match="2 never fires") as as_users_do:
        bs.fit(network(1e3), [(X, Y)], epochs=1, device="cpu")
    assert [w.filename for w in (*caught, *as_users_do)] == [__file__, __file__]


def test_a_threshold_is_advised_as_it_is_typed() -> None:
    _, (note,) = trained(network(1e-3))
    advised = re.search(r"threshold=(\S+) \(of a recipe: --set neuron.threshold=\1\)", note)
    assert advised is not None
    model = network(1e-3)
    with torch.no_grad():
        model[1][0].weight.fill_(30.0)
    _, (note,) = trained(model, optimizer=SGD(lr=1e-9))
    assert re.search(r"threshold=\d+ ", note), note


def test_a_layer_that_comes_back_is_told_too() -> None:
    from bitspike.train.watch import Watch

    observer, model = Notes(), network(1.0)
    watch, record = Watch(observer), EpochRecord(epoch=1, seconds=1, learning_rate=0, train_loss=1, train_accuracy=None)
    model[2].threshold = 1e3
    watch.tell(replace(record, firing=watch.measure(model, X)), model, X)
    model[2].threshold = 0.5
    watch.tell(replace(record, firing=watch.measure(model, X)), model, X)
    assert observer.notes[0].startswith("2 never fires")
    assert observer.notes[1:] == ["some neurons of 2 fire now, and not all of them always"]


def test_watching_changes_no_weight_no_loss_and_no_random_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(watched: bool) -> tuple[list[tuple[float, float | None]], list[Tensor], Tensor]:
        coder = BernoulliCoder(4, generator=torch.Generator().manual_seed(5))
        model = network(0.5, encoder=coder)
        model.insert(3, nn.Dropout(0.5))
        if not watched:
            monkeypatch.setattr("bitspike.train.watch.Watch.measure", lambda *_: None)
        history, _ = trained(model, epochs=3, precision="fp32")
        assert coder.generator is not None
        assert (history.epochs[-1].firing is not None) == watched
        losses = [(r.train_loss, r.train_accuracy) for r in history.epochs]
        return losses, [p.detach().clone() for p in model.parameters()], coder.generator.get_state()

    first, second = run(True), run(False)
    assert first[0] == second[0]
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))
    assert torch.equal(first[2], second[2])


def test_a_network_that_trains_on_some_frames_is_watched_over_those() -> None:
    model = network(1.0, 1000.0, encoder=Frames(4))
    x = X.view(12, 1, 6).expand(12, 3, 6)
    notes = Notes()
    history = fit(model, [(x, Y)], epochs=1, seed=0, device="cpu", observer=notes)
    assert history.epochs[0].never_fire == ("4",)
    assert model[0].steps == 4
    assert "4 never fires: its potential reaches" in notes.notes[0]


def test_networks_without_neurons_and_neurons_that_are_not_called_are_no_trouble() -> None:
    model = nn.Linear(6, 3)
    assert trained(model)[0].epochs[0].firing is None

    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.neuron = nn.Linear(6, 3), IF()

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x)

    assert trained(Unused())[0].epochs[0].firing is None


def test_a_resumed_run_keeps_the_records_and_says_nothing_twice(tmp_path: Path) -> None:
    class Stops(Notes):
        def epoch_done(self, record: EpochRecord) -> None:
            raise KeyboardInterrupt

    stops = Stops()
    with pytest.raises(KeyboardInterrupt):
        trained(network(1e3), epochs=3, folder=tmp_path, observer=stops)
    resumed, notes = trained(network(1e3), epochs=3, folder=tmp_path, resume=True)
    whole, said = trained(network(1e3), epochs=3)
    assert [record.firing for record in resumed.epochs] == [record.firing for record in whole.epochs]
    assert (len(said), notes) == (1, [])


def test_a_damaged_record_of_firing_is_refused() -> None:
    record = EpochRecord(epoch=1, seconds=1.0, learning_rate=0.1, train_loss=1.0, train_accuracy=0.5)
    row = asdict(record)
    state = {"epoch": 1, "epochs": 2, "seed": 0, "best_epoch": None, "history": [row]}
    older = {name: value for name, value in row.items() if name != "firing"}
    assert records_of(state, "x") == records_of(state | {"history": [older]}, "x") == [record]
    for firing in (3, {"a": 3}, {"a": {"rate": 0.1}}, {"a": {"rate": None, "silent": 0.1, "saturated": 0}}):
        with pytest.raises(PackageError, match=r"history\[0\]: firing is .*, numbers by layer were expected"):
            records_of(state | {"history": [row | {"firing": firing}]}, "x")


def idle(**shares: float) -> EpochRecord:
    layer = {"rate": 0.0, "silent": 0.0, "saturated": 0.0} | shares
    plain = EpochRecord(epoch=2, seconds=1.5, learning_rate=0.1, train_loss=0.5, train_accuracy=0.75)
    return replace(plain, firing={"neuron1": layer, "neuron2": {"rate": 0.2, "silent": 0.9, "saturated": 0.0}})


def test_the_line_of_an_epoch_names_the_layer() -> None:
    stream = io.StringIO()
    with shown(stream) as lines:
        assert isinstance(lines, Lines)
        lines.epoch_done(idle(silent=1.0))
        lines.epoch_done(idle(saturated=1.0))
        lines.epoch_done(idle())
    assert stream.getvalue() == (
        "epoch 2  loss 0.5000  training 75.00%  NEVER FIRES: neuron1  1.5 s\n"
        "epoch 2  loss 0.5000  training 75.00%  ALWAYS FIRES: neuron1  1.5 s\n"
        "epoch 2  loss 0.5000  training 75.00%  1.5 s\n"
    )


def test_the_bar_names_the_layer_as_long_as_it_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    from bitspike.train import BatchRecord

    batch = BatchRecord(epoch=3, epochs=3, batch=1, batches=2, samples=8, loss=0.5, accuracy=None)
    for record, named in ((idle(silent=1.0), True), (idle(), False)):
        stream = io.StringIO()
        terminal = Console(file=stream, force_terminal=True, width=140)
        monkeypatch.setattr("bitspike.runs.shown.Console", lambda terminal=terminal, **_: terminal)
        with shown(stream) as bar:
            assert isinstance(bar, Bar)
            bar.stage("train")
            bar.epoch_done(record)
            bar.batch_done(batch)
            bar._bar.refresh()
        assert ("NEVER FIRES: neuron1" in stream.getvalue()) == named


def test_training_without_trouble_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(network(0.5), [(X, Y)], epochs=1, device="cpu")
