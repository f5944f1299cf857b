"""Which networks no other one beats, their figure and table, and what is refused before anything is measured."""

from __future__ import annotations

import csv
import itertools
import json
import random
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import bitspike as bs
from bitspike.analysis.chips.pareto import COSTS, Pareto, Point, front, picture, short_names, write
from bitspike.errors import ConstraintError, RunError

GOLDEN = Path(__file__).parents[1] / "golden" / "runs"


def point(name: str, energy: float, accuracy: float, **more: Any) -> Point:
    size = int(energy) * 10
    return Point(
        network=name,
        **{"cells": size, "device_size": size, "sram_size": 7, "area_f2": energy * 100, "ideal": accuracy} | more,
        energy_pj=energy,
        accuracy=accuracy,
    )


def result(*points: Point, **more: Any) -> Pareto:
    rest = {"metric": "accuracy", "data": "digits", "samples": 359, "devices": "rram-1t1r", "table": "horowitz-45nm"}
    return Pareto(**{"by": "energy"} | rest | more, points=points)


def test_the_front_is_what_no_point_beats_whatever_their_order() -> None:
    draw = random.Random(0)
    points = [point(str(n), draw.randint(1, 9), draw.randint(1, 9) / 10) for n in range(40)]
    wanted = {
        p.network
        for p in points
        if not any(
            (q.energy_pj < p.energy_pj and q.accuracy >= p.accuracy)
            or (q.energy_pj <= p.energy_pj and q.accuracy > p.accuracy)
            for q in points
        )
    }
    for _ in range(5):
        draw.shuffle(points)
        best = front(points)
        assert {p.network for p in best} == wanted
        # Ties stay together; else more energy means more accuracy.
        for a, b in itertools.pairwise(best):
            assert (a.energy_pj, a.accuracy) == (b.energy_pj, b.accuracy) or (
                a.energy_pj < b.energy_pj and a.accuracy < b.accuracy
            )
    assert front(points[:1]) == points[:1]
    assert front([]) == []


def test_two_that_are_alike_are_both_on_the_front() -> None:
    alike = [point("a", 2, 0.5), point("b", 2, 0.5)]
    assert front(alike) == alike


def test_each_cost_has_a_front_of_its_own() -> None:
    a = point("a", 1, 0.8, area_f2=900.0, device_size=10)
    b = point("b", 2, 0.8, area_f2=100.0, device_size=1)
    assert {by: [p.network for p in front([a, b], by)] for by in COSTS} == {
        "energy": ["a"],
        "area": ["b"],
        "bits": ["b"],
    }


def test_table_figure_and_record_hold_every_point(tmp_path: Path) -> None:
    points = (
        point("runs/m/varied", 3, 0.8, low=0.78, high=0.82, worst=0.7, chips=20),
        point("runs/m/recovered", 5, 0.9, low=0.89, high=0.91, worst=0.88, chips=20),
        point("runs/m/baseline & more", 9, 0.85),
    )
    whole = result(*points, folder=str(tmp_path))
    write(whole, tmp_path)
    rows = list(csv.DictReader((tmp_path / "pareto.csv").read_text().splitlines()))
    assert [row["network"] for row in rows] == [p.network for p in points]
    assert [row["front"] for row in rows] == ["1", "1", "0"]
    assert float(rows[0]["energy_pj"]) == 3
    assert rows[2]["low"] == ""
    record = json.loads((tmp_path / "pareto.json").read_text())
    assert record == json.loads(json.dumps(whole.to_dict()))
    assert record["front"] == ["runs/m/varied", "runs/m/recovered"]
    figure = (tmp_path / "pareto.svg").read_text()
    ElementTree.fromstring(figure)
    assert all(name in figure for name in ("varied", "recovered", "baseline &amp; more"))
    assert picture(whole) + "\n" == figure, "the same numbers give the same bytes"
    said = str(whole)
    assert said.index("* runs/m/varied") < said.index("* runs/m/recovered") < said.index("  runs/m/baseline")
    assert "mean of 20 chips" in said
    assert "nothing varies" in said


@pytest.mark.parametrize("by", COSTS)
def test_a_single_point_is_drawn(by: str) -> None:
    assert "alone" in picture(result(point("alone", 0, 0.5), by=by))


def test_costs_below_one_have_their_places_on_the_axis() -> None:
    figure = picture(result(point("a", 200, 0.5), point("b", 800, 0.9)))
    assert re.search(r">0\.\d+<", figure), "0.2 to 0.8 nJ"


def test_names_are_as_short_as_they_can_be() -> None:
    assert short_names(["a/b/x", "a/c/x", "a/c/y"]) == ["b/x", "c/x", "c/y"]
    assert short_names([]) == []
    assert short_names(["x", "a/x"]) == ["x", "a/x"]


@pytest.mark.parametrize(
    ("runs", "more", "said"),
    [
        ([], {}, "no run is named"),
        (["a", "b", "a"], {}, "a stands more than once"),
        (["a"], {"by": "price"}, "by is 'price'; allowed are energy, area, bits"),
        (["a"], {"chips": 0}, "chips is 0"),
        (["a"], {"chips": True}, "chips is True"),
        (["a"], {"samples": 2.5}, "samples is 2.5"),
        (["a"], {"devices": "paper"}, "devices 'paper'"),
        (["a"], {"table": "paper"}, "table 'paper'"),
    ],
)
def test_bad_values_are_refused(runs: list[str], more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConstraintError, match=said):
        bs.pareto(runs, **more)


def test_a_folder_without_a_run_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (run,) = [folder for folder in GOLDEN.iterdir() if folder.name == "convert"]
    with pytest.raises(RunError, match="there is no folder"):
        bs.pareto([run, tmp_path / "none"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
