"""What functions and methods mean: for each the handler that adds its operation to the canonical graph.

This file has the table, activations, sums and constants; :mod:`~bitspike.graph.capture.shapes`,
:mod:`~bitspike.graph.capture.windows` and :mod:`~bitspike.graph.capture.layers` enter the others. A handler has the
signature of what it stands for, after the call's :class:`~bitspike.graph.capture.canonical.Site`; so Python itself
matches the arguments. What it does not understand it refuses with
:class:`~bitspike.graph.capture.canonical.NotUnderstood`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from bitspike.graph.capture.canonical import NotUnderstood, Ref, Site
from bitspike.graph.capture.observe import name_of
from bitspike.graph.ir import Shape

Handler = Callable[..., Any]
H = TypeVar("H", bound=Handler)
HANDLERS: dict[str, Handler] = {}

# Functions of each value alone; inside a region they are activations that no neuron computes.
ACTIVATIONS = frozenset({
    "leaky_relu", "silu", "gelu", "elu", "selu", "celu", "mish", "hardswish", "hardsigmoid", "hardtanh", "relu6",
    "sigmoid", "tanh", "softplus", "softsign", "prelu", "rrelu", "softmax", "log_softmax", "softmin", "logsigmoid",
    "log_sigmoid", "hardshrink", "softshrink", "tanhshrink", "glu", "threshold", "clamp", "clip", "clamp_min",
    "clamp_max", "abs", "square", "pow", "exp", "log", "sqrt", "rsqrt", "sin", "cos", "sign", "round", "floor",
    "ceil", "erf", "where", "maximum", "minimum", "heaviside",
})  # fmt: skip

# Dispatchers of torch have no name of their own.
_DISPATCHED = {
    getattr(F, name): name
    for name in (f"{kind}_max_pool{n}d" for kind in ("adaptive", "fractional") for n in (1, 2, 3))
    if hasattr(F, name)
} | {getattr(F, f"max_pool{n}d"): f"max_pool{n}d" for n in (1, 2, 3)}


def handles(*names: str) -> Callable[[H], H]:
    """Enter a handler into the table under the names of what it stands for."""

    def enter(handler: H) -> H:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return enter


def handler_of(node: fx.Node) -> Handler:
    """Return the handler of a function or method that a node calls.

    Raises:
        NotUnderstood: there is none.
    """
    name = function_name(node)
    aten = isinstance(node.target, torch._ops.OpOverload)
    known = aten or node.op == "call_method" or _is_torchs(node.target, name)
    handler = (HANDLERS.get(f"aten.{name}") if aten else None) or HANDLERS.get(name)
    if handler is not None and known:
        return handler
    if name in ACTIVATIONS and known:
        raise NotUnderstood("it is an activation that no neuron computes", "E101")
    raise NotUnderstood("it is not understood")


def function_name(node: fx.Node) -> str:
    """Return the plain name of a function or method."""
    try:
        return _DISPATCHED.get(node.target, name_of(node))
    except TypeError:  # not hashable
        return name_of(node)


def _is_torchs(target: Any, name: str) -> bool:
    """Tell a function of torch from one of the user's that has the same name."""
    if target in _DISPATCHED:
        return True
    owners = (torch, F, operator, torch.Tensor, torch._C._nn, torch.special)
    names = (name, f"{name}_", f"__{name}__", f"_{name}", getattr(target, "__name__", name))
    return any(getattr(owner, n, None) is target for owner in owners for n in names)


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


# What handlers share


def data(value: Any) -> Ref:
    """Return a signal; refuse anything else."""
    if isinstance(value, Ref):
        return value
    raise NotUnderstood("it does not read a signal there")


def is_number(value: Any) -> bool:
    """Tell a number from a truth value, a tensor and what follows the batch."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def axis(dim: Any, input: Any) -> int:
    """Return an axis counted from the front, the batch as 0."""
    if not isinstance(dim, int):
        raise NotUnderstood("which axis it means is no constant")
    return dim % (len(data(input).inside) + 1)


def sizes(value: Any, n: int) -> Shape:
    """Return a size as n whole numbers.

    Example:
        >>> sizes(3, 2), sizes([1, 2], 2)
        ((3, 3), (1, 2))
    """
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    values = values * n if len(values) == 1 else values
    if len(values) != n or not all(isinstance(v, int) for v in values):
        raise NotUnderstood(f"its size {value} is no constant of {n} numbers")
    return values


def need_image(input: Any, n: int) -> None:
    """Refuse a signal that is not [C] and n more axes."""
    if len(data(input).inside) != n + 1:
        raise NotUnderstood(f"it reads a sample of shape {list(input.inside)}, not [C] and {n} more")
