"""The proof of the Verilog: it counts what differs, keeps what it counted, and the document says so."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from benchmarks import markers, verilog

import bitspike as bs
from bitspike.errors import ConstraintError, ExportError
from bitspike.formats.verilog.plan import plan
from bitspike.formats.verilog.run import Simulated
from bitspike.integer.examples import one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers

ROOT = Path(__file__).parents[2]


def simulated(net: IntegerNetwork, codes: Integers, *, lanes: int | None = None) -> Simulated:
    """Stand in for a simulator of hardware: the definition, in a thousand cycles."""
    return Simulated(bs.simulate(net, codes), 1000, "verilator")


def damaged(net: IntegerNetwork, codes: Integers, *, lanes: int | None = None) -> Simulated:
    """Return two other spikes, three other potentials and one other output for each batch."""
    run = simulated(net, codes)
    first = next(iter(run.trace.spikes))
    run.trace.spikes[first].flat[[0, -1]] ^= 1
    run.trace.potentials[first].flat[[0, 1, 2]] += 1
    next(iter(run.trace.outputs.values())).flat[0] += 1
    return run


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr("bitspike.formats.verilog.proof.run_verilog", request.param)
    monkeypatch.setattr("benchmarks.verilog.VALUES", 3 * 8 * 1536)  # three images
    monkeypatch.setattr("benchmarks.boards.version", "{} 0.0".format)  # the stand-in is no program with a version


@pytest.mark.parametrize("simulator", [simulated], indirect=True)
@pytest.mark.usefixtures("simulator")
def test_every_image_is_compared_and_its_answer_with_its_label() -> None:
    line = verilog.prove("digits-convert", images=4, lanes=8)
    assert verilog.holds(line)
    assert (line["images"], line["lanes"], line["cycles"], line["right"]) == (4, 8, 1000, 1.0)
    assert line["spikes"] == line["potentials"] == 4 * line["steps"] * line["neurons"]
    assert line["differ"] == line["unequal"] == line["outputs_differ"] == 0
    assert not verilog.holds({**line, "fired": 0}), "silence proves nothing"


@pytest.mark.parametrize("simulator", [damaged], indirect=True)
@pytest.mark.usefixtures("simulator")
def test_what_differs_is_counted_in_every_batch() -> None:
    line = verilog.prove("digits-convert", images=4)
    assert (line["differ"], line["unequal"], line["outputs_differ"], line["equal"]) == (4, 6, 2, False)
    assert not verilog.holds(line)


def test_a_dense_cycle_is_an_integer_within_the_source() -> None:
    net = one_convolution()  # 3 x 3 on 4 x 4: two of three places at both ends of an axis; then 16 neurons of 16 inputs
    assert verilog.dense_cycles(plan(net, 1)) == net.steps * ((2 + 3 + 3 + 2) ** 2 + 16 * 16)
    assert verilog.dense_cycles(plan(net, 16)) == net.steps * ((2 + 3 + 3 + 2) ** 2 + 16)


def test_no_image_and_an_unknown_network_are_refused() -> None:
    with pytest.raises(ConstraintError, match=r"images=0: at least one is compared"):
        verilog.prove("digits-convert", images=0)
    with pytest.raises(SystemExit, match=r"error: (?s:.*)no-such-network"):
        runpy.run_path(str(ROOT / "scripts" / "prove_verilog"))["main"](["no-such-network"])


def test_images_are_not_asked_for_where_nothing_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / "scripts" / "prove_verilog"))["main"](["no-such", "--images", "2", "--chips", "ecp5"])
    assert "--images: with --chips nothing is compared; leave one of them away" in capsys.readouterr().err


def line(network: str = "digits-convert", lanes: int = 8, **more: Any) -> dict[str, Any]:
    about = {"run": "2026-01-01", "network": network, "changes": [], "steps": 8, "lanes": lanes, "cpu": "a processor"}
    about |= {"bitspike": "0.1.0", "commit": "abc", "tools": "verilator 5.006"}
    counts = {"only": None, "images": 359, "right": 0.975, "equal": True, "spikes": 4000, "differ": 0, "fired": 600}
    counts |= {"potentials": 4000, "unequal": 0, "outputs_differ": 0, "cycles": 30000, "dense": 60000, "seconds": 50}
    return about | (more if "chip" in more else counts | more)


def test_the_tables_say_what_was_measured() -> None:
    chip = line(chip="ecp5", cells="5027/24288", memories="6/56", mhz=75.0, tools="yosys 0.23")
    other = line("mnist-stbp-w4", 16, changes=["data.root=DATA", "training.epochs=2"], only=100, images=100, differ=1)
    shown = verilog.table([line(), chip, other]).splitlines()
    row = "| `digits-convert`, T = 8 | 8 | 359 | 97.50 % | 4,000 | 15% | 0 | 4,000 | 0 | 30,000 | 60,000 (50%) | 50 |"
    assert row in shown
    assert "| `digits-convert`, T = 8 | 8 | ECP5-25F | 5,027 of 24,288 | 6 of 56 | 75.0 MHz | 0.40 ms |" in shown
    assert any(
        text.startswith("| `mnist-stbp-w4`, `training.epochs=2`, T = 8 | 16 | the first 100 |") for text in shown
    )
    assert "scripts/prove_verilog runs/mnist-stbp-w4 --lanes 16 --images 100 --keep" in shown
    assert "scripts/prove_verilog digits-convert --lanes 8 --chips ecp5 --keep" in shown
    assert not verilog.holds(other)


def test_the_last_line_of_each_network_lanes_and_chip_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    chip = line(chip="ecp5", cells="1/2", memories="1/2", mhz=1.0)
    verilog.keep([line(images=1), chip, line(lanes=16), line(images=2)], path)
    assert verilog.kept(path) == [line(images=2), chip, line(lanes=16)]


def test_the_row_that_make_ends_with_is_read() -> None:
    row = "all equal\n| iCE40 --hx8k | 4739/7680 cells | 25/32 block memories | 73.0 MHz | 29353 cycles a sample |"
    assert verilog.read_row(row) == {"cells": "4739/7680", "memories": "25/32", "mhz": 73.0}


def test_a_row_without_numbers_is_an_error() -> None:
    with pytest.raises(ExportError, match="no numbers of cells"):
        verilog.read_row("| ECP5 | cells |")


def test_what_was_kept_has_no_difference_and_stands_in_the_document() -> None:
    lines = verilog.kept()
    compared = [entry for entry in lines if "chip" not in entry]
    assert all(map(verilog.holds, lines))
    for network in ("digits-convert", "quickstart"):
        assert any(entry["network"] == network and entry["images"] == 359 for entry in compared)
    text = verilog.DOCUMENT.read_text(encoding="utf-8")
    assert markers.put(text, verilog.table(lines), verilog.BEGIN, verilog.END) == text, "run scripts/prove_verilog"
