"""Calibration: what data may look like, what lambda comes out, what is noted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten
from torch.utils.data import DataLoader, TensorDataset

from bitspike.conversion.calibrate import find as module
from bitspike.conversion.calibrate.entering import Seen, look
from bitspike.conversion.calibrate.feed import feed
from bitspike.conversion.calibrate.find import Calibration, calibrate
from bitspike.conversion.calibrate.thresholds import MaxThreshold, MSEThreshold, PercentileThreshold
from bitspike.errors import ConstraintError, DataError
from bitspike.graph.ir import Graph, Op

values = module.values
X = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))


def two_layers(clip: float | None = None, *, weight: Tensor | None = None) -> Graph:
    """Return x -> linear -> relu -> linear -> relu2 -> output."""
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in (*first.parameters(), *second.parameters()):
            p.copy_(torch.randn(p.shape, generator=generator))
        if weight is not None:
            first.weight.copy_(weight)
            first.bias.zero_()
    ops = (
        Op(id="x", kind="input", path="", shape=(3,), attrs={"index": 0}),
        Op(id="fc", kind="linear", path="fc", inputs=("x",), shape=(4,), module="fc"),
        Op(id="relu", kind="relu", path="relu", inputs=("fc",), shape=(4,), attrs={"clip": clip}),
        Op(id="fc2", kind="linear", path="fc2", inputs=("relu",), shape=(2,), module="fc2"),
        Op(id="relu2", kind="relu", path="relu2", inputs=("fc2",), shape=(2,), attrs={"clip": None}),
        Op(id="output", kind="output", path="", inputs=("relu2",), attrs={"structure": tree_flatten(X)[1]}),
    )
    return Graph(ops, {"fc": first, "fc2": second}, "Two")


def activations(graph: Graph, x: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        a = graph.modules["fc"](x).relu()
        clip = graph["relu"].attrs["clip"]
        a = a if clip is None else a.clamp(max=clip)
        return {"relu": a, "relu2": graph.modules["fc2"](a).relu()}


def test_lambda_is_read_from_all_samples_together() -> None:
    graph = two_layers()
    expected = activations(graph, X)
    loader = [(X[:10], "labels"), (X[10:40], "labels"), (X[40:], "labels")]
    found = calibrate(graph, loader, MaxThreshold(), steps=4)
    assert list(found) == ["relu", "relu2"]
    assert found.n == 64
    for id, a in expected.items():
        assert found[id].dtype == torch.float64
        assert found[id].tolist() == [float(a.max())]
    percentile = calibrate(graph, loader, PercentileThreshold(90.0), steps=4)
    assert percentile["relu"].item() == float(expected["relu"].flatten().sort().values[231 - 1])  # ceil(0.9 * 256)
    apart = calibrate(graph, loader, MaxThreshold(per_channel=True), steps=4)
    torch.testing.assert_close(apart["relu"].float(), expected["relu"].amax(0))


def test_rules_by_pattern_hold_where_they_match() -> None:
    graph = two_layers()
    plain = calibrate(graph, X, steps=4)
    found = calibrate(graph, X, {"relu2": MaxThreshold(per_channel=True), "*": PercentileThreshold(90.0)}, steps=4)
    assert found["relu"].tolist() == calibrate(graph, X, PercentileThreshold(90.0), steps=4)["relu"].tolist()
    assert len(found["relu2"]) == 2
    assert found.manifest()["patterns"] == {"relu2": MaxThreshold(per_channel=True).manifest()}
    first = calibrate(graph, X, {"relu2": MaxThreshold()}, steps=4)["relu"]  # no pattern matches it
    assert first.tolist() == plain["relu"].tolist()
    assert "patterns" not in plain.manifest()


class Unlabeled:
    """A loader that can be read again and again."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter(X.split(16))


@pytest.mark.parametrize("pattern", ["fc", "rleu2"])
def test_a_pattern_that_matches_no_neuron_is_told_the_name_of_one(pattern: str) -> None:
    with pytest.raises(ConstraintError, match=r"threshold: no neuron matches .* there are 'relu', 'relu2'") as told:
        calibrate(two_layers(), X, {pattern: MaxThreshold()}, steps=4)
    near = str(told.value.fix).split("'")[1]
    assert near in ("relu", "relu2")
    calibrate(two_layers(), X, {near: MaxThreshold()}, steps=4)


