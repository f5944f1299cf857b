"""Packed weights: as many bits as the codes need, read back bit for bit."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import bitspike as bs
from bitspike.errors import ConstraintError, PackageError
from bitspike.models.vgg_ann import vgg16_ann
from bitspike.weights import (
    Binary,
    Constrained,
    FixedPoint,
    Lognormal,
    PowerOfTwo,
    Scheme,
    Ternary,
    Uniform,
    attach,
    constraint_failure,
    detach,
    read_packed,
    write_packed,
)
from bitspike.weights.packed import failure_of

FILE = "net.safetensors"
BITS = [
    pytest.param(Constrained((-1, 1)), 1, id="binary"),
    pytest.param(Constrained((-1, 0, 1), per_channel=True), 2, id="ternary per channel"),
    pytest.param(Constrained((-4, -2, -1, 0, 1, 2, 4)), 3, id="two-bit shift"),
    pytest.param(Binary(), 1, id="Binary"),
    pytest.param(Ternary(), 2, id="Ternary"),
    pytest.param(PowerOfTwo(4), 4, id="PowerOfTwo"),
    pytest.param(Uniform(8, per_channel=True), 8, id="8 bits"),
    pytest.param(Uniform(16), 16, id="16 bits"),
    pytest.param(FixedPoint(2**-22, bits=24), 32, id="24 bits"),
]


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 5, 3),
        nn.BatchNorm2d(5),
        nn.ConvTranspose2d(5, 3, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3 * 64, 7),
    )


@pytest.mark.parametrize(("scheme", "bits"), BITS)
def test_codes_take_their_bits_and_come_back_as_the_weights_of_the_forward_pass(
    tmp_path: Path, scheme: Scheme | Constrained, bits: int
) -> None:
    model = attach(small(), quantize=scheme, skip="0").eval()
    size = write_packed(model, tmp_path / FILE)
    codes = [math.ceil(bits * n / 8) for n in (5 * 3 * 9, 3 * 64 * 7)]
    assert size.bytes == sum(codes) + 4 * 45
    assert (size.weights, size.quantized) == (45 + 135 + 1344, 135 + 1344)
    assert size.share == size.bytes / (4 * size.weights)
    other = read_packed(small(), tmp_path / FILE).eval()
    for name in ("0", "2", "5"):
        assert torch.equal(other.get_submodule(name).weight, model.get_submodule(name).weight)
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(other(x), model(x))
    stored = safetensors.torch.load_file(tmp_path / FILE)
    assert sum(t.nbytes for t in stored.values()) == size.bytes + size.others


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_of_other_precisions_come_back_exactly(tmp_path: Path, dtype: torch.dtype) -> None:
    model = attach(nn.Linear(9, 5).to(dtype), quantize=Constrained((-1, 0, 1)))
    write_packed(model, tmp_path / FILE)
    assert torch.equal(read_packed(nn.Linear(9, 5).to(dtype), tmp_path / FILE).weight, model.weight)


def test_quantized_biases_and_weights_that_only_vary(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    attach(model, quantize=Ternary(), bias=FixedPoint(2**-6), include="0")
    attach(model, vary=Lognormal(0.1, seed=0, fixed=True), include="1")
    write_packed(model, tmp_path / FILE)
    other = read_packed(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), tmp_path / FILE)
    assert torch.equal(other[0].bias, model[0].bias)
    assert torch.equal(other[1].weight, detach(model)[1].weight)  # without the variation of one chip


def test_cbp_check_12_binary_vgg16_of_100_classes_weighs_three_and_a_half_percent(tmp_path: Path) -> None:
    model = attach(vgg16_ann(num_classes=100), quantize=Constrained((-1, 1)), skip=["conv1_1", "linear"])
    size = write_packed(model, tmp_path / FILE)
    assert size.quantized == 14_708_736
    assert size.weights - size.quantized == 1728 + 51_200  # the first and the last layer stay float32
    assert size.share == pytest.approx(0.0347, abs=5e-5)
    # The whole file, with biases, scales and names, is hardly larger.
    assert (tmp_path / FILE).stat().st_size < 0.0352 * 4 * size.weights


def test_the_file_says_how_far_the_weights_were_from_their_levels(tmp_path: Path) -> None:
    model = attach(nn.Linear(20, 20), quantize=Constrained((-1, 0, 1)))
    write_packed(model, tmp_path / FILE)
    failure = constraint_failure(model)
    assert failure is not None
    assert failure_of(tmp_path / FILE) == failure.to_dict()
    write_packed(attach(nn.Linear(2, 2), quantize=Ternary()), tmp_path / FILE)
    assert failure_of(tmp_path / FILE) is None


def test_what_cannot_be_packed_or_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConstraintError, match="no weight of Linear is quantized"):
        write_packed(nn.Linear(2, 2), tmp_path / FILE)
    assert not (tmp_path / FILE).exists()
    with pytest.raises(PackageError, match="no such file"):
        read_packed(nn.Linear(2, 2), tmp_path / FILE)
    model = attach(nn.Linear(2, 2), quantize=Binary())
    write_packed(model, tmp_path / FILE)
    with pytest.raises(ConstraintError, match="has weight paths"):
        read_packed(model, tmp_path / FILE)
    with pytest.raises(PackageError, match="belongs to another model"):
        read_packed(nn.Linear(3, 2), tmp_path / FILE)
    state = safetensors.torch.load_file(tmp_path / FILE)
    codes, shape = state["weight.codes"], state["weight.shape"]
    for wrong in ({"weight.codes": codes[:0]}, {"weight.codes": codes.float()}, {"weight.shape": shape.float()}):
        safetensors.torch.save_file({**state, **wrong}, tmp_path / FILE)
        with pytest.raises(PackageError, match="is damaged"):
            read_packed(nn.Linear(2, 2), tmp_path / FILE)
    (tmp_path / FILE).write_bytes(b"no safetensors")
    for read in (failure_of, lambda file: read_packed(nn.Linear(2, 2), file)):
        with pytest.raises(PackageError, match="cannot be read"):
            read(tmp_path / FILE)


def test_weights_without_codes_are_named_with_what_they_lack(tmp_path: Path) -> None:
    class Rounds:
        def __call__(self, w: torch.Tensor) -> torch.Tensor:
            return w.round()

    model = bs.attach(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), quantize=Rounds())
    with pytest.raises(ConstraintError, match=r"write_packed: 0\.weight: the quantize stage Rounds lacks encode"):
        write_packed(model, tmp_path / "w")
    sums = bs.attach(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), quantize=bs.Uniform(4), recover=bs.SRAM(2))
    with pytest.raises(ConstraintError, match=r"the weights of 0 are sums[\s\S]*bs\.SRAM\(bits\) next to bs\.Midrise"):
        write_packed(sums, tmp_path / "w")
    assert not list(tmp_path.iterdir())
    met = bs.attach(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), quantize=bs.Midrise(4), recover=bs.SRAM(2))
    assert write_packed(met, tmp_path / "w").quantized == 12


def test_a_compiled_or_wrapped_network_is_packed_under_its_own_names(tmp_path: Path) -> None:
    model = attach(small(), quantize=bs.Ternary())
    write_packed(nn.DataParallel(model), tmp_path / FILE)
    assert torch.equal(read_packed(small(), tmp_path / FILE)[2].weight, model[2].weight)
