"""Many chips of one network: by integers and by torch, kept in a folder, in a few numbers."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.analysis.chips.statistics import statistics, wilson
from bitspike.errors import ConstraintError, DataError, LoweringError, RunError
from bitspike.kernels.engine.structs import library
from bitspike.lowering.chips import Chips
from bitspike.train import Observer

GRID = bs.Grid(2**-8, 0, 255)


def network(**memory: Any) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        bs.Repeat(steps=3),
        bs.TimeDistributed(nn.Conv2d(1, 6, 3, bias=False), bs.ShiftBatchNorm(6)),
        bs.LIF(decay=0.5),
        bs.TimeDistributed(nn.Flatten(), nn.Linear(6 * 36, 4, bias=False)),
        bs.RateReadout(),
    )
    return bs.attach(model, **{"quantize": bs.Midrise(4), "vary": bs.Lognormal(0.6)} | memory)


def data(count: int = 25, size: int = 10) -> list[tuple[Tensor, Tensor]]:
    """Return images with the answers of the network without variation: whatever differs is the chip's doing."""
    x = torch.randint(0, 256, (count, 1, 8, 8), generator=torch.Generator().manual_seed(1)) / 256
    labels = network().eval()(x).argmax(1)
    return [(x[i : i + size], labels[i : i + size]) for i in range(0, count, size)]


@pytest.mark.parametrize("memory", [{}, {"recover": bs.SRAM(2)}, {"recover": bs.SRAM(2), "prune": bs.GroupLasso()}])
def test_integers_and_torch_measure_the_same_chips(memory: dict[str, Any]) -> None:
    model, batches = network(**memory), data()
    exact = bs.yield_(model, batches, chips=4, grid=GRID, resolution=6)
    floats = bs.yield_(model, batches, chips=4, grid=GRID, resolution=6, integers=False)
    assert (exact.by, floats.by, floats.reason) == ("integers", "torch", "integers were not wanted")
    assert exact.accuracies == floats.accuracies
    assert exact.samples == 25
    assert len(set(exact.accuracies)) > 1
    if not memory:
        assert exact.ideal == 1.0
    later = bs.yield_(model, batches, chips=2, seed=2, grid=GRID, resolution=6)
    assert later.accuracies == exact.accuracies[2:]
    assert later.seeds == (2, 3)


def test_a_chip_of_many_is_the_chip_that_is_lowered_alone() -> None:
    model, x = network(recover=bs.SRAM(3, -1)).eval(), data()[0][0]
    chips = Chips.of(model, x[:1], grid=GRID, resolution=7)
    for seed in (0, 5):
        with bs.on_chip(model, seed, resolution=7):
            alone = bs.lower(model, x[:1], grid=GRID)
        one = chips.network(seed)
        codes = bs.encode(alone, x)
        assert bs.verify(one, x).equal
        for a, b in zip(alone.weighted, one.weighted, strict=True):
            assert (a.weight.codes == b.weight.codes).all()
        assert all(
            (bs.simulate(one, codes).outputs[k] == v).all() for k, v in bs.simulate(alone, codes).outputs.items()
        )
    for seed, engine in chips.engines(iter(range(3))):
        codes = bs.encode(engine.net, x)
        wanted = bs.simulate(chips.network(seed), codes).outputs
        assert all((engine.predict(codes)[id] == value).all() for id, value in wanted.items())


@pytest.mark.parametrize("memory", [{}, {"recover": bs.SRAM(2)}, {"vary": bs.Lognormal(2.0), "prune": bs.GroupLasso()}])
@pytest.mark.parametrize("resolution", [5, 7, 9])
def test_every_engine_of_many_chips_gives_the_integers_of_its_chip(memory: dict[str, Any], resolution: int) -> None:
    """Codes that fit a byte are handed over as bytes and others, as sums with SRAM, are not; both are exact."""
    model, x = network(**memory).eval(), data()[0][0]
    chips = Chips.of(model, x[:1], grid=GRID, resolution=resolution)
    codes, kinds = bs.encode(chips.net, x), set()
    for seeds in (range(3), range(2, 5)):  # the second call goes on with the methods of the first one
        for seed, engine in chips.engines(iter(seeds)):
            wanted = bs.simulate(chips.network(seed), codes).outputs
            assert all((engine.predict(codes)[id] == value).all() for id, value in wanted.items())
            kinds |= {str(node.weight.codes.dtype) for node in engine.net.weighted}
    assert chips.network(0).weighted[0].weight.codes.dtype == np.int64
    if "recover" not in memory:
        assert ("int8" in kinds) == engine.native
        assert engine.native == (resolution < 9 and library() is not None)


