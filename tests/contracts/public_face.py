"""What users type, as plain values: public names with their parameters, the command line, the shipped recipes.

Nothing here depends on where a thing lives in the source, on the version of Python or on that of torch: annotations are
written by their meaning, defaults by :func:`plain`, and of a class only what bitspike itself defines counts.
"""

from __future__ import annotations

import enum
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cached_property
from types import NoneType, UnionType
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin, get_overloads

import numpy as np
import numpy.typing as npt
import typer.main
from torch import nn

import bitspike as bs
from bitspike.cli import app
from bitspike.recipe import load, shipped


def plain(value: Any) -> str:
    """Write a default value without addresses, modules, or a representation that others may change.

    Example:
        >>> plain((1.0, nn.ReLU, bs.Triangle(width=1.0)))
        '(1.0, ReLU, Triangle(center=0.0, width=1.0, height=None))'
    """
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, tuple):
        return f"({', '.join(map(plain, value))})"
    if isinstance(value, type) or inspect.isfunction(value) or inspect.isbuiltin(value):
        return value.__name__
    if is_dataclass(value):
        return (
            f"{type(value).__name__}({', '.join(f'{f.name}={plain(getattr(value, f.name))}' for f in fields(value))})"
        )
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    return "made anew" if repr(value) == "<factory>" else type(value).__name__


def annotated(annotation: Any, scopes: Sequence[Mapping[str, Any]] = ()) -> str:
    """Write an annotation by its meaning, so that another name for the same types is no difference.

    Args:
        annotation: a type, or its text.
        scopes: the names of the modules where the text may stand; what none of them knows stays as it is.

    Example:
        >>> annotated("Words | None", [{"Words": str | Sequence[str]}])
        'None | Sequence[str] | str'
    """
    if isinstance(annotation, str):
        for scope in scopes:
            try:
                return annotated(eval(annotation, dict(scope)), scopes)  # noqa: S307 (of our own source)
            except (NameError, AttributeError, TypeError):
                continue
        return annotation
    origin, arguments = get_origin(annotation), get_args(annotation)
    if np.ndarray in (origin, annotation) or (origin or annotation) is npt.NDArray:
        return "ndarray"  # what NDArray is, and what its arguments are, has changed with NumPy
    if origin in (Union, UnionType):
        return " | ".join(sorted({annotated(one, scopes) for one in arguments}))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if annotation is Ellipsis or annotation is None or annotation is NoneType:
        return "..." if annotation is Ellipsis else "None"
    if isinstance(annotation, list):
        return f"[{', '.join(annotated(one, scopes) for one in annotation)}]"
    if isinstance(annotation, ForwardRef):
        return annotated(annotation.__forward_arg__, scopes)
    name = getattr(origin or annotation, "__name__", str(origin or annotation).rpartition(".")[2])
    return f"{name}[{', '.join(annotated(one, scopes) for one in arguments)}]" if arguments else name


def scopes_of(of: Any) -> list[Mapping[str, Any]]:
    """Return the names that the annotations of a function or class may use."""
    if inspect.isclass(of):
        return [vars(sys.modules[base.__module__]) for base in ours(of)]
    return [inspect.unwrap(of).__globals__]


def parameters(of: Callable[..., Any]) -> dict[str, str]:
    """Return the parameters of a function or class by name, in order, as text; ``return`` is what comes back."""
    signature, scopes = inspect.signature(of), scopes_of(of)
    found = {}
    for name, one in signature.parameters.items():
        if name in ("self", "cls"):
            continue
        text = str(one.kind.description)
        if one.annotation is not one.empty:
            text += f": {annotated(one.annotation, scopes)}"
        if one.default is not one.empty:
            text += f" = {plain(one.default)}"
        found[name] = text
    if signature.return_annotation is not signature.empty:
        found["return"] = annotated(signature.return_annotation, scopes)
    return found


def ours(cls: type) -> list[type]:
    """Return a class and its bases, as far as bitspike defines them."""
    return [base for base in cls.__mro__ if base.__module__.partition(".")[0] == "bitspike"]


