"""Split a layer into partial sums: slices of its input channels, neurons behind each, and a layer that adds them up.

A neuron that may read only some channels computes a partial sum p_i. It cannot send a negative value, so every partial
sum gets two neurons, and the layer behind them subtracts one from the other:

    W x + b = sum_i p_i + b = sum_i (relu(p_i) - relu(-p_i)) + b,      p_i = W[:, slice i] x[slice i]

That holds for every input, without data and without a bound. One neuron per partial sum would do with a shift,
relu(p_i + c_i) - c_i, but c_i has to cover all that p_i falls below 0: that asks for data, makes the levels of a
spiking neuron twice as coarse, and lets neurons fire half of the time that now are silent.

All partial sums are one grouped convolution, and their sum is one of a single 1 x ... x 1 window per output channel,
behind a channel shuffle; the reading neuron has a fan-in of two weights for every part.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.nn import IF, Neuron, OverTime, TimeDistributed
from bitspike.nn.arrange import Pad, Permute, Reshape
from bitspike.nn.timed_layer import over_time
from bitspike.ops.surrogate import ArcTan
from bitspike.surgery.channels import latent, set_latent
from bitspike.weights.attach import attach
from bitspike.weights.path import Quantize, path_of

_CONVOLUTIONS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class Shuffle(nn.Module):
    """Take one channel of every group in turn: [N, C, ...] to [N, C, ...], for networks without time.

    Channel ``k * groups + j`` of the result is channel ``j * C / groups + k``. Source: Zhang et al., ShuffleNet,
    CVPR 2018, arXiv 1707.01083, section 3.1.

    Example:
        >>> Shuffle(2)(torch.arange(6.0).view(1, 6, 1)).flatten().tolist()
        [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        apart: Tensor = x.unflatten(1, (self.groups, -1))  # type: ignore[no-untyped-call]
        return apart.transpose(1, 2).flatten(1, 2)

    def extra_repr(self) -> str:
        return f"{self.groups}"


def shuffle_over_time(groups: int, shape: tuple[int, ...]) -> dict[str, nn.Module]:
    """Return the modules that do to [T, N, *shape] what :class:`Shuffle` does without time."""
    channels, *size = shape
    return {
        "split": Reshape((groups, channels // groups, *size)),
        "swap": Permute((1, 0, *range(2, 2 + len(size)))),
        "join": Reshape((channels, *size)),
    }


class ExtraChannels(nn.Module):
    """Put channels of zeros behind the others: [N, C, ...] to [N, C + extra, ...].

    Example:
        >>> ExtraChannels(2)(torch.ones(1, 1, 1)).flatten().tolist()
        [1.0, 0.0, 0.0]
    """

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.extra = extra

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, [0, 0] * (x.dim() - 2) + [0, self.extra])

    def extra_repr(self) -> str:
        return f"{self.extra}"


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
    channels = latent(layer).shape[0 if _transposed(layer) else 1]
    if getattr(layer, "groups", 1) != 1:
        raise ConstraintError(f"repair of {path!r}: only a layer of one group can be split into partial sums")
    if not 2 <= parts <= channels:
        raise ConstraintError(
            f"repair of {path!r}: parts={parts} of {channels} input channels", fix="2 or more of each"
        )
    if path_of(layer, "bias") is not None:
        raise ConstraintError(
            f"repair of {path!r}: its bias is quantized already", fix="repair first, then attach(model, bias=...)"
        )
    parents = [path.rsplit(".", n)[0] for n in range(1, path.count(".") + 1)]
    timed = next((p for p in reversed(parents) if isinstance(model.get_submodule(p), TimeDistributed)), None)
    if timed is None and not isinstance(layer, OverTime):
        made = _without_time(layer, parts)
        _put(model, path, made)
        return f"{path}.parts", f"{path}.sum"
    if not source_shape:
        raise ConstraintError(f"repair of {path!r}: source_shape is needed for partial sums over time")
    neuron = next((m for m in model.modules() if isinstance(m, Neuron)), None)
    made = _over_time(layer, parts, source_shape, neuron)
    if timed is None:
        _put(model, path, made)
        return f"{path}.parts", f"{path}.sum"
    module = model.get_submodule(timed)
    assert isinstance(module, TimeDistributed)
    name, _, below = path[len(timed) + 1 :].partition(".")
    if below:
        raise ConstraintError(f"repair of {path!r}: it stands too deep inside the layers over time {timed!r}")
    front, behind = cut(module, name)
    flat = [("flat", nn.Flatten())] if made.pop("flat", None) is not None else []
    made["parts"] = TimeDistributed(made["parts"])
    made["layers"] = TimeDistributed(OrderedDict([(name, made.pop("sum")), *flat, *list(behind.named_children())[1:]]))
    _put(model, timed, ({"front": front} if len(front) else {}) | made)
    return f"{timed}.parts.0", f"{timed}.layers.{name}"


def cut(module: nn.Module, name: str) -> tuple[TimeDistributed, TimeDistributed]:
    """Cut layers over time in two, the second part from a layer on."""
    layers = list(module.named_children())
    at = [n for n, _ in layers].index(name)
    return TimeDistributed(OrderedDict(layers[:at])), TimeDistributed(OrderedDict(layers[at:]))


def _put(model: nn.Module, path: str, parts: dict[str, nn.Module]) -> None:
    parent, _, name = path.rpartition(".")
    whole = nn.Sequential(OrderedDict(parts)).train(model.get_submodule(path).training)
    setattr(model.get_submodule(parent) if parent else model, name, whole)


def _without_time(layer: nn.Module, parts: int) -> dict[str, nn.Module]:
    flat = isinstance(layer, nn.Linear)
    first, last, extra = _two_layers(layer, parts, gain=1.0)
    made: dict[str, nn.Module] = {}
    if flat:
        made["image"] = nn.Unflatten(1, (latent(layer).shape[1], 1))
    if extra:
        made["extra"] = ExtraChannels(extra)
    made |= {"parts": first, "neurons": nn.ReLU(), "shuffle": Shuffle(2 * parts), "sum": last}
    return made | ({"flat": nn.Flatten()} if flat else {})


def _over_time(
    layer: nn.Module, parts: int, source_shape: tuple[int, ...], like: Neuron | None
) -> dict[str, nn.Module]:
    flat = isinstance(layer, nn.Linear)
    weight = latent(layer).detach()
    outputs = weight.shape[1 if _transposed(layer) else 0]
    threshold = float(weight.double().square().sum().div(parts * outputs).sqrt()) or 1.0
    first, last, extra = _two_layers(layer, parts, gain=threshold)
    made: dict[str, nn.Module] = {}
    channels, *size = (*source_shape, 1) if flat else source_shape
    if flat and not extra:
        made["image"] = Reshape((channels, 1))
    if extra:  # channels are padded as places of a single one
        each = math.prod(size)
        made |= {
            "line": Reshape((1, channels * each)),
            "extra": Pad((0,), (extra * each,)),
            "image": Reshape((channels + extra, *size)),
        }
    with torch.no_grad():
        plain = copy.deepcopy(first)
        zeros = torch.zeros(1, 1, channels + extra, *size, dtype=weight.dtype, device=weight.device)
        shape = tuple(plain(zeros if isinstance(plain, OverTime) else zeros[0]).shape[-len(size) - 1 :])
    neuron = IF(threshold, initial=threshold / 2, surrogate=ArcTan() if like is None else like.rule.surrogate)
    made |= {"parts": first, "neurons": neuron, **shuffle_over_time(2 * parts, shape), "sum": last}
    return made | ({"flat": Reshape((outputs,))} if flat else {})


def _two_layers(layer: nn.Module, parts: int, *, gain: float) -> tuple[nn.Module, nn.Module, int]:
    """Return the layer of partial sums, the one that adds them, and how many channels are missing in the last part.

    Channel ``(2 i + s) * outputs + o`` of the first is the i-th partial sum of output o, negative for s = 1.
    """
    weight, axis = latent(layer).detach(), 0 if _transposed(layer) else 1
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
    made = _CONVOLUTIONS[dims](1, 1, 1, device="cpu", bias=False)
    made = over_time(made, bias=False) if isinstance(layer, OverTime) else made
    found = path_of(layer)
    if found is not None and isinstance(found[0].quantize, Quantize):
        attach(made, quantize=copy.deepcopy(found[0].quantize.scheme))
    return made.train(layer.training)


def _transposed(layer: nn.Module) -> bool:
    return isinstance(layer, nn.modules.conv._ConvTransposeNd)
