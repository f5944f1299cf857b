"""Codes packed into as many bits as they have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bitspike.errors import ConstraintError
from bitspike.integer.saved.packing import pack, unpack
from bitspike.weights import APoT, Binary, DoReFa, Midrise, PowerOfTwo, Scheme, Ternary, Uniform, attach, codes


def test_bytes_by_hand() -> None:
    assert pack(np.array([-1, 1, 1, -1, -1, -1, -1, -1, 1]), bits=1).tolist() == [0b0000_0110, 0b1]
    assert pack(np.array([[1, -8], [7, -1]]), bits=4).tolist() == [0x81, 0xF7]
    assert pack(np.array([-4, 3, 1]), bits=3).tolist() == [0b01_011_100, 0b0]
    assert pack(np.array([-128, 127]), bits=8).tolist() == [0x80, 0x7F]
    assert pack(np.array([], dtype=np.int64), bits=3).tolist() == []


@pytest.mark.parametrize("bits", range(1, 9))
def test_unpack_returns_what_was_packed(bits: int) -> None:
    rng = np.random.default_rng(bits)
    codes = (
        rng.choice([-1, 1], (5, 3, 7)) if bits == 1 else rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (5, 3, 7))
    )
    packed = pack(codes, bits)
    assert packed.dtype == np.uint8
    assert packed.shape == (-(-codes.size * bits // 8),)
    back = unpack(packed, bits, codes.shape)
    assert back.dtype == np.int64
    np.testing.assert_array_equal(back, codes)


def test_levels_are_stored_as_indices() -> None:
    levels = Midrise(2).levels
    assert levels == (-2, -1, 1, 2)
    assert pack(np.array([-2, -1, 1, 2]), 2, levels=levels).tolist() == [0b11_10_01_00]
    one_bit = np.array([1, -1, 1])
    assert pack(one_bit, 1).tolist() == pack(one_bit, 1, levels=(-1, 1)).tolist()


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("make", [Uniform, Midrise, DoReFa, PowerOfTwo, APoT], ids=lambda c: c.__name__)
def test_convert_check_10_codes_and_packing(make: type[Scheme], bits: int) -> None:
    """Codes are in range, +-1 at 1 bit; step times code is the evaluated weight; packing loses nothing."""
    model = attach(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten()), quantize=make(bits=bits))  # type: ignore[call-arg]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(2, 3, 8, 8)).square().mean().backward()
        optimizer.step()
    model.eval()
    found = codes(model)["0"]
    assert torch.equal(found.decode(), model[0].weight)
    assert found.low <= int(found.codes.min())
    assert int(found.codes.max()) <= found.high
    if bits == 1:
        assert set(found.codes.unique().tolist()) == {-1, 1}
    array = found.codes.numpy()
    packed = pack(array, bits, levels=found.levels)
    np.testing.assert_array_equal(unpack(packed, bits, array.shape, levels=found.levels), array)
    assert len(packed) == -(-array.size * bits // 8)


def test_ternary_and_binary_pack() -> None:
    w = torch.randn(9, 5)
    for scheme in (Ternary(), Binary()):
        array = scheme.encode(w)[0].numpy()
        np.testing.assert_array_equal(unpack(pack(array, scheme.bits), scheme.bits, array.shape), array)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ConstraintError, match=r"code 2 at flat index 1 .* 1 of 3 codes do not fit"):
        pack(np.array([1, 2, -1]), bits=2)
    with pytest.raises(ConstraintError, match="code 0 at flat index 0"):
        pack(np.array([0]), bits=1)
    with pytest.raises(ConstraintError, match=r"code 255 .*\n  fix: .*levels"):
        pack(np.array([255]), bits=8)
    for bits in (0, 9):
        with pytest.raises(ConstraintError, match="1 to 8"):
            pack(np.array([0]), bits=bits)
    with pytest.raises(ConstraintError, match="1 to 4 fit"):
        pack(np.array([0]), bits=2, levels=(0, 1, 2, 3, 4))
    with pytest.raises(ConstraintError, match="ascend"):
        pack(np.array([0]), bits=2, levels=(1, 0))
    with pytest.raises(ConstraintError, match="needs 2 bytes"):
        unpack(np.zeros(3, dtype=np.uint8), 4, (4,))
    with pytest.raises(ConstraintError, match="index 3, and there are 3 levels"):
        unpack(np.array([3], dtype=np.uint8), 2, (1,), levels=(-1, 0, 1))