def _negative() -> nn.Module:
    model = network()
    model[1] = bs.TimeDistributed(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6))
    with torch.no_grad():
        nn.init.normal_(model[1][1].weight)
    return bs.attach(model, quantize=bs.Midrise(4), vary=bs.Lognormal(0.6), skip=["3.*"])


def _shared() -> nn.Module:
    layer = nn.Linear(64, 64, bias=False)
    first, second = bs.TimeDistributed(nn.Flatten(), layer), bs.TimeDistributed(layer)
    model = nn.Sequential(bs.Repeat(2), first, bs.LIF(0.5), second, bs.LIF(0.5), bs.RateReadout())
    return bs.attach(model, quantize=bs.Midrise(4), vary=bs.Lognormal(0.6))


def _without_a_channel() -> nn.Module:
    model = network(quantize=bs.Uniform(4), vary=bs.StuckAt(high=0.2))
    with torch.no_grad():
        model[1][0].parametrizations.weight.original[2] = 0
    return model


def _wide(bits: int) -> nn.Module:
    model = network(vary=bs.Lognormal(0.3))
    model[2] = bs.LIF(0.5, membrane=bs.Membrane(bits, step=2.0**-6, saturate=False))
    return model


@pytest.mark.parametrize(
    "make", [_negative, _shared, _without_a_channel, lambda: nn.DataParallel(network()), lambda: _wide(16)]
)
def test_any_chip_of_many_has_the_integers_of_the_chip_alone(make: Any) -> None:
    model, x = make().eval(), data()[0][0]
    chips = Chips.of(model, x[:1], grid=GRID, resolution=7)
    for seed in range(3):
        with bs.on_chip(model, seed, resolution=7):
            alone = bs.lower(model, x[:1], grid=GRID)
        for a, b in zip(alone.weighted, chips.network(seed).weighted, strict=True):
            assert (a.weight.codes == b.weight.codes).all()


def test_potentials_that_do_not_saturate_are_proven_for_every_chip() -> None:
    x = data()[0][0]
    for bits in range(4, 16):  # the fewest that suffice for chip 0
        model = _wide(bits).eval()
        try:
            chips = Chips.of(model, x[:1], grid=GRID, resolution=7)
        except LoweringError:
            continue
        needed = {}
        for seed in range(12):
            with bs.on_chip(model, seed, resolution=7), contextlib.suppress(LoweringError):
                needed[seed] = bs.lower(model, x[:1], grid=GRID)
        if len(needed) < 12:
            (seed, *_) = set(range(12)) - set(needed)
            with pytest.raises(LoweringError, match="without saturation"):
                chips.network(seed)
            return
    raise AssertionError("no chip needs more bits than chip 0")


def test_batches_that_can_be_read_once_are_refused() -> None:
    for more in ({}, {"adapt": iter(data())}):
        with pytest.raises(DataError, match="read once"):
            bs.yield_(network(), data() if more else iter(data()), chips=2, grid=GRID, **more)


def test_ordinary_networks_run_by_torch_and_say_why() -> None:
    model = bs.attach(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), quantize=bs.Midrise(2), vary=bs.Lognormal(0.5))
    result = bs.yield_(model, data(), chips=3)
    assert result.by == "torch"
    assert "Linear" in result.reason or "read-out" in result.reason
    assert "by torch (" in str(result)
    real = bs.yield_(network(), data(), chips=2, resolution=None)
    assert (real.by, real.reason) == ("torch", "levels that are read as real numbers have no codes")
    assert "levels are real numbers" in str(real)


