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

from bitspike.kernels.norm import Norm
from bitspike.kernels.triton.call import Kernels, call
from bitspike.kernels.triton.launch import dense, like, on
from bitspike.kernels.triton.neuron import DTYPES, residual_fits
from bitspike.kernels.triton.norm import norm_fits
from bitspike.kernels.triton.support import attempt, available
from bitspike.kernels.triton.trial import close, trusted
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

    Args:
        x: [N, C, ...] in float32, bfloat16 or float16; any dense layout is taken as it is, other memory is copied.
        clip: a scalar in float32 above 0.
        levels: number of steps, 1 to 2**16.
        norm: the batch norm between ``x`` and the activation; in training its running statistics are updated.
        residual: of the shape of ``x``, added after the norm.

    Returns:
        values in {0, clip/levels, ..., clip}, of the shape, dtype and layout of ``x``.
    """
    if not (
        available(x.device)
        and type(x) in (Tensor, torch.nn.Parameter)
        and x.dtype in DTYPES
        and x.dim() > 0
        and x.numel() > 0
        and not torch.compiler.is_compiling()
        and (clip.numel(), clip.dtype, clip.device) == (1, torch.float32, x.device)
        and 1 <= levels <= 2**16
        and (norm is None or norm_fits(x, norm, axis=1))
        and (residual is None or residual_fits(x, residual))
    ):
        return None
    x = dense(x.unsqueeze(0))
    if residual is not None:
        residual = residual.unsqueeze(0)
        if residual.stride()[1:] != x.stride()[1:]:
            residual = like(x).to(residual.dtype).copy_(residual)
    clipped = _Clip(clip.reshape(()), levels, None if norm is None else (clip,) * 3, residual)
    if not _has_passed(x, clipped):
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


def _plain(y: Tensor, call: _Clip) -> Tensor:
    """Do the same with plain torch, on what norm and residual make of the input."""
    return quant_relu(y, call.clip, call.levels)


def _clipped_input(x: Tensor, call: _Clip) -> Tensor:
    y = x.float()
    if call.affine is not None:
        mean, scale, shift = (t.view(-1, *[1] * (x.dim() - 3)) for t in call.affine)
        y = (y - mean) * scale + shift
    return y if call.residual is None else y + call.residual


def _plain_gradients(x: Tensor, grad: Tensor, call: _Clip) -> tuple[Tensor, Tensor]:
    clip = call.clip.detach().requires_grad_()
    with torch.enable_grad():
        y = _clipped_input(x, call).detach().requires_grad_()
        dy, dclip = torch.autograd.grad(_plain(y, call._replace(clip=clip)), [y, clip], grad.to(y.dtype))
    return dy.to(x.dtype), dclip.double()


def _has_passed(x: Tensor, call: _Clip) -> bool:
    residual = None if call.residual is None else call.residual.dtype
    return trusted((x.device, x.dtype, residual, call.affine is not None), lambda: _faults(x, call))


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
    plain = _plain(_clipped_input(small, call), call).to(x.dtype)
    (dx, dclip), (plain_dx, plain_dclip) = _backward(small, grad, call), _plain_gradients(small, grad, call)
    # torch on CUDA divides by a number as a product with its inverse: the last bit may differ, and no code may.
    checks = {
        "values": close(_forward(small, call), plain, 4 * torch.finfo(x.dtype).eps),
        "gradients": close(dx, plain_dx, 0.0),
        "gradients of the clip": close(dclip, plain_dclip, 1e-2),
    }
    return [name for name, fine in checks.items() if not fine]
