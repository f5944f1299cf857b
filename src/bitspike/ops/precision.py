"""Half precision: which dtypes it has, and how a tensor leaves it without loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

HALVES = (torch.float16, torch.bfloat16)
T = TypeVar("T")


def single(x: T) -> T:
    """Return a tensor of half precision in single precision, which holds the same numbers; anything else as it is.

    Example:
        >>> single(torch.ones(1, dtype=torch.bfloat16)).dtype, single(torch.ones(1).double()).dtype
        (torch.float32, torch.float64)
    """
    return x.float() if isinstance(x, Tensor) and x.dtype in HALVES else x  # type: ignore[return-value]


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep CUDA's convolutions and products out of TF32, which would round the codes of a declared grid."""
    if not torch.cuda.is_available():
        yield
        return
    matmul, conv = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, conv