def test_norms_are_measured_again_for_each_chip_and_come_back() -> None:
    model, batches = network(vary=bs.Combined(bs.Lognormal(0.3), bs.Drift(86400, nu=0.1))), data()
    before = copy.deepcopy(model.state_dict())
    plain = bs.yield_(model, batches, chips=3, grid=GRID)
    adapted = bs.yield_(model, batches, chips=3, grid=GRID, adapt=batches)
    assert adapted.adapted == 25
    assert adapted.accuracies != plain.accuracies
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(ConstraintError, match="counts training images"):
        bs.yield_(model, batches, adapt=100)


def test_event_frames_with_which_norms_are_measured_are_counted_by_their_labels() -> None:
    """They come as [T, N, ...], so that their length is the number of steps."""
    model, frames = network(), [(x.expand(3, *x.shape), y) for x, y in data()]
    model[0] = nn.Identity()
    assert bs.yield_(model, frames, chips=1, grid=GRID, adapt=frames).adapted == 25


def test_chips_of_other_data_or_another_grid_are_not_taken_for_those_that_were_measured(tmp_path: Path) -> None:
    model, batches = network(), data()
    first = bs.yield_(model, batches, chips=1, grid=GRID, out=tmp_path)
    shuffled = [(x.flip(0), y.flip(0)) for x, y in reversed(batches)]
    assert bs.yield_(model, shuffled, chips=1, grid=GRID, out=tmp_path).accuracies == first.accuracies
    for other in ([(x, (y + 1) % 4) for x, y in batches], [(x.flip(0), y) for x, y in batches]):
        with pytest.raises(RunError, match=r"another setting \(data\)"):
            bs.yield_(model, other, chips=1, grid=GRID, out=tmp_path)
    with pytest.raises(RunError, match=r"another setting \(setting\)"):
        bs.yield_(model, batches, chips=1, grid=bs.Grid(2**-3, 0, 7), out=tmp_path)


@pytest.mark.parametrize("wrong", [b"garbage\n", b"{}\n", b"[1]\n", b"\xff\xfe\n", b'{"seed": 1, "accuracy": null}\n'])
def test_a_damaged_line_of_chips_is_named(wrong: bytes, tmp_path: Path) -> None:
    bs.yield_(network(), data(), chips=1, grid=GRID, out=tmp_path)
    file = tmp_path / "chips.jsonl"
    file.write_bytes(file.read_bytes() + wrong)
    with pytest.raises(RunError, match="line 3 is") as told:
        bs.yield_(network(), data(), chips=2, grid=GRID, out=tmp_path)
    assert "remove that line" in str(told.value)
    file.write_bytes(file.read_bytes()[: -len(wrong)])
    bs.yield_(network(), data(), chips=2, grid=GRID, out=tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(RunError, match="cannot be written"):
            bs.yield_(network(), data(), chips=1, grid=GRID, out=out)


class Heard(Observer):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_stopped_command_goes_on_and_more_chips_are_added(tmp_path: Path) -> None:
    model, batches, heard = network(), data(), Heard()
    whole = bs.yield_(model, batches, chips=5, grid=GRID, required=0.5, out=tmp_path / "whole")
    some = bs.yield_(model, batches, chips=2, grid=GRID, out=tmp_path / "y")
    file = tmp_path / "y" / "chips.jsonl"
    file.write_text(file.read_text() + '{"seed": 2, "accu')  # killed while it wrote
    again = bs.yield_(model, batches, chips=5, grid=GRID, required=0.5, out=tmp_path / "y", observer=heard)
    assert again.accuracies[:2] == some.accuracies
    assert again.accuracies == whole.accuracies
    assert [note.partition(" chips")[0] for note in heard.notes] == ["1 of 3", "2 of 3", "3 of 3"]
    written = json.loads((tmp_path / "y" / "yield.json").read_text())
    assert written == again.to_dict()
    assert written["accuracies"] == list(whole.accuracies)
    assert (tmp_path / "y" / "yield.csv").read_text().splitlines()[:2] == ["seed,accuracy", f"0,{again.accuracies[0]}"]
    assert (tmp_path / "y" / "yield.svg").read_text().startswith("<svg")
    # Whoever copies the path of the figure finds it, whatever the folder is called.
    odd = bs.yield_(model, batches, chips=1, grid=GRID, out=tmp_path / "50%")
    assert f"figure             {tmp_path / '50%' / 'yield.svg'}" in str(odd)
    with pytest.raises(RunError, match=r"another setting \(resolution\)"):
        bs.yield_(model, batches, chips=5, grid=GRID, resolution=6, out=tmp_path / "y")
    with torch.no_grad():
        model[1][0].parametrizations.weight.original[0, 0, 0, 0] += 1
    with pytest.raises(RunError, match=r"another setting \(network\)"):
        bs.yield_(model, batches, chips=5, grid=GRID, out=tmp_path / "y")


def test_statistics_are_those_of_the_sample() -> None:
    sample = np.random.default_rng(1).normal(0.9, 0.02, 400).clip(0, 1).tolist()
    summary = statistics(sample, 0.9)
    assert summary.mean.value == pytest.approx(np.mean(sample))
    assert summary.deviation.value == pytest.approx(np.std(sample, ddof=1))
    assert summary.percentile5.value == np.percentile(sample, 5)
    assert (summary.worst, summary.best) == (min(sample), max(sample))
    # The bootstrap's interval of a mean is about 1.96 standard errors wide on each side.
    error = np.std(sample, ddof=1) / 20
    assert summary.mean.low == pytest.approx(summary.mean.value - 1.96 * error, abs=0.15 * error)
    assert summary.mean.high == pytest.approx(summary.mean.value + 1.96 * error, abs=0.15 * error)
    assert summary.good is not None
    assert summary.good.value == np.mean([x >= 0.9 for x in sample])
    assert statistics(sample, 0.9) == summary, "the same chips give the same interval"
    single = statistics([0.5])
    assert (single.mean.low, single.deviation.value, single.good) == (None, 0.0, None)
    assert (wilson(20, 20).high, wilson(0, 20).low) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"chips": 0}, "chips is 0; a whole number of at least 1"),
        ({"chips": 2.5}, r"chips=2\.5\): a whole number"),
        ({"seed": -1}, "seed is -1"),
        ({"required": 90}, "required is 90; a fraction"),
        ({"resolution": 1}, "from 2 to 15"),
    ],
)
def test_bad_values_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConstraintError, match=said):
        bs.yield_(network(), data(), **arguments)


