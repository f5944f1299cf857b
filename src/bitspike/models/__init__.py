"""Ready networks as functions that return a plain ``nn.Module`` from [N, C, H, W] to [N, K]."""

from collections.abc import Callable

from torch import nn

from bitspike.models.spiking.digits import digits_net
from bitspike.models.spiking.resnet import resnet, resnet20
from bitspike.models.spiking.stbp import cifar_net, mnist_net, stbp_lif
from bitspike.models.spiking.vgg import vgg9, vgg11

MODELS: dict[str, Callable[..., nn.Module]] = {
    "cifar_net": cifar_net,
    "digits_net": digits_net,
    "mnist_net": mnist_net,
    "resnet": resnet,
    "vgg9": vgg9,
    "vgg11": vgg11,
}
"""Every model by its name. All take ``steps, num_classes, in_channels, image_size, neuron, norm, readout, width``."""

__all__ = [
    "MODELS",
    "cifar_net",
    "digits_net",
    "mnist_net",
    "resnet",
    "resnet20",
    "stbp_lif",
    "vgg9",
    "vgg11",
]
