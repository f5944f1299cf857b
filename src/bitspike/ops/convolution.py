"""Convolutions of small images, each pass as a matrix product where that is the faster way on a CPU.

A convolution gathers the k*k*C values under each output pixel into a row; the layer is then one matrix product.
Libraries gather on the fly, and very well so for large images, but they share out the work by pixels: where an image
has few, or a stride skips most, their units run half empty. The rows of a small image fit the cache, and the product
does not care where they came from.

    rows   [N*Ho*Wo, k*k*C]     what the kernel sees, out of the image padded with zeros
    y      = rows @ w'^T        w' [O, k*k*C]
    dw'    = dy^T @ rows
    dx     one product for each residue (r, t) of the stride: pixels i with (i + p) mod s = r meet taps r, r + s, ...

Every value is summed up in one product, in single precision, and rounded once, as in the convolution; the two ways
differ by the order of that sum.

Legend: N batch, C channels in, O out, H W image, Ho Wo result, k kernel, s stride, p padding.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

LARGEST = 16
"""No image higher or wider than this is small."""

CHANNELS = 128
"""Fewer channels than this, in or out, fill the library's units no worse than a product's."""


class Ways(NamedTuple):
    """Which passes run as a matrix product."""

    forward: bool
    to_input: bool
    to_weight: bool


@functools.lru_cache
def ways(shape: torch.Size, weight: torch.Size, stride: int, dtype: torch.dtype, matrix_units: bool) -> Ways:
    """Choose the passes that run as products by shapes and type alone, so that equal runs stay equal.

    In fp32 the library is the faster one throughout. In bf16, measured with 128 images of 512 channels on AVX512-BF16,
    in ms as library / product: 4x4 to 2x2 with stride 2 forward 9.7 / 5.9, to the input 11.5 / 8.7, to the weight
    22.1 / 7.3; 8x8 to 4x4 only to the weight, 47.3 / 27.8; 4x4 with stride 1 only to the weight, 31.4 / 27.9. With
    matrix units (AMX) all three passes gain up to 4x4. ``shape`` is [N, C, H, W], ``weight`` [O, C, k, k].
    """
    side = -(-max(shape[2:]) // stride)
    if dtype != torch.bfloat16 or min(weight[:2]) < CHANNELS or max(shape[2:]) > LARGEST:
        return Ways(False, False, False)
    all_passes = side <= 2 or (side <= 4 and matrix_units)
    return Ways(all_passes, all_passes, side <= 4)


@functools.cache
def has_matrix_units() -> bool:
    """Tell whether the CPU multiplies bf16 matrices in tiles (AMX)."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


def convolve(x: Tensor, weight: Tensor, stride: int, padding: int, chosen: Ways) -> Tensor:
    """Return the 2d convolution of ``x`` [N, C, H, W] with ``weight`` [O, C, k, k], each pass as ``chosen`` says.

    ``x`` is best channels last; [N, O, Ho, Wo] is so where the forward pass is a product.

    Example:
        >>> x, w = torch.randn(2, 3, 4, 4), torch.randn(5, 3, 3, 3)
        >>> y = convolve(x, w, 2, 1, Ways(True, True, True))
        >>> torch.allclose(y, F.conv2d(x, w, stride=2, padding=1), atol=1e-5)
        True
    """
    return cast(Tensor, _Convolution.apply(x, weight, stride, padding, chosen))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int, chosen: Ways) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.chosen = stride, padding, chosen
        if not chosen.forward:
            return F.conv2d(x, weight, stride=stride, padding=padding)
        k = weight.shape[2]
        height, width = ((side + 2 * padding - k) // stride + 1 for side in x.shape[2:])
        y = _rows(x, k, stride, padding) @ weight.permute(0, 2, 3, 1).flatten(1).t()
        return y.view(len(x), height, width, -1).permute(0, 3, 1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        (x, weight), dy, s, p = ctx.saved_tensors, grads[0], ctx.stride, ctx.padding
        needs, k = ctx.needs_input_grad, weight.shape[2]
        dx = _to_input(dy, weight, s, p, x) if needs[0] and ctx.chosen.to_input else None
        dw = None
        if needs[1] and ctx.chosen.to_weight:
            columns = dy.permute(0, 2, 3, 1).flatten(0, 2)
            dw = (columns.t() @ _rows(x, k, s, p)).view(-1, k, k, x.shape[1]).permute(0, 3, 1, 2)
        left = [needs[0] and dx is None, needs[1] and dw is None, False]
        if any(left):
            other = torch.ops.aten.convolution_backward(
                dy, x, weight, None, [s, s], [p, p], [1, 1], False, [0, 0], 1, left
            )
            dx, dw = (other[0] if left[0] else dx), (other[1] if left[1] else dw)
        return dx, dw, None, None, None


def _rows(x: Tensor, k: int, s: int, p: int) -> Tensor:
    """Return the values under each output pixel as a row, [N*Ho*Wo, k*k*C]."""
    image = F.pad(x.permute(0, 2, 3, 1), (0, 0, p, p, p, p))
    windows = image.unfold(1, k, s).unfold(2, k, s)  # [N, Ho, Wo, C, k, k]
    return windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, k * k * x.shape[1])


def _to_input(dy: Tensor, weight: Tensor, s: int, p: int, like: Tensor) -> Tensor:
    """Return the gradient of the input, in the shape of ``like``: one product for each residue of the stride."""
    n, channels, *sides = like.shape
    k = weight.shape[2]
    seen = (k - 1) // s  # how many outputs before its own a pixel is still seen by
    reach = [(side + p - 1) // s for side in sides]
    # Zeros around dy, so that every pixel finds all k taps' outputs, those beyond the border as 0.
    after = [max(0, far + 1 - have) for far, have in zip(reach, dy.shape[2:], strict=True)]
    image = F.pad(dy.permute(0, 2, 3, 1), (0, 0, seen, after[1], seen, after[0]))
    taps = weight.permute(2, 3, 0, 1)
    dx = image.new_zeros(n, *sides, channels) if s > k else image.new_empty(n, *sides, channels)
    for r in range(min(s, k)):
        for t in range(min(s, k)):
            # Pixel first + s*j is seen by output own + j with the first of its taps, by earlier outputs with the rest.
            axes = [_residue(r, k, s, p, sides[0]), _residue(t, k, s, p, sides[1])]
            own, first, count, kept = zip(*axes, strict=True)
            if 0 in count:
                continue
            rows = image[:, seen + own[0] - kept[0] + 1 :, seen + own[1] - kept[1] + 1 :]
            rows = rows.unfold(1, kept[0], 1)[:, : count[0]].unfold(2, kept[1], 1)[:, :, : count[1]]
            rows = rows.permute(0, 1, 2, 4, 5, 3).reshape(-1, kept[0] * kept[1] * dy.shape[1])
            # Later taps belong to earlier outputs, so the taps run backwards.
            part = taps[r::s, t::s].flip(0, 1).reshape(-1, channels)
            dx[:, first[0] :: s, first[1] :: s] = (rows @ part).view(n, count[0], count[1], channels)
    return dx.permute(0, 3, 1, 2)


def _residue(r: int, k: int, s: int, p: int, side: int) -> tuple[int, int, int, int]:
    """Return, for the pixels i of one axis with (i + p) mod s = r: first output, first pixel, pixels, taps."""
    first = (r - p) % s
    return (first + p) // s, first, len(range(first, side, s)), len(range(r, k, s))
