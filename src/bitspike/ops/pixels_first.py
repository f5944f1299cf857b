"""1x1 convolutions with a stride, as the stride first and the convolution after it: the safe way on some processors.

On x86 processors without AVX-512, the library that computes convolutions for torch (oneDNN 3.5.3, 3.12.0 and 3.13.3, in
torch 2.6.0, 2.14.1 and 2.15.0) writes past the end of its own memory in the gradients of some 1x1 convolutions with a
stride, where channels are last: it copies the pixels that the stride keeps into a buffer that it has counted too small.
A 1x1 kernel reads one pixel, so

    conv(x, w, stride s) = conv(x[:, :, ::s, ::s], w, stride 1)

is the same function with the same gradients, and needs no such buffer (docs/adr/0021).
"""

from __future__ import annotations

import functools
import os
import platform

import torch
from torch import Tensor
from torch.nn import functional as F

LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Environment variables by which oneDNN is kept from instructions that the processor has."""


@functools.cache
def needed() -> bool:
    """Tell whether this processor needs them computed this way; asked once in a process, as oneDNN does."""
    limit = next((os.environ[name] for name in LIMITS if os.environ.get(name)), "")
    return at_risk(platform.machine(), avx512=bool(getattr(torch.cpu, "_is_avx512_supported", bool)()), limit=limit)


def at_risk(machine: str, *, avx512: bool, limit: str = "") -> bool:
    """Tell whether a processor, of an architecture as Python names it, is one where oneDNN writes past its memory.

    ``limit`` is the most that oneDNN may use, as its environment variable says it; empty for no limit.

    Example:
        >>> at_risk("x86_64", avx512=False), at_risk("x86_64", avx512=True), at_risk("aarch64", avx512=False)
        (True, False, False)
        >>> at_risk("x86_64", avx512=True, limit="AVX2")
        True
    """
    wide = limit.upper().startswith(("AVX512", "AVX10", "ALL", "DEFAULT")) if limit else True
    return machine.lower() in ("x86_64", "amd64", "i386", "i686") and not (avx512 and wide)


def concerns(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], padding: object) -> bool:
    """Tell whether a convolution is computed this way: a 1x1 kernel with a stride, in fp32 on the CPU, not padded."""
    return (
        kernel == (1, 1)
        and max(stride) > 1
        and padding in ((0, 0), "valid")
        and x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and x.dtype == torch.float32
        and needed()
    )


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], groups: int) -> Tensor:
    """Return the convolution with a 1x1 kernel of every s-th pixel.

    It takes [N, C, H, W] or [C, H, W], weights [O, C/groups, 1, 1] and a bias [O] or None.

    Example:
        >>> x, w = torch.randn(2, 8, 5, 4), torch.randn(3, 8, 1, 1)
        >>> torch.allclose(convolve(x, w, None, (2, 2), 1), F.conv2d(x, w, stride=2), atol=1e-6)
        True
    """
    return F.conv2d(x[..., :: stride[0], :: stride[1]], weight, bias, groups=groups)