@pytest.mark.parametrize(
    "batches",
    [
        X,
        [X],
        list(X.split(16)),
        [(x, torch.zeros(len(x))) for x in X.split(16)],
        [[x, torch.zeros(len(x))] for x in X.split(16)],
        [{"x": x, "label": torch.zeros(len(x))} for x in X.split(16)],
        [{"label": torch.zeros(len(x)), "image": x} for x in X.split(16)],
        DataLoader(TensorDataset(X, torch.zeros(64)), batch_size=16),
        DataLoader(TensorDataset(X), batch_size=7),
        Unlabeled(),
        iter(X.split(16)),
        (x for x in X.split(5)),
    ],
    ids=lambda b: type(b).__name__,
)
def test_data_may_come_in_many_forms(batches: Any) -> None:
    graph = two_layers()
    found = calibrate(graph, batches, MaxThreshold(), steps=4)
    assert found["relu"].item() == float(activations(graph, X)["relu"].max())
    assert found.inputs == {"x": Seen(float(X.min()), float(X.max()), whole=False)}


def test_several_inputs() -> None:
    ops = (
        Op(id="a", kind="input", path="", shape=(2,), attrs={"index": 0}),
        Op(id="b", kind="input", path="", shape=(3,), attrs={"index": 1}),
    )
    graph = Graph(ops, {})
    a, b = torch.rand(4, 2), torch.rand(4, 3)
    for batch in ((a, b), (a, b, "label"), ((a, b), "label"), {"b": b, "a": a}, {"second": b, "first": a, "y": a}):
        (found,) = feed(graph, [batch], samples=8)
        assert torch.equal(found[0], a)
        assert torch.equal(found[1], b)


def test_no_more_samples_are_read_than_asked_for() -> None:
    read = []

    def batches() -> Iterator[Tensor]:
        for i in range(4):
            read.append(i)
            yield X[i * 16 : i * 16 + 16]

    graph = two_layers()
    found = calibrate(graph, batches(), MaxThreshold(), steps=4, samples=20)
    assert found.n == 20
    assert read == [0, 1]
    assert found["relu"].item() == float(activations(graph, X[:20])["relu"].max())
    assert calibrate(graph, X, steps=4, samples=1000).n == 64


def test_large_batches_are_looked_at_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = two_layers()
    expected = calibrate(graph, X, MSEThreshold(), steps=4)
    monkeypatch.setattr(module, "PIECE", 30)  # six values per sample: five samples at a time
    sizes = []

    def counted(graph: Graph, xs: tuple[Tensor, ...], *, wanted: tuple[str, ...]) -> dict[str, Tensor]:
        sizes.append(len(xs[0]))
        return values(graph, xs, wanted=wanted)

    monkeypatch.setattr(module, "values", counted)
    found = calibrate(graph, X, MSEThreshold(), steps=4)
    assert sizes == [5] * 12 + [4]
    assert torch.equal(found["relu"], expected["relu"])


@pytest.mark.parametrize("batches", [None, [], iter(()), torch.empty(0, 3)], ids=["None", "empty", "read", "no rows"])
def test_calibration_without_data_is_refused(batches: Any) -> None:
    with pytest.raises(DataError, match="needs data"):
        calibrate(two_layers(), batches, steps=4)


@pytest.mark.parametrize(
    ("batches", "says"),
    [
        ([torch.zeros(4, 5)], r"\[N, 3\]"),
        ([("a", X)], "begins with str"),
        (["text"], "begins with nothing"),
        ([{"image": torch.zeros(2, 9)}], "begins with nothing"),
        ([X.int()], "torch.int32"),
        ([X * float("nan")], "calibration data.*NaN"),
    ],
)
def test_data_that_does_not_fit_is_refused(batches: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        calibrate(two_layers(), batches, steps=4)


def test_a_layer_that_gives_no_number_is_named() -> None:
    with pytest.raises(DataError, match=r"relu.*NaN"):
        calibrate(two_layers(weight=torch.full((4, 3), 3e38)), [X + 1], steps=4)


def test_a_clip_bounds_lambda() -> None:
    big = torch.full((4, 3), 9.0)
    for rule in (MaxThreshold(), MaxThreshold(per_channel=True), PercentileThreshold(), MSEThreshold()):
        found = calibrate(two_layers(6.0, weight=big), X, rule, steps=4)
        assert bool((found["relu"] <= 6.0).all())
    assert calibrate(two_layers(6.0, weight=big), X, MaxThreshold(), steps=4)["relu"].item() == 6.0


def test_dead_channels_take_the_largest_of_the_layer() -> None:
    graph = two_layers(weight=torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 2.0, 0], [0, 0, 0]]))
    found = calibrate(graph, X, MaxThreshold(per_channel=True), steps=4)
    a = activations(graph, X)["relu"]
    top = float(a.max())
    torch.testing.assert_close(found["relu"].float(), torch.tensor([a[:, 0].max(), top, a[:, 2].max(), top]))
    assert found.dead == {"relu": (1, 3)}
    (note,) = [n for n in found.notes if "relu:" in n or "relu " in n]
    assert note.startswith("W201")
    assert "2 of 4 channels" in note
    assert "(1, 3)" in note


