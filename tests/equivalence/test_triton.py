"""Where the Triton kernels are used: decisions that need neither Triton nor a CUDA device."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bitspike.kernels import activation, neuron
from bitspike.kernels.triton import activation as triton_activation
from bitspike.kernels.triton import neuron as triton_neuron
from bitspike.kernels.triton import support as triton_support
from bitspike.nn import LIF
from bitspike.ops.dynamics import Rule


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("BITSPIKE_KERNELS", "TRITON_INTERPRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(triton_support, "_broken", None)
    monkeypatch.setattr(triton_support, "_installed", lambda: True)
    monkeypatch.setattr(triton_support, "_old", lambda device: None)
    return monkeypatch


CUDA = torch.device("cuda", 0)


def test_cuda_is_for_triton_and_nothing_else_is(fresh: pytest.MonkeyPatch) -> None:
    assert triton_support.available(CUDA)
    for other in ("cpu", "meta", "mps", "xpu"):
        assert not triton_support.available(torch.device(other))
    fresh.setattr(triton_support, "_old", lambda device: "too old")
    assert not triton_support.available(CUDA)


def test_the_interpreter_runs_on_the_cpu(fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv("TRITON_INTERPRET", "1")
    assert triton_support.available(torch.device("cpu"))


@pytest.mark.parametrize("where", ["not installed", "switch", "broken"])
def test_reasons_for_plain_torch(fresh: pytest.MonkeyPatch, where: str) -> None:
    if where == "not installed":
        fresh.setattr(triton_support, "_installed", lambda: False)
    elif where == "switch":
        fresh.setenv("BITSPIKE_KERNELS", "plain")
    else:
        fresh.setattr(triton_support, "_broken", "a Triton kernel failed")
    assert not triton_support.available(CUDA)
    reason = {"switch": "BITSPIKE_KERNELS=plain is set", "broken": "a Triton kernel failed"}.get(where, "triton is not")
    assert triton_support.status().startswith(f"plain torch: {reason}")


def test_status_without_and_with_a_device(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(torch.cuda, "is_available", lambda: False)
    assert triton_support.status() == "plain torch: there is no CUDA device"
    fresh.setattr(torch.cuda, "is_available", lambda: True)
    fresh.setattr(torch.cuda, "device_count", lambda: 2)
    assert triton_support.status().startswith("triton: ")
    fresh.setattr(triton_support, "_old", lambda device: "too old" if device.index == 1 else None)
    assert triton_support.status() == "plain torch: too old"


def test_old_devices_are_known_by_their_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A device")
    for capability, old in (
        ((6, 1), "A device has compute capability 6.1, below 7.0"),
        ((7, 0), None),
        ((12, 0), None),
    ):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert triton_support._old.__wrapped__(CUDA) == old


def test_failures_are_said_once(fresh: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("no such instruction")

    def full() -> None:
        raise torch.OutOfMemoryError

    with caplog.at_level(logging.WARNING, "bitspike.kernels"):
        assert triton_support.attempt(lambda: 3) == 3
        with pytest.raises(torch.OutOfMemoryError):
            triton_support.attempt(full)
        assert triton_support.available(CUDA)
        assert triton_support.attempt(fail) is None
        assert triton_support.attempt(fail) is None
        triton_support.give_up("something else")
    assert len(caplog.records) == 1
    assert "no such instruction" in caplog.text
    assert not triton_support.available(CUDA)


def test_the_end_of_a_recomputation_is_no_failure(fresh: pytest.MonkeyPatch) -> None:
    def unit(x: torch.Tensor) -> torch.Tensor:
        y = triton_support.attempt(lambda: x.cos().sin())
        assert y is not None
        return y

    x = torch.ones(3, requires_grad=True)
    # The second forward pass ends inside sin, as soon as what the backward pass needs is there.
    torch.utils.checkpoint.checkpoint(unit, x, use_reentrant=False).sum().backward()
    torch.testing.assert_close(x.grad, -torch.cos(torch.cos(torch.ones(3))) * torch.sin(torch.ones(3)))
    assert triton_support.available(CUDA)


def test_tensors_on_cuda_are_handed_to_triton(fresh: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    for module, name in ((triton_neuron, "fused_neuron"), (triton_activation, "fused_quant_relu")):
        fresh.setattr(module, name, lambda x, *numbers, **more: asked.append((x, numbers, more)))
    x: Any = SimpleNamespace(device=CUDA)
    numbers: dict[str, Any] = {"threshold": 1.0, "decay": 0.5, "rule": Rule(), "initial": 0.25}
    others = {"retract": 0.1, "norm": "a norm", "residual": "a residual"}
    assert neuron.fused_neuron(x, **numbers, **others) is None  # type: ignore[arg-type]
    assert asked[-1] == (x, (), {**numbers, **others})
    assert activation.fused_quant_relu(x, 3.0, 7, norm="a norm", residual="a residual") is None  # type: ignore[arg-type]
    assert asked[-1] == (x, (3.0, 7), {"norm": "a norm", "residual": "a residual"})


def test_the_cpu_is_not(fresh: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the CPU has kernels of its own")

    fresh.setattr(triton_neuron, "fused_neuron", never)
    assert LIF()(torch.ones(2, 1, 3)).shape == (2, 1, 3)


def test_other_devices_than_cuda_get_no_answer(fresh: pytest.MonkeyPatch) -> None:
    x = torch.ones(2, 1, 3, device="meta")
    assert triton_neuron.fused_neuron(x, threshold=1.0, decay=0.5, rule=Rule(), initial=0.0) is None
    assert triton_activation.fused_quant_relu(x, torch.tensor(1.0), 3) is None


def test_triton_is_not_imported_before_a_tensor_on_cuda_asks_for_it() -> None:
    code = (
        "import sys, torch, bitspike as bs; from bitspike.kernels.triton import neuron, activation; "
        "from bitspike.kernels.triton.support import status; "
        "bs.LIF()(torch.ones(2, 1, 3)); status(); print('triton' in sys.modules)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_every_file_can_be_imported_where_triton_is_not_installed() -> None:
    code = (
        "import sys, torch, bitspike as bs; sys.modules['triton'] = None; "
        "from bitspike.kernels.triton import clip, loop, support; "
        "print(support.available(torch.device('cuda')), support.status())"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("TRITON_INTERPRET", "BITSPIKE_KERNELS")}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False plain torch: triton is not installed"
