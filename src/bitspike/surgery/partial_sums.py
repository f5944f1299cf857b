"""Split a layer into partial sums: slices of its input channels, neurons after each, and a layer that adds them up.

A neuron that may read only some channels computes a partial sum p_i. It cannot send a negative value, so every partial
sum gets two neurons, and the layer after them subtracts one from the other:

    W x + b = sum_i p_i + b = sum_i (relu(p_i) - relu(-p_i)) + b,      p_i = W[:, slice i] x[slice i]

That holds for every input, without data and without a bound. One neuron per partial sum would do with a shift,
relu(p_i + c_i) - c_i, but c_i has to cover all that p_i falls below 0: that asks for data, makes the levels of a
spiking neuron twice as coarse, and lets neurons fire half of the time that now are silent.

All partial sums are one grouped convolution, and their sum is one of a single 1 x ... x 1 window per output channel,
after a channel shuffle; the reading neuron has a fan-in of two weights for every part.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict

import torch
from torch import nn

from bitspike.errors import ConstraintError
from bitspike.graph.plain import CONVOLUTIONS, is_transposed
from bitspike.nn import IF, Neuron, OverTime, TimeDistributed
from bitspike.nn.arrange import Pad, Reshape
from bitspike.nn.timed_layer import timed_layer
from bitspike.ops.surrogate import ArcTan
from bitspike.surgery.arrange import ExtraChannels, cut_before, layers_over_time, put, shuffle_over_time
from bitspike.surgery.channels import latent, set_latent
from bitspike.weights.attach import attach
from bitspike.weights.path import Quantize, path_of


def split(model: nn.Module, path: str, *, parts: int, source_shape: tuple[int, ...] = ()) -> tuple[str, str]:
    """Replace a layer by partial sums, their neurons and the sum of these, in place.

    In a network without time the result computes what the layer did. In a spiking one a neuron of a partial sum sends
    at most one spike per step, so it follows the layer closely at best: its threshold is what a partial sum reaches
    when about every fourth input spikes, two standard deviations, for finetuning to move.

    Args:
        model: holds the layer, plain or over time.
        path: of a convolution, transposed convolution or linear layer of one group.
        parts: how many slices of its input channels; the last may have fewer channels.
        source_shape: [C, ...] of what the layer reads; needed over time.

    Returns:
        paths of the layer of partial sums and of the one that adds them.

    Raises:
        ConstraintError: the layer has groups, or fewer input channels than parts.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(5, 4, 3), nn.ReLU())
        >>> x = torch.rand(1, 5, 8, 8)
        >>> before = model(x)
        >>> split(model, "0", parts=2), torch.allclose(model(x), before, atol=1e-6)
        (('0.parts', '0.sum'), True)
    """
    layer = model.get_submodule(path)
    channels = latent(layer).shape[0 if is_transposed(layer) else 1]
    if getattr(layer, "groups", 1) != 1:
        raise ConstraintError(
            f"repair of {path!r}: only a layer of one group can be split, and this one has {layer.groups} groups",
            fix="a repair of another kind for this layer: bits or real",
        )
    if not 2 <= parts <= channels:
        raise ConstraintError(
            f"repair of {path!r}: parts={parts} of {channels} input channels",
            fix=f"parts from 2 to {channels}" if channels > 1 else "a repair of another kind: bits or real",
        )
    if path_of(layer, "bias") is not None:
        raise ConstraintError(
            f"repair of {path!r}: its bias is quantized already", fix="repair first, then attach(model, bias=...)"
        )
    timed = layers_over_time(model, path)
    if timed is None and not isinstance(layer, OverTime):
        put(model, path, _without_time(layer, parts))
        return f"{path}.parts", f"{path}.sum"
    if not source_shape:
        raise ConstraintError(
            f"repair of {path!r}: source_shape is empty, and partial sums over time need it",
            fix="source_shape=(C, H, W) of what the layer reads; bitspike.hardware.chips.plan fills it in",
        )
    neuron = next((m for m in model.modules() if isinstance(m, Neuron)), None)
    replacement = _over_time(layer, parts, source_shape, neuron)
    if timed is None:
        put(model, path, replacement)
        return f"{path}.parts", f"{path}.sum"
    module = model.get_submodule(timed)
    assert isinstance(module, TimeDistributed)
    name, _, below = path[len(timed) + 1 :].partition(".")
    if below:
        raise ConstraintError(
            f"repair of {path!r}: it lies inside {name!r} of the layers over time {timed!r}, which cannot be cut there",
            fix=f"make the layer a direct part of {timed!r}",
        )
    before, after = cut_before(module, name)
    flat = [("flat", nn.Flatten())] if replacement.pop("flat", None) is not None else []
    replacement["parts"] = TimeDistributed(replacement["parts"])
    # The layer that adds up takes the layer's place and name, so that what follows it stays where it was.
    rest = [(name, replacement.pop("sum")), *flat, *list(after.named_children())[1:]]
    replacement["layers"] = TimeDistributed(OrderedDict(rest))
    put(model, timed, ({"front": before} if len(before) else {}) | replacement)
    return f"{timed}.parts.0", f"{timed}.layers.{name}"


def _without_time(layer: nn.Module, parts: int) -> dict[str, nn.Module]:
    """Return by name the modules, in order, that take the place of a layer in a network without time."""
    flat = isinstance(layer, nn.Linear)
    first, last, extra = _two_layers(layer, parts, gain=1.0)
    modules: dict[str, nn.Module] = {}
    if flat:  # a linear layer becomes a convolution over one place
        modules["image"] = nn.Unflatten(1, (latent(layer).shape[1], 1))
    if extra:
        modules["extra"] = ExtraChannels(extra)
    modules |= {"parts": first, "neurons": nn.ReLU(), "shuffle": nn.ChannelShuffle(2 * parts), "sum": last}
    return modules | ({"flat": nn.Flatten()} if flat else {})


def _over_time(
    layer: nn.Module, parts: int, source_shape: tuple[int, ...], like: Neuron | None
) -> dict[str, nn.Module]:
    """Return by name the modules, in order, that take the place of a layer in a spiking network."""
    flat = isinstance(layer, nn.Linear)
    weight = latent(layer).detach()
    outputs = weight.shape[1 if is_transposed(layer) else 0]
    # Two standard deviations of a partial sum when every fourth input spikes: 2 * sqrt(1/4 * sum of w^2 per neuron).
    threshold = float(weight.double().square().sum().div(parts * outputs).sqrt()) or 1.0
    first, last, extra = _two_layers(layer, parts, gain=threshold)
    modules: dict[str, nn.Module] = {}
    channels, *size = (*source_shape, 1) if flat else source_shape
    if flat and not extra:
        modules["image"] = Reshape((channels, 1))
    if extra:  # zeros can be added around an image only, so the channels become places of a single channel
        each = math.prod(size)
        modules |= {
            "line": Reshape((1, channels * each)),
            "extra": Pad((0,), (extra * each,)),
            "image": Reshape((channels + extra, *size)),
        }
    with torch.no_grad():
        plain = copy.deepcopy(first)
        zeros = torch.zeros(1, 1, channels + extra, *size, dtype=weight.dtype, device=weight.device)
        shape = tuple(plain(zeros if isinstance(plain, OverTime) else zeros[0]).shape[-len(size) - 1 :])
    neuron = IF(threshold, initial=threshold / 2, surrogate=ArcTan() if like is None else like.rule.surrogate)
    modules |= {"parts": first, "neurons": neuron, **shuffle_over_time(2 * parts, shape), "sum": last}
    return modules | ({"flat": Reshape((outputs,))} if flat else {})


def _two_layers(layer: nn.Module, parts: int, *, gain: float) -> tuple[nn.Module, nn.Module, int]:
    """Return the layer of partial sums, the one that adds them, and how many channels are missing in the last part.

    Channel ``(2 i + s) * outputs + o`` of the first is the i-th partial sum of output o, negative for s = 1.
    """
    weight, axis = latent(layer).detach(), 0 if is_transposed(layer) else 1
    if isinstance(layer, nn.Linear):
        weight = weight[:, :, None]
    dims = weight.dim() - 2
    channels, outputs = weight.shape[axis], weight.shape[1 - axis]
    each = math.ceil(channels / parts)
    extra = each * parts - channels
    wide = torch.cat([weight, weight.new_zeros([extra if a == axis else n for a, n in enumerate(weight.shape)])], axis)
    if axis:
        first = torch.cat([signed for part in torch.split(wide, each, 1) for signed in (part, -part)])
    else:
        first = torch.cat([wide, -wide], 1)
    sums = copy.deepcopy(layer) if not isinstance(layer, nn.Linear) else _convolution(layer, 1)
    set_latent(sums, first)
    sums.groups, sums.in_channels, sums.out_channels = parts, each * parts, 2 * parts * outputs  # type: ignore[assignment]
    sums.register_parameter("bias", None)
    signs = torch.tensor([gain, -gain], dtype=weight.dtype, device=weight.device).repeat(parts)
    total = _convolution(layer, dims)
    set_latent(total, signs.repeat(outputs, 1).view(outputs, 2 * parts, *[1] * dims))
    total.groups, total.in_channels, total.out_channels = outputs, 2 * parts * outputs, outputs  # type: ignore[assignment]
    bias = layer.bias
    total.register_parameter("bias", None if bias is None else nn.Parameter(bias.detach().clone()))  # type: ignore[operator]
    return sums, total, extra


def _convolution(layer: nn.Module, dims: int) -> nn.Module:
    """Return a convolution of 1 x ... x 1 windows that is over time, and quantized, as a layer is."""
    convolution: nn.Module = CONVOLUTIONS[dims](1, 1, 1, device="cpu", bias=False)
    convolution = timed_layer(convolution, bias=False) if isinstance(layer, OverTime) else convolution
    of_layer = path_of(layer)
    if of_layer is not None and isinstance(of_layer[0].quantize, Quantize):
        attach(convolution, quantize=copy.deepcopy(of_layer[0].quantize.scheme))
    return convolution
