"""The report of a network in memory: the figures of its parts, tables of several, and a folder that verifies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import bitspike as bs
from bitspike import data, train
from bitspike.analysis.report.of_network import NetworkReport
from bitspike.errors import BitspikeError, ConstraintError, DataError, RunError

PIXELS = data.PixelGrid(scale=1 / 16)
TEST = data.Batches(data.load("digits", "test").subset(range(60)), 25, pixel_grid=PIXELS)
IMAGES, LABELS = next(iter(TEST))


def network(scheme: Any = bs.Ternary(), seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(
        bs.Repeat(steps=4),
        bs.TimeDistributed(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6)),
        bs.LIF(),
        bs.TimeDistributed(nn.Flatten(), nn.Linear(6 * 36, 10)),
        bs.RateReadout(),
    )
    bs.attach(model, quantize=scheme)
    return model.eval()


def report_of(model: nn.Module, **more: Any) -> NetworkReport:
    return bs.report(model, bs.lower(model, IMAGES[:1]), TEST, **more)


def test_its_figures_are_those_of_the_functions_that_measure_each() -> None:
    model = network()
    net = bs.lower(model, IMAGES[:1])
    found = bs.report(model, net, TEST, name="mine")
    tested = train.evaluate(model, TEST, each_step=True)
    record = found.to_dict()
    assert record["accuracy"]["test"] == tested.accuracy
    assert record["accuracy"]["by_step"] == tested.by_step
    assert record["certificate"] == bs.verify(net, TEST).to_dict() == found.certificate.to_dict()
    assert found.agreement == bs.compare(model, net, TEST)
    codes = bs.encode(net, torch.cat([x for x, _ in TEST]))
    billed = bs.energy(net, bs.simulate(net, codes), codes=codes)
    assert found.measured.energy_pj == pytest.approx(billed.energy_pj)
    assert record["bits"] == net.weight_bits()
    assert record["activity"]["2"]["rate"] > 0
    assert "mine: 2-bit weights and 4 time steps" in str(found)
    assert "100 % equal" in str(found)


def test_several_are_one_table_and_seeds_of_one_name_are_one_row() -> None:
    reports = [report_of(network(seed=s), name="ternary", seed=s) for s in (0, 1)]
    reports.append(report_of(network(bs.Uniform(4)), name="4 bits"))
    table = bs.compare(*reports)
    scores = [r.to_dict()["accuracy"]["test"] for r in reports]
    assert [(row.label, row.seeds, row.weights) for row in table.rows] == [
        ("ternary", (0, 1), "2-bit"),
        ("4 bits", (0,), "4-bit"),
    ]
    assert table.rows[0].mean == pytest.approx(sum(scores[:2]) / 2)
    assert r"4 bits & 4-bit & 4 & " in table.latex()
    assert str(table).startswith("3 networks on digits, test accuracy\n  network")
    assert "| 4 bits | 4-bit | 4 |" in table.markdown()


def test_it_stands_next_to_runs(tmp_path: Path) -> None:
    bs.run("quickstart", set=["training.epochs=1", "data.limit=60", "evaluation.proof=4"], out=tmp_path / "run")
    table = bs.compare(tmp_path / "run", report_of(network(), name="mine"))
    assert [row.name for row in table.rows] == ["quickstart", "mine"]
    assert "golden vectors" in table.energy_by
    assert "60 samples" in table.energy_by


def test_two_of_one_name_and_seed_are_refused() -> None:
    with pytest.raises(ConstraintError, match="2 reports are called 'network', and all are of seed 0"):
        bs.compare(report_of(network()), report_of(network(bs.Uniform(4))))


def test_its_folder_holds_a_page_the_record_and_a_package_that_verifies(tmp_path: Path) -> None:
    model = network()
    history = bs.fit(model, TEST, epochs=2, device="cpu")
    found = report_of(model, name="mine", history=history)
    page = found.save(tmp_path / "mine").read_text()
    assert f"bitspike verify {tmp_path / 'mine' / 'network'}" in page, "right from anywhere"
    assert json.loads((tmp_path / "mine" / "report.json").read_text()) == json.loads(json.dumps(found.to_dict()))
    assert bs.verify(tmp_path / "mine" / "network").equal
    for said in ("Certificate: 100 % equal", "accuracy while training", "spike by spike", "</code> made this report"):
        assert said in page, said
    assert "bitspike run" not in page.replace("bitspike run report", "")
    found.save(tmp_path / "mine")
    (tmp_path / "mine" / "recipe.yaml").write_text("")
    with pytest.raises(RunError, match="folder of a run"):
        found.save(tmp_path / "mine")


def test_a_pair_of_tensors_and_the_first_samples_will_do() -> None:
    model = network()
    net = bs.lower(model, IMAGES[:1])
    found = bs.report(model, net, (IMAGES, LABELS), samples=7)
    assert found.to_dict()["certificate"]["samples"] == found.agreement.samples == 7
    same = bs.report(model, net, [(IMAGES[:4], LABELS[:4]), (IMAGES[4:7], LABELS[4:7])])
    assert same.to_dict()["accuracy"] == found.to_dict()["accuracy"]


def test_a_converted_network_has_one_also_where_a_part_stays_real() -> None:
    torch.manual_seed(0)
    hidden = [nn.Linear(4 * 36, 12), nn.ReLU(), nn.Linear(12, 10)]
    ann = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), *hidden)
    for choice in ({}, {"include": ["3", "4", "5"]}):
        snn = bs.convert(ann, IMAGES[:1], calibrate=IMAGES, steps=4, **choice)  # type: ignore[arg-type]
        found = bs.report(snn, bs.lower(snn, IMAGES[:1]), TEST, name="converted")
        assert found.certificate.equal
        assert found.certificate.samples == 60


WRONG: dict[str, tuple[Any, str]] = {
    "no network": (lambda: bs.report(report_of, bs.lower(network(), IMAGES[:1]), TEST), "bs.report(model, net, data)"),  # type: ignore[arg-type]
    "no integers": (lambda: bs.report(network(), network(), TEST), "net = bs.lower(model, images[:1])"),  # type: ignore[arg-type]
    "labels alone": (lambda: report_with(IMAGES), "[(inputs, labels)]"),
    "read once": (lambda: report_with(iter(TEST)), "pass the loader itself"),
    "nothing": (lambda: report_with([]), ""),
    "no samples": (lambda: report_with(TEST, samples=0), "samples=1000"),
    "another network": (
        lambda: bs.report(network(bs.Uniform(4))[:4], bs.lower(network(), IMAGES[:1]), TEST),
        "",
    ),
}


def report_with(batches: Any, **more: Any) -> NetworkReport:
    model = network()
    return bs.report(model, bs.lower(model, IMAGES[:1]), batches, **more)


@pytest.mark.parametrize("case", WRONG)
def test_what_it_cannot_measure_is_refused_with_the_way_out(case: str) -> None:
    call, way = WRONG[case]
    with pytest.raises(BitspikeError) as caught:
        call()
    assert isinstance(caught.value, ConstraintError | DataError)
    assert caught.value.fix is not None
    assert caught.value.fix.startswith(way)
