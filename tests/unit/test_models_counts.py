"""The architectures, weight for weight as published."""

from __future__ import annotations

import itertools
import math
from functools import partial

import pytest
import torch
from torch import nn

from bitspike import quantize
from bitspike.errors import ConstraintError
from bitspike.models import (
    alexnet_cifar,
    cifar_net,
    conv7_net,
    digits_net,
    mnist_net,
    resnet,
    resnet18,
    resnet18_cifar,
    resnet19,
    resnet20,
    stbp_lif,
    tssl_alexnet,
    vgg,
    vgg9,
    vgg11,
    vgg19,
)
from bitspike.models.imagenet import alexnet_imagenet, vgg16_imagenet
from bitspike.nn import (
    IF,
    LIF,
    Neuron,
    QuantReLU,
    RateCoder,
    ShiftBatchNorm,
    SignedIF,
    SpikeTimeLIF,
    SteadyDropout,
    SumPool,
    Synapse,
    ThresholdBatchNorm,
)


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


def test_conv7_net():
    net = conv7_net()
    between = [256 * 128, 256 * 256, 512 * 256, 512 * 512, 1024 * 512, 2048 * 1024]
    assert weights(net) == [3 * 128 * 9, *(9 * n for n in between), 32768 * 1024, 1024 * 512, 512 * 10]
    assert parameters(net) == sum(weights(net)) + 128 + 256 + 256 + 512 + 512 + 1024 + 2048 + 1024 + 512 + 10
    assert round(sum(weights(net)) / 1e6, 1) == 62.1
    assert len(kinds(net, Neuron)) == 10
    assert [conv.stride[0] for conv in kinds(net, nn.Conv2d)] == [1, 2, 1, 2, 1, 1, 2]
    assert {(n.threshold, n.decay, n.rule.reset, n.rule.fire) for n in kinds(net, LIF)} == {(0.5, 0.25, "hard", "gt")}


def test_tssl_alexnet():
    net = tssl_alexnet()
    between = [9 * 96 * 256, 9 * 256 * 384, 9 * 384 * 384, 9 * 384 * 256, 16384 * 1024, 1024 * 1024]
    assert weights(net) == [9 * 3 * 96, *between, 1024 * 10]
    assert (parameters(net), sum(between)) == (21_156_384, 21_143_552)
    assert len(kinds(net, SpikeTimeLIF)) == 8
    assert len(kinds(net, Synapse)) == 9
    assert [d.p for d in kinds(net, SteadyDropout)] == [0.2] * 7
    neuron = kinds(net, SpikeTimeLIF)[0]
    assert (neuron.decay, neuron.threshold, neuron.rule.fire) == (0.8, 1.0, "gt")
    assert {synapse.decay for synapse in kinds(net, Synapse)} == {2 / 3}
    assert [name for name, m in net.named_modules() if isinstance(m, SumPool)] == ["pool2", "pool3"]
    assert kinds(net, nn.Conv2d)[1].weight.abs().max() > 4 / (96 * 9) ** 0.5  # five times torch's bound
    slow = tssl_alexnet(width=1 / 32, neuron=lambda: SpikeTimeLIF(synapse_decay=0.5))
    assert {synapse.decay for synapse in kinds(slow, Synapse)} == {0.5}


def test_resnet19():
    net = resnet19()
    stem, shortcuts = [3 * 64 * 9], [64 * 128, 128 * 256, 256 * 512]
    first, second, third = ([channels * channels * 9] * 2 for channels in (128, 256, 512))
    blocks = [64 * 128 * 9, first[0], *first, *first, 128 * 256 * 9, second[0], *second, *second, 256 * 512 * 9]
    blocks += [third[0], *third]
    assert sorted(weights(net)) == sorted([*stem, *shortcuts, *blocks, 512 * 256, 256 * 10])
    assert len(weights(net)) == 19 + len(shortcuts)
    norms = 64 + 7 * 128 + 7 * 256 + 5 * 512  # two for each block, one for each shortcut
    assert parameters(net) == sum(weights(net)) + 2 * norms + 256 + 10 == 12_630_858
    assert len(kinds(net, Neuron)) == 1 + 16 + 2
    alphas = {name: m.alpha for name, m in net.named_modules() if isinstance(m, ThresholdBatchNorm)}
    added = {name for name in alphas if ".layer2." in name or ".shortcut." in name}
    assert {alphas[name] for name in added} == {2**-0.5}
    assert {alpha for name, alpha in alphas.items() if name not in added} == {1}
    assert {m.threshold for m in kinds(net, ThresholdBatchNorm)} == {0.4}


