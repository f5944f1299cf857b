"""Figures are the same bytes for the same numbers, use the page's colors, and leave matplotlib as it was."""

from __future__ import annotations

import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from run_record import metrics

from bitspike.analysis.drawing import plots
from bitspike.analysis.drawing.palette import PALETTE


def test_the_same_numbers_give_the_same_bytes() -> None:
    assert plots.curves(metrics(), "loss") == plots.curves(metrics(), "loss")
    assert plots.by_step([0.5, 0.9], 0.8) == plots.by_step([0.5, 0.9], 0.8)


@pytest.mark.parametrize("svg", [plots.curves(metrics(), "accuracy"), plots.by_step([0.5, 0.8, 0.9], 0.7)])
def test_figures_are_xml_with_text_and_the_colors_of_the_page(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    texts = ["".join(element.itertext()).strip() for element in root.iter() if element.tag.endswith("text")]
    assert "accuracy in %" in " ".join(texts)
    for name, color in PALETTE.items():
        assert svg.count(color) == svg.count(f"var(--{name}, {color})")
    assert "DejaVu" not in svg


def test_validation_may_be_missing() -> None:
    rows = [{key: value for key, value in row.items() if "validation" not in key} for row in metrics(3)]
    svg = plots.curves(rows, "loss")
    assert svg is not None
    assert "training" in svg
    assert "validation" not in svg


def test_nothing_is_drawn_from_nothing() -> None:
    assert plots.curves([], "loss") is None
    assert plots.curves([{"epoch": 1, "train_loss": float("nan")}], "loss") is None
    assert plots.by_step([]) is None
    assert plots.by_step([0.9]) is None


def test_settings_of_matplotlib_are_kept_out_and_kept_whole() -> None:
    import matplotlib as mpl

    plain = plots.by_step([0.5, 0.9])
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        assert plots.by_step([0.5, 0.9]) == plain
        assert dict(mpl.rcParams) == before


def test_matplotlib_is_imported_only_to_draw_and_pyplot_never() -> None:
    code = (
        "import sys, bitspike.analysis.report.report as report; assert 'matplotlib' not in sys.modules\n"
        "from bitspike.analysis.drawing import plots; plots.by_step([.5, .9])\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_curves_of_early_exit_and_gains_over_time_are_drawn_where_there_is_something() -> None:
    curves = {"fixed": [(1.0, 0.5), (2.0, 0.9)], "confidence": [(1.4, 0.85)], "gamma": []}
    svg = plots.exits(curves)
    assert svg is not None
    assert svg == plots.exits(curves)
    assert "confidence" in svg
    assert "gamma" not in svg
    assert plots.exits({"fixed": []}) is None
    layers = {f"norm{i}": [1.0, 0.5, 0.1 * i] for i in range(9)}
    svg = plots.over_time(layers, "mean gain", epsilon=0.1)
    assert svg is not None
    assert [f"norm{i}" in svg for i in (0, 4, 8)] == [True, False, True]
    assert "epsilon 0.1" in svg
    assert plots.over_time({}, "mean gain") is None
    assert plots.over_time({"norm": [1.0]}, "mean gain") is None


def test_what_is_written_in_a_figure_keeps_all_its_digits() -> None:
    """Coordinates are cut to a hundredth of a point; the label 0.075 of an axis is not, nor a name."""
    svg = plots.curves([{"epoch": n, "train_loss": 0.07 + n / 1000} for n in range(10)], "loss")
    assert svg is not None
    assert ">0.0725<" in svg or ">0.072<" in svg, "a tick of the axis"
    named = plots.over_time({"layer0.1234": [0.1, 0.2]}, "gain above 0.0625")
    assert named is not None
    assert "layer0.1234" in named
    assert 'aria-label="gain above 0.0625 of' in named
    drawn = [word for tag in named.split("<")[2:] for word in tag.partition(">")[0].split()]
    assert any("." in word for word in drawn)
    assert not any(re.search(r"\d\.\d{3}", word) for word in drawn)
