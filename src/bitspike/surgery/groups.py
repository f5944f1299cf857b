"""Replace a dense convolution by a grouped one, in place.

Every group of output channels keeps the input channels whose weights are largest. Where the layers around it allow it
(they stand in a plain chain), channels are reordered for the best match; two grouped layers in a row get a shuffle
between them, so that groups mix.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import nn

from bitspike.errors import ConstraintError
from bitspike.nn import OverTime, TimeDistributed
from bitspike.surgery.arrange import cut_before, layers_over_time, put, shuffle_over_time
from bitspike.surgery.channels import can_follow, energy, latent, links, select, set_latent
from bitspike.surgery.match import match, shuffled


class Repair(Protocol):
    """One change of one layer; ``bitspike.hardware.chips.plan_repairs.Repair`` is one and explains the fields."""

    @property
    def path(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def bits(self) -> int: ...
    @property
    def groups(self) -> int: ...
    @property
    def keep(self) -> tuple[int, ...]: ...
    @property
    def parts(self) -> int: ...
    @property
    def source_shape(self) -> tuple[int, ...]: ...


def group(model: nn.Module, path: str, repair: Repair) -> str:
    """Replace a dense convolution by a grouped one, after a shuffle where one is needed, and return its new path.

    Raises:
        ConstraintError: the layer is no dense convolution, or the groups do not divide its channels.
    """
    layer = model.get_submodule(path)
    groups = repair.groups
    chain = {name: link for name, link in links(model).items() if can_follow(model, link)}
    if not isinstance(layer, nn.modules.conv._ConvNd) or layer.groups != 1:
        raise ConstraintError(
            f"repair of {path!r}: only a dense convolution can be grouped, and this is {layer}",
            fix="a repair of another kind for this layer: bits, split or real",
        )
    inputs, outputs = layer.in_channels, layer.out_channels
    if inputs % groups or outputs % groups:
        most = math.gcd(inputs, outputs)
        raise ConstraintError(
            f"repair of {path!r}: groups={groups} does not divide {inputs} and {outputs} channels",
            fix=f"a number of groups that divides {most}" if most > 1 else "a repair of another kind: bits or split",
        )
    before = next((link for link in chain.values() if link.reader == path), None)
    after = chain.get(path)
    maker = 1 if before is None else int(getattr(model.get_submodule(before.layer), "groups", 1))
    # A dense layer before mixes the channels itself; after a grouped one, and where we cannot tell, a shuffle does.
    factor = groups if before is None or inputs % (maker * groups) else maker
    matched = match(
        energy(latent(layer)),
        groups,
        factor,
        inputs_free=before is not None and factor == maker,
        outputs_free=after is not None,
    )
    if before is not None and not torch.equal(matched.inputs, torch.arange(inputs)):
        select(model, before, matched.inputs)
    if after is not None:
        select(model, after, matched.outputs)
    _make_grouped(layer, groups, factor)
    return path if factor == 1 else _put_shuffle_before(model, path, factor, inputs, repair)


def _make_grouped(layer: nn.modules.conv._ConvNd, groups: int, factor: int) -> None:
    weight = latent(layer)[:, shuffled(layer.in_channels, factor).to(latent(layer).device)]
    each_in, each_out = weight.shape[1] // groups, weight.shape[0] // groups
    parts = [weight[g * each_out : (g + 1) * each_out, g * each_in : (g + 1) * each_in] for g in range(groups)]
    set_latent(layer, torch.cat(parts))
    layer.groups = groups


def _put_shuffle_before(model: nn.Module, path: str, factor: int, channels: int, repair: Repair) -> str:
    """Put a shuffle before a convolution, or into the layers over time that it belongs to; return its new path."""
    timed = layers_over_time(model, path)
    place = path if timed is None else timed
    module = model.get_submodule(place)
    parts: dict[str, nn.Module] = {}
    if timed is not None or isinstance(module, OverTime):
        if not repair.source_shape:
            raise ConstraintError(
                f"repair of {path!r}: source_shape is empty, and a shuffle over time needs it",
                fix="source_shape=(C, H, W) of what the layer reads; bitspike.hardware.chips.plan fills it in",
            )
        if timed is not None:
            assert isinstance(module, TimeDistributed)
            before, module = cut_before(module, path[len(place) + 1 :].partition(".")[0])
            parts |= {"front": before} if len(before) else {}
        parts |= shuffle_over_time(factor, (channels, *repair.source_shape[1:]))
    else:
        parts["shuffle"] = nn.ChannelShuffle(factor)
    put(model, place, parts | {"layers": module})
    return f"{place}.layers{path[len(place) :]}"