def test_qat_check_13_resnet19_for_100_classes_answers_100_rates():
    steps, generator = 3, torch.Generator().manual_seed(0)
    net = resnet19(num_classes=100, steps=steps, width=1 / 16)
    with torch.no_grad():  # of new weights the last layer stays silent
        net.head2.linear.weight.mul_(8)
    images = torch.randn(4, 3, 32, 32, generator=generator)
    for module in (net.train(), net.eval()):
        rates = module(images)
        assert rates.shape == (4, 100)
        assert ((rates >= 0) & (rates <= 1)).all()
        assert torch.equal(rates * steps, (rates * steps).round())
    assert len(net.train()(images).unique()) > 2


@pytest.mark.parametrize(
    ("depth", "convolutions"), [(11, 9_217_728), (13, 9_402_048), (16, 14_710_464), (19, 20_018_880)]
)
def test_vgg_has_the_published_convolutions_and_three_linear_layers(depth, convolutions):
    net = vgg(depth=depth)
    assert [*weights(net)[:1], *weights(net)[-3:]] == [3 * 64 * 9, 512 * 512, 512 * 512, 512 * 10]
    assert sum(weights(net)) == convolutions + 2 * 512 * 512 + 512 * 10
    assert len(weights(net)) == depth
    assert len(kinds(net, Neuron)) == depth + 1  # and one after the last pool
    assert len(kinds(net, nn.AvgPool2d)) == 5
    assert all(conv.bias is None for conv in kinds(net, nn.Conv2d))
    assert all(conv.bias is not None for conv in kinds(vgg(depth=depth, norm=None, width=1 / 64), nn.Conv2d))


def test_vgg_takes_other_images_and_refuses_other_depths():
    assert vgg19(image_size=64, num_classes=200, width=1 / 32)(torch.zeros(1, 3, 64, 64)).shape == (1, 200)
    with pytest.raises(ConstraintError, match=r"vgg\(depth=18\): allowed are 11, 13, 16, 19(.|\n)*fix: depth=19"):
        vgg(depth=18)


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
    assert len(kinds(net, nn.modules.batchnorm._BatchNorm)) == 8
    assert len(kinds(net, nn.MaxPool2d)) == 3


@pytest.mark.parametrize(
    ("make", "features"),
    [
        (digits_net, 6 * 3 * 4),
        (mnist_net, 5 * 4 * 6),
        (cifar_net, 64 * 4 * 6),
        (conv7_net, 256 * 2 * 3),
        (vgg9, 32 * 2 * 3),
    ],
)
def test_images_need_not_be_square(make, features):
    size = {digits_net: (6, 8)}.get(make, (16, 24))
    linear = kinds(make(image_size=size, width=1 / 8), nn.Linear)[0]
    assert linear.in_features == features


def quantized(bits: int = 4):
    return lambda: QuantReLU(bits)


def counts(model: nn.Module) -> tuple[int, int]:
    """Return the number of parameters without clips, and of clips."""
    clips = len(kinds(model, QuantReLU))
    return parameters(model) - clips, clips


def test_qann_check_09_parameters_of_the_quantized_networks():
    expected = {20: 272_474, 32: 466_906, 44: 661_338, 56: 855_770, 110: 1_730_714}
    for depth, number in expected.items():
        n = (depth - 2) // 6
        assert counts(resnet(depth=depth, steps=None, neuron=quantized())) == (number, 6 * n + 1)
    assert counts(vgg11(steps=None, neuron=quantized())) == (34_446_410, 10)  # 34.45 M
    assert counts(resnet18_cifar(steps=None, neuron=quantized())) == (12_502_090, 17)
    assert counts(resnet18(steps=None, neuron=quantized())) == (11_173_962, 17)


