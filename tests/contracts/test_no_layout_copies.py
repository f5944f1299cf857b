"""A training step in channels last copies no activation from one layout to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from bitspike.kernels import neuron, pool
from bitspike.models import cifar_net, resnet20, vgg9, vgg11
from bitspike.nn import LIF, QuantReLU
from bitspike.ops import pixels_first
from bitspike.weights import Uniform, attach

COPIES = ("clone", "copy_", "contiguous", "_to_copy", "cat", "stack")


class Watch(TorchDispatchMode):
    """Collects the shapes of everything that is copied without becoming another type."""

    def __init__(self) -> None:
        super().__init__()
        self.copied: list[tuple[str, torch.Size]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.__name__.split(".")[0]
        if name in COPIES:
            source = args[1] if name == "copy_" else args[0]
            if not (isinstance(source, Tensor) and source.dtype != out.dtype and source.stride() == out.stride()):
                self.copied.append((name, out.shape))
        return out


def quantized() -> nn.Module:
    return attach(resnet20(steps=None, neuron=lambda: QuantReLU(4), width=1 / 2), quantize=Uniform(bits=4))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "vgg9": lambda: vgg9(width=1 / 4),
    "vgg9, largest": lambda: vgg9(width=1 / 4, pool=lambda: nn.MaxPool2d(2), norm=nn.BatchNorm2d),
    "vgg11": lambda: vgg11(width=1 / 8),
    "cifar_net": lambda: cifar_net(width=1 / 8, neuron=LIF),
    "resnet20": lambda: resnet20(width=1 / 2),
    "resnet20, QuantReLU": quantized,
}


@pytest.mark.skipif(
    neuron.library() is None or pool.library() is None, reason="plain torch loops over time in layouts of its own"
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", MODELS)
def test_activations_stay_where_they_are(name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS[name]().to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 32, 32).to(memory_format=torch.channels_last)
    features: set[torch.Size] = set()  # [C, H, W] before linear layers
    for module in model.modules():
        if isinstance(module, nn.Flatten):
            module.register_forward_hook(lambda module, inputs, output: features.add(inputs[0].shape[-3:]))
    convolve = pixels_first.convolve

    def told(x: Tensor, *others: Any) -> Tensor:
        """Where pixels are chosen first, the gradient of the choice is copied into zeros of the input's size."""
        features.add(x.shape[-3:])
        return convolve(x, *others)

    monkeypatch.setattr(pixels_first, "convolve", told)
    with Watch() as watch:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = F.cross_entropy(model(x).float(), torch.tensor([0, 1]))
        loss.backward()
    # A linear layer wants its features in torch's order, channels first. Copying the few activations there is cheaper
    # than reordering the many weights.
    allowed = {p.shape for p in model.parameters()}
    copied = [
        (how, shape)
        for how, shape in watch.copied
        if shape.numel() > 2048 and shape not in allowed and shape[-3:] not in features
    ]
    assert copied == []


def test_a_layout_copy_would_be_seen() -> None:
    x = torch.randn(2, 64, 8, 8)
    with Watch() as watch:
        x.to(memory_format=torch.channels_last)
        x.float()
        x.to(torch.bfloat16)
        x.to(torch.bfloat16, memory_format=torch.channels_last)
        x.transpose(1, 2).flatten()
    assert len(watch.copied) == 3
