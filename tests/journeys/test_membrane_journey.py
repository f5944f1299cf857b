"""A run with potentials of few bits, from images to its report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from journey_parts import SMALL, sets

import bitspike as bs
from bitspike.integer.nodes import FewBitNeuron

Bitspike = Callable[..., tuple[int, str, str]]


def test_a_run_with_two_bits_is_proven_reported_and_needs_no_multiplier(bitspike: Bitspike, tmp_path: Path) -> None:
    run = tmp_path / "run"
    code, _, err = bitspike("run", "quickstart", "--out", run, *sets(*SMALL, "neuron.membrane={bits: 2}"))
    assert code == 0, err
    report = json.loads((run / "report.json").read_text())
    assert report["certificate"]["equal"]
    assert report["agreement"] == {"spikes": 1.0, "accuracy_difference": 0.0, "samples": 120}
    assert report["notes"] == []
    assert report["recipe"]["neuron"]["membrane"] == {"bits": 2, "step": None, "saturate": True}
    assert [row.get("kept_bits") for row in report["widths"]] == [2, 2, None]
    assert "kept between steps" in (run / "report.html").read_text(encoding="utf-8")
    net = bs.load(run / "network")
    for neuron in net.neurons:
        assert isinstance(neuron, FewBitNeuron)
        gains = {abs(int(g)) for gain in neuron.gains for g in gain.ravel()}
        assert all(g & (g - 1) == 0 for g in gains)
    assert bitspike("verify", run, "--engine")[0] == 0
    assert bs.evaluate(run)["accuracy"] == report["accuracy"]["test"]  # type: ignore[index]
