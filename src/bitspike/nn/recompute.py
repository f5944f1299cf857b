"""Keep less for the backward pass: spikes as bits, and of a layer only its input."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bitspike.kernels.bits import Bits, pack

SMALL = 2**12
"""Tensors of fewer elements are kept as they are."""


def kept(x: Tensor) -> Tensor | Bits:
    """Return what to keep of a tensor: spikes as bits, anything else as it is."""
    bits = pack(x.detach()) if x.numel() >= SMALL else None
    return x if bits is None else bits


def given_back(x: Tensor | Bits) -> Tensor:
    """Return the tensor of :func:`kept` again."""
    return x.spikes() if isinstance(x, Bits) else x


def spikes_as_bits() -> AbstractContextManager[object]:
    """Make what is saved for the backward pass one bit per element where it is spikes, for the length of a block.

    Where other hooks for saved tensors are active (they move tensors to the host, or checkpoint the whole model), all
    stay as they are.
    """
    return nullcontext() if _has_other_hooks() else torch.autograd.graph.saved_tensors_hooks(kept, given_back)


def _has_other_hooks() -> bool:
    ask = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    if ask is not None:
        return ask(False) is not None
    # The oldest torch that is supported cannot be asked, but it refuses second hooks on a tensor that has some.
    with torch.enable_grad():
        product: Any = torch.ones(0, requires_grad=True) * torch.ones(0)
    try:
        product.grad_fn._raw_saved_other.register_hooks(lambda x: x, lambda x: x)
    except RuntimeError:
        return True
    return False


def recomputed(unit: Callable[[Tensor], Tensor], x: Tensor, parts: list[nn.Module]) -> Tensor:
    """Return ``unit(x)`` and keep nothing of it but ``x``, as bits where it is spikes.

    The second run finds the buffers (running statistics, counters) as the first did, and leaves none changed; torch's
    own random numbers are drawn again. ``parts`` are the modules whose buffers ``unit`` may move.
    """
    buffers = [b for part in parts for b in part.buffers()]
    before: list[Tensor] = []
    first, packed = [x], kept(x.detach())

    def run(_: Tensor) -> Tensor:
        if first:
            before.extend(b.clone() for b in buffers)
            return unit(first.pop())
        after = [b.clone() for b in buffers]
        _put(buffers, before)
        try:
            return unit(given_back(packed).requires_grad_(needs))
        finally:
            _put(buffers, after)

    needs = x.requires_grad
    # An empty tensor tells the device; the input itself would be kept as it is.
    result: Tensor = checkpoint(run, x.detach().new_empty(0), use_reentrant=False)
    return result


@torch.no_grad()
def _put(buffers: list[Tensor], values: list[Tensor]) -> None:
    for buffer, value in zip(buffers, values, strict=True):
        buffer.copy_(value)
