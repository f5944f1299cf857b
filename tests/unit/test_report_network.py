"""The report lists the layers of the network and bills one inference, as the verbs do."""

from __future__ import annotations

import re

import numpy as np
import pytest
from run_record import metrics, record

import bitspike as bs
from bitspike.analysis.report.report import render
from bitspike.integer.examples import convolution_and_pool
from bitspike.runs.measure import layers_of


def whole() -> dict[str, object]:
    net = convolution_and_pool(steps=4)
    bill = bs.energy(net, {"neuron": np.full((1, 4, 4), 2.0), "pooled": np.full((1, 2, 2), 1.0)}, samples=7)
    return record() | {"network": layers_of(net), "energy": bill.to_dict()}


def text_of(page: str, title: str) -> str:
    section = page.partition(f"<h2>{title}</h2>")[2].partition("</section>")[0]
    return " ".join(re.sub(r"<[^>]*>", " ", section).split())


def test_layers_and_energy_are_those_of_summary_and_energy() -> None:
    page = render(whole(), metrics())
    layers = text_of(page, "The network")
    assert "conv Convolution 1 x 4 x 4 9" in layers
    assert "accumulator" not in layers  # the section of sizes has it
    energy = text_of(page, "Energy of one inference")
    assert "conv multiplies codes 144" in energy
    assert "pool adds up a window 32" in energy
    assert "mean of 7 test images" in energy
    assert re.search(r"The spiking network (wins|loses)", energy)


@pytest.mark.parametrize("missing", ["network", "energy"])
@pytest.mark.parametrize("value", [None, {}, {"rows": [["conv"]], "columns": ["layer", "kind"]}, {"layers": [{}]}])
def test_a_record_without_them_is_drawn_without_them(missing: str, value: object) -> None:
    page = render(whole() | {missing: value}, metrics())
    assert ("<h2>The network</h2>" in page) == (missing != "network")
    assert ("<h2>Energy of one inference</h2>" in page) == (missing != "energy")
