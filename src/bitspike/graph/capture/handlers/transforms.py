"""Transforms of torchvision that stand in a network as modules: ``Normalize``, of its first and of its second kind.

torchvision is not imported here: a network that holds one of its modules has imported it. Of a derived class that
computes something else nothing is known.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bitspike.graph.capture.handlers.table import data
from bitspike.graph.capture.site import Ref, Site

TRANSFORMS = str(Path("torchvision", "transforms")) + os.sep
"""In the paths of its functions, which ask for the type or the values of a tensor: neither front end follows them."""
AS_MODULE = "self.normalize = torchvision.transforms.Normalize(mean, std), a module: it is understood"
"""The way out where a function of torchvision stands in ``forward``."""
_COMPUTES = ("forward", "transform", "_transform")
"""The methods of a transform that say what it computes; which of them there are depends on its kind and version."""


def is_normalize(module: nn.Module) -> bool:
    """Tell whether a module computes what ``torchvision.transforms.Normalize`` does.

    Example:
        >>> from torchvision.transforms import Normalize
        >>> is_normalize(Normalize([0.5], [0.25])), is_normalize(nn.ReLU())
        (True, False)
    """
    for kind in type(module).__mro__:
        if kind.__name__ == "Normalize" and kind.__module__.startswith("torchvision.transforms"):
            return all(getattr(type(module), name, None) is getattr(kind, name, None) for name in _COMPUTES)
    return False


@contextmanager
def followed(model: nn.Module) -> Iterator[None]:
    """Let torch.export see what the transforms of a model compute, for a block; the model is then as it was.

    torchvision's first kind asks of a tensor whether a deviation is 0, which decides on data.
    """
    mine = [m for m in model.modules() if is_normalize(m) and "forward" not in vars(m)]
    for module in mine:
        module.forward = partial(_plainly, module)
    try:
        yield
    finally:
        for module in mine:
            del module.forward


def _plainly(module: Any, x: Any) -> Any:
    mean, std = (torch.as_tensor(v, dtype=x.dtype, device=x.device).view(-1, 1, 1) for v in (module.mean, module.std))
    return (x - mean) / std


def normalize(site: Site, module: Any, input: Any) -> Ref:
    """``(x - mean) / std``, one mean and one deviation for all channels or for each."""
    mean, std = (torch.as_tensor(value, dtype=torch.float64).reshape(-1) for value in (module.mean, module.std))
    gain, shift = (value.float().expand(data(input).inside[0]) for value in (1 / std, -mean / std))
    return site.emit("affine", data(input), gain=gain, shift=shift)
