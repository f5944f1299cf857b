"""The convolutions and matrix products of a training step and nothing else: what a machine's arithmetic allows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.case import Call

Product = tuple[nn.Conv2d | nn.Linear, tuple[int, ...]]
"""A layer and the shape of what it reads."""


def products(model: nn.Module, x: Tensor) -> list[Product]:
    """Return every convolution and linear layer with the shape that it reads, in the order of data flow."""
    found: list[Product] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        found.append((layer, tuple(inputs[0].shape)))

    kinds = nn.Conv2d | nn.Linear
    hooks = [m.register_forward_pre_hook(note) for m in model.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return found


def alone(model: nn.Module, x: Tensor, dtype: torch.dtype) -> Call:
    """Return a call that runs the products of a step, forward and backward, in one precision and channels last.

    Inputs are tensors that are ready, one after the other; the first layer needs no gradient of its input.
    """
    work = []
    for place, (layer, shape) in enumerate(products(model, x)):
        read, weight = torch.rand(shape).to(x.device, dtype), layer.weight.detach().to(dtype)
        if isinstance(layer, nn.Conv2d):
            read, weight = (t.to(memory_format=torch.channels_last) for t in (read, weight))
        read.requires_grad_(place > 0)
        weight.requires_grad_()
        work.append((layer, read, weight, torch.rand_like(_product(layer, read, weight))))

    def step() -> None:
        for layer, read, weight, grad in work:
            read.grad = weight.grad = None
            _product(layer, read, weight).backward(grad)  # type: ignore[no-untyped-call]

    return step


def _product(layer: nn.Conv2d | nn.Linear, x: Tensor, weight: Tensor) -> Tensor:
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight)
    return F.conv2d(x, weight, None, layer.stride, layer.padding)
