"""The table of handlers: by the name of a function or method what adds its operation to the canonical graph.

A handler has the signature of what it stands for, after the call's :class:`~bitspike.graph.capture.site.Site`; so
Python itself matches the arguments. What it does not understand it refuses with
:class:`~bitspike.graph.capture.site.NotUnderstood`. The other files of this folder enter theirs when they are imported.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import fx

from bitspike.graph.capture.observe import name_of
from bitspike.graph.capture.site import NotUnderstood, Ref
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


# What handlers share


def data(value: Any) -> Ref:
    """Return a signal, which is a tensor that depends on the input; refuse anything else."""
    if isinstance(value, Ref):
        return value
    raise NotUnderstood("it does not read a signal there")


def is_number(value: Any) -> bool:
    """Tell whether a value is a constant number: no truth value, tensor or size of the batch."""
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


def need_vector(input: Any) -> None:
    """Refuse a signal that is not a vector [F] per sample, of which a linear layer reads the last axis."""
    if len(data(input).inside) != 1:
        raise NotUnderstood(f"it reads the last axis of {list(input.inside)}; a linear layer reads vectors")
