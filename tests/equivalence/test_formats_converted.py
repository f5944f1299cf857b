"""Converted networks in the formats of others: ONNX Runtime and NIR's reader give the simulator's numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import ExportError
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers


class Residual(nn.Module):
    """Two blocks with a shortcut, joined maps, a pool in between: what NIR can say when the pool adds."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.pool = pool
        self.one = nn.Conv2d(4, 4, 3, padding=1)
        self.two = nn.Conv2d(8, 6, 3, padding=1, stride=2)
        self.head = nn.Linear(6 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.stem(x)))
        y = F.relu(self.one(x) + x)
        y = F.relu(self.two(torch.cat([y, x], 1)))
        return self.head(y.flatten(1))


def converted(pool: nn.Module) -> tuple[IntegerNetwork, Integers]:
    x = torch.rand((6, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    snn = bs.convert(Residual(pool).eval(), x[:1], calibrate=x, steps=6)
    net = bs.lower(snn, x[:1])
    entry = bs.conversion_of(snn).entries(x)[0]
    return net, bs.encode(net, entry)


@pytest.fixture(scope="module", params=["max", "average"])
def case(request: pytest.FixtureRequest) -> tuple[IntegerNetwork, Integers]:
    return converted(nn.MaxPool2d(2) if request.param == "max" else nn.AvgPool2d(2))


def test_onnx_runtime_runs_a_converted_network(case: tuple[IntegerNetwork, Integers], tmp_path: Path) -> None:
    net, codes = case
    wanted = bs.simulate(net, codes)
    path = bs.write_onnx(net, tmp_path / "net.onnx", mode="sequence")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    (entry,) = json.loads(facts["snn.inputs"])
    names = [value.name for value in session.get_outputs()]
    found = dict(zip(names, session.run(names, {entry["id"]: codes.astype(facts["snn.numbers"])}), strict=True))
    assert sum(spikes.sum() for spikes in wanted.spikes.values()) > 0
    for id, spikes in wanted.spikes.items():
        assert np.array_equal(found[f"{id}.spikes"], spikes), id
    for id, sums in wanted.outputs.items():
        assert np.array_equal(found[f"{id}.sum"], sums), id


def test_nir_holds_a_converted_network_or_names_its_maximum(
    case: tuple[IntegerNetwork, Integers], tmp_path: Path
) -> None:
    net, codes = case
    if any(type(node).__name__ == "CountMaxPool" for node in net.nodes):
        with pytest.raises(ExportError, match=r"pool  CountMaxPool .*NIR has no maximum"):
            bs.write_nir(net, tmp_path / "net.nir")
        return
    wanted = bs.simulate(net, codes)
    again = bs.simulate(bs.read_nir(bs.write_nir(net, tmp_path / "net.nir")), codes)
    for id, spikes in wanted.spikes.items():
        assert np.array_equal(again.spikes[id], spikes), id
    for id, sums in wanted.outputs.items():
        assert np.array_equal(again.outputs[id], sums), id
