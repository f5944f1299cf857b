"""Finished runs next to each other: rows, seeds, tables for terminals and papers, bad input."""

from __future__ import annotations

import csv
import io
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

import bitspike as bs
from bitspike.analysis.comparison.rows import Measured, rows_of
from bitspike.cli import main
from bitspike.recipe import load

RUNS = Path(__file__).parents[1] / "golden" / "runs"
"""Finished runs that are kept for other tests: quickstart and digits-convert, both very small."""


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Return a function that makes a finished run: a copy of a kept one, with other values and another accuracy."""

    def made(into: str, *, of: str = "train", accuracy: float | None = None, equal: bool = True, **values: Any) -> Path:
        folder = tmp_path / into
        shutil.copytree(RUNS / of, folder)
        recipe = yaml.safe_load((folder / "recipe.yaml").read_text("utf-8"))
        report = json.loads((folder / "report.json").read_text("utf-8"))
        for key, value in values.items():
            *above, last = key.split("__")
            for plain in (recipe, report["recipe"]):
                for part in above:
                    plain = plain[part]
                plain[last] = value
        if accuracy is not None:
            report["accuracy"]["test"] = accuracy
        report["certificate"]["equal"] = equal
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), "utf-8")
        (folder / "report.json").write_text(json.dumps(report), "utf-8")
        return folder

    return made


def test_runs_that_differ_by_their_seed_alone_are_one_row_with_its_spread(run: Any) -> None:
    scores = [0.9, 0.92, 0.97]
    folders = [run(f"seed{n}", seed=n, accuracy=score) for n, score in enumerate(scores)]
    (row,) = bs.compare(*folders).rows
    assert row.seeds == (0, 1, 2)
    assert row.mean == pytest.approx(statistics.mean(scores))
    assert row.deviation == pytest.approx(statistics.stdev(scores))
    assert (row.label, row.bits, row.steps, row.weight_bytes) == ("quickstart", (2,), 4, 288)
    said = str(bs.compare(*folders))
    assert "93.00 ± 3.61" in said
    assert "± is the sample standard deviation over the seeds" in said


def test_places_and_devices_make_no_other_row(run: Any) -> None:
    one = run("here", seed=0)
    other = run("there", seed=1, training__device="cpu", training__tensorboard=True, evaluation__batch_size=7)
    assert len(bs.compare(one, other).rows) == 1


def test_runs_of_one_recipe_are_told_by_what_they_say_otherwise(run: Any) -> None:
    plain = run("plain")
    changed = run("changed", training__epochs=3, norm__gain=0.5)
    rows = bs.compare(plain, changed, RUNS / "convert").rows
    assert [row.name for row in rows] == ["quickstart", "quickstart", "digits-convert"]
    assert dict(rows[0].changes) == {"norm.gain": 1.0, "training.epochs": 8}
    assert rows[1].label == "quickstart, norm.gain=0.5, training.epochs=3"
    assert rows[2].label == "digits-convert"


def test_the_same_seed_again_is_no_second_trial(run: Any) -> None:
    one, again = run("one"), run("again")
    rows = bs.compare(one, again).rows
    assert [len(row.runs) for row in rows] == [1, 1]
    assert [row.changes["run"] for row in rows] == [str(one), str(again)]
    assert len(bs.compare(one, one).rows) == 1, "a folder that is named twice is one run"


def test_the_energy_is_that_of_the_verb(run: Any) -> None:
    folder = run("one")
    (row,) = bs.compare(folder).rows
    assert row.energy_pj == bs.energy(folder).energy_pj
    (row,) = bs.compare(folder, samples=3).rows
    assert row.energy_pj == bs.energy(folder, samples=3).energy_pj


def test_a_missing_energy_names_the_option_that_counts_it(run: Any) -> None:
    folder = run("made")
    net = bs.load(folder / "network")
    shutil.rmtree(folder / "network")
    bs.save(net, folder / "network")  # with golden vectors of made inputs only
    said = " ".join(str(bs.compare(folder)).split())
    assert f"none of {folder}: " in said
    assert "--samples 100 (in Python samples=100) counts the spikes of test images" in said
    assert "--samples" not in str(bs.compare(run("whole")))


def test_what_was_not_proven_is_said(run: Any) -> None:
    good, bad = run("good"), run("bad", seed=1, equal=False)
    assert f"integers NOT EQUAL, or not proven: {bad}" in " ".join(str(bs.compare(good, bad)).split())
    assert "proven equal in every run, on 359 test images" in str(bs.compare(good))


def test_layers_that_never_fire_or_always_are_named(run: Any) -> None:
    good, bad = run("good"), run("bad", seed=1)
    report = json.loads((bad / "report.json").read_text("utf-8"))
    report["activity"]["neuron2"] |= {"silent": 1.0}
    (bad / "report.json").write_text(json.dumps(report), "utf-8")
    said = f"layers that tell nothing about the input: neuron2 never fires ({bad})"
    assert said in " ".join(str(bs.compare(good, bad)).split())
    assert "tell nothing" not in str(bs.compare(good))


def test_no_line_of_the_terminal_is_longer_than_80(run: Any) -> None:
    folders = [run("a"), run("b", seed=1), run("c", training__epochs=3, training__batch_size=7, norm__gain=0.5)]
    lines = str(bs.compare(*folders, RUNS / "convert")).splitlines()
    table = [line for line in lines if str(folders[0].parent) not in line]  # folders are as long as they are
    assert max(map(len, table)) <= 80
    assert len(lines) > 6


def test_csv_has_plain_numbers(run: Any) -> None:
    folders = [run("a", accuracy=0.5), run("b", seed=1, accuracy=0.75)]
    (row,) = csv.DictReader(io.StringIO(bs.compare(*folders).csv()))
    assert row["recipe"] == "quickstart"
    assert float(row["accuracy_mean"]) == 0.625
    assert row["seeds"] == "0 1"
    assert row["weight_bits"] == "2"
    assert row["runs"].split() == [str(folder) for folder in folders]


def test_markdown_and_latex_have_every_row_and_what_is_published(run: Any) -> None:
    published = {"value": 0.75, "source": "a paper", "setting": "T = 4"}
    folder = run("a", accuracy=0.5, published=published, name="my_own")
    report = json.loads((folder / "report.json").read_text("utf-8"))
    (folder / "report.json").write_text(json.dumps({**report, "published": published}), "utf-8")
    compared = bs.compare(folder, RUNS / "convert")
    rows = compared.markdown().splitlines()
    assert rows[0].startswith("| recipe | weights | T | accuracy, % | published, % |")
    assert rows[2].startswith("| my_own | 2-bit | 4 | 50.00 | 75.00 |")
    assert len({line.count("|") for line in rows[:4]}) == 1
    latex = compared.latex()
    assert r"my\_own & 2-bit & 4 & 50.00 & 75.00 &" in latex
    assert r"accuracy, \%" in latex
    assert latex.count(r"\\") == 3
    assert "<td" in compared._repr_html_()


def test_the_command_prints_each_layout(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(run("a"))
    compared = bs.compare(folder)
    for layout, text in (("text", str(compared)), ("csv", compared.csv()), ("latex", compared.latex())):
        assert main(["compare", folder, "--format", layout]) == 0
        assert capsys.readouterr().out.rstrip() == text.rstrip()
    assert main(["compare", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == compared.to_dict()


def test_bad_input_is_told_with_the_way_out(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unfinished = run("unfinished")
    (unfinished / "report.json").unlink()
    assert main(["compare", str(unfinished)]) == 2
    assert "is not finished" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "nowhere")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main(["compare", str(run("a")), "--samples", "0"]) == 2
    assert "at least one is needed" in capsys.readouterr().err
    assert main(["compare", str(RUNS / "train"), "--format", "pdf"]) == 2
    assert "latex" in capsys.readouterr().err
    with pytest.raises(bs.ConstraintError, match="no runs are given"):
        bs.compare()


def test_networks_in_the_wrong_places_are_told_with_the_way_out(run: Any) -> None:
    x, labels = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 2, 0])
    plain = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    spiking = bs.convert(plain, x[:1], calibrate=x, steps=4)
    net = bs.lower(spiking, x[:1])
    batches = [(x, labels)]
    assert bs.compare(spiking, net, batches).spikes == 1.0
    with pytest.raises(bs.ConstraintError, match=r"(?s)float network calls neurons '2' 0 times.*fix: .*bs.convert"):
        bs.compare(plain, net, batches)
    with pytest.raises(bs.ConstraintError, match=r"net is of type \w+, needed is an integer network(?s:.*)bs.lower"):
        bs.compare(plain, spiking, batches)  # type: ignore[call-overload]
    with pytest.raises(
        bs.ConstraintError, match="model is of type IntegerNetwork, needed is the network that was lowered"
    ):
        bs.compare(net, spiking, batches)  # type: ignore[call-overload]
    with pytest.raises(bs.ConstraintError, match="folders of runs or reports, or a network, its integers and batches"):
        bs.compare(run("a"), net)  # type: ignore[call-overload]
    for few in ((spiking,), (spiking, net)):
        with pytest.raises(bs.ConstraintError, match="a network, its integers and batches"):
            bs.compare(*few)  # type: ignore[call-overload]
    other = bs.convert(
        nn.Sequential(nn.Flatten(), nn.Linear(16, 9), nn.ReLU(), nn.Linear(9, 3)), x[:1], calibrate=x, steps=4
    )
    with pytest.raises(bs.ConstraintError, match="another network than the one"):
        bs.compare(other, net, batches)
    with bs.set_steps(spiking, 3), pytest.raises(bs.ConstraintError, match="another network than the one"):
        bs.compare(spiking, net, batches)


def test_a_network_in_memory_next_to_a_run_of_its_name_is_told_by_its_place() -> None:
    recipe = load("quickstart")
    record = {"recipe": {"name": recipe.name, "data": {"kind": "digits"}, "model": {"steps": 4}}, "seed": 0}
    network = Measured.of_network(record)
    rows = rows_of([Measured.of_run("runs/a", recipe, {}), network])
    assert [row.label for row in rows] == ["quickstart, run=runs/a", "quickstart, run=in memory"]
