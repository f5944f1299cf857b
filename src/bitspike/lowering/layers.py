"""Single layers of torch as integer nodes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from bitspike.errors import ConstraintError, LoweringError
from bitspike.integer.nodes import Convolution, Linear, Reals, Shape, TransposedConvolution, Weight, Weighted
from bitspike.lowering.wires import finite
from bitspike.nn.norms.base import affine, changes_by_step
from bitspike.weights import weight_codes, weight_without_codes


def weighted(module: nn.Module, *, head: dict[str, Any], scale: float, float_bits: int) -> Weighted:
    """Make the integer node of a convolution, a transposed convolution or a linear layer.

    Args:
        module: the layer.
        head: id, path, call and sources of the node, and the shape of its source.
        scale: real value of one input integer.
        float_bits: width of the codes of weights without a scheme.

    Raises:
        LoweringError: the layer does not fit what it reads, or has no integer form.
    """
    path, source = head["path"], head["shape"]
    kind, fields = _kind(module, path, source)
    weight = _weight(module, path, float_bits, axis=kind.output_axis)
    node = kind(**head, scale=scale * weight.step, weight=weight, **fields).placed(source)
    assert node is not None, "_kind has checked the shape"
    return node


def _kind(module: nn.Module, path: str, source: Shape) -> tuple[type[Weighted], dict[str, Any]]:
    """Return the kind of a layer's node and the fields that it has besides its weight."""
    if isinstance(module, nn.Linear):
        if source != (module.in_features,):
            raise LoweringError(
                f"{path}: takes {module.in_features} features and gets {source} per sample",
                fix=f"nn.Flatten() before it, or nn.Linear({math.prod(source)}, ...)",
            )
        return Linear, {}
    assert isinstance(module, nn.modules.conv._ConvNd)
    if len(source) != 1 + len(module.kernel_size) or source[0] != module.in_channels:
        raise LoweringError(
            f"{path}: takes {module.in_channels} channels and gets {source} per sample",
            fix=f"a layer of {source[0]} input channels and {len(source) - 1} axes, or another shape before it",
        )
    fields: dict[str, Any] = {
        "stride": tuple(module.stride), "dilation": tuple(module.dilation), "groups": module.groups,
    }  # fmt: skip
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        cut = {"padding": tuple(int(p) for p in module.padding), "output_padding": tuple(module.output_padding)}
        return TransposedConvolution, fields | cut
    if module.padding_mode != "zeros":
        raise LoweringError(
            f"{path}: padding_mode={module.padding_mode!r}; the integer form pads with zeros",
            fix="padding_mode='zeros'",
        )
    return Convolution, {**fields, "padding": _padding(module, path)}


