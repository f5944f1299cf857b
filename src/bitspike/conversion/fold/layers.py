"""Gains and shifts per channel: read from a norm or a constant, and taken up by the weights of a layer.

    gain * (W x + b) + shift = (gain W) x + (gain b + shift)        scale_outputs
    W (gain * x + shift) + b = (W gain) x + (b + W shift)           scale_inputs

Products are taken in double precision and rounded once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bitspike.graph.ir import Op
from bitspike.graph.plain import is_transposed, like
from bitspike.nn.norms.base import affine


def gain_and_shift(op: Op, norm: Any) -> tuple[Tensor, Tensor]:
    """Return what a norm or an affine operation multiplies by and adds, each [C] in double precision."""
    if op.kind == "norm":
        return affine(norm)
    tensors = [op.attrs[name] for name in ("gain", "shift") if isinstance(op.attrs[name], Tensor)]
    device = tensors[0].device if tensors else None
    values = (torch.as_tensor(op.attrs[name], dtype=torch.float64, device=device) for name in ("gain", "shift"))
    gain, shift = (value.expand(op.shape[0]) for value in values)
    return gain, shift


def scale_outputs(layer: nn.Module, gain: Tensor, shift: Tensor) -> nn.Module:
    """Return the layer followed by a gain and a shift, each [C_out]."""
    weight, bias = _weight(layer).double(), layer.bias
    if is_transposed(layer):  # [C_in, C_out / groups, *kernel]: output channels are axis 1 of each group
        groups, axes = int(layer.groups), [1] * (weight.ndim - 2)  # type: ignore[arg-type]
        # [groups, C_in / groups, C_out / groups, *kernel]: input channels lie group after group.
        by_group = weight.reshape(groups, -1, *weight.shape[1:])
        scaled = (by_group * gain.reshape(groups, 1, -1, *axes)).reshape(weight.shape)
    else:
        scaled = weight * gain.reshape(-1, *[1] * (weight.ndim - 1))
    moved = shift if bias is None else bias.detach().double() * gain + shift  # type: ignore[operator]
    return like(layer, scaled, moved)


def scale_inputs(layer: nn.Module, gain: Tensor, shift: Tensor, **changes: Any) -> nn.Module:
    """Return the layer after a gain and a shift, each [C_in]."""
    weight, bias = _weight(layer).double(), layer.bias
    axes = [1] * (weight.ndim - 2)
    offset: Tensor | float = 0.0
    if is_transposed(layer):
        # Axis 0 has the input channels of all groups. `_after` in norms.py keeps shifts from such a layer.
        scaled = weight * gain.reshape(-1, 1, *axes)  # a shift never comes here
    elif isinstance(layer, nn.Linear):
        scaled, offset = weight * gain, weight @ shift
    else:  # [C_out, C_in / groups, *kernel]: output channel o reads the inputs of its group
        groups = int(layer.groups)  # type: ignore[arg-type]
        # [groups, C_out / groups, C_in / groups, *kernel]: output channels lie group after group.
        by_group = weight.reshape(groups, -1, *weight.shape[1:])
        scaled = (by_group * gain.reshape(groups, 1, -1, *axes)).reshape(weight.shape)
        # W shift: what a shift of all inputs adds to an output, summed over its inputs and taps.
        offset = (by_group * shift.reshape(groups, 1, -1, *axes)).reshape(len(weight), -1).sum(1)
    before = torch.zeros(outputs_of(layer), dtype=weight.dtype, device=weight.device)
    before = before if bias is None else bias.detach().double()  # type: ignore[operator]
    return like(layer, scaled, before + offset, **changes)


def scale_inputs_unpadded(layer: nn.Module, gain: Tensor, shift: Tensor) -> nn.Module:
    """Return the same for a layer that gets its border from outside."""
    return scale_inputs(layer, gain, shift, padding=0)


def bias_of_zeros(layer: Any) -> nn.Parameter:
    """Return a bias that adds nothing, for a layer without one."""
    weight = _weight(layer)
    return nn.Parameter(torch.zeros(outputs_of(layer), device=weight.device, dtype=weight.dtype))


def padding_of(layer: Any) -> tuple[int, ...]:
    """Return by how much a layer pads each axis; () for a linear layer."""
    return tuple(getattr(layer, "padding", ()))


def outputs_of(layer: Any) -> int:
    """Return the number of output channels or features."""
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)


def _weight(layer: Any) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach()
