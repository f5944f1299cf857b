"""Who watches a training sees it: a bar with a line an epoch on a terminal, a growing table in a notebook."""

from __future__ import annotations

import io
import sys
import types
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

import bitspike as bs
from bitspike.runs.notebook import Notebook, in_notebook
from bitspike.runs.shown import watched
from bitspike.tables import Table
from bitspike.train import Observer

X, Y = torch.eye(2), torch.tensor([0, 1])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Handle:
    def __init__(self, first: Table) -> None:
        self.shown = [first]

    def update(self, table: Table) -> None:
        self.shown.append(table)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> list[Handle]:
    """Put a notebook around the test; return what its cell displays."""
    handles: list[Handle] = []

    def display(table: Table, *, display_id: bool) -> Handle:
        assert display_id
        handles.append(Handle(table))
        return handles[-1]

    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell, version_info=(9, 0)))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))  # type: ignore[arg-type]
    return handles


def test_a_terminal_shows_a_line_for_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    terminal = Console(file=stream, force_terminal=True, width=140, highlight=False)
    monkeypatch.setattr("bitspike.runs.shown.Console", lambda **_: terminal)
    bs.fit(nn.Linear(2, 2), [(X, Y)], epochs=2, device="cpu", validation=[(X, Y)])
    lines = [line for line in stream.getvalue().splitlines() if "epoch 1  loss" in line or "epoch 2  loss" in line]
    assert len(lines) == 2, stream.getvalue()
    assert all("validation" in line for line in lines)


def test_a_notebook_shows_one_table_that_grows(cell: list[Handle]) -> None:
    assert in_notebook()
    bs.fit(nn.Linear(2, 2), [(X, Y)], epochs=3, device="cpu")
    (handle,) = cell
    last = handle.shown[-1]
    assert [row[0] for row in last.rows] == ["1", "2", "3"]
    assert "<table>" in last._repr_html_()
    assert not last.below
    assert any("batch 1 of 1" in line for table in handle.shown for line in table.below) or len(handle.shown) >= 3


def test_notes_stay_below_the_table(cell: list[Handle]) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    bs.fit(model, [(X, Y)], epochs=1, device="cpu", optimizer=torch.optim.SGD(model[1].parameters(), lr=0.1))
    assert cell[0].shown[-1].below == ["the optimizer has 2 of 4 parameters: 0.weight, 0.bias stay as they are"]


def test_a_second_training_begins_the_table_anew(cell: list[Handle]) -> None:
    notebook = Notebook()
    for _ in range(2):
        bs.fit(nn.Linear(2, 2), [(X, Y)], epochs=2, device="cpu", observer=notebook)
    assert [row[0] for row in cell[0].shown[-1].rows] == ["1", "2"]


def test_nobody_watches_a_pipe_and_an_observer_keeps_it_still(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bs.fit(nn.Linear(2, 2), [(X, Y)], epochs=1, device="cpu")
    monkeypatch.setattr(sys, "stderr", Terminal())
    bs.fit(nn.Linear(2, 2), [(X, Y)], epochs=1, device="cpu", observer=Observer())
    assert isinstance(sys.stderr, Terminal)
    assert not sys.stderr.getvalue()
    assert capsys.readouterr() == ("", "")


def test_of_several_processes_the_first_one_shows(cell: list[Handle], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "1")
    with watched(None) as seen:
        assert seen is None
    assert not cell


def test_a_run_is_shown_too(cell: list[Handle], tmp_path: Any) -> None:
    small = ["training.epochs=1", "data.limit=60", "evaluation.proof=4"]
    bs.run("quickstart", set=small, out=tmp_path / "run")
    assert [row[0] for row in cell[0].shown[-1].rows] == ["1"]
    assert any("proving" in line for table in cell[0].shown for line in table.below)


def test_a_history_shows_itself_as_a_table() -> None:
    history = bs.fit(nn.Linear(2, 2), [(X, Y)], epochs=2, device="cpu", precision="fp32", validation=[(X, Y)])
    head, columns, *rows = repr(history).splitlines()
    assert head.startswith("2 epochs in ")
    assert head.endswith("s on cpu, fp32; the best, epoch 2, is kept")
    assert columns.split() == ["epoch", "loss", "training", "validation", "loss", "validation", "seconds"]
    assert len(rows) == 2
    assert "<table>" in history._repr_html_()