def test_the_chips_of_a_converted_run_are_measured_in_memory_as_its_error_says() -> None:
    """A recipe that converts has no word for variation, so that no ``--set`` would help."""
    with pytest.raises(ConstraintError, match=r"fix: bs\.attach\(network, vary=bs\.Lognormal\.for_bits\(4\)\)"):
        bs.yield_(Path(__file__).parents[1] / "golden" / "runs" / "convert")
    x = torch.rand(20, 16)
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    labels = model(x).argmax(1)
    network = bs.convert(model, x[:1], calibrate=[(x, labels)], steps=4)
    bs.attach(network, vary=bs.Lognormal.for_bits(4))
    assert bs.yield_(network, [(x, labels)], chips=2).by == "integers"


def test_chips_of_a_run_stay_its_own_whatever_its_recipe_notes(tmp_path: Path) -> None:
    run = Path(shutil.copytree(Path(__file__).parents[1] / "golden" / "runs" / "train", tmp_path / "run"))
    vary = ["weights.vary={kind: rram, bits: 2}"]
    first = bs.yield_(run, chips=2, samples=20, set=vary, out=tmp_path / "chips")
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text() + "changed: {seed: 0}\n")  # a key that this version brought, for one
    assert bs.yield_(run, chips=2, samples=20, set=vary, out=tmp_path / "chips").accuracies == first.accuracies
    with pytest.raises(RunError, match=r"another setting \(network\)"):
        bs.yield_(run, chips=2, samples=20, set=[*vary, "seed=7"], out=tmp_path / "chips")


def test_networks_without_variation_or_data_are_refused() -> None:
    with pytest.raises(ConstraintError, match="no weight varies"):
        bs.yield_(nn.Linear(2, 2), [(torch.zeros(1, 2), torch.zeros(1).long())])
    with pytest.raises(DataError, match="needs data"):
        bs.yield_(network())
    with pytest.raises(DataError, match="no sample"):
        bs.yield_(network(), [(torch.zeros(0, 1, 8, 8), torch.zeros(0).long())], resolution=None)
