"""The ledger closes, and every cause of error shows up as the part that is named after it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from ledger_networks import Chain, Residual, TwoHeads, images
from torch import nn

import bitspike as bs
from bitspike.analysis.ledger.analyze import analyze
from bitspike.analysis.ledger.curve import notes, rises_then_falls
from bitspike.analysis.ledger.ledger import Ledger
from bitspike.analysis.ledger.parts import Gap, Part, Point, Sums
from bitspike.cli.wrap import wrapped
from bitspike.conversion.result import conversion_of
from bitspike.errors import ConstraintError, DataError
from bitspike.integer.nodes import Neuron as IntegerNeuron

CHOICES: list[dict[str, object]] = [
    {},
    {"bits": 3, "per_channel": False},
    {"schedule": "layerwise"},
    {"neuron": bs.SignedIF},
    {"coding": "split"},
    {"coding": "rate"},
    {"coding": "bernoulli"},
    {"average_pool": "neuron", "fire": "gt"},
    {"reset": "hard"},
    {"max_fraction_bits": 0},
]


def ledger_of(model: nn.Module, n: int = 12, **choices: object) -> Ledger:
    x = images(n)
    return analyze(bs.convert(model, x[:2], calibrate=x, **{"steps": 8, **choices}), x)


def closes(ledger: Ledger) -> None:
    assert ledger.closure < 0.02
    assert sum(part.share for part in ledger.output.parts) == pytest.approx(1)
    for layer in ledger.layers:
        for gap in (layer.local, layer.cumulative):
            assert sum(part.part for part in gap.parts) == pytest.approx(gap.rms, rel=1e-6, abs=1e-12)
            assert sum(part.along for part in gap.parts) == pytest.approx(1.0 if gap.rms else 0.0)


@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_the_parts_add_up_to_the_measured_gap(choices: dict[str, object]) -> None:
    ledger = ledger_of(Residual(), **choices)
    closes(ledger)
    assert ledger.measured > 0
    assert [layer.kind for layer in ledger.layers][-1] == "readout"


def test_it_closes_for_several_outputs() -> None:
    closes(ledger_of(TwoHeads()))


def test_it_closes_for_a_hybrid_and_measures_the_whole_accuracy() -> None:
    x = images(20)
    model = Residual()
    labels = model(x).argmax(1)
    network = bs.convert(model, x[:2], calibrate=x, steps=16, include=["conv1", "conv2", "relu"])
    ledger = analyze(network, [(x[:10], labels[:10]), (x[10:], labels[10:])])
    closes(ledger)
    assert ledger.accuracy["M0"] == 1.0
    assert ledger.samples == 20
    right = (network(x).argmax(1) == labels).float().mean().item()
    assert ledger.accuracy["M6"] == pytest.approx(right)


def test_it_closes_with_corrections() -> None:
    x = images()
    for kind in ("bias", "potential"):
        network = bs.convert(Chain(), x[:2], calibrate=x, steps=3, bits=3, correct=kind)
        ledger = analyze(network, x)
        closes(ledger)
        shifts = conversion_of(network).shifts
        assert ("correction" in ledger.terms) == bool(shifts.bias or shifts.initial)
        assert kind == "potential" or ledger.output["correction"].rms > 0


def test_corrected_weights_are_a_correction_and_not_the_rounding_of_codes() -> None:
    x, model = images(64), Chain()
    ledgers = [analyze(bs.convert(model, x[:2], calibrate=x, steps=3, correct=how), x) for how in (None, "auto")]
    for ledger in ledgers:
        closes(ledger)
    plain, corrected = ledgers
    for term in ("input", "weights", "clipping", "truncation"):
        assert corrected.output[term].rms == pytest.approx(plain.output[term].rms, rel=1e-3, abs=1e-6), term
        assert [layer.local[term].rms for layer in corrected.layers] == pytest.approx(
            [layer.local[term].rms for layer in plain.layers], rel=1e-3, abs=1e-6
        )
    assert corrected.output["correction"].rms > 0
    assert corrected.output.rms < plain.output.rms


def test_no_note_advises_what_advice_does_not() -> None:
    weights = Part(term="weights", share=0.9, part=0.09, along=0.9, rms=0.09, mean=0.0, cosine=1.0)
    gap = Gap(rms=0.1, mean=0.0, cosine=1.0, parts=(weights,))
    (loss,) = notes(gap, (), lossy=False, samples=64, changed=(9, 0))
    assert loss.startswith("weight rounding dominates: 90% of the gap. Fine-tune (bs.prepare, bs.finish) or")
    fact, chance = notes(gap, (), lossy=False, samples=64, changed=(3, 0))
    assert fact == "weight rounding dominates: 90% of the gap."
    assert chance.endswith("nothing is advised.")
    assert notes(gap, (), lossy=False) == (loss,)  # without labels nothing is known of answers


def test_nothing_is_advised_within_the_error_of_the_sample() -> None:
    x, model = images(64), Chain()
    right = model(x).argmax(1)
    network = bs.convert(model, x[:2], calibrate=x, steps=3, correct=None)
    lost = int((network(x).argmax(1) != right).sum())
    ledger = analyze(network, [(x, right)])
    assert ledger.output.rms > 0.01
    assert bool(ledger.advice) is (lost > 2 * lost**0.5)
    assert bool(ledger.advice) is not any("nothing is advised" in note for note in ledger.notes)
    wrong = (right + 1) % model(x).shape[1]  # what nobody gets right cannot be lost
    assert analyze(network, [(x, wrong)]).advice == ()
    assert analyze(network, x).advice


def test_few_bits_are_weight_errors_and_the_ledger_says_so() -> None:
    ledger = ledger_of(Chain(), bits=2, first_bits=2, last_bits=2, steps=64)
    assert ledger.dominant == "weights"
    assert any("larger T will not help" in note for note in ledger.notes)
    assert ledger.advice[0].term == "weights"
    assert "bs.prepare" in ledger.advice[0].options[0]


def test_a_small_lambda_clips() -> None:
    x = images()
    model = Chain()
    lambdas = conversion_of(bs.convert(model, x[:2], calibrate=x, steps=64)).lambdas
    small = {id: value * 0.3 for id, value in lambdas.items()}
    ledger = analyze(bs.convert(model, x[:2], calibrate=small, steps=64, input_grid=bs.Grid(1 / 255, 0, 255)), x)
    assert ledger.dominant == "clipping"
    assert ledger.layers[0].clipped is not None
    assert ledger.layers[0].clipped > 0.05
    assert ledger.advice[0].options[0].startswith("threshold=")


def test_few_steps_truncate_and_layerwise_runs_have_no_unevenness() -> None:
    ledger = ledger_of(Chain(), steps=2, schedule="layerwise", threshold=bs.MaxThreshold())
    assert ledger.dominant == "truncation"
    assert all(layer.differs in (0.0, None) for layer in ledger.layers)
    assert abs(ledger.output["unevenness"].share) < 1e-3
    local = ledger.layers[0].local
    assert local["truncation"].rms == pytest.approx(ledger.layers[0].cumulative["truncation"].rms, rel=1e-6)


def test_spikes_in_depth_are_uneven() -> None:
    ledger = ledger_of(Residual(), steps=16)
    assert ledger.output["unevenness"].rms > 0
    deep = [layer for layer in ledger.layers if layer.kind == "neuron"][-1]
    assert deep.differs is not None
    assert deep.over is not None
    assert deep.under is not None
    assert 0 < deep.differs == pytest.approx(deep.over + deep.under)
    assert deep.largest is not None
    assert deep.largest >= 1
    # The first layer's current is constant: formula (*) holds for every neuron.
    assert ledger.layers[0].differs == 0


def test_without_fraction_bits_integers_cost_something() -> None:
    choices: dict[str, object] = {"bits": 2, "first_bits": 2, "steps": 128, "schedule": "layerwise"}
    torch.manual_seed(0)
    coarse = ledger_of(Chain(), max_fraction_bits=0, **choices)
    torch.manual_seed(0)
    fine = ledger_of(Chain(), max_fraction_bits=8, **choices)
    assert coarse.output["integer"].rms > 3 * fine.output["integer"].rms


def test_limits_of_a_chip_saturate() -> None:
    x = images()
    network = bs.convert(Residual(), x[:2], calibrate=x, steps=8)
    net = bs.lower(network, x[:1])
    tight = replace(net, nodes=tuple(replace(n, floor=0) if isinstance(n, IntegerNeuron) else n for n in net.nodes))
    free, limited = analyze(network, x), analyze(network, x, limits=tight)
    assert free.output["saturation"].rms == 0
    assert limited.output["saturation"].rms > 0
    closes(limited)


def test_a_reset_to_zero_is_labeled_lossy() -> None:
    ledger = ledger_of(Chain(), reset="hard")
    assert ledger.lossy
    assert "reset" in ledger.terms
    assert not {"truncation", "unevenness"} & set(ledger.terms)
    assert ledger.layers[0].differs is None
    assert "lossy" in ledger.notes[0]
    assert "not applicable" in ledger.notes[0]
    assert "lossy" in str(ledger)


def test_spikes_that_are_given() -> None:
    x = images(6)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    network = bs.convert(model, x[:2], calibrate=x, steps=8, coding="events", input_value=0.5)
    spikes = (torch.rand(8, 6, 2, 8, 8) < 0.5).float()
    ledger = analyze(network, [(spikes, torch.zeros(6, dtype=torch.long))])
    closes(ledger)
    assert ledger.samples == 6
    assert ledger.curve[-1].steps == 8


def test_accuracy_and_curve() -> None:
    x = images(30)
    model = Chain()
    labels = model(x).argmax(1)
    network = bs.convert(model, x[:2], calibrate=x, steps=6)
    ledger = analyze(network, [(x, labels)], samples=25)
    assert ledger.samples == 25
    assert [point.steps for point in ledger.curve] == [1, 2, 4, 6, 8, 12]
    assert list(ledger.accuracy) == ["M0", "M1", "M2", "M3", "M4", "M4, corrected", "M5", "M6", "M7"]
    (at,) = [point for point in ledger.curve if point.steps == 6]
    assert at.accuracy == ledger.accuracy["M6"]
    assert at.error == pytest.approx(ledger.measured, rel=1e-4)
    assert analyze(network, x).accuracy == {}


def test_curves_that_fall() -> None:
    def curve(*accuracies: float) -> list[Point]:
        return [Point(steps=2**i, accuracy=a, error=0.0) for i, a in enumerate(accuracies)]

    assert rises_then_falls(curve(0.5, 0.7, 0.9)) is None
    assert rises_then_falls(curve(0.5, 0.9, 0.895)) is None
    assert rises_then_falls(curve(0.5, 0.9, 0.85)) is not None
    # Of 100 samples a fall of five points is within two standard errors, of 10,000 it is not.
    assert rises_then_falls(curve(0.5, 0.9, 0.85), samples=100) is None
    assert rises_then_falls(curve(0.5, 0.9, 0.85), samples=10_000) is not None
    errors = [Point(steps=t, accuracy=None, error=e) for t, e in ((1, 0.5), (2, 0.2), (4, 0.25))]
    assert rises_then_falls(errors) == (errors[1], errors[2])


def test_sums_do_not_depend_on_how_batches_are_cut() -> None:
    rungs = [torch.rand(10, 7, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    once, twice = Sums(("a", "b", "c")), Sums(("a", "b", "c"))
    once.add(rungs)
    twice.add([r[:3] for r in rungs])
    twice.add([r[3:] for r in rungs])
    one, two = once.gap(), twice.gap()
    assert one.rms == pytest.approx(two.rms)
    for a, b in zip(one.parts, two.parts, strict=True):
        assert (a.share, a.along, a.rms) == pytest.approx((b.share, b.along, b.rms))
        assert (a.mean, a.cosine) == pytest.approx((b.mean, b.cosine))
    joined = Sums.joined([once, once])
    assert joined.rms == pytest.approx(one.rms)
    assert joined.mean == pytest.approx(one.mean)


def test_batches_of_any_size_give_the_same_ledger() -> None:
    x = images(9)
    network = bs.convert(Chain(), x[:2], calibrate=x, steps=4)
    whole, cut = analyze(network, x, batch=9), analyze(network, [x[:4], x[4:]], batch=3)
    assert whole.measured == pytest.approx(cut.measured, rel=1e-5)
    for a, b in zip(whole.layers, cut.layers, strict=True):
        assert a.rate == b.rate
        assert a.silent == b.silent
        assert a.cumulative.rms == pytest.approx(b.cumulative.rms, rel=1e-5)


def test_everything_is_written(tmp_path: Path) -> None:
    x = images(8)
    network = bs.convert(Chain(), x[:2], calibrate=x, steps=4)
    ledger = analyze(network, [(x, torch.zeros(8, dtype=torch.long))], out=tmp_path / "ledger")
    folder = tmp_path / "ledger"
    assert json.loads((folder / "ledger.json").read_text()) == ledger.to_dict()
    figures = sorted(folder.glob("figures/*.svg"))
    assert {"parts_local", "parts_cumulative", "rates", "steps"} <= {figure.stem for figure in figures}
    for kind in ("activations_", "decoded_", "codes_"):
        assert any(figure.stem.startswith(kind) for figure in figures)
    for figure in figures:
        ElementTree.fromstring(figure.read_text())
        rows = list(csv.reader(figure.with_suffix(".csv").read_text().splitlines()))
        assert len(rows) > 1
        assert len({len(row) for row in rows}) == 1
    page = (folder / "ledger.html").read_text()
    assert "http" not in page.replace("http://www.w3.org", "").replace('<meta http-equiv="Content-Security-Policy"', "")
    assert "Where the gap comes from" in page
    assert len(list(csv.reader((folder / "layers.csv").read_text().splitlines()))) == 1 + 2 * len(ledger.layers) * len(
        ledger.terms
    )
    said = wrapped(str(ledger), 80)
    assert said.startswith("Chain: gap to the float network")
    assert max(map(len, said.splitlines())) <= 80
    assert said.count("\n6_readout ") == 2, "of each layer its gap, and the parts of that"


def test_what_cannot_be_measured_is_refused() -> None:
    x = images(4)
    network = bs.convert(Chain(), x[:2], calibrate=x, steps=4)
    with pytest.raises(ConstraintError, match=r"not made by bs\.convert"):
        analyze(Chain(), x)
    with pytest.raises(DataError, match="yielded none"):
        analyze(network, [])
    with pytest.raises(DataError, match="got None"):
        analyze(network, None)  # type: ignore[arg-type]
