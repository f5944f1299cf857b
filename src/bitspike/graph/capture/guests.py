"""Networks as users bring them, wrapped for training, in half precision or quantized by torch, as plain copies.

Whole numbers need at least single precision: a sum of spikes in bfloat16 is rounded from 256 on. A weight in half
precision is the same number in single precision, so nothing is lost.
"""

from __future__ import annotations

import torch
from torch import nn

from bitspike.errors import some
from bitspike.graph.capture.quantized import torch_quantized
from bitspike.nn.trace import evaluation
from bitspike.ops.precision import HALVES, single
from bitspike.ops.wrappers import unwrapped, wrappers
from bitspike.weights.chips import left_out


def notes_on(model: nn.Module) -> tuple[str, ...]:
    """Return the notes on a network as it came: N302 precision, N303 wrappers, N304 quantization, N308 variation.

    Example:
        >>> notes_on(nn.Linear(2, 2).bfloat16())
        ('N302: the weights are bfloat16; the network is read and run in float32, which holds the same numbers',)
    """
    notes = []
    if kinds := halves(model):
        names = " and ".join(str(kind).removeprefix("torch.") for kind in kinds)
        notes.append(
            f"N302: the weights are {names}; the network is read and run in float32, which holds the same numbers"
        )
    if around := wrappers(model):
        notes.append(
            f"N303: {', '.join(around)} around the network was left out; {type(unwrapped(model)).__name__} is read"
        )
    if kinds_of_torch := torch_quantized(model):
        notes.append(
            f"N304: layers that torch quantizes ({', '.join(kinds_of_torch)}) were read as float layers with their own "
            "weights; what torch noted on activations is left out"
        )
    return (*notes, *notes_on_variation(model))


def notes_on_variation(model: nn.Module) -> tuple[str, ...]:
    """Return the note N308 where weights vary in training alone.

    Example:
        >>> from bitspike.weights import Lognormal, attach
        >>> notes_on_variation(attach(nn.Sequential(nn.Linear(2, 2)), vary=Lognormal(0.3)))[0][:52]
        'N308: the variation of memory devices at 0 was left '
    """
    with evaluation(model):
        layers = left_out(model)
    if not layers:
        return ()
    return (
        f"N308: the variation of memory devices at {some(layers, most=3)} was left out, as in evaluation: "
        "bs.attach(network, vary=...) gives it to the result, and bs.convert within bs.on_chip converts one chip",
    )


def halves(model: nn.Module) -> tuple[torch.dtype, ...]:
    """Return the half-precision dtypes among parameters and buffers, each once."""
    tensors = [*model.parameters(), *model.buffers()]
    return tuple(kind for kind in HALVES if any(t.dtype == kind for t in tensors))


def widen(model: nn.Module) -> nn.Module:
    """Bring parameters and buffers of half precision to single precision, in place; everything else stays."""
    widened: nn.Module = model._apply(single)  # type: ignore[no-untyped-call]
    return widened


def take_modes(network: nn.Module, model: nn.Module) -> None:
    """Give every module of a network the mode, training or evaluation, of the model's module at the same path.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1).eval())
        >>> network = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
        >>> take_modes(network, model)
        >>> [module.training for module in network]
        [True, False]
    """
    modes = {path: module.training for path, module in model.named_modules()}
    for path, module in network.named_modules():
        module.training = modes.get(path, model.training)
