"""Modules that move channels, and how modules are put into a network: what groups and partial sums share."""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.nn import TimeDistributed
from bitspike.nn.arrange import Permute, Reshape


def shuffle_over_time(groups: int, shape: tuple[int, ...]) -> dict[str, nn.Module]:
    """Return the modules that do to [T, N, *shape] what ``nn.ChannelShuffle`` does without time.

    Channel ``k * groups + j`` of the result is channel ``j * C / groups + k``. Source: Zhang et al., ShuffleNet,
    CVPR 2018, arXiv 1707.01083, section 3.1.
    """
    channels, *size = shape
    return {
        "split": Reshape((groups, channels // groups, *size)),
        "swap": Permute((1, 0, *range(2, 2 + len(size)))),
        "join": Reshape((channels, *size)),
    }


class ExtraChannels(nn.Module):
    """Add channels of zeros after the others: [N, C, ...] to [N, C + extra, ...].

    Example:
        >>> import torch
        >>> ExtraChannels(2)(torch.ones(1, 1, 1)).flatten().tolist()
        [1.0, 0.0, 0.0]
    """

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.extra = extra

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, [0, 0] * (x.dim() - 2) + [0, self.extra])

    def extra_repr(self) -> str:
        return f"{self.extra}"


def layers_over_time(model: nn.Module, path: str) -> str | None:
    """Return the path of the outermost ``TimeDistributed`` that holds a module; None where none does."""
    parents = [path.rsplit(".", n)[0] for n in range(path.count("."), 0, -1)]
    return next((p for p in parents if isinstance(model.get_submodule(p), TimeDistributed)), None)


def cut_before(module: nn.Module, name: str) -> tuple[TimeDistributed, TimeDistributed]:
    """Return layers over time in two parts: those before a layer, and that layer with all after it."""
    layers = list(module.named_children())
    at = [n for n, _ in layers].index(name)
    return TimeDistributed(OrderedDict(layers[:at])), TimeDistributed(OrderedDict(layers[at:]))


def put(model: nn.Module, path: str, parts: dict[str, nn.Module]) -> None:
    """Put a sequence of modules in the place of the module at a path; what is new gets that module's mode."""
    known, training = set(model.modules()), model.get_submodule(path).training
    whole = nn.Sequential(OrderedDict(parts))
    for module in whole.modules():
        if module not in known:
            module.training = training
    model.set_submodule(path, whole)
