"""What activations, sums and constants mean, and calls that change nothing in evaluation."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from bitspike.graph.capture.handlers.table import data, handles, is_number
from bitspike.graph.capture.site import NotUnderstood, Ref, Site
from bitspike.graph.ir import Shape

# Activations


@handles("relu")
def relu(site: Site, input: Any, inplace: bool = False) -> Ref:
    """max(x, 0)."""
    del inplace
    return site.emit("relu", data(input), clip=None)


@handles("relu6")
def relu6(site: Site, input: Any, inplace: bool = False) -> Ref:
    """min(max(x, 0), 6)."""
    del inplace
    return site.emit("relu", data(input), clip=6.0)


@handles("hardtanh")
def hardtanh(site: Site, input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Ref:
    """min(max(x, low), high): a relu where low is 0."""
    del inplace
    return clamp(site, input, min_val, max_val)


@handles("clamp", "clip")
def clamp(site: Site, input: Any, min: Any = None, max: Any = None) -> Ref:
    """min(max(x, low), high): a relu where low is 0."""
    low, high = (v.item() if isinstance(v, Tensor) and v.numel() == 1 else v for v in (min, max))
    if low is not None and is_number(low) and low == 0 and (high is None or (is_number(high) and high > 0)):
        clip = None if high is None or math.isinf(high) else float(high)
        return site.emit("relu", data(input), clip=clip)
    raise NotUnderstood(f"it cuts at {low} and {high}; a neuron cuts at 0 below", "E101")


@handles("clamp_min")
def clamp_min(site: Site, input: Any, min: Any) -> Ref:
    """max(x, low): a relu where low is 0."""
    return clamp(site, input, min)


@handles("threshold")
def threshold(site: Site, input: Any, threshold: float, value: float, inplace: bool = False) -> Ref:
    """The value x where x > threshold, else value: a relu where both are 0."""
    del inplace
    if threshold or value:
        raise NotUnderstood(f"it jumps at {threshold} from {value}; a neuron starts at 0", "E101")
    return relu(site, input)


@handles("leaky_relu")
def leaky_relu(site: Site, input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Ref:
    """The value x where x > 0, else slope * x: a relu where the slope is 0."""
    del inplace
    if negative_slope:
        raise NotUnderstood("it is an activation that no neuron computes", "E101")
    return relu(site, input)


# Sums and constants


@handles("add", "iadd", "radd")
def add(site: Site, input: Any, other: Any, *, alpha: Any = 1) -> Ref:
    """X + alpha * y, of two signals or of a signal and a constant."""
    if isinstance(input, Ref) and isinstance(other, Ref):
        if not is_number(alpha) or abs(alpha) != 1:
            raise NotUnderstood(f"it adds {alpha} times a signal")
        return _sum(site, input, other, int(alpha))
    if isinstance(input, Ref):
        return affine(site, input, 1.0, _constant(other) * alpha)
    return affine(site, data(other), alpha, _constant(input))


@handles("sub", "subtract", "isub")
def sub(site: Site, input: Any, other: Any, *, alpha: Any = 1) -> Ref:
    """X - alpha * y, of two signals or of a signal and a constant."""
    return add(site, input, other, alpha=-alpha)


@handles("rsub")
def rsub(site: Site, input: Any, other: Any, *, alpha: Any = 1) -> Ref:
    """Other - alpha * input."""
    return add(site, other, input, alpha=-alpha)


@handles("mul", "multiply", "imul", "rmul")
def mul(site: Site, input: Any, other: Any) -> Ref:
    """A signal times a constant."""
    if isinstance(input, Ref) and isinstance(other, Ref):
        raise NotUnderstood("it multiplies two signals")
    signal, constant = (input, other) if isinstance(input, Ref) else (other, input)
    return affine(site, data(signal), _constant(constant), 0.0)


@handles("div", "divide", "truediv", "itruediv", "true_divide")
def div(site: Site, input: Any, other: Any, *, rounding_mode: str | None = None) -> Ref:
    """A signal divided by a constant."""
    if rounding_mode is not None:
        raise NotUnderstood("it rounds", "E101")
    if not isinstance(input, Ref) or isinstance(other, Ref):
        raise NotUnderstood("it divides by a signal")
    return affine(site, input, 1.0 / _constant(other), 0.0)


@handles("neg", "negative")
def neg(site: Site, input: Any) -> Ref:
    """The negative of a signal."""
    return affine(site, data(input), -1.0, 0.0)


def affine(site: Site, input: Ref, gain: Any, shift: Any) -> Ref:
    """Gain * x + shift with constants, each a number or one per channel; nothing where it changes nothing."""
    gain, shift = (_per_channel(value, input.inside) for value in (gain, shift))
    if isinstance(gain, float) and isinstance(shift, float) and gain == 1 and shift == 0:
        return input
    return site.emit("affine", input, gain=gain, shift=shift)


def _sum(site: Site, first: Ref, second: Ref, sign: int) -> Ref:
    if first.inside != second.inside:
        raise NotUnderstood(f"it spreads {list(second.inside)} over {list(first.inside)}")
    return site.emit("add", first, second, signs=(1, sign))


def _constant(value: Any) -> Any:
    if isinstance(value, Tensor) or is_number(value):
        return value
    raise NotUnderstood("its second value is no constant")


def _per_channel(value: Any, shape: Shape) -> float | Tensor:
    """Return a constant as a number or as one value per channel [C]."""
    if not isinstance(value, Tensor):
        return float(value)
    if value.numel() == 1:
        return float(value)
    sizes = (1,) * (len(shape) + 1 - value.ndim) + tuple(value.shape)
    if len(sizes) == len(shape) + 1 and sizes[1] == shape[0] and math.prod(sizes) == shape[0]:
        return value.detach().reshape(-1).clone()
    raise NotUnderstood(f"its constant of shape {list(value.shape)} is no number and not one per channel")


# Nothing


@handles("contiguous", "detach", "clone", "alias", "lift_fresh_copy", "positive", "pos")
def identity(site: Site, input: Any, *more: Any, **options: Any) -> Ref:
    """The same values."""
    del site, more, options
    return data(input)


@handles("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "feature_dropout")
def dropout(
    site: Site, input: Any, p: float = 0.5, training: bool | None = None, inplace: bool = False, **more: Any
) -> Ref:
    """Nothing in evaluation."""
    del site, inplace
    # F.dropout trains unless told otherwise, F.dropout2d and the others too; aten says ``train``.
    active = more.get("train", True if training is None else training)
    if active and p > 0:
        raise NotUnderstood("this dropout stays on in evaluation: its call does not pass training=self.training")
    return data(input)
