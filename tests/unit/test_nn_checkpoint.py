"""Keeping less for the backward pass changes neither values nor gradients, nor what a step leaves behind."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.kernels import bits
from bitspike.models import cifar_net, digits_net, resnet, vgg9
from bitspike.nn import Chain, QuantReLU, ShiftBatchNorm, checkpoint_layers, fuse
from bitspike.nn.recompute import kept
from bitspike.weights import Lognormal, Uniform, attach

needs_library = pytest.mark.skipif(
    bits.library() is None, reason="the native library is not built: pip install -e . where a C++ compiler is"
)
MODELS: dict[str, Callable[[], nn.Module]] = {
    "vgg9": lambda: vgg9(width=1 / 8, image_size=16),
    "vgg9, any mean": lambda: vgg9(width=1 / 8, image_size=16, norm=lambda c: nn.BatchNorm2d(c, momentum=None)),
    "cifar_net": lambda: cifar_net(width=1 / 16, image_size=16, norm=ShiftBatchNorm),
    "resnet": lambda: resnet(depth=8, width=1 / 2, image_size=16),
    "QuantReLU": lambda: resnet(depth=8, width=1 / 2, image_size=16, steps=None, neuron=lambda: QuantReLU(4)),
    "quantized": lambda: attach(resnet(depth=8, width=1 / 2, image_size=16), quantize=Uniform(bits=4)),
    "dropout": lambda: fuse(
        nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(16)), QuantReLU(4), nn.Flatten()
        )
    ),
}


def step(model: nn.Module, x: Tensor, *, autocast: bool = False) -> dict[str, Tensor]:
    """Return everything that two training steps give and leave behind."""
    torch.manual_seed(3)
    out = x
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = model(x)
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(4))
        (out.float() * weights).sum().backward()
    found = {"out": out.detach(), "random": torch.rand(3)}
    found |= {f"{name}.grad": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found | dict(model.named_buffers())


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_is_the_same_to_the_last_bit(name: str, recompute: bool, autocast: bool) -> None:
    model = MODELS[name]().to(memory_format=torch.channels_last).train()
    other = checkpoint_layers(copy.deepcopy(model), recompute=recompute)
    x = torch.rand(4, 3, 16, 16).to(memory_format=torch.channels_last)
    plain, found = step(model, x, autocast=autocast), step(other, x, autocast=autocast)
    assert list(plain) == list(found)
    assert all(f"{name}.grad" in found for name, _ in model.named_parameters())
    for name, value in plain.items():
        assert torch.equal(found[name], value), name


def kept_bytes(model: nn.Module, x: Tensor) -> int:
    """Return how much the graph of a call keeps in addition to parameters and buffers, however it keeps it."""
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers(), x]}
    storages: dict[int, int] = {}

    def note(t: Tensor) -> Tensor:
        storages[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda t: t)
    with hooks:
        model(x)
    return sum(size for place, size in storages.items() if place not in own)


def test_the_hooks_of_the_user_come_first() -> None:
    """Whoever moves saved tensors elsewhere sees them whole."""
    model, x = MODELS["vgg9"](), torch.rand(4, 3, 16, 16)
    plain = kept_bytes(model, x)
    assert kept_bytes(checkpoint_layers(model, recompute=False), x) == plain > 0


@needs_library
def test_spikes_are_kept_as_bits_and_everything_else_as_it_is() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        spikes = (torch.rand(4, 8, 16, 8, 8) < 0.2).to(dtype)
        spikes = spikes.flatten(0, 1).to(memory_format=torch.channels_last).view(4, 8, 16, 8, 8)
        small = kept(spikes)
        assert isinstance(small, bits.Bits)
        assert small.words.nbytes * 8 == spikes.numel()
        back = small.spikes()
        assert torch.equal(back, spikes)
        assert (back.stride(), back.dtype) == (spikes.stride(), dtype)
        for place in (0, 17, -1):
            for value in (0.5, -1.0, float("nan"), 2.0):
                wrong = spikes.flatten().clone()
                wrong[place] = value
                assert kept(wrong) is wrong
    for other in (
        spikes.double(),
        spikes[:, ::2],
        spikes[0, 0, 0],
        spikes[:1].expand(4, 8, 16, 8, 8),
        torch.ones(4097),
    ):
        assert kept(other) is other


def test_it_can_be_taken_back_and_changes_no_names() -> None:
    model = MODELS["resnet"]()
    keys, x = list(model.state_dict()), torch.rand(2, 3, 16, 16)
    assert checkpoint_layers(model) is model
    assert list(model.state_dict()) == keys
    assert {m.keeps for m in model.modules() if isinstance(m, Chain)} == {"inputs"}
    calls: list[str] = []
    handle = model.block1.layer1.conv.register_forward_hook(lambda *_: calls.append("conv"))
    model(x).sum().backward()
    assert calls == ["conv"] * 2
    with torch.no_grad():
        model(x)
    assert calls == ["conv"] * 3
    checkpoint_layers(model, on=False)
    model(x).sum().backward()
    assert calls == ["conv"] * 4
    handle.remove()


def test_weights_that_vary_are_drawn_once() -> None:
    model = attach(digits_net(), vary=Lognormal(sigma=0.2, seed=1), skip="layer3.*")
    other = checkpoint_layers(copy.deepcopy(model))
    x = torch.rand(4, 1, 8, 8)
    plain, found = step(model, x), step(other, x)
    assert all(torch.equal(found[name], value) for name, value in plain.items())


def test_a_model_without_chains_is_refused_with_the_way_out() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), QuantReLU(2))
    with pytest.raises(ConstraintError, match=r"checkpoint_layers\(bs\.fuse\(model\)\)"):
        checkpoint_layers(model)
    assert checkpoint_layers(fuse(model))[0] is not None
