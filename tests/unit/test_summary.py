"""``bs.summary`` and what networks show of themselves: small tables whose numbers are those of the network."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import ConstraintError
from bitspike.integer.examples import one_convolution
from bitspike.nn.firing import Recorder
from bitspike.tables import Table


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def ann() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4), nn.ReLU(), nn.Linear(4, 2)
    ).eval()


@pytest.fixture(scope="module")
def snn(ann: nn.Sequential, images: Tensor) -> nn.Module:
    return bs.convert(ann, images[:1], calibrate=images, steps=8, bits=3, neuron=bs.SignedIF)


def column(table: Table, name: str) -> dict[str, str]:
    """Return the cells of a column that are not empty, by layer."""
    place = list(table.columns).index(name)
    return {row[0]: row[place] for row in table.rows if row[place]}


def test_a_network_and_its_integers_have_the_same_bits_neurons_and_rates(snn: nn.Module, images: Tensor) -> None:
    net = bs.lower(snn, images[:1])
    real, whole = bs.summary(snn, images), bs.summary(net, images)
    for name in ("bits", "neurons", "rate", "rate of -1"):
        assert column(real, name) == column(whole, name), name
    assert column(whole, "bits") == {path: str(bits) for path, bits in net.weight_bits().items()}
    with torch.no_grad(), Recorder(snn) as recorder:
        snn(images)
    for path, layer in recorder.layers().items():
        rate, below = (float(column(real, name).get(path, 0)) for name in ("rate", "rate of -1"))
        assert rate + below == pytest.approx(layer.rate, abs=2e-3)


def test_widths_are_the_proven_ones(snn: nn.Module, images: Tensor) -> None:
    net = bs.lower(snn, images[:1])
    shown = bs.summary(net)
    assert column(shown, "accumulator") == {w.layer: str(w.accumulator_bits) for w in bs.widths(net)}
    assert column(shown, "membrane") == {w.layer: str(w.membrane_bits) for w in bs.widths(net)}
    assert not column(shown, "rate")
    assert not any(row[1] == "Reshape" for row in shown.rows)


def test_weights_are_counted_as_they_are(ann: nn.Sequential, snn: nn.Module, images: Tensor) -> None:
    count = sum(math.prod(m.weight.shape) for m in ann if isinstance(m, nn.Conv2d | nn.Linear))
    for shown in (bs.summary(ann), bs.summary(ann, images), bs.summary(snn), bs.summary(snn, images)):
        assert f"{count:,} weights" in shown.title
    assert set(column(bs.summary(ann), "bits").values()) == {"float32"}
    assert column(bs.summary(ann), "weights")["0"] == "3 x 1 x 3 x 3"
    assert column(bs.summary(ann, images), "output")["4"] == "8 x 4"


def test_half_precision_and_schemes_are_told_apart() -> None:
    model = bs.attach(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), quantize=bs.Ternary(), skip="1")
    assert column(bs.summary(model.bfloat16()), "bits") == {"0": "2", "1": "bfloat16"}


def test_networks_that_are_made_print_as_tables(ann: nn.Sequential, snn: nn.Module, images: Tensor) -> None:
    quantized = bs.quantize(ann, images[:1], bits=2)
    prepared = bs.prepare(ann, images[:1], calibrate=images, steps=4, bits=3)
    for network in (snn, quantized, prepared, bs.spiking_twin(quantized), copy.deepcopy(snn)):
        text = repr(network)
        assert str(network) == text
        assert 3 <= len(text.splitlines()) <= 20
        assert "parametrizations" not in text
        assert "def forward" not in text
        assert "<table>" in network._repr_html_()  # type: ignore[operator]
    assert "T = 8, SignedIF" in repr(snn)
    assert "(0): SpikingSequential, converted" in repr(nn.Sequential(snn))


def test_a_conversion_shows_every_neuron_and_read_out(snn: nn.Module) -> None:
    record = bs.conversion_of(snn)
    shown = record.table()
    assert [row[0] for row in shown.rows] == ["2", "5", "6_readout"]
    assert column(shown, "neurons") == {"2": "48", "5": "4"}
    assert column(shown, "reads") == {"2": "0", "5": "4", "6_readout": "6"}
    low, high = (f"{float(end):.0f}" for end in record.layers["2"].threshold.double().aminmax())
    assert column(shown, "threshold")["2"] == f"{low} to {high}"
    assert repr(record).splitlines()[0] == "Conversion"
    assert str(bs.summary(record)) == repr(record)


def test_a_network_of_hundreds_of_layers_fits_on_a_screen() -> None:
    deep = nn.Sequential(*[nn.Linear(2, 2) for _ in range(300)])
    assert len(str(bs.summary(deep)).splitlines()) <= 42
    assert "300 layers" in str(bs.summary(deep))
    assert len(repr(bs.summary(deep, torch.rand(1, 2))).splitlines()) <= 42


def test_a_summary_leaves_no_trace_on_the_network(images: Tensor) -> None:
    model = nn.Sequential(
        bs.Repeat(steps=2), bs.TimeDistributed(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), bs.LIF()
    ).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    bs.summary(model, images)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())


def test_one_layer_alone_is_a_network(images: Tensor) -> None:
    assert bs.summary(nn.Linear(3, 2)).title == "Linear: 1 layer, 6 weights"
    spiking = bs.summary(bs.IF(), torch.ones(2, 1, 5))
    assert spiking.rows[0][5:7] == ("5", "1")


def test_what_is_no_network_is_refused(snn: nn.Module, images: Tensor) -> None:
    with pytest.raises(ConstraintError, match="a dict is no network"):
        bs.summary({})  # type: ignore[arg-type]
    with pytest.raises(ConstraintError, match="a Conversion is not run"):
        bs.summary(bs.conversion_of(snn), images)
    with pytest.raises(ConstraintError, match="inputs are a ndarray"):
        bs.summary(nn.Linear(2, 2), images.numpy())
    with pytest.raises(ConstraintError, match="hold no sample"):
        bs.summary(snn, images[:0])
    with pytest.raises(ConstraintError, match="inputs have the shape"):
        bs.summary(one_convolution(), images)
