"""The batch norm before a fused neuron or activation: statistics in one pass, gradients in one more.

    y = (x - mean) * gain' + shift        gain' = gain / sqrt(var + eps)

in this order, in single precision; ``gain'`` is computed in double precision and rounded once. Given the same mean and
gain', what is read is equal bit for bit on every path. Batch statistics are over everything but the channels, time
included: the biased variance for normalizing, the unbiased for the running one, as torch does it.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_double, c_int32, c_void_p
from typing import NamedTuple

import torch
from torch import Tensor

from bitspike.kernels.cpp import loader as native
from bitspike.kernels.cpp.memory import LAYER, AffineStruct, LayerStruct, per_channel

ABI = 2


class Norm(NamedTuple):
    """What a kernel has to know of a batch norm; tensors are [C] in float32, None where there is none.

    Args:
        gain, shift: the affine part; both may carry gradients.
        running_mean, running_var: the running statistics; without them those of the batch are always used.
        training: use the statistics of the batch, and move the running ones.
        momentum: of the running statistics.
        eps: added to the variance.
    """

    gain: Tensor | None
    shift: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    training: bool
    momentum: float
    eps: float


class _NormStruct(Structure):
    _fields_ = (
        *[(name, c_void_p) for name in ("gain", "shift", "running_mean", "running_var")],
        *[(name, c_double) for name in ("momentum", "eps")],
        *[(name, c_int32) for name in ("batch", "update")],
    )


_SIGNATURES: dict[str, native.Signature] = {
    "bitspike_norm_begin": (None, (LAYER, POINTER(_NormStruct), c_void_p, c_void_p)),
    "bitspike_norm_end": (None, (LAYER, c_int32, *[c_void_p] * 7)),
}


def library() -> ctypes.CDLL | None:
    """Return the native library, or None where plain torch is used."""
    return native.load("norm", ABI, _SIGNATURES)


def fits(x: Tensor, norm: Norm, channel_axis: int) -> bool:
    """Tell whether the kernels can apply ``norm`` to ``x``, whose channels are on ``channel_axis``."""
    if library() is None or x.dim() <= channel_axis:
        return False
    channels = x.shape[channel_axis]
    return (
        all(per_channel(values, channels) for values in norm[:4])
        and (norm.running_mean is None) == (norm.running_var is None)
        and (not by_batch(norm) or x.numel() > channels)  # torch refuses to take the variance of one value
    )


def by_batch(norm: Norm) -> bool:
    """Tell whether the statistics are those of the batch."""
    return norm.training or norm.running_mean is None


def begin(norm: Norm, x: Tensor, layer: LayerStruct) -> Tensor:
    """Find the statistics, and move the running ones in training: [4, C] of mean, 1 / sqrt(var + eps), gain', shift."""
    rows = torch.empty(4, layer.channels)
    update = norm.training and norm.running_mean is not None
    struct = _NormStruct(
        *(None if values is None else values.data_ptr() for values in norm[:4]),
        norm.momentum,
        norm.eps,
        by_batch(norm),
        update,
    )
    native.loaded("norm").bitspike_norm_begin(layer, struct, x.data_ptr(), rows.data_ptr())
    if update:
        for values in (norm.running_mean, norm.running_var):
            assert values is not None
            torch.autograd.graph.increment_version(values)
    return rows


def affine(rows: Tensor) -> AffineStruct:
    """Return the map that the kernels apply; ``rows`` as :func:`begin` gave them, and kept alive by the caller."""
    start, step = rows.data_ptr(), rows.stride(0) * rows.element_size()
    return AffineStruct(start, start + 2 * step, start + 3 * step)


def end(
    norm: Norm, x: Tensor, grad: Tensor, rows: Tensor, sums: Tensor, layer: LayerStruct, out: Tensor
) -> tuple[Tensor, Tensor]:
    """Carry ``grad``, that of the norm's output, through the norm; return the gradients of gain and shift, [C].

    ``sums``, float64 [2, C], are those of ``grad`` over everything but channels: plain, and times x - mean. ``out``
    receives the gradient of x and may be ``grad``; ``rows`` are those of :func:`begin`.
    """
    both = torch.empty(2, layer.channels)
    native.loaded("norm").bitspike_norm_end(
        layer,
        by_batch(norm),
        x.data_ptr(),
        grad.data_ptr(),
        rows.data_ptr(),
        sums.data_ptr(),
        out.data_ptr(),
        both[0].data_ptr(),
        both[1].data_ptr(),
    )
    return both[0], both[1]