def _padding(module: nn.modules.conv._ConvNd, path: str) -> Shape:
    """Return the padding of a convolution as numbers, one for both sides of an axis."""
    if not isinstance(module.padding, str):
        return tuple(map(int, module.padding))
    reach = [(k - 1) * d for k, d in zip(module.kernel_size, module.dilation, strict=True)]
    if module.padding == "valid":
        return (0,) * len(reach)
    # padding="same" puts half of the reach on each side, and torch allows it with a stride of 1 only.
    if any(s != 1 for s in module.stride) or any(r % 2 for r in reach):
        raise LoweringError(f"{path}: padding='same' that is not symmetric", fix="give the padding as numbers")
    return tuple(r // 2 for r in reach)


def _weight(module: nn.Module, path: str, float_bits: int, axis: int = 0) -> Weight:
    try:
        quantized = weight_codes(module)
    except ConstraintError as error:
        raise LoweringError(f"{path}: {error.message}", fix=error.fix) from error
    if quantized is not None:
        return Weight(
            codes=quantized.codes.cpu().numpy().astype(np.int64),
            step=quantized.scale.double().cpu().numpy().reshape(-1),
            bits=quantized.bits,
            low=quantized.low,
            high=quantized.high,
            levels=quantized.levels,
            scheme=quantized.scheme,
        )
    # No scheme: the finest codes that are still integers, one step per output channel.
    w = finite(weight_without_codes(module).double().cpu().numpy(), f"{path}: the weight")
    high = 2 ** (float_bits - 1) - 1
    # The channels of a grouped transposed convolution do not lie along one axis: one step for all of them.
    shared = axis == 1 and getattr(module, "groups", 1) > 1
    largest = np.abs(w.reshape(1, -1) if shared else np.moveaxis(w, axis, 0).reshape(w.shape[axis], -1)).max(1)
    step = np.where(largest > 0, largest, 1.0) / high
    codes = np.round(w / step.reshape([-1 if d == axis else 1 for d in range(w.ndim)])).astype(np.int64)
    return Weight(codes=codes, step=step, bits=float_bits, low=-high, high=high, scheme="float")


def norm_affine(module: nn.Module, path: str, steps: int) -> tuple[Reals, Reals]:
    """Return gain and shift that a norm applies in evaluation: [C], or [T, C] of the first T = ``steps`` of its steps.

    Raises:
        LoweringError: the norm has no law, fewer steps than the network, or numbers that are not finite.
    """
    try:
        gain, shift = (values.detach().double().cpu().numpy() for values in affine(module))
    except ConstraintError as error:
        raise LoweringError(f"{path}: {error.message}", fix=error.fix) from error
    by_step = changes_by_step(module)
    if not gain.ndim == shift.ndim == 1 + by_step or gain.shape != shift.shape:
        wanted = "[T, C], a row for each step" if by_step else "[C], one per channel"
        raise LoweringError(
            f"{path}: {type(module).__name__} has gains {list(gain.shape)} and shifts {list(shift.shape)}; "
            f"needed is {wanted}",
            fix="affine() that returns them so; by_step = True where each step has its own",
        )
    if by_step:
        if len(gain) < steps:
            raise LoweringError(
                f"{path}: {type(module).__name__} has gains for {len(gain)} steps, and the network runs {steps}",
                fix=f"with bs.set_steps(model, {len(gain)}): bs.lower(model, example), or a norm that is trained with "
                f"{steps} steps",
            )
        gain, shift = gain[:steps], shift[:steps]
    return finite(gain, f"{path}: the norm"), finite(shift, f"{path}: the norm")


@dataclass(frozen=True)
class Window:
    """A pooling window, and whether it takes the largest of its values or their sum."""

    kernel: Shape
    stride: Shape
    padding: Shape
    largest: bool = False

    @property
    def area(self) -> int:
        """Number of values in the window."""
        return int(np.prod(self.kernel))


def pool(module: nn.Module, shape: Shape, path: str) -> Window | None:
    """Return the window of a pooling layer, or None if it is none."""
    dims = len(shape) - 1
    average = isinstance(module, nn.modules.pooling._AvgPoolNd)
    largest = isinstance(module, nn.modules.pooling._MaxPoolNd)
    if isinstance(module, nn.modules.pooling._AdaptiveAvgPoolNd):
        size = _many(module.output_size, dims)
        if any(o is None or n % o for n, o in zip(shape[1:], size, strict=True)):
            raise LoweringError(
                f"{path}: {list(shape[1:])} is no multiple of the adaptive pool's size {list(size)}",
                fix="a size that divides it, such as 1, or an nn.AvgPool2d",
            )
        kernel = tuple(n // o for n, o in zip(shape[1:], size, strict=True))
        return Window(kernel, kernel, (0,) * dims)
    if not (average or largest):
        return None
    pooling: Any = module
    kernel, padding = _many(pooling.kernel_size, dims), _many(pooling.padding, dims)
    stride = _many(pooling.stride if pooling.stride is not None else pooling.kernel_size, dims)
    if pooling.ceil_mode:
        raise LoweringError(f"{path}: ceil_mode makes windows of unequal size", fix="ceil_mode=False")
    if average and any(padding) and not pooling.count_include_pad:
        raise LoweringError(
            f"{path}: count_include_pad=False makes windows of unequal size", fix="count_include_pad=True"
        )
    if average and getattr(pooling, "divisor_override", None):
        raise LoweringError(f"{path}: divisor_override is not supported", fix="divisor_override=None")
    if largest and any(d != 1 for d in _many(pooling.dilation, dims)):
        raise LoweringError(f"{path}: a dilated max pool is not supported", fix="dilation=1")
    return Window(kernel, stride, padding, largest)


def _many(value: Any, dims: int) -> Shape:
    return tuple(value) if isinstance(value, tuple | list) else (value,) * dims
