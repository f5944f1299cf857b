"""Tables as text and as HTML, and what shows itself as one: integer networks, their runs, certificates."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import bitspike as bs
from bitspike.integer.examples import one_convolution
from bitspike.integer.nodes import Reshape
from bitspike.integer.saved.replay import Difference
from bitspike.tables import Shown, Table


def test_columns_line_up_and_numbers_are_flush_right() -> None:
    lines = str(Table("", ("layer", "weights"), [("0", "1,000"), ("12", "72")])).splitlines()
    assert lines == ["  layer  weights", "  0        1,000", "  12          72"]


def test_a_column_of_words_and_numbers_is_flush_left() -> None:
    assert str(Table("", ("", "reads"), [("a", "input"), ("b", "2")])).splitlines()[-1] == "  b  2"


@pytest.mark.parametrize("rows", [0, 1, 40])
def test_up_to_forty_rows_are_all_shown(rows: int) -> None:
    text = str(Table("t", ("n",), [(f"row{n}",) for n in range(rows)]))
    assert [f"row{n}" for n in range(rows)] == re.findall(r"row\d+", text)


def test_of_more_rows_the_middle_is_left_out_and_counted() -> None:
    table = Table("t", ("n", "m"), [(f"row{n}", "x") for n in range(5000)])
    for shown in (str(table), table.html()):
        kept = re.findall(r"row\d+", shown)
        left_out = re.search(r"\.\.\. (\d+) more", shown)
        assert left_out is not None
        assert len(kept) + int(left_out[1]) == 5000
        assert (kept[0], kept[-1], len(kept)) == ("row0", "row4999", 38)


def test_a_table_without_rows_is_its_title_and_what_stands_below() -> None:
    assert str(Table("nothing", ("a",), [], ["a note"])) == "nothing\n  a note"
    assert Table("nothing", ("a",), [], ["a note"]).html() == "<p><strong>nothing</strong></p><p>a note</p>"


def test_names_of_layers_are_words_also_where_they_are_numbers() -> None:
    assert str(Table("", ("node", "layer", "bits"), [("a", "1.0", "8"), ("b", "12", "16")])).splitlines()[1:] == [
        "  a     1.0       8",
        "  b     12       16",
    ]


def test_html_is_escaped_everywhere() -> None:
    shown = Table("<t>", ("<c>",), [("<r>",)], ("<b>",)).html()
    for letter in "tcrb":
        assert f"&lt;{letter}&gt;" in shown
        assert f"<{letter}>" not in shown


def test_what_does_not_say_what_it_shows_is_noticed() -> None:
    class Silent(Shown):
        pass

    with pytest.raises(NotImplementedError):
        repr(Silent())


def test_an_integer_network_shows_weights_bits_and_neurons_of_every_node() -> None:
    net = one_convolution()
    head, names, *rows = repr(net).splitlines()
    assert head == "IntegerNetwork: T = 4, 5 nodes, 9 weights in 3 bytes"
    assert names.split() == ["node", "kind", "shape", "weights", "bits", "neurons", "reads"]
    assert [row.split()[0] for row in rows] == [node.id for node in net.nodes]
    (conv,) = [row for row in rows if " Convolution " in row]
    assert conv.split()[-3:] == ["9", "2", "input"]
    assert str(net) == repr(net)
    assert net._repr_html_().count("<tr>") == 1 + len(net.nodes)


def test_the_path_of_a_layer_is_shown_where_its_node_is_called_otherwise() -> None:
    net = one_convolution()
    nodes = [replace(node, path="block.0.conv") if node.id == "conv" else node for node in net.nodes]
    assert re.search(r"\n  conv +block\.0\.conv +Convolution ", repr(replace(net, nodes=tuple(nodes))))


def test_a_network_of_a_thousand_nodes_is_shown_in_a_screen() -> None:
    net = one_convolution()
    *before, last = net.nodes
    shape, ids = before[-1].shape, [f"move{n}" for n in range(1000)]
    sources = [before[-1].id, *ids[:-1]]
    moves = [Reshape(id=id, path=id, sources=(source,), shape=shape) for id, source in zip(ids, sources, strict=True)]
    large = replace(net, nodes=(*before, *moves, replace(last, sources=(ids[-1],))))
    assert len(repr(large).splitlines()) <= 41
    assert repr(Table("t", ("n",), [("x",)])) == str(Table("t", ("n",), [("x",)]))
    assert "967 more" in repr(large)


def test_a_run_shows_rates_and_ranges_and_not_its_arrays() -> None:
    net = one_convolution(threshold=8)
    trace = bs.simulate(net, np.full((1, 3, 1, 4, 4), 5))
    text = repr(trace)
    assert text.splitlines()[0] == "Trace: T = 4, 3 samples"
    assert len(text.splitlines()) == 4
    assert f"{trace.spikes['neuron'].mean():.3g}" in text
    assert f"{trace.potentials['neuron'].min()} to {trace.potentials['neuron'].max()}" in text
    assert "rate of -1" not in text
    negative = replace(trace, spikes={"neuron": -trace.spikes["neuron"]})
    assert "rate of -1" in repr(negative)
    assert "neuron" in trace._repr_html_()
    assert len(repr(replace(trace, potentials={}, outputs={})).splitlines()) == 3  # what kept its spikes alone


def test_a_run_of_no_sample_is_shown_too() -> None:
    assert "0 samples" in repr(bs.simulate(one_convolution(), np.zeros((1, 0, 1, 4, 4), np.int64)))


def test_a_certificate_shows_what_was_compared_and_what_differs() -> None:
    fine = bs.Certificate(True, 3, 1200, 1300, digest="ab" * 32)
    assert repr(fine).splitlines()[0] == "Certificate: 100% equal"
    assert re.search(r"\n  spikes +1,200\n", repr(fine))
    assert "first difference" not in repr(fine)
    assert "fired" not in repr(fine)
    assert re.search(r"\n  of them fired +34\n", repr(replace(fine, spikes_fired=34)))
    wrong = replace(fine, equal=False, first_difference=Difference("conv", 1, (0, 2), "spike", 1, 0))
    assert repr(wrong).splitlines()[0] == "Certificate: NOT equal"
    assert "first difference: layer conv, step 1, index [0, 2]: spike is 0, expected 1" in repr(wrong)
    assert "NOT equal" in wrong._repr_html_()
