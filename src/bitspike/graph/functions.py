"""What functions and methods mean: for each the handler that adds its operation to the canonical graph.

A handler has the signature of what it stands for, behind the call's :class:`~bitspike.graph.canonical.Site`; so Python
itself matches the arguments. What it does not understand it refuses with :class:`NotUnderstood`.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from bitspike.graph.canonical import NotUnderstood, Parts, Ref, Scalar, Site
from bitspike.graph.ir import Shape
from bitspike.graph.observe import name_of

Handler = Callable[..., Any]
HANDLERS: dict[str, Handler] = {}

# Functions of each value alone; inside a region they are activations that no neuron computes.
ACTIVATIONS = frozenset({
    "leaky_relu", "silu", "gelu", "elu", "selu", "celu", "mish", "hardswish", "hardsigmoid", "hardtanh", "relu6",
    "sigmoid", "tanh", "softplus", "softsign", "prelu", "rrelu", "softmax", "log_softmax", "softmin", "logsigmoid",
    "log_sigmoid", "hardshrink", "softshrink", "tanhshrink", "glu", "threshold", "clamp", "clip", "clamp_min",
    "clamp_max", "abs", "square", "pow", "exp", "log", "sqrt", "rsqrt", "sin", "cos", "sign", "round", "floor",
    "ceil", "erf", "where", "maximum", "minimum", "heaviside",
})  # fmt: skip

# Dispatchers of torch have no name of their own.
_DISPATCHED = {
    getattr(F, name): name
    for name in (f"{kind}_max_pool{n}d" for kind in ("adaptive", "fractional") for n in (1, 2, 3))
    if hasattr(F, name)
} | {getattr(F, f"max_pool{n}d"): f"max_pool{n}d" for n in (1, 2, 3)}


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Enter a handler into the table under the names of what it stands for."""

    def enter(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return enter


def handler_of(node: fx.Node) -> Handler:
    """Return the handler of a function or method that a node calls.

    Raises:
        NotUnderstood: there is none.
    """
    name = function_name(node)
    aten = isinstance(node.target, torch._ops.OpOverload)
    known = aten or node.op == "call_method" or _is_torchs(node.target, name)
    handler = (HANDLERS.get(f"aten.{name}") if aten else None) or HANDLERS.get(name)
    if handler is not None and known:
        return handler
    if name in ACTIVATIONS and known:
        raise NotUnderstood("it is an activation that no neuron computes", "E101")
    raise NotUnderstood("it is not understood")


def function_name(node: fx.Node) -> str:
    """Return the plain name of a function or method."""
    try:
        return _DISPATCHED.get(node.target, name_of(node))  # type: ignore[arg-type]
    except TypeError:  # not hashable
        return name_of(node)


def _is_torchs(target: Any, name: str) -> bool:
    """Tell a function of torch from one of the user's that has the same name."""
    if target in _DISPATCHED:
        return True
    owners = (torch, F, operator, torch.Tensor, torch._C._nn, torch.special)
    names = (name, f"{name}_", f"__{name}__", f"_{name}", getattr(target, "__name__", name))
    return any(getattr(owner, n, None) is target for owner in owners for n in names)


# Activations


@handles("relu")
def relu(site: Site, input: Any, inplace: bool = False) -> Ref:
    """max(x, 0)."""
    del inplace
    return site.emit("relu", _data(input), clip=None)


@handles("relu6")
def relu6(site: Site, input: Any, inplace: bool = False) -> Ref:
    """min(max(x, 0), 6)."""
    del inplace
    return site.emit("relu", _data(input), clip=6.0)


@handles("hardtanh")
def hardtanh(site: Site, input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Ref:
    """min(max(x, low), high): a relu where low is 0."""
    del inplace
    return clamp(site, input, min_val, max_val)


@handles("clamp", "clip")
def clamp(site: Site, input: Any, min: Any = None, max: Any = None) -> Ref:
    """min(max(x, low), high): a relu where low is 0."""
    low, high = (v.item() if isinstance(v, Tensor) and v.numel() == 1 else v for v in (min, max))
    if low is not None and _is_number(low) and low == 0 and (high is None or (_is_number(high) and high > 0)):
        clip = None if high is None or math.isinf(high) else float(high)
        return site.emit("relu", _data(input), clip=clip)
    raise NotUnderstood(f"it cuts at {low} and {high}; a neuron cuts at 0 below", "E101")


@handles("clamp_min")
def clamp_min(site: Site, input: Any, min: Any) -> Ref:
    """max(x, low): a relu where low is 0."""
    return clamp(site, input, min)


@handles("threshold")
def threshold(site: Site, input: Any, threshold: float, value: float, inplace: bool = False) -> Ref:
    """The value x where x > threshold, else value: a relu where both are 0."""
    del inplace
    if threshold or value:
        raise NotUnderstood(f"it jumps at {threshold} from {value}; a neuron starts at 0", "E101")
    return relu(site, input)


@handles("leaky_relu")
def leaky_relu(site: Site, input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Ref:
    """The value x where x > 0, else slope * x: a relu where the slope is 0."""
    del inplace
    if negative_slope:
        raise NotUnderstood("it is an activation that no neuron computes", "E101")
    return relu(site, input)


# Sums and constants


@handles("add", "iadd", "radd")
def add(site: Site, input: Any, other: Any, *, alpha: Any = 1) -> Ref:
    """X + alpha * y, of two signals or of a signal and a constant."""
    if isinstance(input, Ref) and isinstance(other, Ref):
        if not _is_number(alpha) or abs(alpha) != 1:
            raise NotUnderstood(f"it adds {alpha} times a signal")
        return _sum(site, input, other, int(alpha))
    if isinstance(input, Ref):
        return affine(site, input, 1.0, _constant(other) * alpha)
    return affine(site, _data(other), alpha, _constant(input))


@handles("sub", "subtract", "isub")
def sub(site: Site, input: Any, other: Any, *, alpha: Any = 1) -> Ref:
    """X - alpha * y, of two signals or of a signal and a constant."""
    return add(site, input, other, alpha=-alpha)


@handles("rsub")
def rsub(site: Site, input: Any, other: Any, *, alpha: Any = 1) -> Ref:
    """Other - alpha * input."""
    return add(site, other, input, alpha=-alpha)


@handles("mul", "multiply", "imul", "rmul")
def mul(site: Site, input: Any, other: Any) -> Ref:
    """A signal times a constant."""
    if isinstance(input, Ref) and isinstance(other, Ref):
        raise NotUnderstood("it multiplies two signals")
    signal, constant = (input, other) if isinstance(input, Ref) else (other, input)
    return affine(site, _data(signal), _constant(constant), 0.0)


@handles("div", "divide", "truediv", "itruediv", "true_divide")
def div(site: Site, input: Any, other: Any, *, rounding_mode: str | None = None) -> Ref:
    """A signal divided by a constant."""
    if rounding_mode is not None:
        raise NotUnderstood("it rounds", "E101")
    if not isinstance(input, Ref) or isinstance(other, Ref):
        raise NotUnderstood("it divides by a signal")
    return affine(site, input, 1.0 / _constant(other), 0.0)


@handles("neg", "negative")
def neg(site: Site, input: Any) -> Ref:
    """The negative of a signal."""
    return affine(site, _data(input), -1.0, 0.0)


def affine(site: Site, input: Ref, gain: Any, shift: Any) -> Ref:
    """Gain * x + shift with constants, each a number or one per channel; nothing where it changes nothing."""
    gain, shift = (_per_channel(value, input.inside) for value in (gain, shift))
    if isinstance(gain, float) and isinstance(shift, float) and gain == 1 and shift == 0:
        return input
    return site.emit("affine", input, gain=gain, shift=shift)


def _sum(site: Site, first: Ref, second: Ref, sign: int) -> Ref:
    if first.inside != second.inside:
        raise NotUnderstood(f"it spreads {list(second.inside)} over {list(first.inside)}")
    return site.emit("add", first, second, signs=(1, sign))


def _constant(value: Any) -> Any:
    if isinstance(value, Tensor) or _is_number(value):
        return value
    raise NotUnderstood("its second value is no constant")


def _per_channel(value: Any, shape: Shape) -> float | Tensor:
    """Return a constant as a number or as one value per channel [C]."""
    if not isinstance(value, Tensor):
        return float(value)
    if value.numel() == 1:
        return float(value)
    sizes = (1,) * (len(shape) + 1 - value.ndim) + tuple(value.shape)
    if len(sizes) == len(shape) + 1 and sizes[1] == shape[0] and math.prod(sizes) == shape[0]:
        return value.detach().reshape(-1).clone()
    raise NotUnderstood(f"its constant of shape {list(value.shape)} is no number and not one per channel")


# Shapes


@handles("flatten", "view", "reshape", "unflatten", "squeeze", "unsqueeze", "unsafe_view", "view_copy", "reshape_as")
def reshape(site: Site, input: Any, *sizes: Any, **more: Any) -> Ref:
    """The same values in another shape; the arguments are not needed, the traced shape says it all."""
    del sizes, more
    return _reshape(site, _data(input), site.shape)


def _reshape(site: Site, input: Ref, shape: Shape, name: str = "") -> Ref:
    if math.prod(input.inside) != math.prod(shape):
        raise NotUnderstood("it changes the number of values of a sample", "E109")
    return input if input.inside == shape else site.emit("reshape", input, shape=shape, name=name)


@handles("permute")
def permute(site: Site, input: Any, *dims: Any) -> Ref:
    """The axes of a sample in another order."""
    order = dims[0] if len(dims) == 1 and isinstance(dims[0], list | tuple) else dims
    return _transpose(site, _data(input), [_axis(d, input) for d in order])


@handles("transpose", "swapaxes", "swapdims")
def transpose(site: Site, input: Any, dim0: Any, dim1: Any) -> Ref:
    """Two axes of a sample exchanged."""
    order = list(range(len(_data(input).inside) + 1))
    first, second = _axis(dim0, input), _axis(dim1, input)
    order[first], order[second] = second, first
    return _transpose(site, input, order)


@handles("movedim", "moveaxis")
def movedim(site: Site, input: Any, source: Any, destination: Any) -> Ref:
    """One axis of a sample at another place."""
    if not isinstance(source, int) or not isinstance(destination, int):
        raise NotUnderstood("it moves several axes")
    order = list(range(len(_data(input).inside) + 1))
    order.insert(_axis(destination, input), order.pop(_axis(source, input)))
    return _transpose(site, input, order)


def _transpose(site: Site, input: Ref, order: Sequence[int], shape: Shape | None = None, name: str = "") -> Ref:
    if order[0] != 0:
        raise NotUnderstood("it moves the batch", "E109")
    axes = tuple(d - 1 for d in order[1:])
    return input if axes == tuple(sorted(axes)) else site.emit("transpose", input, shape=shape, name=name, axes=axes)


@handles("pixel_shuffle")
def pixel_shuffle(site: Site, input: Any, upscale_factor: int) -> Ref:
    """[C r r, H, W] as [C, H r, W r]."""
    (channels, height, width), r = _data(input).inside, upscale_factor
    apart = _reshape(site, input, (channels // r**2, r, r, height, width), "split")
    crossed = _transpose(site, apart, (0, 1, 4, 2, 5, 3), (channels // r**2, height, r, width, r), "cross")
    return _reshape(site, crossed, site.shape)


@handles("pixel_unshuffle")
def pixel_unshuffle(site: Site, input: Any, downscale_factor: int) -> Ref:
    """[C, H r, W r] as [C r r, H, W]."""
    (channels, height, width), r = _data(input).inside, downscale_factor
    apart = _reshape(site, input, (channels, height // r, r, width // r, r), "split")
    crossed = _transpose(site, apart, (0, 1, 3, 5, 2, 4), (channels, r, r, height // r, width // r), "cross")
    return _reshape(site, crossed, site.shape)


@handles("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(site: Site, input: Any, groups: int) -> Ref:
    """The channels of g groups taken in turns."""
    channels, *inside = _data(input).inside
    apart = _reshape(site, input, (groups, channels // groups, *inside), "split")
    order = (0, 2, 1, *range(3, 3 + len(inside)))
    crossed = _transpose(site, apart, order, (channels // groups, groups, *inside), "cross")
    return _reshape(site, crossed, site.shape)


# Channels


@handles("cat", "concat", "concatenate")
def cat(site: Site, tensors: Any, dim: Any = 0) -> Ref:
    """Signals side by side along the channels."""
    if not isinstance(tensors, list | tuple) or not all(isinstance(t, Ref) for t in tensors):
        raise NotUnderstood("one of its parts is no signal")
    if _axis(dim, tensors[0]) == 0:
        raise NotUnderstood("it joins along the batch", "E109")
    if _axis(dim, tensors[0]) != 1:
        raise NotUnderstood(f"it joins along axis {dim}; channels are axis 1")
    return tensors[0] if len(tensors) == 1 else site.emit("concat", *tensors)


@handles("chunk", "split", "tensor_split", "split_with_sizes", "unsafe_chunk", "unsafe_split")
def split(site: Site, input: Any, how: Any = None, dim: Any = 0, **more: Any) -> Parts:
    """A signal cut along the channels; where, the traced shapes say."""
    dim = more.get("dim", dim)
    if _axis(dim, _data(input)) != 1:
        raise NotUnderstood(
            f"it cuts along axis {dim}; channels are axis 1", "E109" if _axis(dim, input) == 0 else "E106"
        )
    del how
    starts = [0]
    for shape in site.parts:
        assert shape is not None, site.name
        starts.append(starts[-1] + shape[1])
    return Parts(input, tuple(pairwise(starts)))


@handles("getitem")
def getitem(site: Site, input: Any, index: Any) -> Ref:
    """Part of the channels, or part of the image."""
    rank = len(_data(input).inside) + 1
    items = list(index) if isinstance(index, tuple | list) else [index]
    if any(item is Ellipsis for item in items):
        at = next(i for i, item in enumerate(items) if item is Ellipsis)
        items[at : at + 1] = [slice(None)] * (rank - len(items) + 1)
    if len(items) > rank or not all(isinstance(item, slice) for item in items):
        raise NotUnderstood("it picks single values or makes a new axis")
    if any(isinstance(v, Scalar | Ref) for item in items for v in (item.start, item.stop, item.step)):
        raise NotUnderstood("where it cuts is no constant")
    if items[0] not in (slice(None), slice(0, None), slice(None, None, 1), slice(0, None, 1)):
        raise NotUnderstood("it cuts along the batch", "E109")
    spans, steps = [], []
    for axis, (item, size) in enumerate(zip(items[1:], input.inside, strict=False)):
        start, stop, step = item.indices(size)
        if step != 1 and (axis == 0 or step < 1 or len(input.inside) < 2):
            raise NotUnderstood(f"it takes every {step}th channel or goes backwards")
        spans.append((start, stop))
        steps.append(step)
    cut = _cut(site, input, spans + [(0, n) for n in input.inside[len(spans) :]])
    strides = tuple(steps[1:]) + (1,) * (len(input.inside) - max(1, len(steps)))
    if all(step == 1 for step in strides):
        return cut
    # Every n-th place of an image is a pool of windows of one value.
    shape = (cut.inside[0], *(-(-n // s) for n, s in zip(cut.inside[1:], strides, strict=True)))
    ones = (1,) * len(strides)
    return site.emit(
        "avg_pool", cut, shape=shape, name="every", kernel=ones, stride=strides, padding=(0,) * len(ones),
        ceil_mode=False, count_include_pad=True,
    )  # fmt: skip


@handles("narrow")
def narrow(site: Site, input: Any, dim: Any, start: Any, length: Any) -> Ref:
    """``length`` values of one axis."""
    index = [slice(None)] * (len(_data(input).inside) + 1)
    if not _is_number(start) or not _is_number(length):
        raise NotUnderstood("where it cuts is no constant")
    index[_axis(dim, input)] = slice(start, start + length)
    return getitem(site, input, tuple(index))


@handles("aten.slice")
def aten_slice(site: Site, input: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Ref:
    """x[start:end:step] along one axis."""
    index = [slice(None)] * (len(_data(input).inside) + 1)
    full = start in (None, 0) and _is_number(end) and end >= 2**31 and step == 1
    index[_axis(dim, input)] = slice(None) if full else slice(start, end, step)
    return getitem(site, input, tuple(index))


def _cut(site: Site, input: Ref, spans: Sequence[tuple[int, int]]) -> Ref:
    """Channels as a slice, the image as a padding below zero."""
    (start, stop), *inside = spans
    if (start, stop) != (0, input.inside[0]):
        shape = (stop - start, *input.inside[1:])
        input = site.emit("slice", input, shape=shape, name="slice", start=start, stop=stop)
    before = tuple(-low for low, _ in inside)
    after = tuple(high - size for (_, high), size in zip(inside, input.inside[1:], strict=True))
    return _padded(site, input, before, after, "crop")


# Pools, sizes, borders


def avg_pool(
    n: int,
    site: Site,
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Ref:
    """The mean of windows."""
    if divisor_override is not None:
        raise NotUnderstood("it divides by a number of its own", "E104")
    kernel, padding = sizes(kernel_size, n), sizes(padding, n)
    stride = kernel if stride is None or stride == [] else sizes(stride, n)
    _need_image(input, n)
    if all(k == s == 1 for k, s in zip(kernel, stride, strict=True)):
        return _data(input)
    ceil = ceil_mode and _more_windows(input.inside[1:], site.shape[1:], kernel, stride, padding, (1,) * n)
    include = count_include_pad or not any(padding)
    return site.emit(
        "avg_pool", input, kernel=kernel, stride=stride, padding=padding, ceil_mode=ceil, count_include_pad=include
    )


def max_pool(
    n: int,
    site: Site,
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Ref:
    """The maximum of windows."""
    if return_indices:
        raise NotUnderstood("it also gives the places of the maxima", "E104")
    kernel, padding, dilation = sizes(kernel_size, n), sizes(padding, n), sizes(dilation, n)
    stride = kernel if stride is None or stride == [] else sizes(stride, n)
    _need_image(input, n)
    if all(k == s == 1 for k, s in zip(kernel, stride, strict=True)):
        return _data(input)
    ceil = ceil_mode and _more_windows(input.inside[1:], site.shape[1:], kernel, stride, padding, dilation)
    return site.emit(
        "max_pool", input, kernel=kernel, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil
    )


def adaptive_pool(n: int, kind: str, site: Site, input: Any, output_size: Any, return_indices: bool = False) -> Ref:
    """A pool that makes an image of a given size, as the fixed windows that it has for the traced shape."""
    del output_size
    _need_image(input, n)
    inside, outside = input.inside[1:], site.shape[1:]
    if return_indices:
        raise NotUnderstood("it also gives the places of the maxima", "E104")
    if all(o % i == 0 for i, o in zip(inside, outside, strict=True)):  # windows of one value, each read several times
        return _grow(site, input, outside)
    if any(i % o for i, o in zip(inside, outside, strict=True)):
        raise NotUnderstood(
            f"its windows over {list(inside)} differ in size: {list(outside)} does not divide it", "E104"
        )
    kernel = tuple(i // o for i, o in zip(inside, outside, strict=True))
    return (avg_pool if kind == "avg" else max_pool)(n, site, input, kernel)


for _n in (1, 2, 3):
    HANDLERS[f"avg_pool{_n}d"] = functools.partial(avg_pool, _n)
    HANDLERS[f"max_pool{_n}d"] = functools.partial(max_pool, _n)
    HANDLERS[f"adaptive_avg_pool{_n}d"] = functools.partial(adaptive_pool, _n, "avg")
    HANDLERS[f"adaptive_max_pool{_n}d"] = functools.partial(adaptive_pool, _n, "max")


@handles("aten.max_pool2d_with_indices", "aten.max_pool3d_with_indices")
def max_pool_with_indices(site: Site, input: Any, *more: Any) -> tuple[Ref, None]:
    """A max pool, of which only the values can be read."""
    rank = len(_data(input).inside) - 1
    first = site.parts[0]
    assert first is not None, site.name
    site.shape = first[1:]
    return max_pool(rank, site, input, *more), None


@handles("mean")
def mean(site: Site, input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Ref:
    """The mean over axes of the image: a pool over all of them."""
    del keepdim
    return _over_image(site, input, dim, "avg_pool", dtype, ceil_mode=False, count_include_pad=True)


@handles("amax")
def amax(site: Site, input: Any, dim: Any = (), keepdim: bool = False) -> Ref:
    """The maximum over axes of the image: a pool over all of them."""
    del keepdim
    rank = len(_data(input).inside) - 1
    return _over_image(site, input, dim or None, "max_pool", None, ceil_mode=False, dilation=(1,) * rank)


def _over_image(site: Site, input: Any, dim: Any, kind: Any, dtype: Any, **attrs: Any) -> Ref:
    axes = (
        {_axis(d, _data(input)) for d in (dim if isinstance(dim, list | tuple) else [dim])} if dim is not None else {0}
    )
    if dtype is not None or not axes.isdisjoint({0, 1}):
        raise NotUnderstood("it reads several channels or samples at once", "E109" if 0 in axes else "E106")
    channels, *inside = input.inside
    kernel = tuple(size if i + 2 in axes else 1 for i, size in enumerate(inside))
    shape = (channels, *(size // k for size, k in zip(inside, kernel, strict=True)))
    pooled = site.emit(kind, input, shape=shape, kernel=kernel, stride=kernel, padding=(0,) * len(kernel), **attrs)
    return _reshape(site, pooled, site.shape, f"{site.name}.flat" if not site.place.is_module else "flat")


@handles("interpolate", "upsample", "upsample_nearest", "upsample_bilinear")
def interpolate(
    site: Site,
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Ref:
    """An image made larger."""
    del size, recompute_scale_factor
    if antialias or mode not in ("nearest", "nearest-exact", "bilinear"):
        raise NotUnderstood(f"it interpolates in mode {mode!r}; allowed is 'nearest'")
    factors = scale_factor if isinstance(scale_factor, list | tuple) else [scale_factor]
    if any(isinstance(f, float) and not f.is_integer() for f in factors):
        raise NotUnderstood(f"it grows by {scale_factor}, which is no whole number")
    return _grow(
        site, _data(input), site.shape[1:], "bilinear" if mode == "bilinear" else "nearest", bool(align_corners)
    )


@handles(*(f"aten.upsample_nearest{n}d" for n in (1, 2, 3)), *(f"aten.upsample_nearest_exact{n}d" for n in (1, 2, 3)))
def aten_nearest(site: Site, input: Any, *more: Any) -> Ref:
    """An image made larger by repeating its values."""
    del more
    return _grow(site, _data(input), site.shape[1:])


@handles("aten.upsample_bilinear2d")
def aten_bilinear(site: Site, input: Any, size: Any, align_corners: bool, *more: Any) -> Ref:
    """An image made larger, linearly between its values."""
    del size, more
    return _grow(site, _data(input), site.shape[1:], "bilinear", align_corners)


def _grow(site: Site, input: Ref, outside: Shape, mode: str = "nearest", align_corners: bool = False) -> Ref:
    if len(outside) != len(input.inside) - 1 or not outside:
        raise NotUnderstood("it has no image to grow")
    if any(o % i for i, o in zip(input.inside[1:], outside, strict=True)):
        raise NotUnderstood(f"it makes {list(outside)} of {list(input.inside[1:])}, which is no whole multiple")
    factors = tuple(o // i for i, o in zip(input.inside[1:], outside, strict=True))
    if set(factors) == {1}:
        return input
    return site.emit("upsample", input, mode=mode, factors=factors, align_corners=align_corners)


@handles("pad", "constant_pad_nd")
def pad(site: Site, input: Any, pad: Any, mode: Any = "constant", value: Any = None) -> Ref:
    """Zeros around an image; negative numbers cut."""
    if _is_number(mode):  # aten's constant_pad_nd has no mode
        mode, value = "constant", mode
    if mode != "constant" or value not in (None, 0):
        raise NotUnderstood(f"it pads in mode {mode!r} with {value}; allowed are zeros")
    if not isinstance(pad, list | tuple) or not all(isinstance(p, int) for p in pad):
        raise NotUnderstood("how far it pads is no constant")
    rank = len(_data(input).inside)
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    pairs += [(0, 0)] * (rank - len(pairs))
    if len(pairs) > rank:
        raise NotUnderstood("it pads the batch", "E109")
    if min(pairs[rank - 1]) < 0:
        raise NotUnderstood("it cuts channels off by padding")
    # The channels come into it only where they are padded.
    axes = (pairs if any(pairs[rank - 1]) else pairs[: rank - 1])[::-1]
    return _padded(site, input, tuple(a for a, _ in axes), tuple(b for _, b in axes))


def _padded(site: Site, input: Ref, before: Shape, after: Shape, name: str = "") -> Ref:
    if not any(before) and not any(after):
        return input
    return site.emit("pad", input, before=before, after=after, name=name)


# Nothing


@handles("contiguous", "detach", "clone", "alias", "lift_fresh_copy", "positive", "pos")
def identity(site: Site, input: Any, *more: Any, **options: Any) -> Ref:
    """The same values."""
    del site, more, options
    return _data(input)


@handles("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "feature_dropout")
def dropout(
    site: Site, input: Any, p: float = 0.5, training: bool | None = None, inplace: bool = False, **more: Any
) -> Ref:
    """Nothing in evaluation."""
    del site, inplace
    # F.dropout trains unless told otherwise, F.dropout2d and the others too; aten says ``train``.
    active = more.get("train", True if training is None else training)
    if active and p > 0:
        raise NotUnderstood("this dropout stays on in evaluation: its call does not pass training=self.training")
    return _data(input)


# What handlers share


def _data(value: Any) -> Any:
    if isinstance(value, Ref):
        return value
    raise NotUnderstood("it does not read a signal there")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _axis(dim: Any, input: Any) -> int:
    """Return an axis counted from the front, the batch as 0."""
    if not isinstance(dim, int):
        raise NotUnderstood("which axis it means is no constant")
    return dim % (len(_data(input).inside) + 1)


def sizes(value: Any, n: int) -> Shape:
    """Return a size as n whole numbers.

    Example:
        >>> sizes(3, 2), sizes([1, 2], 2)
        ((3, 3), (1, 2))
    """
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    values = values * n if len(values) == 1 else values
    if len(values) != n or not all(isinstance(v, int) for v in values):
        raise NotUnderstood(f"its size {value} is no constant of {n} numbers")
    return values


def _need_image(input: Any, n: int) -> None:
    if len(_data(input).inside) != n + 1:
        raise NotUnderstood(f"it reads a sample of shape {list(input.inside)}, not [C] and {n} more")


def _more_windows(inside: Shape, outside: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> bool:
    """Tell whether rounding up gives more windows than rounding down."""
    axes = zip(inside, outside, kernel, stride, padding, dilation, strict=True)
    return any((n + 2 * p - d * (k - 1) - 1) // s + 1 != o for n, o, k, s, p, d in axes)
