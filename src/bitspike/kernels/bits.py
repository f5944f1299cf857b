"""Keep spikes as bits: what is exactly 0 or 1 everywhere needs one bit per element until the backward pass."""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_int64, c_void_p
from dataclasses import dataclass

import torch
from torch import Tensor

from bitspike.kernels.cpp import loader as native
from bitspike.kernels.cpp.memory import usable

ABI = 2
WORD = 32

_SIGNATURES: dict[str, native.Signature] = {
    "bitspike_bits_pack": (c_int32, (c_int32, c_void_p, c_int64, c_void_p, c_int32)),
    "bitspike_bits_unpack": (None, (c_int32, c_void_p, c_int64, c_void_p, c_int32)),
}


def library() -> ctypes.CDLL | None:
    """Return the native library, or None where plain torch is used."""
    return native.load("bits", ABI, _SIGNATURES)


@dataclass(frozen=True, eq=False)
class Bits:
    """Spikes as bits, and what tensor they were."""

    words: Tensor
    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype

    def spikes(self) -> Tensor:
        """Return the spikes again, in the type and layout that they had."""
        x = torch.empty_strided(self.shape, self.stride, dtype=self.dtype)
        native.loaded("bits").bitspike_bits_unpack(
            self.dtype == torch.bfloat16, self.words.data_ptr(), x.numel(), x.data_ptr(), torch.get_num_threads()
        )
        return x


def pack(x: Tensor) -> Bits | None:
    """Return spikes as bits, or None for anything that cannot be kept so without a loss.

    Args:
        x: float32 or bfloat16 on the CPU, dense, a multiple of 32 elements, each 0 or 1.

    Example:
        >>> x = (torch.arange(64) % 3 == 0).float()
        >>> bits = pack(x)
        >>> bits is None or torch.equal(bits.spikes(), x)
        True
    """
    native_library = library()
    if (
        native_library is None
        or not usable(x)
        or x.numel() % WORD
        or not torch.ops.aten.is_non_overlapping_and_dense(x)
    ):
        return None
    words = torch.empty(x.numel() // WORD, dtype=torch.int32)
    binary = native_library.bitspike_bits_pack(
        x.dtype == torch.bfloat16, x.data_ptr(), x.numel(), words.data_ptr(), torch.get_num_threads()
    )
    return Bits(words, x.shape, x.stride(), x.dtype) if binary else None
