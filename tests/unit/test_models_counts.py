"""The architectures, weight for weight as published."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bitspike.models import cifar_net, digits_net, mnist_net, stbp_lif, vgg9
from bitspike.nn import IF, LIF, Neuron, ShiftBatchNorm, ThresholdBatchNorm


def weights(model: nn.Module) -> list[int]:
    return [m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def kinds(model: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, kind)]


def test_mnist_net():
    net = mnist_net()
    assert weights(net) == [15 * 25, 15 * 40 * 25, 1960 * 300, 300 * 10]
    assert parameters(net) == 606_375 + 310
    assert parameters(mnist_net(bias=False)) == 606_375
    assert len(kinds(net, Neuron)) == 6
    assert all(conv.bias is None for conv in kinds(net, nn.Conv2d))


def test_cifar_net():
    net = cifar_net()
    assert sum(weights(net)) == 44_999_040
    assert weights(net)[5] == 32768 * 1024
    assert parameters(net) == 44_999_040 + (1024 + 512 + 10) + 2 * (128 + 256 + 512 + 1024 + 512)
    assert len(kinds(net, Neuron)) == 10
    assert len(kinds(net, nn.AvgPool2d)) == 2
    assert cifar_net(num_classes=100, width=1 / 32)(torch.zeros(1, 3, 32, 32)).shape == (1, 100)


def test_vgg9():
    net = vgg9()
    assert sum(weights(net)) == 5_938_880
    assert sum(norm.channels for norm in kinds(net, ThresholdBatchNorm)) == 2_176  # gamma per step in the paper
    assert parameters(vgg9(norm=None)) == 5_938_880
    assert len(kinds(net, Neuron)) == 8


def test_digits_net_is_small():
    net = digits_net()
    assert sum(weights(net)) == 18_264
    assert parameters(net) == 18_264 + 24 + 48
    assert len(kinds(net, ShiftBatchNorm)) == 2


def test_the_width_scales_channels_and_never_loses_a_layer():
    assert weights(vgg9(width=0.5))[:2] == [3 * 32 * 9, 32 * 32 * 9]
    assert weights(mnist_net(width=0.001)) == [25, 25, 49, 10]


def test_the_neuron_of_stbp_follows_the_specification():
    spikes = stbp_lif()(torch.tensor([[0.3], [0.3], [0.3]]))
    assert spikes.flatten().tolist() == [0, 0, 0]  # u = 0.3, 0.375, 0.39375
    assert stbp_lif()(torch.tensor([[0.5], [0.5]])).flatten().tolist() == [1, 1]


def test_threshold_batch_norm_takes_the_threshold_of_the_neuron():
    thresholds = {norm.threshold for norm in kinds(cifar_net(width=1 / 32), ThresholdBatchNorm)}
    assert thresholds == {0.4}
    net = cifar_net(width=1 / 32, neuron=lambda: IF(threshold=2.0))
    assert {norm.threshold for norm in kinds(net, ThresholdBatchNorm)} == {2.0}


def test_factories_are_called_for_every_place():
    net = vgg9(neuron=lambda: LIF(decay=0.75), norm=nn.BatchNorm2d, pool=lambda: nn.MaxPool2d(2), width=0.1)
    assert len({id(n) for n in kinds(net, LIF)}) == 8
    assert len(kinds(net, nn.BatchNorm2d)) == 8
    assert len(kinds(net, nn.MaxPool2d)) == 3


@pytest.mark.parametrize(
    ("make", "features"),
    [(digits_net, 6 * 3 * 4), (mnist_net, 5 * 4 * 6), (cifar_net, 64 * 4 * 6), (vgg9, 32 * 2 * 3)],
)
def test_images_need_not_be_square(make, features):
    size = {digits_net: (6, 8)}.get(make, (16, 24))
    linear = kinds(make(image_size=size, width=1 / 8), nn.Linear)[0]
    assert linear.in_features == features
