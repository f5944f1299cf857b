"""Ready networks as functions that return a plain ``nn.Module`` from [N, C, H, W] to [N, K].

A new one is a file, and a word in :mod:`bitspike.recipe.words.models` that names it. Those in ``spiking`` all take
``steps, num_classes, in_channels, image_size, neuron, norm, readout, encoder, width``.
"""

from bitspike.models.spiking.alexnet import alexnet_cifar
from bitspike.models.spiking.bntt import bntt_lif, bntt_mlp, bntt_vgg
from bitspike.models.spiking.digits import digits_net
from bitspike.models.spiking.resnet import resnet, resnet18, resnet18_cifar, resnet19, resnet20
from bitspike.models.spiking.sew import sew_7b_net, sew_net, sew_wide_7b_net
from bitspike.models.spiking.sew_resnet import sew_if, sew_resnet
from bitspike.models.spiking.stbp import cifar_net, conv7_net, mnist_net, stbp_lif
from bitspike.models.spiking.tssl import tssl_alexnet
from bitspike.models.spiking.vgg import vgg9, vgg11
from bitspike.models.spiking.vgg_deep import vgg, vgg19

__all__ = [
    "alexnet_cifar",
    "bntt_lif",
    "bntt_mlp",
    "bntt_vgg",
    "cifar_net",
    "conv7_net",
    "digits_net",
    "mnist_net",
    "resnet",
    "resnet18",
    "resnet18_cifar",
    "resnet19",
    "resnet20",
    "sew_7b_net",
    "sew_if",
    "sew_net",
    "sew_resnet",
    "sew_wide_7b_net",
    "stbp_lif",
    "tssl_alexnet",
    "vgg",
    "vgg9",
    "vgg11",
    "vgg19",
]
