"""Which operations become neurons, where spikes come from, where currents meet."""

from __future__ import annotations

from typing import Any

from bitspike.conversion.finetune.weight_grids import sums_of
from bitspike.graph.flow import merged, neurons, origins, spikes, ties
from bitspike.graph.ir import Graph, Op

POOL = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}


def graph(*ops: tuple[str, str, tuple[str, ...]] | tuple[str, str, tuple[str, ...], dict[str, Any]]) -> Graph:
    made = [Op(id=o[0], kind=o[1], path=o[0], inputs=o[2], shape=(2,), attrs=o[3] if len(o) > 3 else {}) for o in ops]
    return Graph(tuple(made), {})


RESIDUAL = graph(
    ("x", "input", ()),
    ("stem", "convolution", ("x",)),
    ("relu", "relu", ("stem",)),
    ("conv", "convolution", ("relu",)),
    ("pool", "avg_pool", ("relu",), POOL),
    ("down", "convolution", ("pool",)),
    ("add", "add", ("conv", "down"), {"signs": (1, 1)}),
    ("relu2", "relu", ("add",)),
    ("conv2", "convolution", ("relu2",)),
    ("add2", "add", ("conv2", "relu2"), {"signs": (1, 1)}),
    ("relu3", "relu", ("add2",)),
    ("flat", "reshape", ("relu3",)),
    ("fc", "linear", ("flat",)),
    ("output", "output", ("fc",)),
)

SUMS = graph(
    ("x", "input", ()),
    ("a", "convolution", ("x",)),
    ("b", "convolution", ("x",)),
    ("ra", "relu", ("a",)),
    ("rb", "relu", ("b",)),
    ("sum", "add", ("ra", "rb"), {"signs": (1, 1)}),
    ("again", "relu", ("rb",)),
    ("cat", "concat", ("sum", "again")),
    ("fc", "linear", ("cat",)),
    ("output", "output", ("fc",)),
)


def test_every_relu_of_a_current_is_a_neuron() -> None:
    assert neurons(RESIDUAL) == ("relu", "relu2", "relu3")
    assert "add" not in spikes(RESIDUAL)
    assert "add2" not in spikes(RESIDUAL)
    assert {"x", "relu", "pool", "flat"} <= spikes(RESIDUAL)
    assert "fc" not in spikes(RESIDUAL)


def test_a_sum_that_is_read_as_spikes_is_a_neuron_and_a_relu_of_spikes_is_none() -> None:
    assert neurons(SUMS) == ("ra", "rb", "sum")
    assert "again" in spikes(SUMS)


def test_origins_name_the_neurons_and_what_one_count_is_worth() -> None:
    assert list(origins(RESIDUAL, "pool")) == [("relu", 0.25)]
    assert list(origins(RESIDUAL, "pool", pools_count=False)) == [("relu", 1.0)]
    assert list(origins(RESIDUAL, "flat")) == [("relu3", 1.0)]
    assert list(origins(RESIDUAL, "x")) == [("x", 1.0)]
    assert list(origins(RESIDUAL, "fc")) == []
    assert dict(origins(SUMS, "cat")) == {"sum": 1.0, "rb": 1.0}


def several(graph: Graph) -> list[list[tuple[str, int, int, tuple[str, int] | None]]]:
    """Return by neuron and read-out the branches of every sum: operation, sign, area of pools after it, joined sum."""
    sums = [part.branches for part in sums_of(graph) if len(part.branches) > 1]
    return [[(b.op.id, b.sign, b.area, b.joins) for b in branches] for branches in sums]


def test_currents_meet_where_they_are_added() -> None:
    assert several(RESIDUAL) == [
        [("conv", 1, 1, None), ("down", 1, 1, None)],
        [("conv2", 1, 1, None), ("relu2", 1, 1, ("add2", 1))],
    ]
    assert several(SUMS) == []


def test_a_pool_after_a_branch_leaves_a_share() -> None:
    pooled = graph(
        ("x", "input", ()),
        ("a", "convolution", ("x",)),
        ("p", "avg_pool", ("a",), POOL),
        ("b", "convolution", ("x",)),
        ("add", "add", ("p", "b"), {"signs": (1, -1)}),
        ("output", "output", ("add",)),
    )
    assert several(pooled) == [[("a", 1, 4, None), ("b", -1, 1, None)]]
    (readout,) = sums_of(pooled)
    assert readout.leaves
    assert readout.kinds_until_next_neuron(pooled["a"]) == {"avg_pool", "output"}


def test_what_is_concatenated_is_tied() -> None:
    assert ties(SUMS) == [{"sum", "rb"}]
    assert ties(RESIDUAL) == []


def test_groups_that_overlap_are_joined() -> None:
    assert merged([{"a", "b"}, {"c"}, {"b", "d"}, {"d", "c"}]) == [{"a", "b", "c", "d"}]
    assert merged([]) == []
