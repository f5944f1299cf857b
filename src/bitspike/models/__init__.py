"""Ready networks as functions that return a plain ``nn.Module`` from [N, C, H, W] to [N, K]."""

from collections.abc import Callable

from torch import nn

from bitspike.models.digits import digits_net
from bitspike.models.stbp import cifar_net, mnist_net, stbp_lif
from bitspike.models.vgg import vgg9

MODELS: dict[str, Callable[..., nn.Module]] = {
    "cifar_net": cifar_net,
    "digits_net": digits_net,
    "mnist_net": mnist_net,
    "vgg9": vgg9,
}
"""Every model by its name. All take ``steps, num_classes, in_channels, image_size, neuron, norm, readout, width``."""

__all__ = ["MODELS", "cifar_net", "digits_net", "mnist_net", "stbp_lif", "vgg9"]
