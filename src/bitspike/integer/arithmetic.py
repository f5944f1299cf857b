"""Sums of products and windows in integers, exactly: what the nodes of a network compute with.

Sums of products go through NumPy's matrix product in float64 or float32 only where the sum of magnitudes proves that
every partial sum is an integer that this format holds exactly (below 2**53 or 2**24); then no rounding can happen in
any order of summation. Otherwise they are summed in int64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from bitspike.errors import ConstraintError
from bitspike.ops.grids import Rounding

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Shape = tuple[int, ...]
Whole = npt.NDArray[np.signedinteger[Any]]
"""Integers of any width: spikes stay int8, sums are int64."""
Numbers = npt.NDArray[Any]
LEAST = int(np.iinfo(np.int64).min)


def multipliers(gains: Iterable[Integers]) -> list[int]:
    """Return the magnitudes of gains for which no shift can stand, each once: those that are no powers of two.

    Example:
        >>> multipliers([np.array([[1, -4]]), np.array([[-3, 0, 12]])])
        [3, 12]
    """
    return sorted({int(g) for gain in gains for g in np.unique(np.abs(gain)) if int(g) & (int(g) - 1)})


def divided(x: Numbers, bits: int, rounding: Rounding) -> Numbers:
    """Return ``x / 2**bits``, rounded down or toward zero.

    Example:
        >>> x = np.array([-5, -4, 5])
        >>> divided(x, 2, "floor").tolist(), divided(x, 2, "zero").tolist()
        ([-2, -1, 1], [-1, -1, 1])
    """
    # Rounding down what is 2**bits - 1 larger is rounding up.
    below = x + (x < 0) * ((1 << bits) - 1) if rounding == "zero" else x
    shifted: Numbers = below >> bits
    return shifted


def multiply(x: Whole, w: Integers) -> Integers:
    """Multiply [M, K] by [K, F] exactly."""
    numbers = exact_format(x, w)
    return np.asarray(x.astype(numbers) @ w.astype(numbers)).astype(np.int64)


def convolve(x: Whole, codes: Integers, *, stride: Shape, padding: Shape, dilation: Shape, groups: int) -> Integers:
    """Convolve [N, C_in, ...] with codes [C_out, C_in/groups, *kernel] to [N, C_out, ...]."""
    kernel = codes.shape[2:]
    n, dims = x.shape[0], len(kernel)
    numbers = exact_format(x, codes.reshape(len(codes), -1).T)
    windows = _windows(_pad(x.astype(numbers), padding, 0), kernel, stride, dilation)
    out = windows.shape[2 : 2 + dims]
    results = []
    for x_g, w_g in zip(np.split(windows, groups, axis=1), np.split(codes, groups, axis=0), strict=True):
        columns = np.moveaxis(x_g, 1, 1 + dims).reshape(n * math.prod(out), math.prod(w_g.shape[1:]))
        results.append(columns @ w_g.reshape(len(w_g), -1).T.astype(numbers))
    by_channel = np.moveaxis(np.concatenate(results, axis=1).reshape(n, *out, len(codes)), -1, 1)
    return np.ascontiguousarray(by_channel, dtype=np.int64)


def convolve_transposed(
    x: Whole,
    codes: Integers,
    *,
    stride: Shape,
    padding: Shape,
    output_padding: Shape,
    dilation: Shape,
    groups: int,
) -> Integers:
    """Spread [N, C_in, ...] over the kernel to [N, C_out, ...]: the integer at i adds x * w[k] at i * s + k * d - p.

    The codes are [C_in, C_out/groups, *kernel].
    """
    kernel, inside = codes.shape[2:], x.shape[2:]
    parts = np.split(codes, groups, axis=0)
    numbers = exact_format(x, np.concatenate([np.moveaxis(w, 1, -1).reshape(-1, w.shape[1]) for w in parts], axis=1))
    axes = zip(inside, stride, kernel, dilation, output_padding, strict=True)
    whole = tuple((n - 1) * s + (k - 1) * d + 1 + o for n, s, k, d, o in axes)
    sums = np.zeros((len(x), codes.shape[1] * groups, *whole), np.int64)
    by_group = np.split(np.moveaxis(x, 1, -1).astype(numbers), groups, axis=-1)
    for tap in np.ndindex(*kernel):
        products = [x_g @ w_g[(..., *tap)].astype(numbers) for x_g, w_g in zip(by_group, parts, strict=True)]
        axes_of_tap = zip(tap, dilation, inside, stride, strict=True)
        places = tuple(slice(k * d, k * d + (n - 1) * s + 1, s) for k, d, n, s in axes_of_tap)
        sums[(slice(None), slice(None), *places)] += np.moveaxis(np.concatenate(products, -1), -1, 1).astype(np.int64)
    kept = tuple(slice(p, n - p) for p, n in zip(padding, whole, strict=True))
    return np.ascontiguousarray(sums[(slice(None), slice(None), *kept)])


def over_windows(
    combine: np.ufunc, x: Whole, *, kernel: Shape, stride: Shape, padding: Shape, start: int, padded: int
) -> Integers:
    """Combine the values of every window of [N, C, ...], one place of the window after the other.

    Args:
        combine: two values to one.
        x: the values.
        kernel, stride, padding: of the windows.
        start: what the first value is combined with.
        padded: the value of a padded place.
    """
    numbers = np.result_type(x, np.int64)  # counts that are means stay real
    places = _windows(_pad(x.astype(numbers), padding, padded), kernel, stride)
    result = np.full(places.shape[: x.ndim], start, numbers)
    for place in np.ndindex(*kernel):
        combine(result, places[(..., *place)], out=result)
    return result


def exact_format(x: Whole, w: Integers) -> type[np.float32 | np.float64 | np.int64]:
    """Return the fastest number format in which ``x @ w`` is exact in any order of summation.

    No partial sum can be larger than max|x| times the largest sum of magnitudes of a column of ``w`` [K, F].

    Raises:
        ConstraintError: not even int64 is wide enough.

    Example:
        >>> exact_format(np.array([[255]]), np.array([[2**16]])).__name__
        'float32'
    """
    if not x.size:
        return np.int64
    # Python's integers cannot overflow.
    bound = max(int(x.max()), -int(x.min())) * int(np.abs(w).sum(0).max())
    if bound <= 2**24:
        return np.float32
    if bound <= 2**53:
        return np.float64
    if bound >= 2**63:
        raise ConstraintError(
            f"a sum of products may reach {bound}, more than 64 bits hold", fix="weights or inputs of fewer bits"
        )
    return np.int64


def _pad(x: Numbers, padding: Shape, value: int) -> Numbers:
    widths = [(0, 0), (0, 0), *[(p, p) for p in padding]]
    return np.pad(x, widths, constant_values=value) if any(padding) else x


def _windows(x: Numbers, kernel: Shape, stride: Shape, dilation: Shape | None = None) -> Numbers:
    """Return the view [N, C, *out, *kernel] of all windows of [N, C, *in]."""
    dilation = dilation or (1,) * len(kernel)
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, x.ndim)))
    steps = tuple(slice(None, None, s) for s in stride)
    inside = tuple(slice(None, None, d) for d in dilation)
    return view[(slice(None), slice(None), *steps, *inside)]


def by_step(x: Whole, layer: Callable[[Whole], Integers]) -> Integers:
    """Run a layer of [N, ...] on every step of [T, N, ...]: time is folded into the batch."""
    out = layer(x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]))
    return out.reshape(*x.shape[:2], *out.shape[1:])


def sum_over_time(x: Whole, steps: int) -> Integers:
    """Return the sum of a wire [T or 1, N, ...] over all steps, int64 [N, ...].

    Example:
        >>> sum_over_time(np.array([[7]]), steps=4), sum_over_time(np.array([[1], [2]]), steps=2)
        (array([28]), array([3]))
    """
    total: Integers = x.sum(0, dtype=np.int64) if len(x) == steps else x[0].astype(np.int64) * steps
    return total


def still(values: Integers) -> bool:
    """Tell whether parameters [1 or T, 1 or C] are the same at every step.

    Example:
        >>> still(np.array([[3, 4]])), still(np.array([[3], [4]]))
        (True, False)
    """
    return bool((values == values[:1]).all())


def window_shape(inside: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> Shape:
    """Return how many windows fit along each axis: floor((n + 2 p - d (k - 1) - 1) / s) + 1.

    Example:
        >>> window_shape((28, 28), kernel=(5, 5), stride=(2, 2), padding=(2, 2), dilation=(1, 1))
        (14, 14)
    """
    axes = zip(inside, kernel, stride, padding, dilation, strict=True)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes)


def per_channel(values: Integers, dims: int) -> Integers:
    """Reshape [.., C] parameters so that they broadcast against [.., N, C, ...] with ``dims`` axes after the batch.

    [1 or T, 1 or C] becomes [1 or T, 1, 1 or C, 1, ...]; [1 or C] becomes [1, 1 or C, 1, ...].

    Example:
        >>> per_channel(np.zeros((1, 8), np.int64), dims=3).shape
        (1, 1, 8, 1, 1)
    """
    lead = values.shape[:-1]
    return values.reshape(*lead, 1, values.shape[-1], *[1] * (dims - 1))


def readers_along(inside: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> Integers:
    """Count, for every place along an axis, the pairs of output and tap that read it.

    Example:
        >>> readers_along(4, 4, kernel=3, stride=1, padding=1, dilation=1)
        array([2, 3, 3, 2])
    """
    places = (np.arange(out) * stride - padding)[:, None] + dilation * np.arange(kernel)[None]
    return np.bincount(places[(places >= 0) & (places < inside)], minlength=inside)
