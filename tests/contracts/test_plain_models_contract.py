"""One contract over every ordinary network of the package: those of ReLUs, to be quantized and converted."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

import bitspike as bs
from bitspike import models
from bitspike.errors import ConstraintError

FILES = [importlib.import_module(f"{models.__name__}.{f.name}") for f in pkgutil.iter_modules(models.__path__)]
PLAIN: dict[str, Callable[..., nn.Module]] = {
    name: make
    for file in FILES
    for name, make in vars(file).items()
    if inspect.isfunction(make) and make.__module__ == file.__name__ and not name.startswith("_")
}
# Small relatives, and the images that they take.
SMALL: dict[str, dict[str, float]] = {
    "alexnet_imagenet": {"image_size": 64, "width": 1 / 32},
    "digits_ann": {"width": 1 / 2},
    "resnet_cifar": {"depth": 8, "width": 4},
    "vgg11_ann": {"image_size": 16, "width": 1 / 32},
    "vgg16_ann": {"image_size": 32, "width": 1 / 32},
    "vgg16_imagenet": {"image_size": 32, "width": 1 / 32},
}
SIDES = {
    "alexnet_imagenet": 64,
    "digits_ann": 8,
    "resnet_cifar": 16,
    "vgg11_ann": 16,
    "vgg16_ann": 32,
    "vgg16_imagenet": 32,
}


def test_every_ordinary_network_is_held_to_the_contract():
    assert set(PLAIN) == set(SMALL) == set(SIDES)


@pytest.fixture(params=sorted(SMALL))
def name(request) -> str:
    return request.param


def small(name: str, **arguments: object) -> nn.Module:
    torch.manual_seed(1)
    return PLAIN[name](**({"num_classes": 7, "in_channels": 2} | SMALL[name] | arguments)).eval()


def images(name: str, count: int) -> Tensor:
    return torch.rand(count, 2, SIDES[name], SIDES[name], generator=torch.Generator().manual_seed(0))


def test_images_become_finite_logits_that_depend_on_them(name):
    out = small(name)(images(name, 5))
    assert out.shape == (5, 7)
    assert out.isfinite().all()
    assert len(out.unique(dim=0)) > 1


def test_an_image_is_answered_alike_alone_and_in_a_batch(name):
    model, x = small(name), images(name, 3)
    torch.testing.assert_close(torch.cat([model(image[None]) for image in x]), model(x))


def test_gradients_reach_every_parameter(name):
    model = small(name).train()
    model(images(name, 6)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_trace_computes_the_same(name):
    model, x = small(name), images(name, 3)
    assert torch.equal(fx.symbolic_trace(model)(x), model(x))


def test_initial_weights_come_from_the_generator_of_torch(name):
    one, two, other = small(name), small(name), PLAIN[name](**({"num_classes": 7, "in_channels": 2} | SMALL[name]))
    assert all(torch.equal(value, two.state_dict()[key]) for key, value in one.state_dict().items())
    assert any(not torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_nothing_is_pooled_by_its_maximum_and_the_whole_network_becomes_spiking(name):
    model, x = small(name), images(name, 4)
    assert not any(isinstance(module, nn.MaxPool2d) for module in model.modules())
    spiking = bs.convert(model, x[:1], calibrate=x, steps=4)
    net = bs.lower(spiking, x[:1])
    assert [node.path for node in net.weighted]
    assert bs.verify(net, x).equal


@pytest.mark.parametrize("size", [9, (32, 33), 0, -8])
@pytest.mark.parametrize("name", [name for name in sorted(SMALL) if "image_size" in SMALL[name]])
def test_an_image_size_that_does_not_fit_is_refused_with_sizes_that_do(name, size):
    with pytest.raises(ConstraintError, match=r"do not fit; height and width must be multiples of \d+") as caught:
        small(name, image_size=size)
    proposed = re.findall(r"image_size=(\d+|\(\d+, \d+\))", caught.value.fix)
    assert proposed
    for way in proposed:
        small(name, image_size=ast.literal_eval(way))


def test_values_out_of_range_are_refused(name):
    with pytest.raises(ConstraintError):
        small(name, width=0)
