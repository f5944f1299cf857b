"""What the package qonnx makes of our files of mode "qonnx": the types that we mean, and every count.

It is optional: the extra ``bench``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bitspike import models
from bitspike.formats.onnx import write_onnx
from bitspike.integer.count import count
from bitspike.integer.lower import lower
from bitspike.nn import IF
from bitspike.weights import Binary, Uniform, attach

pytest.importorskip("qonnx", reason="the extra readers, with the package qonnx, is not installed")


@pytest.mark.filterwarnings("ignore")  # of the other library
@pytest.mark.parametrize(("scheme", "kind", "steps"), [(Uniform(bits=4), "INT4", 3), (Binary(), "BIPOLAR", 4)])
def test_qonnx_cleans_the_file_infers_its_types_and_gives_the_counts(
    scheme: Any, kind: str, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qonnx.core import onnx_exec
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

    make = onnx_exec.qonnx_make_model

    def older(graph: Any) -> Any:
        """The package onnx may write files of a version that the runtime does not know yet."""
        made = make(graph)
        made.ir_version = 8
        return made

    monkeypatch.setattr(onnx_exec, "qonnx_make_model", older)
    found = onnx_exec.execute_onnx(read, {read.graph.input[0].name: codes[0].astype(np.float32)})
    assert any(value.any() for value in wanted.values())
    for name, value in zip(names, found.values(), strict=True):
        assert np.array_equal(value, wanted[name.partition(".")[0]]), name