def test_qann_check_09_alexnet_by_hand():
    net = alexnet_cifar(steps=None, neuron=quantized())
    convolutions = [3 * 96 * 9, 96 * 256 * 9, 256 * 384 * 9, 384 * 384 * 9, 384 * 256 * 9]
    assert weights(net) == [*convolutions, 256 * 4 * 4 * 2048, 2048 * 10]
    norms, bias = 2 * (96 + 256 + 384 + 384 + 256 + 2048), 10
    assert counts(net) == (sum(weights(net)) + norms + bias, 6) == (11_736_298, 6)  # 11.74 M


@pytest.mark.parametrize(
    ("make", "activations", "weights"),
    [(alexnet_cifar, 6, 5), (vgg11, 10, 9), (partial(resnet, depth=8), 7, 8), (resnet20, 19, 20)],
)
def test_qann_check_09_quantized_networks_have_a_clip_for_every_relu_and_every_layer_of_few_bits(
    make, activations, weights
):
    plain = make(steps=None, width=1 / 16)
    names = dict(quantize(plain, torch.rand(1, 3, 32, 32), bits=3).named_parameters())
    clips = [name for name in names if name.endswith(".clip")]
    assert sum("parametrizations" in name for name in clips) == weights  # 6n + 2 of a ResNet
    assert sum("parametrizations" not in name for name in clips) == activations  # 6n + 1
    assert sum(p.numel() for p in names.values()) == parameters(plain) + len(clips)


def test_the_strides_of_the_quantized_networks():
    expected = {
        alexnet_cifar: [32, 16, 8, 8, 4],
        vgg11: [32, 16, 16, 8, 8, 4, 4, 2],
        resnet18_cifar: [32] + [32] * 6 + [16] * 6 + [8] * 4,
        resnet18: [32] + [32] * 4 + [16] * 4 + [8] * 4 + [4] * 4,
    }
    for make, sides in expected.items():
        net, shapes = make(steps=None, neuron=quantized(), width=1 / 64), dict[str, torch.Size]()
        for name, module in net.named_modules():
            if isinstance(module, QuantReLU):
                module.register_forward_hook(lambda module, x, out, name=name, to=shapes: to.update({name: out.shape}))
        net.eval()(torch.zeros(1, 3, 32, 32))
        assert [shape[-1] for shape in shapes.values() if len(shape) == 4] == sides


@pytest.mark.parametrize("make", [alexnet_cifar, vgg11, resnet20, resnet18, resnet18_cifar])
def test_qann_check_09_the_state_of_the_network_without_time_loads_into_the_spiking_one(make):
    ann = make(steps=None, neuron=quantized(), width=1 / 8)
    with torch.no_grad():
        for parameter in ann.parameters():
            parameter.uniform_(0.5, 1.0)
    relu, snn = make(steps=None, neuron=nn.ReLU, width=1 / 8), make(steps=15, neuron=SignedIF, width=1 / 8)
    assert list(relu.state_dict()) == list(snn.state_dict())
    state = ann.state_dict()
    loaded = snn.load_state_dict(state, strict=False)
    assert not loaded.missing_keys
    # What is left over are the clips, each under the name of the neuron whose threshold it is.
    neurons = {name for name, module in snn.named_modules() if isinstance(module, Neuron)}
    assert set(loaded.unexpected_keys) == {f"{name}.clip" for name in neurons}
    assert all(torch.equal(value, state[name]) for name, value in snn.state_dict().items())


def test_qann_check_10_the_mean_charge_of_a_block_is_the_preactivation_without_time():
    steps, generator = 7, torch.Generator().manual_seed(0)
    ann = resnet(depth=8, steps=None, neuron=quantized(3), width=1 / 4).double().eval()
    snn = resnet(depth=8, steps=steps, neuron=SignedIF, width=1 / 4).double().eval()
    snn.load_state_dict(ann.state_dict(), strict=False)
    # Activations of 3 bits in [0, 1], spread evenly over 7 steps: of the block's input and of its first neuron.
    x, y = (torch.randint(0, 8, (5, 4, 8, 8), generator=generator).double() / 7 for _ in range(2))
    charge = snn.block1.layer2(RateCoder(steps)(y)) + snn.block1.shortcut(RateCoder(steps)(x))
    torch.testing.assert_close(charge.mean(0), ann.block1.layer2(y) + ann.block1.shortcut(x))


