"""Weights under constraints are lowered as they are: simulator, engine and C equal training, spike for spike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import bitspike as bs
from bitspike.formats.c.write import c_memory
from bitspike.train import SGD
from equivalence.c_programs import CProgram, needs_compiler

SETS = [(-1, 1), (-1, 0, 1), (-2, -1, 0, 1, 2), (-4, -2, -1, 0, 1, 2, 4), (-5, -3, 0, 3, 5)]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        bs.Repeat(steps=3),
        bs.TimeDistributed(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6)),
        bs.LIF(decay=0.5, threshold=0.2),
        bs.TimeDistributed(nn.Conv2d(6, 6, 3, bias=False), nn.BatchNorm2d(6)),
        bs.LIF(decay=0.5, threshold=0.2),
        bs.TimeDistributed(nn.Flatten(), nn.Linear(6 * 16, 3)),
        bs.RateReadout(),
    )


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("levels", SETS, ids=str)
def test_levels_become_codes_and_every_spike_is_equal(levels: tuple[int, ...], per_channel: bool) -> None:
    model, images = network(), torch.randint(0, 256, (9, 1, 8, 8)) / 256
    bs.attach(model, quantize=bs.Constrained(levels, per_channel=per_channel, patience=1), include="3.*")
    bs.attach(model, quantize=bs.Uniform(8), skip="3.*")
    bs.fit(model, [(images, torch.arange(9) % 3)], epochs=3, optimizer=SGD(lr=0.05), device="cpu", precision="fp32")
    codes = bs.codes(model)["3.0"]
    net = bs.lower(model, images[:1], grid=bs.Grid(2**-8, 0, 255))
    weight = net.weighted[1].weight
    assert (weight.bits, weight.levels or tuple(range(weight.low, weight.high + 1))) == (codes.bits, levels)
    assert torch.equal(torch.from_numpy(weight.codes), codes.codes)
    assert bs.verify(net, images).equal
    entered, out = bs.encode(net, images), net.outputs[0].id
    expected = bs.simulate(net, entered).outputs[out]
    assert (bs.Engine(net).predict(entered)[out] == expected).all()


@needs_compiler
@pytest.mark.parametrize("levels", SETS, ids=str)
def test_c_stores_the_levels_in_their_bits_and_computes_the_same(levels: tuple[int, ...], tmp_path: Path) -> None:
    model, images = network(), torch.randint(0, 256, (3, 1, 8, 8)) / 256
    bs.attach(model, quantize=bs.Constrained(levels))
    net = bs.lower(model, images[:1], grid=bs.Grid(2**-8, 0, 255))
    entered = bs.encode(net, images)
    program, traced = CProgram(net, tmp_path).run(entered), bs.simulate(net, entered)
    for neuron in net.neurons:
        assert (program.spikes[neuron.id] == traced.spikes[neuron.id]).all()
    bits = (len(levels) - 1).bit_length()
    stored = [-(-bits * node.weight.codes.size // 8) + 1 for node in net.weighted]  # a byte of 0 follows each layer
    assert c_memory(net).weights == sum(stored)
