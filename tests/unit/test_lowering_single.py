"""Where float32 rounds and integers do not, `lower` says so."""

from __future__ import annotations

import torch
from torch import nn

import bitspike as bs
from bitspike.lowering.single_precision import WHOLE
from bitspike.ops.dynamics import Rule, integrate


def network(resolution: float | None, weight: float = 100.0, decay: float = 15 / 16) -> nn.Module:
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(weight)
    model = nn.Sequential(
        bs.Repeat(2), bs.TimeDistributed(layer), bs.LIF(decay, threshold=8.0, resolution=resolution), bs.SumReadout()
    )
    return bs.attach(model, quantize=bs.FixedPoint(1.0, bits=16)).eval()


def noted(model: nn.Module) -> tuple[str, ...]:
    return bs.lower(model, torch.ones(1, 1), grid=bs.Grid(1.0, 0, 1)).notes


def test_a_potential_beyond_single_precision_is_noted_where_nothing_else_was_rounded() -> None:
    (note,) = noted(network(2.0**-16))
    assert note.startswith("2: its potential and the products of its leak by 15 may reach")
    assert "2**24" in note
    assert not noted(network(2.0**-12))


def test_up_to_the_bound_of_the_note_the_leak_is_exact_and_beyond_it_is_not() -> None:
    rule = Rule(resolution=1.0)

    def wrong(counts: range) -> int:
        v = torch.arange(counts.start, counts.stop, dtype=torch.int64)
        leaked = integrate(v.float(), torch.zeros(len(v)), 15 / 16, rule)
        return int((leaked.long() != v * 15 // 16).sum())

    most = WHOLE // 15
    assert wrong(range(most - 100_000, most + 1)) == 0
    assert wrong(range(most + 1, most + 100_000)) > 0


def test_a_network_that_was_rounded_has_no_second_note() -> None:
    notes = noted(network(None, weight=30_000.0, decay=0.9))
    assert not any("2**24" in note for note in notes)
    assert notes
