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


def filtered(steps: int, threshold: float) -> nn.Module:
    """Return a neuron without a leak that reads one current of a synapse, and the current itself."""
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(127.0)
    model = nn.Sequential(
        bs.Repeat(steps), bs.Synapse(0.5), bs.TimeDistributed(layer), bs.IF(threshold=threshold), bs.SumReadout()
    )
    return bs.attach(model, quantize=bs.FixedPoint(1.0, bits=8)).eval()


def test_currents_have_so_many_bits_that_a_sum_of_them_rounds_without_a_leak() -> None:
    x, steps = torch.full((1, 1), 15.0), 15
    potential = 127 * 15 * sum(1 - 0.5 ** (t + 1) for t in range(steps))
    threshold = torch.tensor(potential).item()  # in float32, which is a little above
    assert threshold > potential
    model = filtered(steps, threshold)
    net = bs.lower(model, x, grid=bs.Grid(1.0, 0, 16))
    assert (model(x).item(), bs.simulate(net, bs.encode(net, x)).outputs[net.outputs[0].id].item()) == (1.0, 0)
    (note,) = net.notes
    assert note.startswith("3: its potential may reach")
    assert "2**24" in note
    assert not bs.lower(filtered(5, threshold), x, grid=bs.Grid(1.0, 0, 16)).notes


def test_a_current_beyond_single_precision_is_noted() -> None:
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(30_001.0)

    def notes(steps: int) -> tuple[str, ...]:
        synapse = bs.Synapse(0.5, gain=1.0)
        model = nn.Sequential(bs.Repeat(steps), bs.TimeDistributed(layer), synapse, bs.IF(1.0), bs.SumReadout())
        return bs.lower(bs.attach(model, quantize=bs.FixedPoint(1.0, bits=16)).eval(), x, grid=bs.Grid(1.0, 0, 1)).notes

    x = torch.ones(1, 1)
    assert [note.split(":")[1].split(" may")[0] for note in notes(12)] == [
        " its current and the products of its leak by 1",
        " its potential",
    ]
    bs.detach(layer)
    assert not notes(4)
