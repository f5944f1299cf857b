"""Frozen stays frozen: parameters, norms and ties of the user's network in what is made of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.conversion.fold.fold import fold
from bitspike.graph.capture.from_module import capture

X = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def network(*, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=bias), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 4, 3, bias=bias), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3, bias=bias),
    ).eval()  # fmt: skip


def trainable(model: nn.Module) -> set[str]:
    """Return the names of what trains, in the words of the float network; clips are left out."""
    names = {name.removeprefix("network.") for name, p in model.named_parameters() if p.requires_grad}
    return {name.replace("parametrizations.", "").removesuffix(".original") for name in names if "clip" not in name}


@pytest.mark.parametrize("bias", [True, False])
def test_a_frozen_network_stays_frozen_wherever_it_goes(bias: bool) -> None:
    net = network(bias=bias).requires_grad_(False)
    tuned = bs.prepare(net, X[:1], calibrate=X, steps=4)
    assert trainable(tuned) == trainable(bs.over_time(tuned)) == set()
    assert trainable(bs.convert(net, X[:1], calibrate=X, steps=4)) == set()
    assert trainable(bs.attach(net, quantize=bs.Uniform(bits=4))) == set()
    assert trainable(bs.detach(net)) == set()


def test_only_the_layer_that_trains_trains() -> None:
    net = network().requires_grad_(False)
    net[3].requires_grad_(True)
    assert trainable(bs.prepare(net, X[:1], calibrate=X, steps=4)) == {"3.weight", "3.bias"}


def test_a_frozen_norm_leaves_the_weights_in_front_of_it_trainable() -> None:
    net = network(bias=False)
    net[1].requires_grad_(False)
    tuned = bs.prepare(net, X[:1], calibrate=X, steps=4)
    # What the norm adds was its bias, which is frozen; layers without bias and norm get one that trains with them.
    assert trainable(tuned) == {"0.weight", "3.weight", "3.bias", "6.weight", "6.bias"}


def test_a_norm_that_trains_behind_frozen_weights_leaves_its_bias() -> None:
    net = network().requires_grad_(False)
    net[1].requires_grad_(True)
    assert trainable(bs.prepare(net, X[:1], calibrate=X, steps=4)) == {"0.bias"}


def test_a_norm_in_front_of_a_frozen_layer_is_folded_and_stays_frozen() -> None:
    net = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    net[1].requires_grad_(False)
    net[0].requires_grad_(False)
    modules = fold(capture(net, torch.rand(2, 4))).modules
    assert [p.requires_grad for p in modules["1"].parameters()] == [False, False]
    assert [p.requires_grad for p in modules["3"].parameters()] == [True, True]


@pytest.mark.parametrize("kind", ["parameter", "buffer", "derived"])
def test_weights_that_are_arguments_train_as_they_did(kind: str) -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(4, 4), requires_grad=kind == "derived")
            self.register_buffer("held", torch.randn(4, 4))
            self.out = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            w: Any = {"parameter": self.w, "buffer": self.held, "derived": self.w * 0.5}[kind]
            return self.out(torch.relu(nn.functional.linear(x, w)))  # type: ignore[no-any-return]

    x = torch.rand(8, 4)
    found = trainable(bs.prepare(Functional().eval(), x[:1], calibrate=x))
    assert any(name.endswith("weight") and not name.startswith("out") for name in found) == (kind == "derived")


def test_modes_of_modules_that_stay_are_kept() -> None:
    net = nn.Sequential(network()[:5], nn.BatchNorm2d(4), nn.Tanh(), nn.BatchNorm2d(4)).train()
    net[3].eval()  # a frozen norm after the spiking part
    tuned = bs.prepare(net, X[:1], calibrate=X, steps=4)
    assert tuned.training
    assert not tuned.network.get_submodule("3").training
    timed = bs.over_time(tuned)
    assert timed.training
    assert tuned.training
    assert not tuned.network.get_submodule("3").training
    before = tuned.network.get_submodule("3").running_mean.clone()  # type: ignore[operator, union-attr]
    timed(X)
    assert torch.equal(tuned.network.get_submodule("3").running_mean, before)  # type: ignore[arg-type]


def test_one_weight_in_two_layers_stays_one_weight() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    net[2].weight = net[0].weight
    x, y = torch.rand(16, 4), torch.arange(16) % 2
    tuned = bs.prepare(net, x[:1], calibrate=x, steps=4)
    bs.fit(tuned, [(x, y)], epochs=3, device="cpu", precision="fp32")
    first, second = (tuned.network.get_submodule(path).parametrizations.weight.original for path in ("0", "2"))  # type: ignore[union-attr, index]
    assert first is second
    assert not torch.equal(first, net[0].weight)


@pytest.mark.parametrize("scheme", [bs.Uniform(bits=4), bs.DoReFa(bits=5)])
def test_paths_on_a_shared_weight_keep_it_shared_and_frozen(scheme: Any) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    net[0].weight.requires_grad_(False)
    bs.attach(net, quantize=scheme)
    values = [net[i].weight.clone() for i in (0, 2)]
    bs.detach(net)
    assert net[0].weight is net[2].weight
    assert not net[0].weight.requires_grad
    assert torch.equal(net[0].weight, values[0])
    assert torch.equal(net[2].weight, values[1])
