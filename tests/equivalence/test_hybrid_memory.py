"""Networks in memory devices: what training computes on a chip, recovered or not, is what the integers compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from equivalence.c_programs import CProgram, needs_compiler
from equivalence.test_c_against_simulator import assert_equal
from properties.onnx_runs import open_file, run_steps

GRID = bs.Grid(2**-8, 0, 255)


def network(*, width: int = 8, steps: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        bs.Repeat(steps=steps),
        bs.TimeDistributed(nn.Conv2d(1, width, 3, bias=False), bs.ShiftBatchNorm(width)),
        bs.LIF(decay=0.5),
        bs.TimeDistributed(nn.Conv2d(width, width, 3, bias=False), bs.ShiftBatchNorm(width)),
        bs.LIF(decay=0.5),
        bs.TimeDistributed(nn.Flatten(), nn.Linear(width * 16, 4, bias=False)),
        bs.RateReadout(),
    )


def images(count: int = 12) -> Tensor:
    return torch.randint(0, 256, (count, 1, 8, 8), generator=torch.Generator().manual_seed(1)) / 256


MEMORIES = {
    "varied": {},
    "recovered": {"recover": bs.SRAM(2)},
    "shifted": {"recover": bs.SRAM(4, -1)},
    "from zero": {"recover": bs.SRAM(3, start="zero")},
    "pruned": {"recover": bs.SRAM(2), "prune": bs.GroupLasso(threshold=0.2)},
}


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_chip_lowers_to_its_cells_and_every_spike_is_equal(memory: str, tmp_path: Path) -> None:
    x = images()
    model = bs.attach(network(), quantize=bs.Midrise(4), vary=bs.Lognormal.for_bits(4, 2.0), **MEMORIES[memory]).eval()
    ideal = bs.lower(model, x[:1], grid=GRID)
    assert "the variation of its devices was left out" in "; ".join(ideal.notes)
    with bs.on_chip(model, 3, resolution=6):
        net = bs.lower(model, x[:1], grid=GRID)
        assert not net.notes, "everything lies on a grid"
        assert bs.verify(net, x).equal
        agreement = bs.compare(model, net, [(x, torch.zeros(len(x), dtype=torch.long))])
        assert agreement.spikes == 1
        logits = model(x)
    differs = [not (a.weight.codes == b.weight.codes).all() for a, b in zip(net.weighted, ideal.weighted, strict=True)]
    assert all(differs)
    codes = bs.encode(net, x)
    by_engine, by_definition = bs.Engine(net).predict(codes), bs.simulate(net, codes).outputs
    (readout,) = net.outputs
    assert (by_engine[readout.id] == by_definition[readout.id]).all()
    assert torch.equal(torch.from_numpy(bs.decode(readout, by_engine[readout.id])).float(), logits)
    bs.save(net, tmp_path / "net")
    assert bs.verify(bs.load(tmp_path / "net"), x).equal


def test_a_sum_without_a_common_grid_is_lowered_as_floats_are_and_says_so() -> None:
    x = images()
    scheme = bs.Ternary()
    model = bs.attach(network(), quantize=scheme, recover=bs.SRAM(2, quantize=bs.DoReFa(2))).eval()
    net = bs.lower(model, x[:1], grid=GRID)
    assert any("RRAM and SRAM, whose scales have no unit in common, became codes of 16 bits" in n for n in net.notes)
    assert bs.verify(net, x).equal


def test_variation_without_codes_is_left_out_of_weights_without_a_scheme() -> None:
    model = bs.attach(network(), vary=bs.Lognormal(0.5, active_in_eval=True)).eval()
    first, second = (bs.lower(model, images(1), grid=GRID) for _ in range(2))
    assert all((a.weight.codes == b.weight.codes).all() for a, b in zip(first.weighted, second.weighted, strict=True))


@needs_compiler
def test_a_recovered_chip_sends_the_same_spikes_in_every_format(tmp_path: Path) -> None:
    x = images(3)
    model = bs.attach(
        network(),
        quantize=bs.Midrise(2),
        vary=bs.Lognormal(0.3),
        recover=bs.SRAM(2),
        prune=bs.GroupLasso(threshold=0.1),
    ).eval()
    with bs.on_chip(model, 1, resolution=7):
        net = bs.lower(model, x[:1], grid=GRID)
    codes = bs.encode(net, x)
    wanted = bs.simulate(net, codes)
    assert sum(spikes.sum() for spikes in wanted.spikes.values()) > 0
    assert_equal(CProgram(net, tmp_path).run(codes), wanted)
    by_onnx = run_steps(open_file(bs.write_onnx(net, tmp_path / "net.onnx")), codes)
    by_nir = bs.simulate(bs.read_nir(bs.write_nir(net, tmp_path / "net.nir")), codes)
    for id, spikes in wanted.spikes.items():
        assert np.array_equal(by_onnx.spikes[id], spikes), id
        assert np.array_equal(by_nir.spikes[id], spikes), id
    for id, sums in wanted.outputs.items():
        assert np.array_equal(by_onnx.sums[id], sums), id
        assert np.array_equal(by_nir.outputs[id], sums), id
