"""Which operations become neurons, where spikes come from, where currents meet."""

from __future__ import annotations

from typing import Any

from bitspike.graph.flow import Meeting, meetings, merged, neurons, origins, spikes, ties
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


def test_currents_meet_where_they_are_added() -> None:
    assert meetings(RESIDUAL) == [
        Meeting(weighted={"conv": 1.0, "down": 1.0}),
        Meeting(weighted={"conv2": 1.0}, skips=(("add2", 1, 1.0),)),
    ]
    assert meetings(SUMS) == []


def test_a_pool_behind_a_branch_leaves_a_share() -> None:
    found = meetings(
        graph(
            ("x", "input", ()),
            ("a", "convolution", ("x",)),
            ("p", "avg_pool", ("a",), POOL),
            ("b", "convolution", ("x",)),
            ("add", "add", ("p", "b"), {"signs": (1, -1)}),
            ("output", "output", ("add",)),
        )
    )
    assert found == [Meeting(weighted={"a": 0.25, "b": 1.0})]


def test_what_is_concatenated_is_tied() -> None:
    assert ties(SUMS) == [{"sum", "rb"}]
    assert ties(RESIDUAL) == []


def test_groups_that_overlap_are_joined() -> None:
    assert merged([{"a", "b"}, {"c"}, {"b", "d"}, {"d", "c"}]) == [{"a", "b", "c", "d"}]
    assert merged([]) == []
