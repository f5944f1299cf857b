"""The one door from modules to fused kernels; a kernel that is not there answers None, and plain torch runs."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

from torch import Tensor


class Norm(NamedTuple):
    """What a kernel has to know of a batch norm."""

    gain: Tensor | None
    shift: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    training: bool
    momentum: float
    eps: float


def fused_quant_relu(x: Tensor, clip: Tensor, levels: int, **more: Any) -> Tensor | None:
    """Call the kernel of the quantized ReLU, or answer None where there is none."""
    try:
        kernel: Any = importlib.import_module("bitspike.kernels.activation").fused_quant_relu
    except (ImportError, AttributeError):
        return None
    result: Tensor | None = kernel(x, clip, levels, **more)
    return result


def norms_are_fused() -> bool:
    """Tell whether the kernels take a norm."""
    try:
        importlib.import_module("bitspike.kernels.norm")
    except ImportError:
        return False
    return True
