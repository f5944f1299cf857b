"""The integers of quantized networks, by torch, by the definition, in C and in ONNX: the same spikes and outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import bitspike as bs
from bitspike.models.spiking.resnet import resnet
from equivalence.c_programs import CProgram, needs_compiler
from equivalence.test_c_against_simulator import assert_equal
from properties.onnx_runs import open_file, run_steps
from unit.test_conversion_quantized import cnn, images, trained

pytestmark = needs_compiler


@pytest.mark.parametrize("neuron", [bs.SignedIF, bs.IF], ids=["signed", "unsigned"])
@pytest.mark.parametrize(("name", "bits"), [("plain", 4), ("1x1 shortcuts", 2)])
def test_a_quantized_network_sends_the_same_spikes_everywhere(
    name: str, bits: int, neuron: type[bs.Neuron], tmp_path: Path
) -> None:
    torch.manual_seed(2)
    model: nn.Module = cnn() if name == "plain" else resnet(depth=8, steps=None, width=0.125, image_size=8)
    x = images(4)
    quantized = trained(model, x, bits=bits)
    snn = bs.convert(quantized, x[:1], calibrate=x, neuron=neuron)
    net = bs.lower(snn, x[:1])
    assert bs.verify(net, x[:2]).equal
    codes = bs.encode(net, x[:3])
    wanted = bs.simulate(net, codes)
    assert any(int(spikes.min()) == -1 for spikes in wanted.spikes.values()) == (neuron is bs.SignedIF)
    assert_equal(CProgram(net, tmp_path).run(codes), wanted)
    found = run_steps(open_file(bs.write_onnx(net, tmp_path / "net.onnx")), codes)
    for id, spikes in wanted.spikes.items():
        assert np.array_equal(found.spikes[id], spikes), id
    for id, sums in wanted.outputs.items():
        assert np.array_equal(found.sums[id], sums), id
