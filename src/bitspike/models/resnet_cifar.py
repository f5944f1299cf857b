"""The ReLU ResNets for CIFAR with shortcuts of option A, under the names of the widely used public checkpoints.

Source: He et al., CVPR 2016, arXiv 1512.03385, section 4.2. The checkpoints (``resnet20-12fca82f.th`` and its larger
siblings of Y. Idelbayev's "Proper ResNet Implementation for CIFAR10/CIFAR100 in PyTorch") hold the entry
``state_dict``, whose keys begin with ``module.``.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from bitspike.arguments import checked
from bitspike.errors import ConstraintError


class Block(nn.Module):
    """Two 3x3 convolutions with a shortcut around them that has no parameters.

        y = relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))

    Where the shape changes, the shortcut takes every second pixel and puts channels of zeros on both sides.

    Args:
        inputs: channels in.
        outputs: channels out, ``inputs`` or twice as many.
        stride: 1, or 2 where the channels double.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.added = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        """Bring the input to the shape of the sum."""
        if self.stride == 1:
            return x
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.added, self.added))


class CifarResNet(nn.Module):
    """Stem of ``width`` channels, three stages of ``blocks`` blocks with 1, 2, 4 times as many, mean, linear.

    Args:
        blocks: n of a depth of 6n + 2.
        num_classes: K.
        in_channels: C of the images.
        width: channels of the stem; the public checkpoints have 16.

    Shape: [N, C, H, W] to [N, K].
    """

    def __init__(self, blocks: int, *, num_classes: int = 10, in_channels: int = 3, width: int = 16) -> None:
        super().__init__()
        if blocks < 1 or width < 2 or width % 2:
            raise ConstraintError(
                f"CifarResNet(blocks={blocks}, width={width}): at least one block, and an even width",
                fix="blocks=3, width=16: the ResNet-20 of the paper",
            )
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(blocks, width, width, 1)
        self.layer2 = _stage(blocks, width, 2 * width, 2)
        self.layer3 = _stage(blocks, 2 * width, 4 * width, 2)
        self.linear = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        out: Tensor = self.linear(x)
        return out


def _stage(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    first = Block(inputs, outputs, stride)
    return nn.Sequential(first, *(Block(outputs, outputs, 1) for _ in range(blocks - 1)))


@checked
def resnet_cifar(*, depth: int = 20, num_classes: int = 10, in_channels: int = 3, width: int = 16) -> CifarResNet:
    """Build the ResNet of 6n + 2 layers, with initial weights.

    Args:
        depth: 20, 32, 44, 56, 110, or any other 6n + 2.
        num_classes, in_channels, width: as in :class:`CifarResNet`.

    Raises:
        ConstraintError: the depth is not 6n + 2.

    Example:
        >>> sum(p.numel() for p in resnet_cifar(depth=20).parameters())
        269722
    """
    if depth < 8 or depth % 6 != 2:
        raise ConstraintError(
            f"resnet_cifar(depth={depth}): 6n + 2 layers are possible, such as 20, 32, 44, 56, 110", fix="depth=20"
        )
    return CifarResNet((depth - 2) // 6, num_classes=num_classes, in_channels=in_channels, width=width)
