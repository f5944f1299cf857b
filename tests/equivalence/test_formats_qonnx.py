"""What the package qonnx makes of our files of mode "qonnx": the types that we mean, and every count.

Its channels-last step, which hls4ml needs, takes the files whose only outputs are the read-outs. The package is
optional: the extra ``readers``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bitspike import models
from bitspike.conversion.convert import convert
from bitspike.formats.onnx.write import write_onnx
from bitspike.integer.count import count
from bitspike.integer.nodes import Integers
from bitspike.lowering.lower import lower
from bitspike.nn import IF
from bitspike.weights import Binary, Uniform, attach

pytest.importorskip("qonnx", reason="the extra readers, with the package qonnx, is not installed")


@pytest.mark.filterwarnings("ignore")  # of the other library
@pytest.mark.parametrize(("scheme", "kind", "steps"), [(Uniform(bits=4), "INT4", 3), (Binary(), "BIPOLAR", 4)])
def test_qonnx_cleans_the_file_infers_its_types_and_gives_the_counts(
    scheme: Any, kind: str, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_datatypes import InferDataTypes
    from qonnx.util.cleanup import cleanup_model

    torch.manual_seed(3)
    model = models.digits_net(steps=steps, neuron=lambda: IF(threshold=0.5)).eval()
    attach(model, quantize=scheme)
    net = lower(model, example=torch.zeros(1, 1, 8, 8))
    codes = np.random.default_rng(1).integers(net.input.grid.low, net.input.grid.high + 1, (1, 1, 1, 8, 8))
    wanted = count(net, codes)

    read = ModelWrapper(str(write_onnx(net, tmp_path / "net.onnx", mode="qonnx")))
    names = [value.name for value in read.graph.output]
    read = cleanup_model(read, override_inpsize=1).transform(InferDataTypes())
    kinds = {str(read.get_tensor_datatype(n.output[0])) for n in read.graph.node if "Quant" in n.op_type}
    assert {kind, f"UINT{steps.bit_length()}"} <= kinds

    found = executed(read, codes[0], monkeypatch)
    assert any(value.any() for value in wanted.values())
    for name, value in zip(names, found.values(), strict=True):
        assert np.array_equal(value, wanted[name.partition(".")[0]]), name


class Pooled(nn.Module):
    """Convolutions with padding and stride, a padded average pool, a residual sum, an average over the image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1)
        self.one = nn.Conv2d(4, 4, 3, padding=1)
        self.two = nn.Conv2d(4, 6, 3, padding=1, stride=2)
        self.head = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.stem(x)))
        x = torch.relu(self.one(x) + x)
        return self.head(torch.relu(self.two(x)).mean((2, 3)))


@pytest.mark.filterwarnings("ignore")  # of the other library
@pytest.mark.parametrize("kind", ["digits", "pooled"])
def test_qonnx_puts_channels_last_where_only_read_outs_leave(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
    from qonnx.util.cleanup import cleanup_model

    x = torch.rand((6, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(5)
    if kind == "digits":
        model = models.digits_net(steps=3, neuron=lambda: IF(threshold=0.5)).eval()
        attach(model, quantize=Uniform(bits=4))
        net = lower(model, example=x[:1])
    else:
        net = lower(convert(Pooled().eval(), x[:1], calibrate=x, steps=4, bits=4), x[:1])
    grid = net.input.grid
    codes = np.random.default_rng(1).integers(grid.low, grid.high + 1, (1, 1, *net.input.shape))
    (out,) = net.outputs
    wanted = count(net, codes)[out.id]

    read = ModelWrapper(str(write_onnx(net, tmp_path / "net.onnx", mode="qonnx-readouts")))
    assert [value.name for value in read.graph.output] == [f"{out.id}.sum"]
    read = cleanup_model(read, override_inpsize=1).transform(ConvertToChannelsLastAndClean())
    assert any(node.domain == "qonnx.custom_op.channels_last" for node in read.graph.node)
    (found,) = executed(read, codes[0], monkeypatch).values()
    assert wanted.any()
    assert np.array_equal(found.reshape(wanted.shape), wanted)


def executed(read: Any, codes: Integers, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a file as qonnx does; the package onnx may write files of a version that the runtime does not know yet."""
    from qonnx.core import onnx_exec

    make = onnx_exec.qonnx_make_model

    def older(graph: Any, **more: Any) -> Any:
        made = make(graph, **more)
        made.ir_version = 8
        return made

    for module in [
        m for name, m in sys.modules.items() if name.startswith("qonnx.") and vars(m).get(make.__name__) is make
    ]:
        monkeypatch.setattr(module, make.__name__, older)
    found: dict[str, Any] = onnx_exec.execute_onnx(read, {read.graph.input[0].name: codes.astype(np.float32)})
    return found
