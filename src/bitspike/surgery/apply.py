"""Apply planned repairs to a model: fewer bits, groups with a channel shuffle, partial sums, fewer input channels.

What ``bitspike.hardware.chips.plan`` decides on numbers is done here to the modules, on a copy, so that the new
network starts from the weights of the old one. :mod:`bitspike.surgery.groups` makes grouped convolutions,
:mod:`bitspike.surgery.partial_sums` partial sums.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from torch import nn

from bitspike.errors import ConstraintError
from bitspike.surgery.channels import can_follow, links, select
from bitspike.surgery.groups import Repair, group
from bitspike.surgery.partial_sums import split
from bitspike.weights.attach import attach
from bitspike.weights.path import Quantize, path_of
from bitspike.weights.schemes import Scheme, Uniform

M = TypeVar("M", bound=nn.Module)


def apply(model: M, repairs: Iterable[Repair]) -> M:
    """Return a copy of a model with repairs applied, ready for finetuning.

    Args:
        model: a spiking network or one without time, before its layers get variation, recovery or pruning.
        repairs: of ``bitspike.hardware.chips.plan``, in the order of data flow; a layer whose kind is ``real`` is
            left alone.

    Raises:
        ConstraintError: a path names no layer, a kind is unknown or cannot be applied to this layer, or channels cannot
            be taken away because more than one layer reads or makes them.

    Example:
        >>> from bitspike.hardware.chips.plan_repairs import Repair as Planned
        >>> model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        >>> fitted = apply(model, [Planned(path="2", kind="groups", bits=1, groups=4, inputs=8, outputs=8)])
        >>> fitted(torch.zeros(1, 4, 9, 9)).shape, fitted[2].weight.shape
        (torch.Size([1, 8, 5, 5]), torch.Size([8, 2, 3, 3]))
    """
    result = copy.deepcopy(model)
    moved: dict[str, str] = {}
    for repair in repairs:
        if repair.kind == "real":
            continue
        path = moved.get(repair.path, repair.path)
        _layer(result, path)
        layers: tuple[str, ...] = (path,)
        if repair.kind == "groups":
            layers = (group(result, path, repair),)
        elif repair.kind == "split":
            layers = split(result, path, parts=repair.parts, source_shape=repair.source_shape)
        elif repair.kind == "prune":
            _prune(result, path, repair.keep)
        elif repair.kind != "bits":
            raise ConstraintError(
                f"{repair.path}: there is no repair {repair.kind!r}", fix="bits, groups, split, prune or real"
            )
        moved[repair.path] = layers[0]
        for each in layers:
            _set_bits(result, each, _layer(result, each), repair.bits)
    return result


def _layer(model: nn.Module, path: str) -> nn.Module:
    try:
        layer = model.get_submodule(path)
    except AttributeError:
        raise ConstraintError(
            f"repair of {path!r}: the model has no such module",
            fix="plan and apply on networks of the same model: plan(bs.lower(model, example), chip), apply(model, ...)",
        ) from None
    if not isinstance(layer, nn.modules.conv._ConvNd | nn.Linear):
        raise ConstraintError(
            f"repair of {path!r}: a {type(layer).__name__} is no layer with weights",
            fix="the path of a convolution, transposed convolution or linear layer",
        )
    weight = path_of(layer)
    if weight is not None and (slots := [slot for slot, _ in weight[0].stages() if slot != "quantize"]):
        raise ConstraintError(
            f"repair of {path!r}: its weight has {', '.join(slots)} already, fitted to its old shape",
            fix="repair first, then attach(model, vary=..., recover=..., prune=...)",
        )
    return layer


def _set_bits(model: nn.Module, path: str, layer: nn.Module, bits: int) -> None:
    """Give a layer's scheme another width; a scheme that has only one becomes ``Uniform``."""
    weight = path_of(layer)
    stage = None if weight is None else weight[0].quantize
    if weight is None or stage is None:
        attach(model, quantize=Uniform(bits=bits), include=path)
        return
    if not isinstance(stage, Quantize):
        raise ConstraintError(
            f"repair of {path!r}: its quantizer {type(stage).__name__} has no width to choose",
            fix=f"bs.detach(model.get_submodule({path!r})) first; it then gets Uniform(bits={bits})",
        )
    if stage.scheme.bits == bits:
        return
    scheme: Scheme = Uniform(bits=bits, per_channel=stage.scheme.per_channel)
    if any(f.name == "bits" and f.init for f in dataclasses.fields(stage.scheme)):  # type: ignore[arg-type]
        with contextlib.suppress(ConstraintError):  # the scheme may not exist at this width
            scheme = dataclasses.replace(stage.scheme, bits=bits, **_default_scale(stage.scheme))  # type: ignore[type-var]
    weight[0].fill("quantize", scheme, path, weight[1].detach())


def _default_scale(scheme: Scheme) -> dict[str, None]:
    """Return the scale that another width chooses itself, where this width chose its own; else nothing."""
    if isinstance(scheme, Uniform) and scheme.scale == Uniform(scheme.bits).scale:
        return {"scale": None}
    return {}


def _prune(model: nn.Module, path: str, keep: Sequence[int]) -> None:
    link = next((link for link in links(model).values() if link.reader == path), None)
    maker = None if link is None else model.get_submodule(link.layer)
    if link is None or not can_follow(model, link) or getattr(maker, "groups", 1) > 1:
        raise ConstraintError(
            f"repair of {path!r}: its input channels are not those of one layer that nothing else reads",
            fix="plan(net, chip, ways=('bits', 'groups'))",
        )
    select(model, link, torch.as_tensor(keep, dtype=torch.long))
