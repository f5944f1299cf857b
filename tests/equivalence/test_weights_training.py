"""The weight path against the procedures it replaces, and on a model that knows nothing of it."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import Tensor, nn

from bitspike.weights import Ternary, Uniform, attach, codes, detach
from bitspike.weights.scales import Dyadic


def _model() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 1e-2)])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_qat_check_09_one_sgd_step_equals_the_master_copy_procedure(bits: int, momentum: float, decay: float) -> None:
    """Quantizing in the forward pass trains exactly as overwriting the weights and updating float copies does.

    The procedure of the specification, 4.2: the layer holds Q(master); its gradient is applied to the master, with
    weight decay (and momentum) on the master; then the layer is overwritten again. Three steps, bit for bit.
    """
    model = _model()
    scheme = Uniform(bits)
    batches = [(torch.randn(8, 1, 8, 8), torch.randint(3, (8,))) for _ in range(3)]

    by_hand = copy.deepcopy(model)
    weights = [by_hand[0].weight, by_hand[3].weight]
    masters = [nn.Parameter(w.detach().clone()) for w in weights]
    by_hand_step = torch.optim.SGD([*masters, by_hand[3].bias], lr=0.1, momentum=momentum, weight_decay=decay)

    attach(model, quantize=scheme)
    path_step = torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum, weight_decay=decay)

    for x, y in batches:
        with torch.no_grad():
            for weight, master in zip(weights, masters, strict=True):
                weight.copy_(scheme.quantize(master))
        by_hand.zero_grad()
        nn.functional.cross_entropy(by_hand(x), y).backward()
        for weight, master in zip(weights, masters, strict=True):
            assert weight.grad is not None
            master.grad = weight.grad.clone()
        by_hand_step.step()

        path_step.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        path_step.step()

    for layer, master in zip((model[0], model[3]), masters, strict=True):
        assert torch.equal(layer.parametrizations.weight.original, master)
    assert torch.equal(model[3].bias, by_hand[3].bias)


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None).eval()


def _forward(model: nn.Module) -> Tensor:
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        result = model(x)
    assert isinstance(result, Tensor)
    return result


def test_a_torchvision_resnet_is_quantized_by_pattern_and_given_back(resnet: nn.Module) -> None:
    model = copy.deepcopy(resnet)
    float_output = _forward(model)
    keys = set(model.state_dict())
    attach(model, quantize=Uniform(8), include=["conv1", "fc"])
    attach(model, quantize=Ternary(), include="layer?.*", skip="*.downsample.*")
    attach(model, quantize=Uniform(4, per_channel=True, scale=Dyadic()), include="*.downsample.*")
    found = codes(model)
    assert len(found) == 21
    assert {c.bits for c in found.values()} == {2, 4, 8}
    quantized_output = _forward(model)
    assert not torch.equal(quantized_output, float_output)
    for name, c in found.items():
        assert torch.equal(c.decode(), model.get_submodule(name).weight)

    latent = detach(copy.deepcopy(model), keep="latent")
    assert torch.equal(_forward(latent), float_output)
    decoded = detach(model)
    assert torch.equal(_forward(decoded), quantized_output)
    assert set(decoded.state_dict()) == set(latent.state_dict()) == keys


def test_every_resnet_weight_gets_a_gradient(resnet: nn.Module) -> None:
    model = attach(copy.deepcopy(resnet).train(), quantize=Uniform(1))
    model(torch.randn(2, 3, 32, 32)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name


def test_a_layer_used_as_often_as_it_likes_has_one_weight() -> None:
    layer = attach(nn.Linear(4, 4), quantize=Ternary())
    x = torch.randn(2, 4)
    twice = layer(layer(x))
    plain = detach(copy.deepcopy(layer))
    assert torch.equal(twice, plain(plain(x)))