def test_qann_check_10_resnet_20_runs_as_a_spiking_network_of_two_bits():
    net = resnet20(steps=3, neuron=lambda: SignedIF(1.0))
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_branches_that_are_added_share_the_threshold():
    net = resnet(depth=8, norm=ThresholdBatchNorm, neuron=lambda: IF(0.5), width=1 / 4)
    alphas = {name: m.alpha for name, m in net.named_modules() if isinstance(m, ThresholdBatchNorm)}
    added = {name for name, alpha in alphas.items() if alpha == pytest.approx(2**-0.5)}
    assert added == {name for name in alphas if ".layer2." in name or ".shortcut." in name}
    assert len(added) == 5
    assert all(alpha == 1 for name, alpha in alphas.items() if name not in added)


def test_the_norm_of_a_linear_layer_keeps_its_settings():
    def norm(channels):
        return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.3, affine=False)

    for net in (vgg9(norm=norm, width=1 / 16), vgg11(norm=norm, width=1 / 16)):
        flat = kinds(net, nn.BatchNorm1d)
        assert len(flat) == (1 if len(kinds(net, nn.Conv2d)) == 7 else 2)
        assert all((n.eps, n.momentum, n.affine) == (1e-3, 0.3, False) for n in flat)
        assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("depth", "near"), [(18, "depth=14 or depth=20"), (0, "depth=8"), (21, "depth=20 or depth=26")]
)
def test_a_depth_that_is_not_6n_plus_2_is_refused_with_one_that_is(depth, near):
    with pytest.raises(ConstraintError, match=rf"6n \+ 2(.|\n)*{near}"):
        resnet(depth=depth)


def test_a_network_without_time_has_no_encoder_and_no_read_out():
    for make in (alexnet_cifar, vgg11, resnet20, resnet18, resnet18_cifar):
        names = dict(make(steps=None, neuron=nn.ReLU, width=1 / 16).named_modules())
        assert "encoder" not in names
        assert "readout" not in names
        assert not any("Neuron" in type(m).__name__ for m in names.values())


def test_alexnet_for_imagenet():
    net = alexnet_imagenet()
    convolutions = [3 * 64 * 121, 64 * 192 * 25, 192 * 384 * 9, 384 * 256 * 9, 256 * 256 * 9]
    assert weights(net) == [*convolutions, 9216 * 4096, 4096 * 4096, 4096 * 1000]
    # By hand: 2,468,544 in convolutions, 37,748,736 + 16,777,216 + 4,096,000 in linear layers, 1,000 biases of the last
    # one, and 2 x (64 + 192 + 384 + 256 + 256 + 4096 + 4096) = 18,688 in norms.
    assert parameters(net) == 61_110_184
    assert net[: list(dict(net.named_children())).index("layer6")](torch.zeros(1, 3, 224, 224)).shape == (1, 256, 6, 6)
    assert [name for name, m in net.named_modules() if getattr(m, "bias", None) is not None and "norm" not in name] == [
        "layer8.linear"
    ]


def test_vgg16_for_imagenet():
    net = vgg16_imagenet()
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    convolutions = [a * b * 9 for a, b in itertools.pairwise(widths)]
    assert weights(net) == [*convolutions, 25088 * 4096, 4096 * 4096, 4096 * 1000]
    # By hand: 14,710,464 in convolutions (the known figure of VGG16), 102,760,448 + 16,777,216 + 4,096,000 in linear
    # layers, 1,000 biases, and 2 x (2 x 64 + 2 x 128 + 3 x 256 + 6 x 512 + 2 x 4096) = 24,832 in norms.
    assert parameters(net) == 138_369_960
    side, strides = 224, [m.stride[0] for m in kinds(net, nn.Conv2d)]
    assert side // math.prod(strides) == 7
    assert len(strides) == 13


def test_initial_weights_of_the_networks_for_imagenet_are_those_of_the_source():
    net = alexnet_imagenet()
    fan_out = 64 * 121
    assert net.layer1.conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
    assert net.layer6.linear.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert net.layer8.linear.bias.count_nonzero() == 0
