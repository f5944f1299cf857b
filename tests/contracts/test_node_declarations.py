"""What a kind of node declares is true, and a new kind is told by name what it still lacks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar, get_args, get_origin

import numpy as np
import pytest
from test_integer_nodes import everything

import bitspike as bs
from bitspike.errors import ConstraintError, ExportError
from bitspike.formats.c.program import KNOWN as C_KNOWN
from bitspike.formats.nir.support import HELD as NIR_HELD
from bitspike.formats.nir.support import REFUSED as NIR_REFUSED
from bitspike.formats.onnx.write import HELD as ONNX_HELD
from bitspike.hardware.energy.activity import counts
from bitspike.integer.arithmetic import Whole, sum_over_time
from bitspike.integer.bounds.intervals import Interval
from bitspike.integer.bounds.widths import survey
from bitspike.integer.count import count
from bitspike.integer.engine import Engine, TorchEngine
from bitspike.integer.examples import one_convolution
from bitspike.integer.limits import fields_of
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import KINDS, Gained, Input, Move, Neuron, Node, Readout, Reshape, Weighted
from bitspike.integer.schedule import schedule, timings
from bitspike.integer.simulate import simulate

DOCUMENT = Path(__file__).parents[2] / "docs" / "network-format.md"
STEPS, SAMPLES = 3, 2
LAYERS = [node for node in everything().nodes if not isinstance(node, Input | Neuron | Readout)]
by_id = pytest.mark.parametrize("node", LAYERS, ids=lambda node: type(node).__name__ + "-" + node.id)


def missing(kind: type[Node]) -> list[str]:
    """Return what a kind of node still lacks, each with its place."""
    name, border = kind.__name__, issubclass(kind, Input | Neuron | Readout)
    lacks = {
        "its equation: a docstring of its class in integer/nodes": not (kind.__dict__.get("__doc__") or "").strip(),
        "its equation: def run(self, inputs, steps)": kind.run is Node.run and kind is not Input,
        "its bounds: def interval(self, inputs, steps)": kind.interval is Node.interval,
        "its name on chips: operation: ClassVar[str]": not kind.operation and not border,
        "a place in integer/nodes/__init__.py: KINDS": KINDS.get(name) is not kind,
        "its row in docs/network-format.md": f"`{name}`" not in DOCUMENT.read_text(encoding="utf-8"),
        "a writer of C: formats/c/layers.py: LAYERS": kind not in C_KNOWN,
        "a word or a refusal of NIR: formats/nir/support.py": kind not in NIR_HELD and kind not in NIR_REFUSED,
        "a writer of ONNX: formats/onnx/layers.py: HELD, or memory.py: FORMS": kind not in ONNX_HELD,
        "an example with no default left: tests/contracts/test_integer_nodes.py: everything()": (
            kind not in {type(node) for node in everything().nodes}
        ),
    }
    lacks |= {
        f"limits of its field {field.name}: types of integer/limits.py": True
        for field in fields_of(kind)
        if field.limits is None
        and (field.kind is int or (get_origin(field.kind) is tuple and int in get_args(field.kind)))
    }
    return [what for what, wrong in lacks.items() if wrong]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_no_kind_of_node_lacks_anything(kind: type[Node]) -> None:
    assert not missing(kind), "\n".join([f"{kind.__name__} lacks", *missing(kind)])


# --- a kind that nobody knows: everything that can be derived works, and the rest is refused and named ---


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Mirror(Move):
    """The last axis from its end to its beginning: ``y_i = x_(n - 1 - i)``, and 0 after place ``kept``."""

    operation: ClassVar[str] = "mirror"
    kept: int

    def run(self, inputs: list[Whole], steps: int) -> Whole:
        return np.where(np.arange(self.shape[-1]) <= self.kept, inputs[0][..., ::-1], 0)


@pytest.fixture
def mirrored(monkeypatch: pytest.MonkeyPatch) -> IntegerNetwork:
    """A network with a node of a kind that stands in no table."""
    monkeypatch.setitem(KINDS, "Mirror", Mirror)
    net = one_convolution(threshold=8)
    image, conv, neuron, *end = net.nodes
    return IntegerNetwork(
        net.steps,
        (image, conv, neuron, Mirror(id="mirror", path="mirror", sources=("neuron",), shape=(1, 4, 4), kept=2), *(
            dataclasses.replace(n, sources=("mirror",)) if isinstance(n, Reshape) else n for n in end
        )),
    )  # fmt: skip


def test_a_new_kind_is_told_what_it_lacks() -> None:
    assert missing(Mirror) == [
        "a place in integer/nodes/__init__.py: KINDS",
        "its row in docs/network-format.md",
        "a writer of C: formats/c/layers.py: LAYERS",
        "a word or a refusal of NIR: formats/nir/support.py",
        "a writer of ONNX: formats/onnx/layers.py: HELD, or memory.py: FORMS",
        "an example with no default left: tests/contracts/test_integer_nodes.py: everything()",
        "limits of its field kept: types of integer/limits.py",
    ]


def test_a_new_kind_runs_is_bounded_counted_saved_and_billed_without_another_line(
    mirrored: IntegerNetwork, tmp_path: Path
) -> None:
    codes = np.random.default_rng(0).integers(0, 9, (1, 5, 1, 4, 4))
    trace, plain = simulate(mirrored, codes), simulate(one_convolution(threshold=8), codes)
    expected = plain.spikes["neuron"].sum(0, dtype=np.int64)[..., ::-1].copy()
    expected[..., 3] = 0
    assert np.array_equal(trace.outputs["readout"], expected.reshape(5, 16))
    for engine in (TorchEngine(mirrored), Engine(mirrored)):
        assert np.array_equal(engine.run(codes).outputs["readout"], trace.outputs["readout"])
    assert survey(mirrored)["mirror"].wire.span == (0, 1)
    assert (schedule(mirrored), timings(mirrored)["mirror"]) == ("synchronous", "changing")
    assert np.array_equal(count(mirrored, codes)["readout"], trace.outputs["readout"])  # constant currents
    loaded = bs.load(bs.save(mirrored, tmp_path / "net"))
    assert isinstance(loaded["mirror"], Mirror)
    assert bs.verify(tmp_path / "net").equal
    assert counts(mirrored, trace).keys() == {"neuron"}
    assert bs.energy(mirrored, trace).layers
    assert "mirror" in str(bs.check(mirrored, "generic-int"))


def test_a_new_kind_is_refused_by_name_where_it_cannot_be_derived(mirrored: IntegerNetwork, tmp_path: Path) -> None:
    for write in (bs.write_c, bs.write_nir, bs.write_onnx, bs.write_verilog):
        with pytest.raises(ExportError, match=r"1 of \d nodes(?s:.*)mirror(?s:.*)Mirror"):
            write(mirrored, tmp_path / "out")  # type: ignore[operator]


def test_a_kind_without_equation_or_bounds_says_so() -> None:
    bare = Node(id="bare", path="bare", shape=(1,))
    with pytest.raises(ConstraintError, match="a Node has no equation"):
        bare.run([], 1)
    with pytest.raises(ConstraintError, match="a Node has no bounds"):
        bare.interval([], 1)


# --- laws of what is declared ---


def inputs_of(node: Node, seed: int = 0, *, low: int = -3, high: int = 4) -> list[Whole]:
    random, net = np.random.default_rng(seed), everything()
    return [random.integers(low, high, (STEPS, SAMPLES, *net[s].shape)) for s in node.sources]


def interval_of(x: Whole) -> Interval:
    """Return the narrowest interval of a wire by step and channel."""
    axes = (1, *range(3, x.ndim))
    return Interval(np.minimum(x.min(axes), 0), np.maximum(x.max(axes), 0))


def changed(inputs: list[Whole], at: tuple[object, ...]) -> list[Whole]:
    others = [x.copy() for x in inputs]
    for x in others:
        x[at] += 7
    return others


@by_id
def test_the_equation_makes_the_shape_and_stays_within_the_bounds(node: Node) -> None:
    for seed in range(5):
        inputs = inputs_of(node, seed)
        out, bounds = node.run(inputs, STEPS), node.interval([interval_of(x) for x in inputs], STEPS)
        assert out.shape[1:] == (SAMPLES, *node.shape)
        seen = interval_of(out)
        assert (bounds.low <= seen.low).all()
        assert (seen.high <= bounds.high).all()
        assert not list(node.problems([x.shape[2:] for x in inputs], STEPS))


@by_id
def test_a_step_depends_on_the_steps_that_are_declared(node: Node) -> None:
    inputs = inputs_of(node)
    moved = []
    for step in range(STEPS):
        a, b = node.run(inputs, STEPS), node.run(changed(inputs, (step,)), STEPS)
        moved.append([not np.array_equal(a[t], b[t]) for t in range(STEPS)])
    reached = np.array(moved)  # [step that changes, step that notices]
    if node.memory == "none":
        assert (reached == np.eye(STEPS, dtype=bool)).all()
    else:
        assert not np.tril(reached, -1).any() or node.memory == "all"
        assert (reached & ~np.eye(STEPS, dtype=bool)).any()


@by_id
def test_constant_wires_stay_constant_where_nothing_is_remembered(node: Node) -> None:
    inputs = [x[:1] for x in inputs_of(node)]
    out = node.run(inputs, STEPS)
    assert node.still == (node.memory == "none" and len(out) == 1)


@by_id
def test_linear_is_linear_and_counts_follow_from_counts(node: Node) -> None:
    x, y = inputs_of(node, 1), inputs_of(node, 2)
    both = node.run([a + b for a, b in zip(x, y, strict=True)], STEPS)
    assert np.array_equal(both, node.run(x, STEPS) + node.run(y, STEPS)) == node.linear
    if node.still or node.memory != "none":  # gains that change over time have no counts
        sums = [sum_over_time(a, STEPS)[None] for a in x]
        assert np.array_equal(sum_over_time(node.run(x, STEPS), STEPS)[None], node.run(sums, 1)) == node.counts


@by_id
def test_channels_are_kept_apart_where_it_is_declared(node: Node) -> None:
    inputs = inputs_of(node)
    a, b = node.run(inputs, STEPS), node.run(changed(inputs, (slice(None), slice(None), 0)), STEPS)
    others = [c for c in range(node.shape[0]) if not np.array_equal(a[:, :, c], b[:, :, c])]
    if node.by_channel:
        assert others == [0]
        assert node.shape[0] == inputs[0].shape[2]


@by_id
def test_operations_and_reach_are_those_of_the_layer_on_ones(node: Node) -> None:
    net = everything()
    source = net[node.sources[0]].shape
    if not node.operations(source):
        assert isinstance(node, Move | Gained) or node.memory == "all" or not node.linear
        return
    if isinstance(node, Weighted):
        weight = dataclasses.replace(node.weight, codes=np.ones_like(node.weight.codes), levels=None)
        node = dataclasses.replace(node, weight=weight)
    reach = np.broadcast_to(node.reach(source), source)
    for place in np.ndindex(*source):
        one = np.zeros((1, 1, *source), np.int64)
        one[(0, 0, *place)] = 1
        assert reach[place] == node.run([one], 1).sum()
    assert reach.sum() <= node.operations(source)
