"""Activations without time that neurons can take the place of: the quantized ReLU with a learned clip."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.kernels.activation import fused_quant_relu
from bitspike.nn.layers import plain
from bitspike.ops.activation import at_least, quant_relu

FLOOR = 2.0**-10
"""The smallest clip that is used; see :class:`QuantReLU`."""


def clip_in_use(clip: Tensor, floor: float) -> Tensor:
    """Return ``at_least(clip, floor)``, or the clip itself where its value can be read cheaply and is large enough."""
    # On a CPU reading one number is cheaper than one more step of autograd, forward and backward.
    cheap = clip.numel() == 1 and clip.device.type == "cpu" and plain(clip.detach())
    return clip if cheap and clip.detach().item() >= floor else at_least(clip, floor)


@checked
class QuantReLU(nn.Module):
    """ReLU clipped at a learned value and rounded to ``2**bits`` levels, with a straight-through gradient.

        y = relu(x);  q = round(min(y / clip, 1) * T) / T;  a = clip * q;  T = 2**bits - 1

    Its codes ``q * T`` are the spike counts of ``IF(threshold=clip, initial=clip / 2)`` that sees the same current for
    T steps. The clip is one trained number for the layer. An optimizer can push it down to zero and below, where
    the formula has no meaning: a clip below 2**-10 acts as 2**-10, and only gradients that raise it reach it there.
    ``bs.fit`` does not apply weight decay to it.

    Args:
        bits: of a code, 1 to 8.
        clip: where it starts, at least 2**-10.

    Shape: any, to the same; computed in at least single precision and returned in the dtype of the input.

    Raises:
        ConstraintError: a value outside what is allowed.

    Source: Hu et al. 2023 (Fast-SNN), arXiv 2305.19868; 8 is its start for plain networks, 6 that for ResNets.

    Example:
        >>> QuantReLU(bits=2, clip=3.0)(torch.tensor([-1.0, 0.5, 1.2, 9.0])).tolist()
        [0.0, 0.0, 1.0, 3.0]
    """

    def __init__(self, bits: int, clip: float = 8.0) -> None:
        super().__init__()
        if bits is None or (isinstance(bits, int) and bits >= 32):
            raise ConstraintError(
                f"QuantReLU(bits={bits}): allowed are 1 to 8; a ReLU that is not quantized has no clip", fix="nn.ReLU()"
            )
        if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 8:
            raise ConstraintError(f"QuantReLU(bits={bits!r}): a whole number from 1 to 8 is allowed", fix="bits=4")
        if not hasattr(clip, "__float__") or not (clip >= FLOOR and math.isfinite(clip)):
            raise ConstraintError(
                f"QuantReLU(clip={clip!r}): must be a number, finite and at least 2**-10", fix="clip=8.0"
            )
        self.bits = bits
        self.clip = nn.Parameter(torch.tensor(float(clip)))

    @property
    def levels(self) -> int:
        """The largest code, 2**bits - 1: the number of steps T of a neuron that counts as far."""
        return int(2**self.bits) - 1

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_floating_point():
            raise ConstraintError(f"QuantReLU got {x.dtype}: floating values are needed", fix="x.float()")
        fused = self.fused(x)
        return quant_relu(x, clip_in_use(self.clip, FLOOR), self.levels) if fused is None else fused

    def fused(self, x: Tensor, **more: Any) -> Tensor | None:
        """Run in one pass over memory where there is a kernel for it, or return None.

        With ``norm`` and ``residual`` it reads ``norm(x) + residual``; see ``fused_quant_relu`` of the kernels.
        """
        # A compiler cannot follow a call into a native library.
        return (
            None
            if torch.compiler.is_compiling()
            else fused_quant_relu(x, clip_in_use(self.clip, FLOOR), self.levels, **more)
        )

    def extra_repr(self) -> str:
        return f"bits={self.bits}, clip={float(self.clip.detach()):g}"
