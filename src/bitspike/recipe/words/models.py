"""The section ``model``: a network of the package, or one that a function of the user makes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from bitspike.recipe.words.layers import Encoder, RateReadout, Readout, Repeat
from bitspike.recipe.words.own import Own
from bitspike.recipe.words.value import Value

Connect = Literal["add", "and", "iand"]
"""How a spike-element-wise block joins its branch and its shortcut."""


class Repair(Value):
    """A change of one layer that makes it fit a chip, made to the new network; ``bitspike fit`` writes these.

    ``groups`` parts a convolution into so many groups, ``split`` its input channels into ``parts`` partial sums, and
    ``prune`` keeps the input channels ``keep``.
    """

    kind: Literal["groups", "split", "prune"]
    path: str
    groups: PositiveInt = 1
    parts: PositiveInt = 1
    keep: tuple[NonNegativeInt, ...] = ()
    source_shape: tuple[PositiveInt, ...] = ()


class _Model(Value):
    """A model of the package; the numbers of classes and channels and the image size come from the data."""

    steps: PositiveInt
    width: PositiveFloat = 1.0
    encoder: Encoder = Repeat(kind="repeat")
    readout: Readout = RateReadout(kind="rate")
    repairs: tuple[Repair, ...] = ()

    @property
    def more(self) -> dict[str, Any]:
        """What this model alone is called with, such as its depth."""
        shared = {"kind", *_Model.model_fields, *Own.model_fields}
        return {name: getattr(self, name) for name in type(self).model_fields if name not in shared}


class DigitsNet(_Model):
    makes: ClassVar[str] = "bitspike.models:digits_net"
    kind: Literal["digits_net"]


class MNISTNet(_Model):
    makes: ClassVar[str] = "bitspike.models:mnist_net"
    kind: Literal["mnist_net"]
    bias: bool = True


class CifarNet(_Model):
    makes: ClassVar[str] = "bitspike.models:cifar_net"
    kind: Literal["cifar_net"]
    bias: bool = True


class Conv7Net(_Model):
    makes: ClassVar[str] = "bitspike.models:conv7_net"
    kind: Literal["conv7_net"]
    bias: bool = True


class TSSLAlexNet(_Model):
    """``dropout`` is the share of the currents that is left out at all steps."""

    makes: ClassVar[str] = "bitspike.models:tssl_alexnet"
    kind: Literal["tssl_alexnet"]
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2


class VGG9(_Model):
    makes: ClassVar[str] = "bitspike.models:vgg9"
    kind: Literal["vgg9"]


class VGG11(_Model):
    makes: ClassVar[str] = "bitspike.models:vgg11"
    kind: Literal["vgg11"]


class BNTTVGG(_Model):
    """``depth`` is 5, 9, 11 or 19."""

    makes: ClassVar[str] = "bitspike.models:bntt_vgg"
    kind: Literal["bntt_vgg"]
    depth: Literal[5, 9, 11, 19] = 9


class BNTTMLP(_Model):
    """``hidden`` are the features of the hidden layers."""

    makes: ClassVar[str] = "bitspike.models:bntt_mlp"
    kind: Literal["bntt_mlp"]
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (256, 256)


class AlexNetCifar(_Model):
    makes: ClassVar[str] = "bitspike.models:alexnet_cifar"
    kind: Literal["alexnet_cifar"]


class ResNet18Cifar(_Model):
    makes: ClassVar[str] = "bitspike.models:resnet18_cifar"
    kind: Literal["resnet18_cifar"]


class ResNet(_Model):
    """``depth`` is 6n + 2: 20, 32, 44, 56 or 110, for instance."""

    makes: ClassVar[str] = "bitspike.models:resnet"
    kind: Literal["resnet"]
    depth: Annotated[int, Field(ge=8)] = 20


class ResNet18(_Model):
    makes: ClassVar[str] = "bitspike.models:resnet18"
    kind: Literal["resnet18"]


class ResNet19(_Model):
    makes: ClassVar[str] = "bitspike.models:resnet19"
    kind: Literal["resnet19"]
    bias: bool = True


class VGG(_Model):
    makes: ClassVar[str] = "bitspike.models:vgg"
    kind: Literal["vgg"]
    depth: Literal[11, 13, 16, 19] = 19
    bias: bool = True


class SEWNet(_Model):
    """``stages`` are channels and blocks; ``[[32, 7]]`` is the 7B-Net, ``[[64, 4], [128, 3]]`` the Wide-7B-Net."""

    makes: ClassVar[str] = "bitspike.models:sew_net"
    kind: Literal["sew_net"]
    stages: tuple[tuple[PositiveInt, PositiveInt], ...] = ((32, 7),)
    connect: Connect = "add"
    kernel: PositiveInt = 3
    zero_init: bool = False


class SEWResNet(_Model):
    makes: ClassVar[str] = "bitspike.models:sew_resnet"
    kind: Literal["sew_resnet"]
    depth: Literal[18, 34] = 18
    connect: Connect = "add"
    zero_init: bool = False


class OwnNet(Own, _Model):
    """A spiking network of the user's own, called with what the models of the package are called with."""

    makes: ClassVar[str] = "torch.nn:Module"
    section: ClassVar[str] = "model"


Model = Annotated[
    DigitsNet
    | MNISTNet
    | CifarNet
    | Conv7Net
    | TSSLAlexNet
    | VGG9
    | VGG11
    | VGG
    | BNTTVGG
    | BNTTMLP
    | AlexNetCifar
    | ResNet
    | ResNet18
    | ResNet18Cifar
    | ResNet19
    | SEWNet
    | SEWResNet
    | OwnNet,
    Field(discriminator="kind"),
]


class Factory(Own):
    """A network that a function makes, and the file of its trained weights.

    ``weights`` is a safetensors file or one that torch saved; ``key`` names the entry of the latter that holds the
    state, ``prefix`` is taken off its names. ``weights: null`` leaves those that the factory gives it: its own, or
    initial ones that are drawn from the recipe's seed. ``repairs`` are made to the loaded network, or with
    ``repaired: true`` before the weights are loaded: these are then of an earlier run with the same repairs.
    """

    makes: ClassVar[str] = "torch.nn:Module"
    section: ClassVar[str] = "model"
    weights: str | None = None
    key: str | None = None
    prefix: str = ""
    repairs: tuple[Repair, ...] = ()
    repaired: bool = False
