"""The quantized ReLU on CUDA as one differentiable call, alone or after a batch norm and a residual.

Values equal those of plain torch on a CPU bit for bit in single precision; gradients equal them to rounding. Only the
input, and a residual where there is one, are kept. The gradient of the clip is summed in two stages of a fixed order.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.kernels.cpp.memory import like
from bitspike.kernels.norm import Norm
from bitspike.kernels.triton.call import Kernels, call
from bitspike.kernels.triton.launch import dense, on
from bitspike.kernels.triton.neuron import usable
from bitspike.kernels.triton.support import attempt
from bitspike.kernels.triton.trial import close, currents, trusted
from bitspike.ops.activation import quant_relu

OPTIONS: dict[str, Any] = {"BLOCK": 1024, "num_warps": 4, "enable_fp_fusion": False}


class _Clip(NamedTuple):
    """One call of the activation: everything but its input, which is [1, N, ...] and dense in [N, ...]."""

    clip: Tensor
    levels: int
    affine: tuple[Tensor, Tensor, Tensor] | None = None
    residual: Tensor | None = None


def fused_quant_relu(
    x: Tensor, clip: Tensor, levels: int, *, norm: Norm | None = None, residual: Tensor | None = None
) -> Tensor | None:
    """Clip and round, or return None where plain torch has to do it.

    Arguments and result as those of :func:`bitspike.kernels.activation.fused_quant_relu`. Values may be float16 too,
    and memory that is not dense is copied; ``levels`` reach up to 2**16; a residual needs no norm.
    """
    if not (
        usable(x, norm, residual, channel_axis=1)
        and (clip.numel(), clip.dtype, clip.device) == (1, torch.float32, x.device)
        and 1 <= levels <= 2**16
    ):
        return None
    x = dense(x.unsqueeze(0))
    if residual is not None:
        residual = residual.unsqueeze(0)
        if residual.stride()[1:] != x.stride()[1:]:
            residual = like(x).to(residual.dtype).copy_(residual)
    clipped = _Clip(clip.reshape(()), levels, None if norm is None else (clip,) * 3, residual)
    residual_dtype = None if residual is None else residual.dtype
    if not trusted((x.device, x.dtype, residual_dtype, norm is not None), lambda: _faults(x, clipped)):
        return None
    kernels = Kernels("clip", _forward, _backward, _plain_gradients)
    out = attempt(lambda: call(x, clipped, norm, kernels))
    return None if out is None else out.squeeze(0)


def _code() -> ModuleType:
    return importlib.import_module("bitspike.kernels.triton.clip")


def _arguments(x: Tensor, call: _Clip) -> tuple[list[Tensor | None], list[Any], dict[str, Any]]:
    channels = x.shape[2] if x.dim() > 2 else 1
    inner = x.stride(2) if channels > 1 else 1
    flags = {"NORM": call.affine is not None, "RESIDUAL": call.residual is not None}
    return (
        [call.residual, *(call.affine or (None,) * 3), call.clip],
        [x.numel(), inner, channels, float(call.levels)],
        flags,
    )


def _forward(x: Tensor, call: _Clip) -> Tensor:
    out = like(x)
    pointers, sizes, flags = _arguments(x, call)
    with on(x.device):
        _code().forward[(-(-x.numel() // OPTIONS["BLOCK"]),)](x, out, *pointers, *sizes, **flags, **OPTIONS)
    return out


def _backward(x: Tensor, grad: Tensor, call: _Clip) -> tuple[Tensor, Tensor]:
    """Return the gradient of what is clipped, in the dtype of ``x``, and that of the clip, in double precision."""
    dx = like(x)
    if grad.stride()[1:] != dx.stride()[1:] or grad.dtype != x.dtype:
        grad = like(x).copy_(grad)
    programs = -(-x.numel() // OPTIONS["BLOCK"])
    partial = torch.empty(programs, dtype=torch.float32, device=x.device)
    pointers, sizes, flags = _arguments(x, call)
    with on(x.device):
        _code().backward[(programs,)](x, grad, dx, partial, *pointers, *sizes, **flags, **OPTIONS)
    return dx, partial.double().sum()


def _plain_gradients(x: Tensor, grad: Tensor, call: _Clip) -> tuple[Tensor, Tensor]:
    clip = call.clip.detach().requires_grad_()
    with torch.enable_grad():
        y = currents(x, call.affine, call.residual).detach().requires_grad_()
        dy, dclip = torch.autograd.grad(quant_relu(y, clip, call.levels), [y, clip], grad.to(y.dtype))
    return dy.to(x.dtype), dclip.double()


def _faults(x: Tensor, call: _Clip) -> list[str]:
    one: dict[str, Any] = {"dtype": torch.float32, "device": x.device}
    wave = torch.arange(2 * 900, **one).view(1, 1, 2, 900)
    small, grad = (torch.sin(wave * 0.7) * 2).to(x.dtype), torch.cos(wave * 1.3).to(x.dtype)
    half = torch.tensor([0.5, 0.75], **one)
    call = call._replace(
        clip=torch.tensor(1.3, **one),
        levels=min(call.levels, 15),
        affine=None if call.affine is None else (half / 5, half + 0.3, half / 7),
        residual=None if call.residual is None else torch.sin(wave * 0.3).to(call.residual.dtype),
    )
    plain = quant_relu(currents(small, call.affine, call.residual), call.clip, call.levels).to(x.dtype)
    (dx, dclip), (plain_dx, plain_dclip) = _backward(small, grad, call), _plain_gradients(small, grad, call)
    # torch on CUDA divides by a number as a product with its inverse: the last bit may differ, and no code may.
    checks = {
        "values": close(_forward(small, call), plain, 4 * torch.finfo(x.dtype).eps),
        "gradients": close(dx, plain_dx, 0.0),
        "gradients of the clip": close(dclip, plain_dclip, 1e-2),
    }
    return [name for name, fine in checks.items() if not fine]