def member(cls: type, name: str) -> Any:
    """Describe a method, a property or a value of a class."""
    value = inspect.getattr_static(cls, name)
    if isinstance(value, property | cached_property):
        getter = value.func if isinstance(value, cached_property) else value.fget
        assert getter is not None
        return {"property": parameters(getter).get("return", "")}
    if isinstance(value, staticmethod | classmethod):
        return {type(value).__name__: parameters(value.__func__)}
    if inspect.isfunction(value):
        return {"method": parameters(value)}
    return {"value": "a field" if inspect.ismemberdescriptor(value) else plain(value)}


def described(value: Any) -> dict[str, Any]:
    """Describe a public name."""
    if not inspect.isclass(value):
        if not callable(value):
            return {"kind": "value"}
        overloads = [parameters(one) for one in get_overloads(inspect.unwrap(value))] or [
            parameters(one) for one in get_overloads(value)
        ]
        return {"kind": "function", "parameters": parameters(value)} | ({"overloads": overloads} if overloads else {})
    mine = ours(value)
    named = {f.name for f in fields(value)} if is_dataclass(value) else set()
    names = {name for base in mine for name in vars(base) if not name.startswith("_")} - named
    made = next((base for base in value.__mro__ if "__init__" in vars(base) or "__new__" in vars(base)), object)
    return {
        "kind": "class",
        "bases": [base.__name__ for base in value.__mro__ if base in (nn.Module, Exception)],
        "parameters": {name: text for name, text in parameters(value).items() if name != "return"}
        if made in mine
        else {},
        "fields": {
            name: annotated(text, scopes_of(base))
            for base in reversed(mine)
            for name, text in inspect.get_annotations(base).items()
            if not name.startswith("_")
        },
        "members": {name: member(value, name) for name in sorted(names)},
    }


MODULES: dict[str, Callable[[], nn.Module]] = {
    "BernoulliCoder": lambda: bs.BernoulliCoder(steps=4),
    "Chain": lambda: bs.Chain(nn.ReLU(), bs.IF()),
    "IF": bs.IF,
    "LIF": bs.LIF,
    "PLIF": bs.PLIF,
    "QuantReLU": lambda: bs.QuantReLU(bits=2),
    "RateCoder": lambda: bs.RateCoder(steps=4),
    "RateReadout": bs.RateReadout,
    "Repeat": lambda: bs.Repeat(steps=4),
    "ShiftBatchNorm": lambda: bs.ShiftBatchNorm(2),
    "SignedIF": bs.SignedIF,
    "SumReadout": bs.SumReadout,
    "ThresholdBatchNorm": lambda: bs.ThresholdBatchNorm(2),
    "TimeDistributed": lambda: bs.TimeDistributed(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)),
}
"""One module of each kind, to see what it carries."""


def carried(module: nn.Module) -> dict[str, list[str]]:
    """Return the names of what a module holds: plain attributes, and the tensors of its state_dict."""
    attributes = {name for name in vars(module) if not name.startswith("_")} - set(vars(nn.Module()))
    state = [f"{name} {list(tensor.shape)} {tensor.dtype}" for name, tensor in module.state_dict().items()]
    return {"attributes": sorted(attributes), "state": state}


def public_names() -> dict[str, Any]:
    """Describe every public name."""
    return {name: described(getattr(bs, name)) for name in bs.__all__}


def modules() -> dict[str, Any]:
    """Describe what the public modules carry."""
    return {name: carried(make()) for name, make in MODULES.items()}


def _option(option: Any) -> dict[str, Any]:
    # Click has spelled "no default" in several ways; what is neither said nor a plain value is none.
    default = option.default if isinstance(option.default, bool | int | float | str) else None
    return {
        "kind": option.param_type_name,
        "words": sorted([*option.opts, *option.secondary_opts]),
        "required": option.required,
        "default": default or None,
        "repeated": option.multiple if option.param_type_name == "option" else option.nargs != 1,
        "flag": bool(getattr(option, "is_flag", False)),
    }


def _options(options: Iterable[Any]) -> dict[str, Any]:
    return {option.name: _option(option) for option in options if option.name not in ("help", None)}


def command_line() -> dict[str, Any]:
    """Return the verbs of the command line with their arguments and options."""
    group: Any = typer.main.get_command(app)
    return {
        "options": _options(group.params),
        "verbs": {name: _options(verb.params) for name, verb in group.commands.items()},
    }


def recipes() -> dict[str, Any]:
    """Return every shipped recipe with all its values."""
    return {name: load(name).model_dump(mode="json") for name in shipped()}
