"""Pages say what their words mean, copy what is to be typed, and fit on a phone."""

from __future__ import annotations

import re

import pytest
import torch
from run_record import detail, metrics, record
from torch import nn

import bitspike as bs
from bitspike.analysis.drawing.glossary import meanings, used_in
from bitspike.analysis.drawing.markup import table
from bitspike.analysis.ledger import page as ledger_page
from bitspike.analysis.ledger.ledger import Ledger
from bitspike.analysis.report.report import render


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    """Return the ledger of a network whose one ReLU is called twice."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.ModuleDict({"first": nn.Linear(6, 6), "second": nn.Linear(6, 6), "relu": nn.ReLU()})
            self.head = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            relu = self.body["relu"]
            return self.head(relu(self.body["second"](relu(self.body["first"](x)))))

    torch.manual_seed(0)
    x = torch.rand(32, 6)
    network = Twice().eval()
    never = network(x).argmin(1)  # no answer is right, so none can be lost
    return bs.analyze(bs.convert(network, x[:1], calibrate=x, steps=2, bits=3), [(x, never)], samples=32)


def page_of(ledger: Ledger) -> str:
    return ledger_page.render(ledger, [], {}, [])


def test_a_ledger_says_what_each_of_its_words_means(ledger: Ledger) -> None:
    said = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page_of(ledger)))
    assert set(said) >= {"lambda", "unevenness", "(*)", "gap", "own gap", "rung", *(f"M{n}" for n in range(8))}
    assert set(said) >= {"RMS", "share", "along the gap", "size alone", "cosine", "too many", "too few", "most off"}
    assert set(said) >= {term for term in ledger.terms if term != "reset"}
    assert "floor" in said["(*)"]


def test_a_report_says_what_its_words_mean_and_nothing_of_ledgers() -> None:
    page = render(record(), metrics(), detail())
    said = dict(re.findall(r"<dt>(\w[^<]*)</dt><dd>([^<]+)</dd>", page.partition('class="words"')[2]))
    assert set(said) >= {"spike", "threshold", "silent", "saturated", "accumulator", "certificate", "training graph"}
    assert not {"lambda", "unevenness", "M0"} & set(said)


def test_words_inside_other_words_and_quoted_recipes_are_none() -> None:
    assert used_in("<p>encoded resettable T-shirt</p><pre>reset: soft</pre>") == []
    assert used_in("<p>Ts</p>") == []
    assert used_in("<p>two <i>spikes</i></p>") == ["spike"]
    assert all(meaning.endswith(".") for meaning in meanings().values())


def test_layers_have_one_name_in_ledger_integers_summary_and_conversion(ledger: Ledger) -> None:
    names = [layer.name for layer in ledger.layers]
    assert names == ["body.relu", "body.relu_1", "head_readout"]
    x = torch.rand(4, 6)
    ann = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    snn = bs.convert(ann, x[:1], calibrate=x, steps=4)
    net = bs.lower(snn, x[:1])
    ours = [layer.name for layer in bs.analyze(snn, x).layers]
    assert ours == [w.layer for w in bs.widths(net)]
    assert ours == [row[0] for row in bs.conversion_of(snn).table().rows]
    assert set(ours) <= {row[0] for row in bs.summary(net).rows}
    for name in names:
        assert f"<code>{name}</code>" in page_of(ledger)
        assert ledger[name].name == name


def test_commands_and_recipes_have_a_button_that_copies_them() -> None:
    page = render(record(), metrics(), detail())
    assert page.count("<script>") == 1
    script = page.partition("<script>")[2].partition("</script>")[0]
    assert 'querySelectorAll("pre")' in script
    assert "clipboard" in script
    assert not re.search(r"https?:|import|fetch|src=", script)


def test_a_cell_of_a_wide_table_knows_its_column() -> None:
    wide = table(["layer", "a", "b", "c", "d"], [["x", 1, 2, 3, 4]] * 3, numbers=[4])
    assert 'class="wide rows"' in wide
    assert wide.count('data-of="d"') == 3
    assert 'class="wide columns"' in table(["layer", "a", "b", "c", "d"], [["x", 1, 2, 3, 4]] * 40)
    assert "data-of" not in table(["layer", "bits"], [["x", 1]])
    with pytest.raises(ValueError, match="zip"):
        table(["layer", "bits"], [["x"]])


def test_a_gap_that_costs_nothing_is_not_said_to_be_small(ledger: Ledger) -> None:
    assert ledger.output.rms > 0.01
    assert ledger.advice == ()
    page = page_of(ledger)
    assert "no more answers than chance explains" in page
    assert "below 1 %" not in page
