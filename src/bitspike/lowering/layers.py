"""Single layers of torch as integer nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from bitspike.errors import ConstraintError, LoweringError
from bitspike.integer.nodes import Convolution, Linear, Reals, Shape, TransposedConvolution, Weight, window_shape
from bitspike.lowering.wires import finite
from bitspike.nn.norms.base import affine
from bitspike.weights import weight_codes


def convolution(
    module: nn.Module, *, id: str, path: str, call: int, source: str, shape: Shape, scale: float, float_bits: int
) -> Convolution:
    """Make the integer node of a convolution; ``scale`` is the real value of one input integer."""
    assert isinstance(module, nn.modules.conv._ConvNd)
    if module.padding_mode != "zeros":
        raise LoweringError(f"{path}: padding_mode={module.padding_mode!r}; the integer form pads with zeros")
    if module.padding == "same":
        if any(s != 1 for s in module.stride) or any(
            (k - 1) * d % 2 for k, d in zip(module.kernel_size, module.dilation, strict=True)
        ):
            raise LoweringError(f"{path}: padding='same' that is not symmetric", fix="give the padding as numbers")
        padding = tuple((k - 1) * d // 2 for k, d in zip(module.kernel_size, module.dilation, strict=True))
    else:
        padding = (0,) * len(module.kernel_size) if module.padding == "valid" else tuple(map(int, module.padding))
    if len(shape) != 1 + len(module.kernel_size) or shape[0] != module.in_channels:
        raise LoweringError(f"{path}: takes {module.in_channels} channels and gets {shape} per sample")
    out = window_shape(shape[1:], module.kernel_size, module.stride, padding, module.dilation)
    weight = _weight(module, path, float_bits)
    return Convolution(
        id=id, path=path, call=call, sources=(source,), shape=(module.out_channels, *out), scale=scale * weight.step,
        weight=weight, stride=tuple(module.stride), padding=padding, dilation=tuple(module.dilation),
        groups=module.groups,
    )  # fmt: skip


def transposed_convolution(
    module: nn.Module, *, id: str, path: str, call: int, source: str, shape: Shape, scale: float, float_bits: int
) -> TransposedConvolution:
    """Make the integer node of a transposed convolution; ``scale`` is the real value of one input integer."""
    assert isinstance(module, nn.modules.conv._ConvTransposeNd)
    if len(shape) != 1 + len(module.kernel_size) or shape[0] != module.in_channels:
        raise LoweringError(f"{path}: takes {module.in_channels} channels and gets {shape} per sample")
    padding = tuple(int(p) for p in module.padding)
    axes = zip(
        shape[1:], module.kernel_size, module.stride, padding, module.output_padding, module.dilation, strict=True
    )
    out = tuple((n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, k, s, p, o, d in axes)
    weight = _weight(module, path, float_bits, axis=1)
    return TransposedConvolution(
        id=id, path=path, call=call, sources=(source,), shape=(module.out_channels, *out), scale=scale * weight.step,
        weight=weight, stride=tuple(module.stride), padding=padding, output_padding=tuple(module.output_padding),
        dilation=tuple(module.dilation), groups=module.groups,
    )  # fmt: skip


def linear(
    module: nn.Module, *, id: str, path: str, call: int, source: str, shape: Shape, scale: float, float_bits: int
) -> Linear:
    """Make the integer node of a linear layer; ``scale`` is the real value of one input integer."""
    assert isinstance(module, nn.Linear)
    if shape != (module.in_features,):
        raise LoweringError(
            f"{path}: takes {module.in_features} features and gets {shape} per sample", fix="nn.Flatten()"
        )
    weight = _weight(module, path, float_bits)
    return Linear(
        id=id,
        path=path,
        call=call,
        sources=(source,),
        shape=(module.out_features,),
        scale=scale * weight.step,
        weight=weight,
    )


def _weight(module: nn.Module, path: str, float_bits: int, axis: int = 0) -> Weight:
    try:
        found = weight_codes(module)
    except ConstraintError as error:
        raise LoweringError(f"{path}: {error.message}", fix=error.fix) from error
    if found is not None:
        return Weight(
            codes=found.codes.cpu().numpy().astype(np.int64),
            step=found.scale.double().cpu().numpy().reshape(-1),
            bits=found.bits,
            low=found.low,
            high=found.high,
            levels=found.levels,
            scheme=found.scheme,
        )
    # No scheme: the finest codes that are still integers, one step per output channel.
    plain: Tensor = module.weight  # type: ignore[assignment]
    w = finite(plain.detach().double().cpu().numpy(), f"{path}: the weight")
    high = 2 ** (float_bits - 1) - 1
    # The channels of a grouped transposed convolution do not lie along one axis: one step for all of them.
    shared = axis == 1 and getattr(module, "groups", 1) > 1
    largest = np.abs(w.reshape(1, -1) if shared else np.moveaxis(w, axis, 0).reshape(w.shape[axis], -1)).max(1)
    step = np.where(largest > 0, largest, 1.0) / high
    codes = np.round(w / step.reshape([-1 if d == axis else 1 for d in range(w.ndim)])).astype(np.int64)
    return Weight(codes=codes, step=step, bits=float_bits, low=-high, high=high, scheme="float")


def norm_affine(module: nn.Module, path: str) -> tuple[Reals, Reals]:
    """Return gain and shift, [C], that a norm applies in evaluation."""
    try:
        gain, shift = (values.detach().double().cpu().numpy() for values in affine(module))
    except ConstraintError as error:
        raise LoweringError(f"{path}: {error.message}", fix=error.fix) from error
    if gain.ndim != 1 or shift.ndim != 1:
        raise LoweringError(
            f"{path}: {type(module).__name__} has a gain for each step, {list(gain.shape)}; allowed is one per channel",
            fix="one gain and one shift per channel, [C]: bs.ThresholdBatchNorm or nn.BatchNorm2d",
        )
    return finite(gain, f"{path}: the norm"), finite(shift, f"{path}: the norm")


@dataclass(frozen=True)
class Window:
    """A pooling window: what it computes and the shape that it leaves."""

    kernel: Shape
    stride: Shape
    padding: Shape
    shape: Shape
    largest: bool

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
            raise LoweringError(f"{path}: {list(shape[1:])} is no multiple of the adaptive pool's size {list(size)}")
        kernel = tuple(n // o for n, o in zip(shape[1:], size, strict=True))
        return Window(kernel, kernel, (0,) * dims, (shape[0], *size), largest=False)
    if not (average or largest):
        return None
    given: Any = module
    kernel, padding = _many(given.kernel_size, dims), _many(given.padding, dims)
    stride = _many(given.stride if given.stride is not None else given.kernel_size, dims)
    if given.ceil_mode:
        raise LoweringError(f"{path}: ceil_mode makes windows of unequal size", fix="ceil_mode=False")
    if average and any(padding) and not given.count_include_pad:
        raise LoweringError(
            f"{path}: count_include_pad=False makes windows of unequal size", fix="count_include_pad=True"
        )
    if average and getattr(given, "divisor_override", None):
        raise LoweringError(f"{path}: divisor_override is not supported", fix="divisor_override=None")
    if largest and any(d != 1 for d in _many(given.dilation, dims)):
        raise LoweringError(f"{path}: a dilated max pool is not supported", fix="dilation=1")
    if largest and any(padding):
        raise LoweringError(f"{path}: a padded max pool is not supported", fix="padding=0")
    out = window_shape(shape[1:], kernel, stride, padding, (1,) * dims)
    return Window(kernel, stride, padding, (shape[0], *out), largest)


def _many(value: Any, dims: int) -> Shape:
    return tuple(value) if isinstance(value, tuple | list) else (value,) * dims