def test_a_dead_layer_gets_one() -> None:
    for rule in (MaxThreshold(), MaxThreshold(per_channel=True), MSEThreshold(), PercentileThreshold()):
        found = calibrate(two_layers(weight=torch.zeros(4, 3)), X, rule, steps=4, at=["relu"])
        assert set(found["relu"].tolist()) == {1.0}
        assert found.notes[0].startswith("W201")
    assert calibrate(two_layers(0.5, weight=torch.zeros(4, 3)), X, steps=4, at=["relu"])["relu"].item() == 0.5


def test_a_statistic_of_zero_falls_back_to_the_largest_activation() -> None:
    x = torch.zeros(2000, 3)
    x[7, 0] = 5.0
    graph = two_layers(weight=torch.eye(3)[[0, 1, 2, 2]])
    found = calibrate(graph, x, PercentileThreshold(99.0), steps=4, samples=2000, at=["relu"])
    assert found["relu"].tolist() == [5.0]
    assert found.notes[0].startswith("W201")


def test_tied_operations_share_the_largest_lambda() -> None:
    graph = two_layers()
    free = calibrate(graph, X, MaxThreshold(), steps=4)
    tied = calibrate(graph, X, MaxThreshold(), steps=4, ties=[{"relu", "relu2"}])
    top = max(free["relu"].item(), free["relu2"].item())
    assert tied["relu"].tolist() == tied["relu2"].tolist() == [top]
    apart = calibrate(graph, X, MaxThreshold(per_channel=True), steps=4, ties=[{"relu", "relu2"}])
    assert apart["relu"].tolist() == [top]
    alone = calibrate(graph, X, MaxThreshold(), steps=4, at=["relu"], ties=[{"relu", "relu2"}])
    assert alone["relu"].tolist() == free["relu"].tolist()


def test_a_tie_that_lifts_a_clip_is_noted() -> None:
    graph = two_layers(0.25)
    found = calibrate(graph, X, MaxThreshold(), steps=4, ties=[{"relu", "relu2"}])
    assert found["relu"].item() > 0.25
    (note,) = found.notes
    assert note.startswith("W204")
    assert "0.25" in note


def test_the_manifest_is_plain_and_the_same_for_the_same_seed() -> None:
    def run(seed: int) -> Calibration:
        return calibrate(
            two_layers(), X, PercentileThreshold(99.0, population="nonzero"), steps=8, seed=seed, capacity=40
        )

    manifest = run(3).manifest()
    assert json.loads(json.dumps(manifest)) == manifest
    assert manifest == run(3).manifest()
    assert manifest | {
        "statistic": "percentile", "percentile": 99.0, "population": "nonzero", "samples": 64, "seed": 3, "steps": 8,
    } == manifest  # fmt: skip
    assert torch.equal(run(3)["relu"], run(3)["relu"])
    assert any(not torch.equal(run(3)["relu"], run(s)["relu"]) for s in range(4, 12))


def test_wrong_uses_are_refused() -> None:
    with pytest.raises(ConstraintError, match="'nothing'"):
        calibrate(two_layers(), X, steps=4, at=["nothing"])
    with pytest.raises(ConstraintError, match="'nobody'"):
        calibrate(two_layers(), X, steps=4, ties=[{"relu", "nobody"}])
    with pytest.raises(ConstraintError, match="no relu"):
        calibrate(two_layers(), X, steps=4, at=[])
    with pytest.raises(ConstraintError, match="steps=0"):
        calibrate(two_layers(), X, steps=0)


def test_the_range_of_the_input() -> None:
    graph = two_layers()
    assert look(graph, X.split(16), ["x"]) == {"x": Seen(float(X.min()), float(X.max()), whole=False)}
    assert look(graph, X, ["x"], samples=8) == {"x": Seen(float(X[:8].min()), float(X[:8].max()), whole=False)}
