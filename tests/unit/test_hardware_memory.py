"""What weights cost where they lie: cells, bits and energies, counted by hand and by a loop over spikes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import bitspike as bs
from bitspike.errors import ConstraintError, LoweringError
from bitspike.hardware.memory import devices
from bitspike.hardware.memory.devices import Devices, load
from bitspike.runs.memories import memories

GRID = bs.Grid(2**-4, 0, 16)
SHIPPED = devices.TABLES / "rram-1t1r.toml"


def network(first: int = 1, hidden: int = 32, **memory: Any) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        bs.Repeat(steps=3),
        bs.TimeDistributed(nn.Conv2d(first, hidden, 3, padding=1, bias=False), bs.ShiftBatchNorm(hidden)),
        bs.LIF(decay=0.5),
        bs.TimeDistributed(nn.Conv2d(hidden, 8, 3, padding=1, stride=2, bias=False), bs.ShiftBatchNorm(8)),
        bs.LIF(decay=0.5),
        bs.TimeDistributed(nn.Flatten(), nn.Linear(8 * 9, 4, bias=False)),
        bs.RateReadout(),
    )
    return bs.attach(model, **memory) if memory else model


def images(count: int = 5) -> torch.Tensor:
    return torch.randint(0, 17, (count, 1, 6, 6), generator=torch.Generator().manual_seed(1)) / 16


def test_a_pulse_is_volt_squared_times_conductance_times_time() -> None:
    cells = load("rram-1t1r")
    assert cells.pulse_pj(1.0) == pytest.approx((0.5**2 / 6e3 + 0.5**2 / 9e5) * 10e-9 * 1e12)
    assert cells.pulse_pj(0.0) == pytest.approx(2 * 0.5**2 / 9e5 * 10e-9 * 1e12), "both cells of the pair are off"
    assert cells.conversion_pj == pytest.approx(3.1e-3 / 1.2e9 * 1e12, abs=0.005), "the converter's power by its rate"
    assert (cells.cell_f2, cells.rows) == (4 * 12, 128)


def test_cells_and_bits_follow_from_the_slots_of_the_weight_path() -> None:
    model = network(quantize=bs.Midrise(4), vary=bs.Lognormal(0.3), skip="5.*")
    cost = bs.cost(model)
    first, second, last = cost.layers
    assert (first.cells, first.device_bits, first.device_size, first.sram_size) == (2 * 288, 4, 4 * 288, 0)
    assert (second.cells, second.device_size) == (2 * 2304, 4 * 2304)
    assert (last.cells, last.device_bits, last.sram_bits, last.sram_size) == (0, 0, 32, 32 * 288)
    assert cost.area_f2 == 48 * cost.cells + 160 * cost.sram_size
    assert cost.energy is None
    assert "no spikes were given" in str(cost)
    bs.attach(model, recover=bs.SRAM(2), skip="5.*")
    recovered = bs.cost(model)
    assert [x.sram_size for x in recovered.layers] == [2 * 288, 2 * 2304, 32 * 288]
    assert recovered.cells == cost.cells
    assert bs.cost(network(quantize=bs.Uniform(3))).sram_size == 3 * (288 + 2304 + 288)


def test_groups_without_any_weight_are_not_stored_and_a_map_says_which() -> None:
    memory = {"quantize": bs.Midrise(4), "vary": bs.Lognormal(0.3), "recover": bs.SRAM(2)}
    model = network(**memory, prune=bs.GroupLasso(threshold=0.2))
    second = model[3][0].parametrizations.weight[0].recover
    with torch.no_grad():
        second.master.uniform_(0.5, 1)
        second.master[:3, 16:] = 0
        second.master[4, :16] = 0
        second.master[4, 0, 1, 1] = 0.9  # one weight keeps its whole group
    first, pruned, _ = bs.cost(model).layers
    assert first.sram_size == 2 * 288, "the first layer is not pruned, so it needs no zero and no map"
    groups = 8 * 2
    assert pruned.sram_bits == 3, "four levels and a zero"
    assert pruned.sram_size == 3 * 16 * 9 * (groups - 3) + groups


@pytest.mark.parametrize("share", [0.1, 0.7])
def test_scattered_zeros_are_left_out_with_a_map_of_weights(share: float) -> None:
    memory = {"quantize": bs.Midrise(4), "vary": bs.Lognormal(0.3), "recover": bs.SRAM(2)}
    model = network(**memory, prune=bs.GroupLasso(threshold=0.5))
    master = model[3][0].parametrizations.weight[0].recover.master
    with torch.no_grad():
        master.fill_(1.0)
        master.view(-1)[torch.randperm(2304)[: int(share * 2304)]] = 0
        master[0, :16] = 0  # one of 16 groups, which would save 3 * 144 bits and take 16
    kept = int((master != 0).sum())
    _, pruned, _ = bs.cost(model).layers
    assert (pruned.sram_bits, pruned.sram_size) == (2, 2304 + 2 * kept), "2 bits need no code for zero then"
    x = images()
    energy = bs.cost(model, x, grid=GRID).layers[1].energy
    assert energy is not None
    spikes = spikes_by_hand(model, x)[0]
    windows = F.unfold(torch.from_numpy(spikes).float().flatten(0, 1), 3, padding=1, stride=2)
    reached = float(windows.sum()) * 8 / len(x)
    assert energy.sram == pytest.approx(reached * (1 + 2 * kept / 2304) * 10 / 64)


def spikes_by_hand(model: nn.Module, x: torch.Tensor) -> list[np.ndarray]:
    """Return the spikes of every layer of neurons, [T, N, ...]."""
    net = bs.lower(model, x[:1], grid=GRID)
    trace = bs.simulate(net, bs.encode(net, x))
    return [trace.spikes[node.id] for node in net.neurons]


@pytest.mark.parametrize("sram", [0, 2])
def test_energies_are_those_of_a_loop_over_spikes(sram: int) -> None:
    """With weights of one bit every pair of cells conducts alike, so the mean of a layer is exact."""
    memory: dict[str, Any] = {"quantize": bs.Midrise(1), "vary": bs.Lognormal(0.1)}
    if sram:
        memory["recover"] = bs.SRAM(sram)
    model, x = network(**memory).eval(), images()
    cost, cells = bs.cost(model, x, grid=GRID), load("rram-1t1r")
    first, second, last = cost.layers
    hidden, out = spikes_by_hand(model, x)
    reached, places = 0.0, 0
    for step in torch.from_numpy(hidden).float():
        windows = F.unfold(step, 3, padding=1, stride=2)  # [N, inputs * taps, outputs]
        reached += float(windows.sum()) * 8 / len(x)
        places += windows.shape[2] * 8
    energy = second.energy
    assert energy is not None
    assert energy.device == pytest.approx(reached * cells.pulse_pj(1.0))
    assert energy.conversion == pytest.approx(places * math.ceil(32 * 9 / 128) * 2.58)
    assert energy.sram == pytest.approx(reached * sram * 10 / 64), "8 KB hold the layer"
    add = {width: width * 0.03 / 8 for width in range(1, 9)}
    sums = bs.energy(bs.lower(model, x[:1], grid=GRID), {n: 0 * v[0, 0] for n, v in trace_of(model, x).items()})
    (line,) = (line for line in sums.layers if line.path == second.path)
    joined = places * (line.sum_bits * 0.03 / 8 if line.sum_bits <= 8 else 0.03 + (line.sum_bits - 8) * 0.07 / 24)
    assert energy.addition == pytest.approx(reached * add[sram] + joined if sram else 0.0)
    spiked = float(out.sum()) / len(x)
    assert last.energy is not None
    assert last.energy.device == pytest.approx(spiked * 4 * cells.pulse_pj(1.0))
    assert first.energy is not None
    assert [layer.column_bits for layer in cost.layers] == [1 + 4, 1 + 7, 1 + 7], "9 rows, 128 of 288, 72"
    assert "are those of exact sums" not in str(cost), "8 bits are enough"
    # Pixels of 5 bits are the same at every step: multiplied once, bit by bit; padding counts as in every MAC.
    assert first.energy.device == pytest.approx(32 * 36 * 9 * 5 * cells.pulse_pj(1.0))
    assert first.energy.conversion == pytest.approx(32 * 36 * 5 * 2.58)
    assert cost.energy is not None
    assert cost.energy.total == pytest.approx(sum(x.energy.total for x in cost.layers if x.energy is not None))
    assert cost.samples == 5


def trace_of(model: nn.Module, x: torch.Tensor) -> dict[str, np.ndarray]:
    net = bs.lower(model, x[:1], grid=GRID)
    return dict(bs.simulate(net, bs.encode(net, x)).spikes)


def test_a_bill_fits_a_terminal_of_eighty_columns() -> None:
    model = network(quantize=bs.Midrise(4), vary=bs.Lognormal(0.1), recover=bs.SRAM(2))
    lines = str(bs.cost(model, images(), grid=GRID)).splitlines()[1:]
    tables = [line for line in lines if line.startswith("  ") and line.count("  ") > 3]
    assert [line.split()[0] for line in tables] == ["layer", *(rows := ["1.0", "3.0", "5.1", "in"]), "per", *rows]
    assert max(map(len, tables)) <= 80
    assert "per sample" not in str(bs.cost(model)), "no spikes, no second table"


def test_sums_wider_than_a_converter_are_said() -> None:
    cost = bs.cost(network(quantize=bs.Midrise(4), vary=bs.Lognormal(0.1)), images(), grid=GRID)
    assert "a column may add up to 11 bits and converters give 8" in str(cost)
    assert (cost.to_dict()["column_bits"], cost.to_dict()["conversion_bits"]) == (11, 8)


def test_larger_weights_conduct_more() -> None:
    model, x = network(quantize=bs.Midrise(4), vary=bs.Lognormal(0.1)).eval(), images()
    before = bs.cost(model, x, grid=GRID).layers[0].energy
    stored = memories(model)["1.0"]
    codes = bs.codes(model)["1.0"]
    assert stored.magnitude == pytest.approx(float(codes.codes.abs().double().mean()) / 8)
    with torch.no_grad():
        model[1][0].parametrizations.weight.original.mul_(2)
    after = bs.cost(model, x, grid=GRID).layers[0].energy
    assert before is not None
    assert after is not None
    assert before.device < after.device
    assert before.conversion == after.conversion


def test_a_layer_that_is_called_twice_is_stored_once_and_read_twice() -> None:
    layer = bs.attach(nn.Linear(36, 36, bias=False), quantize=bs.Midrise(2), vary=bs.Lognormal(0.1))
    flat, again = bs.TimeDistributed(nn.Flatten(), layer), bs.TimeDistributed(layer)
    twice = nn.Sequential(bs.Repeat(2), flat, bs.IF(), again, bs.IF(), bs.RateReadout())
    once = nn.Sequential(bs.Repeat(2), flat, bs.IF(), bs.RateReadout())
    (both,), (one,) = (bs.cost(model, images(), grid=GRID).layers for model in (twice, once))
    assert both.cells == one.cells == 2 * 36 * 36
    assert both.energy is not None
    assert one.energy is not None
    assert both.energy.conversion == one.energy.conversion + 36 * 2 * 2.58


def test_frames_with_time_first_are_as_many_samples_as_there_are() -> None:
    frames = (torch.rand(3, 5, 1, 6, 6, generator=torch.Generator().manual_seed(0)) > 0.7).float()
    model = nn.Sequential(*network(quantize=bs.Midrise(1), vary=bs.Lognormal(0.1))[1:])
    cost = bs.cost(model, frames)
    energy = cost.layers[0].energy
    assert energy is not None
    windows = F.unfold(frames.flatten(0, 1), 3, padding=1)
    assert energy.device == pytest.approx(float(windows.sum()) * 32 / 5 * load("rram-1t1r").pulse_pj(1.0))
    assert cost.samples == 5


def test_one_step_of_one_channel_and_silence() -> None:
    model = network(hidden=1, quantize=bs.Midrise(1), vary=bs.Lognormal(0.1))
    model[0] = bs.Repeat(steps=1)
    cost = bs.cost(model, torch.zeros(1, 1, 6, 6), grid=GRID)
    energies = [layer.energy for layer in cost.layers]
    assert all(energy is not None for energy in energies)
    assert energies[1] is not None
    assert (energies[1].device, energies[1].conversion) == (0.0, 8 * 9 * 2.58), "a column is converted without spikes"


def test_ordinary_networks_have_cells_and_bits() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    bs.attach(model, quantize=bs.Midrise(4), vary=bs.Lognormal.for_bits(4), recover=bs.SRAM(32), skip="3")
    cost = bs.cost(nn.DataParallel(model))
    assert (cost.cells, cost.sram_size) == (72, 32 * 36 + 32 * 128)
    assert cost.to_dict()["energy"] is None
    with pytest.raises(LoweringError):
        bs.cost(model, images())
    grouped = bs.attach(nn.ConvTranspose2d(4, 6, 3, groups=2), quantize=bs.Midrise(2), vary=bs.Lognormal(0.1))
    assert bs.cost(grouped).cells == 2 * 4 * 3 * 9


def test_what_cannot_be_counted_is_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConstraintError, match="vary and are not quantized"):
        bs.cost(network(vary=bs.Lognormal(0.1)))
    with pytest.raises(ConstraintError, match="ReLU has no layer with weights"):
        bs.cost(nn.ReLU())
    with pytest.raises(ConstraintError, match="billed by its own test images"):
        bs.cost(tmp_path, images())
    for wrong in (0, True, 2.5):
        with pytest.raises(ConstraintError, match=r"samples is|samples=(True|2\.5)\): a whole number is needed"):
            bs.cost(tmp_path, samples=wrong)
    with pytest.raises(ConstraintError, match=r"neither a shipped table of devices nor a file; shipped are rram-1t1r"):
        bs.cost(network(), devices="flash")
    for wrong_kind in (3, None):
        with pytest.raises(ConstraintError, match="shipped are rram-1t1r"):
            bs.cost(network(), devices=wrong_kind)
        with pytest.raises(ConstraintError, match="shipped are horowitz-45nm"):
            bs.cost(network(), table=wrong_kind)
    with pytest.raises(ConstraintError, match="no shape yet"):
        bs.cost(nn.LazyLinear(3))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("format = 1", "format = 2", "this version reads format = 1"),
        ("rows = 128", "rows = 128.5", "rows is 128.5; a whole number above 0"),
        ("on_ohm = 6.0e3", "on_ohm = 0", "on_ohm is 0; a number above 0"),
        ("on_ohm = 6.0e3", "on_ohm = 'low'", "on_ohm is 'low'"),
        ("off_ohm = 9.0e5", "off_ohm = 9.0e2", "below on_ohm"),
        ("conversion_bits = 8", "", r"\[array\] has rows, conversion_pj; it needs"),
        ("[sram]\narea_f2 = 160.0", "", r"\[sram\] has None"),
        ("[sram]", "color = 1\n[sram]", r"\[cell\] has .*color"),
        ('name = "rram-1t1r"', 'title = "x"', "unknown title"),
    ],
)
def test_a_damaged_table_of_devices_is_refused(old: str, new: str, said: str, tmp_path: Path) -> None:
    text = SHIPPED.read_text()
    assert old in text
    file = tmp_path / "mine.toml"
    file.write_text(text.replace(old, new))
    with pytest.raises(ConstraintError, match=said):
        bs.cost(network(), devices=file)


def test_devices_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(SHIPPED.read_text().replace("rows = 128", "rows = 16").replace("area_f2 = 48.0", "area_f2 = 4"))
    model = network(quantize=bs.Midrise(4), vary=bs.Lognormal(0.3))
    mine, shipped = bs.cost(model, images(), grid=GRID, devices=file), bs.cost(model, images(), grid=GRID)
    assert mine.area_f2 == 4 * mine.cells
    assert mine.energy is not None
    assert shipped.energy is not None
    assert mine.energy.conversion > shipped.energy.conversion
    assert mine.energy.device == shipped.energy.device
    own: Devices = load(file)
    assert bs.cost(model, devices=own).area_f2 == mine.area_f2


def test_a_grid_with_a_zero_stores_few_zeros_as_they_are() -> None:
    model = nn.Sequential(bs.attach(nn.Linear(64, 8, bias=False), quantize=bs.Uniform(4)))
    with torch.no_grad():
        model[0].weight = torch.where(torch.arange(64) < 3, 0.0, 1.0).repeat(8, 1)
    bs.attach(model, prune=bs.GroupLasso(threshold=0.5, first=True))
    assert bs.cost(model).sram_size == 4 * 512
    with torch.no_grad():
        model[0].parametrizations.weight.original[:, :40] = 0
    assert bs.cost(model).sram_size == 4 * 8 * 32 + 8 * 4, "two of four groups are left out"
    with torch.no_grad():
        model[0].parametrizations.weight.original[:, ::2] = 0
    assert bs.cost(model).sram_size == 4 * 8 * 12 + 512, "a bit for each weight, and those that stay"
