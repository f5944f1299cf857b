"""The first and last layers with weights, by data flow, and weights of a recipe that differ there."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bitspike.errors import ConstraintError
from bitspike.models import mnist_net, resnet, vgg
from bitspike.nn import IF, RateReadout, Repeat, TimeDistributed
from bitspike.nn.ends import ends
from bitspike.recipe.words.weights import Weights
from bitspike.runs.construct.weights import with_weights
from bitspike.weights import bias_codes, codes


class Unordered(nn.Module):
    """Two layers read the input, and the layer that was made first comes last."""

    def __init__(self) -> None:
        super().__init__()
        self.out = TimeDistributed(nn.Linear(3, 2))
        self.left, self.right = TimeDistributed(nn.Linear(4, 3)), TimeDistributed(nn.Linear(4, 3))
        self.encode, self.neuron, self.readout = Repeat(2), IF(), RateReadout()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.encode(x)
        return self.readout(self.out(self.neuron(self.left(x) + self.right(x))))


def test_ends_follow_the_data_and_not_the_order_of_making() -> None:
    assert ends(Unordered()) == (["left.0", "right.0"], ["out.0"])


def test_ends_of_the_models() -> None:
    assert ends(mnist_net(width=0.1)) == (["layer1.conv"], ["layer4.linear"])
    assert ends(resnet(depth=8, width=0.25)) == (["stem.conv"], ["head.linear"])
    assert ends(vgg(depth=11, width=1 / 64)) == (["layer1.conv"], ["layer11.linear"])
    assert ends(nn.Sequential(nn.Linear(2, 2))) == (["0"], ["0"])


def bits(model: nn.Module) -> dict[str, int]:
    return {name: layer.bits for name, layer in codes(model).items()}


def weights(**more: object) -> Weights:
    return Weights.model_validate({"quantize": {"kind": "uniform", "bits": 2}, **more})


EIGHT = {"kind": "uniform", "bits": 8}


def test_the_ends_have_schemes_of_their_own_or_floats() -> None:
    model = with_weights(mnist_net(width=0.1), weights(first=EIGHT, last="float"))
    assert bits(model) == {"layer1.conv": 8, "layer2.conv": 2, "layer3.linear": 2}
    model = with_weights(mnist_net(width=0.1), weights(last={"kind": "ternary"}, skip=["layer3.*"]))
    assert bits(model) == {"layer1.conv": 2, "layer2.conv": 2, "layer4.linear": 2}
    assert "Ternary" in codes(model)["layer4.linear"].scheme
    assert bits(with_weights(nn.Sequential(nn.Linear(2, 2)), weights(first=EIGHT, last="float"))) == {"0": 8}


def test_biases_of_the_quantized_layers_get_their_scheme() -> None:
    fixed = {"kind": "fixed_point", "step": 2**-8, "bits": 8}
    model = with_weights(mnist_net(width=0.1), weights(first=EIGHT, last="float", bias=fixed))
    assert bias_codes(model.get_submodule("layer3.linear")) is not None
    assert bias_codes(model.get_submodule("layer4.linear")) is None
    with pytest.raises(ConstraintError, match="has a bias"):
        with_weights(mnist_net(width=0.1, bias=False), weights(first=EIGHT, bias=fixed))


def test_patterns_that_match_nothing_are_refused_with_ends_too() -> None:
    with pytest.raises(ConstraintError, match=r"weights.skip: no layer matches 'layer9.\*'"):
        with_weights(mnist_net(width=0.1), weights(first=EIGHT, skip=["layer9.*"]))
