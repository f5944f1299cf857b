"""Networks as users bring them: wrapped for training, in half precision, quantized by torch. A plain copy takes their
place.

Whole numbers need at least single precision: a sum of spikes in bfloat16 is rounded from 256 on. A weight in half
precision is the same number in single precision, so nothing is lost.
"""

from __future__ import annotations

import torch
from torch import nn

from bitspike.graph.capture.quantized import torch_quantized
from bitspike.ops.precision import HALVES, single
from bitspike.ops.wrappers import unwrapped, wrappers


def notes_on(model: nn.Module) -> tuple[str, ...]:
    """Return what is said about a network as it came: N302 its precision, N303 what is around it, N304 quantization.

    Example:
        >>> notes_on(nn.Linear(2, 2).bfloat16())
        ('N302: the weights are bfloat16; the network is read and run in float32, which holds the same numbers',)
    """
    found = []
    if kinds := halves(model):
        names = " and ".join(str(kind).removeprefix("torch.") for kind in kinds)
        found.append(
            f"N302: the weights are {names}; the network is read and run in float32, which holds the same numbers"
        )
    if around := wrappers(model):
        found.append(
            f"N303: {', '.join(around)} around the network was left out; {type(unwrapped(model)).__name__} is read"
        )
    if kinds_of_torch := torch_quantized(model):
        found.append(
            f"N304: layers that torch quantizes ({', '.join(kinds_of_torch)}) were read as float layers with their own "
            "weights; what torch noted on activations is left out"
        )
    return tuple(found)


def halves(model: nn.Module) -> tuple[torch.dtype, ...]:
    """Return the half-precision dtypes among parameters and buffers, each once."""
    tensors = [*model.parameters(), *model.buffers()]
    return tuple(kind for kind in HALVES if any(t.dtype == kind for t in tensors))


def widen(model: nn.Module) -> nn.Module:
    """Bring parameters and buffers of half precision to single precision, in place; everything else stays."""
    widened: nn.Module = model._apply(single)  # type: ignore[no-untyped-call]
    return widened


def take_modes(made: nn.Module, model: nn.Module) -> None:
    """Bring every module of a network into the mode, training or evaluation, of the model's module of that path.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1).eval())
        >>> made = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
        >>> take_modes(made, model)
        >>> [module.training for module in made]
        [True, False]
    """
    modes = {path: module.training for path, module in model.named_modules()}
    for path, module in made.named_modules():
        module.training = modes.get(path, model.training)
