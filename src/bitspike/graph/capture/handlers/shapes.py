"""What reshapes, transposes, joins, splits and slices mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from bitspike.graph.capture.handlers.table import axis, data, handles, is_number
from bitspike.graph.capture.site import NotUnderstood, Ref, Scalar, Site, Split
from bitspike.graph.ir import Shape


@handles("flatten", "view", "reshape", "unflatten", "squeeze", "unsqueeze", "unsafe_view", "view_copy", "reshape_as")
def reshape(site: Site, input: Any, *sizes: Any, **more: Any) -> Ref:
    """The same values in another shape; the arguments are not needed, the traced shape says it all."""
    del sizes, more
    return reshaped(site, data(input), site.shape)


def reshaped(site: Site, input: Ref, shape: Shape, name: str = "") -> Ref:
    """Add a reshape, where it changes anything."""
    if math.prod(input.inside) != math.prod(shape):
        raise NotUnderstood("it changes the number of values of a sample", "E109")
    return input if input.inside == shape else site.emit("reshape", input, shape=shape, name=name)


@handles("permute")
def permute(site: Site, input: Any, *dims: Any) -> Ref:
    """The axes of a sample in another order."""
    order = dims[0] if len(dims) == 1 and isinstance(dims[0], list | tuple) else dims
    return _transpose(site, data(input), [axis(d, input) for d in order])


@handles("transpose", "swapaxes", "swapdims")
def transpose(site: Site, input: Any, dim0: Any, dim1: Any) -> Ref:
    """Two axes of a sample exchanged."""
    order = list(range(len(data(input).inside) + 1))
    first, second = axis(dim0, input), axis(dim1, input)
    order[first], order[second] = second, first
    return _transpose(site, input, order)


@handles("movedim", "moveaxis")
def movedim(site: Site, input: Any, source: Any, destination: Any) -> Ref:
    """One axis of a sample at another place."""
    if not isinstance(source, int) or not isinstance(destination, int):
        raise NotUnderstood("it moves several axes")
    order = list(range(len(data(input).inside) + 1))
    order.insert(axis(destination, input), order.pop(axis(source, input)))
    return _transpose(site, input, order)


def _transpose(site: Site, input: Ref, order: Sequence[int], name: str = "") -> Ref:
    if order[0] != 0:
        raise NotUnderstood("it moves the batch", "E109")
    axes = tuple(d - 1 for d in order[1:])
    if axes == tuple(sorted(axes)):
        return input
    return site.emit("transpose", input, shape=tuple(input.inside[a] for a in axes), name=name, axes=axes)


def _regrouped(site: Site, input: Any, apart: Shape, order: Sequence[int]) -> Ref:
    """Take the axes of a sample apart, put the parts in another order, and join them to the shape of the result."""
    crossed = _transpose(site, reshaped(site, input, apart, "split"), order, "cross")
    return reshaped(site, crossed, site.shape)


@handles("pixel_shuffle")
def pixel_shuffle(site: Site, input: Any, upscale_factor: int) -> Ref:
    """[C r r, H, W] as [C, H r, W r]."""
    (channels, height, width), r = data(input).inside, upscale_factor
    return _regrouped(site, input, (channels // r**2, r, r, height, width), (0, 1, 4, 2, 5, 3))


@handles("pixel_unshuffle")
def pixel_unshuffle(site: Site, input: Any, downscale_factor: int) -> Ref:
    """[C, H r, W r] as [C r r, H, W]."""
    (channels, height, width), r = data(input).inside, downscale_factor
    return _regrouped(site, input, (channels, height // r, r, width // r, r), (0, 1, 3, 5, 2, 4))


@handles("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(site: Site, input: Any, groups: int) -> Ref:
    """The channels of g groups taken in turns."""
    channels, *inside = data(input).inside
    order = (0, 2, 1, *range(3, 3 + len(inside)))
    return _regrouped(site, input, (groups, channels // groups, *inside), order)


# Channels


@handles("cat", "concat", "concatenate")
def cat(site: Site, tensors: Any, dim: Any = 0) -> Ref:
    """Signals joined along the channels."""
    if not isinstance(tensors, list | tuple) or not all(isinstance(t, Ref) for t in tensors):
        raise NotUnderstood("one of its parts is no signal")
    if axis(dim, tensors[0]) == 0:
        raise NotUnderstood("it joins along the batch", "E109")
    if axis(dim, tensors[0]) != 1:
        raise NotUnderstood(f"it joins along axis {dim}; channels are axis 1")
    return tensors[0] if len(tensors) == 1 else site.emit("concat", *tensors)


@handles("chunk", "split", "tensor_split", "split_with_sizes", "unsafe_chunk", "unsafe_split")
def split(site: Site, input: Any, how: Any = None, dim: Any = 0, **more: Any) -> Split:
    """A signal cut along the channels; where, the traced shapes say."""
    dim = more.get("dim", dim)
    if axis(dim, data(input)) != 1:
        raise NotUnderstood(
            f"it cuts along axis {dim}; channels are axis 1", "E109" if axis(dim, input) == 0 else "E106"
        )
    del how
    starts = [0]
    for shape in site.parts:
        assert shape is not None, site.name
        starts.append(starts[-1] + shape[1])
    return Split(input, tuple(pairwise(starts)))


@handles("getitem")
def getitem(site: Site, input: Any, index: Any) -> Ref:
    """Part of the channels, or part of the image."""
    rank = len(data(input).inside) + 1
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
    for place, (item, size) in enumerate(zip(items[1:], input.inside, strict=False)):
        start, stop, step = item.indices(size)
        if step != 1 and (place == 0 or step < 1 or len(input.inside) < 2):
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
    if not is_number(start) or not is_number(length):
        raise NotUnderstood("where it cuts is no constant")
    return aten_slice(site, input, dim, start, start + length)


@handles("aten.slice")
def aten_slice(site: Site, input: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Ref:
    """x[start:end:step] along one axis."""
    index = [slice(None)] * (len(data(input).inside) + 1)
    full = start in (None, 0) and is_number(end) and end >= 2**31 and step == 1
    index[axis(dim, input)] = slice(None) if full else slice(start, end, step)
    return getitem(site, input, tuple(index))


def _cut(site: Site, input: Ref, spans: Sequence[tuple[int, int]]) -> Ref:
    """Channels as a slice, the image as a padding below zero."""
    (start, stop), *inside = spans
    if (start, stop) != (0, input.inside[0]):
        shape = (stop - start, *input.inside[1:])
        input = site.emit("slice", input, shape=shape, name="slice", start=start, stop=stop)
    before = tuple(-low for low, _ in inside)
    after = tuple(high - size for (_, high), size in zip(inside, input.inside[1:], strict=True))
    return padded(site, input, before, after, "crop")


def padded(site: Site, input: Ref, before: Shape, after: Shape, name: str = "") -> Ref:
    """Add zeros around an image, and around its channels where there is a number for them too; below zero it cuts."""
    if not any(before) and not any(after):
        return input
    still = input.inside[: len(input.inside) - len(before)]
    axes = zip(input.inside[len(still) :], before, after, strict=True)
    shape = (*still, *(n + a + b for n, a, b in axes))
    return site.emit("pad", input, shape=shape, before=before, after=after, name=name)
