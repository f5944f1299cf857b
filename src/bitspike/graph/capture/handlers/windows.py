"""What pools, interpolations and borders mean."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from bitspike.graph.capture.handlers.shapes import padded, reshaped
from bitspike.graph.capture.handlers.table import HANDLERS, axis, data, handles, is_number, need_image, sizes
from bitspike.graph.capture.site import NotUnderstood, Ref, Site
from bitspike.graph.ir import Kind, Shape


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
    include = count_include_pad or not any(sizes(padding, n))
    window = (kernel_size, stride, padding, 1)
    return _pool("avg_pool", n, site, input, window, ceil_mode, count_include_pad=include)


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
    window = (kernel_size, stride, padding, dilation)
    return _pool("max_pool", n, site, input, window, ceil_mode, dilation=sizes(dilation, n))


def _pool(kind: Kind, n: int, site: Site, input: Any, window: Sequence[Any], ceil_mode: bool, **attrs: Any) -> Ref:
    """Add a pool of windows (kernel, stride, padding, dilation); nothing where each window is one place."""
    need_image(input, n)
    kernel, padding, dilation = (sizes(window[at], n) for at in (0, 2, 3))
    stride = kernel if window[1] is None or window[1] == [] else sizes(window[1], n)
    if all(k == s == 1 for k, s in zip(kernel, stride, strict=True)):
        return data(input)
    # Rounding up matters only where it gives one more window.
    ceil = ceil_mode and _more_windows(input.inside[1:], site.shape[1:], kernel, stride, padding, dilation)
    return site.emit(kind, input, kernel=kernel, stride=stride, padding=padding, ceil_mode=ceil, **attrs)


def adaptive_pool(n: int, kind: str, site: Site, input: Any, output_size: Any, return_indices: bool = False) -> Ref:
    """A pool that makes an image of a given size, as the fixed windows that it has for the traced shape."""
    del output_size
    need_image(input, n)
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


@handles(*(f"aten.adaptive_max_pool{n}d" for n in (1, 2, 3)))
def adaptive_max_pool_with_indices(site: Site, input: Any, output_size: Any) -> tuple[Ref, None]:
    """An adaptive max pool, of which only the values can be read."""
    site.take_first()
    return adaptive_pool(len(data(input).inside) - 1, "max", site, input, output_size), None


@handles("aten.max_pool2d_with_indices", "aten.max_pool3d_with_indices")
def max_pool_with_indices(site: Site, input: Any, *more: Any) -> tuple[Ref, None]:
    """A max pool, of which only the values can be read."""
    site.take_first()
    return max_pool(len(data(input).inside) - 1, site, input, *more), None


@handles("mean")
def mean(site: Site, input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Ref:
    """The mean over axes of the image: a pool over all of them."""
    del keepdim
    return _over_image(site, input, dim, "avg_pool", dtype, ceil_mode=False, count_include_pad=True)


@handles("amax")
def amax(site: Site, input: Any, dim: Any = (), keepdim: bool = False) -> Ref:
    """The maximum over axes of the image: a pool over all of them."""
    del keepdim
    rank = len(data(input).inside) - 1
    return _over_image(site, input, dim or None, "max_pool", None, ceil_mode=False, dilation=(1,) * rank)


def _over_image(site: Site, input: Any, dim: Any, kind: Any, dtype: Any, **attrs: Any) -> Ref:
    axes = {axis(d, data(input)) for d in (dim if isinstance(dim, list | tuple) else [dim])} if dim is not None else {0}
    if dtype is not None or not axes.isdisjoint({0, 1}):
        raise NotUnderstood("it reads several channels or samples at once", "E109" if 0 in axes else "E106")
    channels, *inside = input.inside
    kernel = tuple(size if i + 2 in axes else 1 for i, size in enumerate(inside))
    shape = (channels, *(size // k for size, k in zip(inside, kernel, strict=True)))
    pooled = site.emit(kind, input, shape=shape, kernel=kernel, stride=kernel, padding=(0,) * len(kernel), **attrs)
    return reshaped(site, pooled, site.shape, f"{site.name}.flat" if not site.place.is_module else "flat")


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
        site, data(input), site.shape[1:], "bilinear" if mode == "bilinear" else "nearest", bool(align_corners)
    )


@handles(*(f"aten.upsample_nearest{n}d" for n in (1, 2, 3)), *(f"aten.upsample_nearest_exact{n}d" for n in (1, 2, 3)))
def aten_nearest(site: Site, input: Any, *more: Any) -> Ref:
    """An image made larger by repeating its values."""
    del more
    return _grow(site, data(input), site.shape[1:])


@handles("aten.upsample_bilinear2d")
def aten_bilinear(site: Site, input: Any, size: Any, align_corners: bool, *more: Any) -> Ref:
    """An image made larger, linearly between its values."""
    del size, more
    return _grow(site, data(input), site.shape[1:], "bilinear", align_corners)


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
    if is_number(mode):  # aten's constant_pad_nd has no mode
        mode, value = "constant", mode
    if mode != "constant" or value not in (None, 0):
        raise NotUnderstood(f"it pads in mode {mode!r} with {value}; allowed are zeros")
    if not isinstance(pad, list | tuple) or not all(isinstance(p, int) for p in pad):
        raise NotUnderstood("how far it pads is no constant")
    rank = len(data(input).inside)
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    pairs += [(0, 0)] * (rank - len(pairs))
    if len(pairs) > rank:
        raise NotUnderstood("it pads the batch", "E109")
    if min(pairs[rank - 1]) < 0:
        raise NotUnderstood("it cuts channels off by padding")
    # The channels come into it only where they are padded.
    axes = (pairs if any(pairs[rank - 1]) else pairs[: rank - 1])[::-1]
    return padded(site, input, tuple(a for a, _ in axes), tuple(b for _, b in axes))


def _more_windows(inside: Shape, outside: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> bool:
    """Tell whether rounding up gives more windows than rounding down."""
    axes = zip(inside, outside, kernel, stride, padding, dilation, strict=True)
    return any((n + 2 * p - d * (k - 1) - 1) // s + 1 != o for n, o, k, s, p, d in axes)
