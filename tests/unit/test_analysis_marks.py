"""Pictures of cells hold exactly what they were given."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from bitspike.analysis.drawing import marks


def test_a_raster_has_one_mark_per_spike() -> None:
    spikes = np.random.default_rng(0).choice(np.array([-1, 0, 1], np.int8), (5, 40))
    above, below = marks.raster(spikes, "fc").split('class="below"')
    for svg, sign in ((above, 1), (below, -1)):
        found = {(int(t), int(n)) for n, t in re.findall(r"M(\d+) (\d+)\.5h", svg)}
        assert found == {(int(t), int(n)) for t, n in np.argwhere(spikes == sign)}
    assert "below" not in marks.raster(np.abs(spikes), "fc")


def test_a_membrane_has_its_potential_its_threshold_and_a_mark_for_every_spike() -> None:
    potential, spikes = np.array([0.0, 2.0, -2.0, 1.0]), np.array([0, 1, -1, 1])
    root = ElementTree.fromstring(marks.membrane(potential, np.full(4, 1.0), spikes, "fc<"))
    paths = {path.get("class"): path.get("d") or "" for path in root.iter("path")}
    assert re.findall(r"([\d.]+)H", paths["line"]) == ["20.0", "4.0", "36.0", "12.0"]
    assert paths["bar"] == "M0 12.0H4"  # one mark for what does not change
    assert re.findall(r"M(\d)\.5 0v", paths["up"]) == ["1", "3"]
    assert re.findall(r"M(\d)\.5 37v", paths["down"]) == ["2"]
    for steady in (np.zeros(4), np.ones(1)):  # no height, and one step alone
        ElementTree.fromstring(marks.membrane(steady, 0 * steady, 0 * steady, "fc"))


def test_thinning_keeps_small_rasters_whole() -> None:
    fired = np.ones((2, 10), dtype=bool)
    assert marks.thinned({"a": fired}, most=20)["a"] is not None
    assert marks.thinned({"a": fired}, most=20)["a"].shape == (2, 10)
    assert marks.thinned({"a": fired, "b": fired}, most=20)["b"].shape == (2, 5)
    assert marks.thinned({"a": np.zeros((2, 10), dtype=bool)}, most=1)["a"].shape == (2, 10)


@pytest.mark.parametrize(
    ("counts", "bars", "labels"),
    [
        ({-1: 5, 0: 10, 1: 5}, 3, {"-1", "0", "1"}),
        ({-3: 1, -1: 2, 1: 2, 3: 1}, 4, {"-3", "-1", "1", "3"}),  # mid-rise: odd codes only
        ({0: 7}, 1, {"0"}),
        (dict.fromkeys(range(-127, 128), 1), 64, {"-127", "0", "127"}),
        (dict.fromkeys(range(-5000, 5000, 7), 1), 64, {"-5000", "0"}),
        ({-2: 4, 5: 4}, 2, {"-2", "5"}),
    ],
)
def test_histograms_of_any_number_of_codes(counts: dict[int, int], bars: int, labels: set[str]) -> None:
    root = ElementTree.fromstring(marks.histogram(counts))
    assert len(root.findall("rect")) == bars
    assert labels <= {text.text for text in root.findall("text")}
    tallest = max(float(rect.get("height", 0)) for rect in root.findall("rect"))
    assert tallest == 78.0


@pytest.mark.parametrize("size", [2, 10, 20, 21, 100])
def test_confusion_draws_every_cell_that_is_not_empty(size: int) -> None:
    matrix = np.random.default_rng(size).integers(0, 3, (size, size))
    svg = marks.confusion(matrix, [f"class {i}" for i in range(size)])
    cells = {(int(c), int(r)) for c, r in re.findall(r"M(\d+) (\d+)h1", svg)}
    assert cells == {(int(c), int(r)) for r, c in np.argwhere(matrix > 0)}
    assert ("class 1" in svg) == (size <= 20)


@pytest.mark.parametrize("shape", [(8, 8), (8, 5, 1), (3, 7, 3)])
def test_png_files_are_read_back_by_another_reader(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = np.asarray(Image.open(io.BytesIO(marks.png(pixels))))
    assert np.array_equal(found.reshape(shape), pixels)


def test_large_pictures_are_thinned() -> None:
    assert len(marks.picture(np.zeros((2000, 3000, 3), np.uint8), "x")) < 20_000
