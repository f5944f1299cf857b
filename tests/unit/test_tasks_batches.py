"""Loaders of dictionaries and of three values are refused with a line that makes pairs of them."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, default_collate

import bitspike as bs
from bitspike.errors import DataError
from bitspike.tasks.batches import inputs_in, pairs

X, Y = torch.rand(8, 3), torch.arange(8) % 2
ROWS = {
    "dictionaries": [{"label": y, "name": "a", "pixel_values": x} for x, y in zip(X, Y, strict=True)],
    "three values": [(x, y, n) for n, (x, y) in enumerate(zip(X, Y, strict=True))],
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        bs.Repeat(steps=2), bs.TimeDistributed(nn.Linear(3, 2)), bs.IF(threshold=0.01), bs.RateReadout()
    )


@pytest.mark.parametrize("kind", ROWS)
def test_the_way_out_is_a_line_that_works(kind: str) -> None:
    dataset: Any = ROWS[kind]
    with pytest.raises(DataError, match=r"needed is a pair \(inputs, labels\)") as caught:
        bs.fit(network(), DataLoader(dataset, batch_size=4), epochs=1, device="cpu")
    line = str(caught.value.fix).split(", with default_collate")[0].replace("...", "batch_size=4")
    known = {"DataLoader": DataLoader, "dataset": dataset, "default_collate": default_collate, "itemgetter": itemgetter}
    loader = eval(line, known)  # noqa: S307  what a user would copy
    assert [(x.shape, y.tolist()) for x, y in pairs(loader)] == [
        ((4, 3), [0, 1, 0, 1]),
        ((4, 3), [0, 1, 0, 1]),
    ]
    bs.fit(network(), loader, epochs=1, device="cpu")


@pytest.mark.parametrize("batch", [{"image": X}, {"label": Y.long()}, {"name": ["a"]}])
def test_of_a_dictionary_without_labels_or_inputs_no_name_is_made_up(batch: Any) -> None:
    with pytest.raises(DataError, match=r"needed is a pair \(inputs, labels\)\n  fix: batches with both"):
        list(pairs([batch]))


NET = bs.lower(network(), X[:1])
READERS: dict[str, Callable[[Any], object]] = {
    "fit": lambda data: bs.fit(network(), data, epochs=1, device="cpu"),
    "validation": lambda data: bs.fit(network(), [(X, Y)], epochs=1, validation=data, device="cpu"),
    "verify": lambda data: bs.verify(NET, data),
    "compare": lambda data: bs.compare(network(), NET, data),
    "report": lambda data: bs.report(network(), NET, data),
    "evaluate": lambda data: bs.train.evaluate(network(), data),
    "early_exit": lambda data: bs.early_exit(network(), data, rules=[bs.FixedExit(1)]),
}


@pytest.mark.parametrize("reader", READERS)
def test_whoever_reads_batches_says_so(reader: str) -> None:
    batches = [{"x": X, "y": Y}]
    with pytest.raises(DataError, match=r"(?s)is a dict with 'x', 'y'; needed .* fix: .*itemgetter\('x', 'y'\)"):
        READERS[reader](batches)


def test_inputs_alone_are_enough_where_labels_are_not_read() -> None:
    assert inputs_in(X) is inputs_in((X,)) is inputs_in([X, Y, 3]) is X
    with pytest.raises(DataError, match="a batch is a list of int"):
        inputs_in([1])
    with pytest.raises(DataError, match=r"tuple of \[8, 3\]; .*\n  fix: a loader that yields .*TensorDataset"):
        list(pairs([(X,)]))
    assert len(list(pairs(DataLoader(TensorDataset(X, Y), batch_size=4)))) == 2
