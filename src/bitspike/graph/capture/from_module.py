"""Any network as a canonical graph: a copy is traced, run on an example and written down operation by operation.

Two front ends make the same graph. ``fx`` follows Python symbolically: modules keep their names, and what cannot be
followed can stay a leaf. ``export`` (:mod:`bitspike.graph.capture.exported`) runs the model once and sees through
branches on shapes.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import TreeSpec, tree_flatten

from bitspike.errors import ConversionError
from bitspike.graph.capture.canonical import Place, Trace, canonical
from bitspike.graph.capture.guests import halves, widen
from bitspike.graph.capture.layers import is_layer
from bitspike.graph.capture.quantized import float_layers
from bitspike.graph.ir import Graph
from bitspike.nn.loops import time_in_forward
from bitspike.ops.precision import single
from bitspike.ops.wrappers import unwrapped
from bitspike.patterns import Patterns, matching

_TORCH = str(Path(torch.__file__).parent) + os.sep
# While fx traces, torch.nn.Module itself is patched; two traces at once would undo each other's patches.
_ONE_TRACE = threading.RLock()
_TROUBLE = (
    fx.proxy.TraceError,
    TypeError,
    RuntimeError,
    ValueError,
    NameError,
    AttributeError,
    NotImplementedError,
    AssertionError,
    LookupError,
)


def capture(
    model: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    *,
    frontend: Literal["fx", "export"] = "fx",
    concrete_args: Mapping[str, Any] | None = None,
    keep_real: Patterns = (),
) -> Graph:
    """Return the canonical graph of a network in evaluation mode; the network itself is not touched.

    Args:
        model: any module of torch; the graph holds copies of its layers at their paths.
        example: one tensor [N, ...] for each input, batch first; one or two samples are enough.
        frontend: ``fx`` keeps modules and their names, ``export`` also follows branches on shapes.
        concrete_args: values for other arguments of ``forward``, by name.
        keep_real: glob patterns of module paths that stay as they are, as one ``host`` operation each.

    Raises:
        ConversionError: the model cannot be followed or does not run on the example.

    Example:
        >>> graph = capture(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten()), torch.zeros(2, 1, 5, 5))
        >>> [(op.id, op.kind, op.shape) for op in graph][1:4]
        [('0', 'convolution', (4, 3, 3)), ('1', 'relu', (4, 3, 3)), ('2', 'reshape', (36,))]
    """
    inputs = tuple(map(single, _checked(example)))
    _sound(model)
    with _casts_explained(model):
        return _captured(model, inputs, frontend, concrete_args or {}, keep_real)


def _captured(
    model: nn.Module, inputs: tuple[Tensor, ...], frontend: str, arguments: Mapping[str, Any], keep_real: Patterns
) -> Graph:
    copied, inplace = prepared(model)
    if frontend == "export":
        from bitspike.graph.capture.exported import exported

        if keep_real:
            raise ConversionError(
                "the export front end flattens every module, so keep_real has no meaning for it",
                fix='frontend="fx", or leave those modules out of the region (exclude=...)',
            )
        return canonical(exported(copied, inputs, arguments), inputs)
    if frontend != "fx":
        raise ConversionError(f"frontend={frontend!r}: allowed are 'fx' and 'export'", fix='frontend="fx"')
    paths = [path for path, _ in copied.named_modules() if path]
    kept = matching(keep_real, paths, argument="keep_real", noun="module", error=ConversionError)
    return canonical(_traced(copied, inputs, arguments, frozenset(kept), inplace), inputs)


def prepared(model: nn.Module, *, overwrite: bool = False) -> tuple[nn.Module, frozenset[str]]:
    """Return a copy in evaluation mode in which no module overwrites its input, and the paths of those that did.

    The copy is free of wrappers and in at least single precision.

    Args:
        model: it is not touched.
        overwrite: let them go on overwriting.
    """
    model = unwrapped(model)
    try:
        copied = deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise ConversionError(
            f"{type(model).__name__} cannot be copied: {error}",
            fix="call it once under torch.no_grad() and convert then",
        ) from error
    copied = float_layers(widen(copied).eval())
    inplace = set()
    for path, module in list(copied.named_modules()):
        if path and (inner := unwrapped(module)) is not module:
            copied.set_submodule(path, inner)
    for path, module in copied.named_modules():
        if getattr(module, "inplace", None) is True:
            module.inplace = overwrite
            if not isinstance(module, nn.modules.dropout._DropoutNd):
                inplace.add(path)
    return copied, frozenset(inplace)


@contextmanager
def _casts_explained(model: nn.Module) -> Iterator[None]:
    """Say of a network in half precision that cannot be run in single precision why that is so."""
    try:
        yield
    except ConversionError as error:
        if "type" not in error.message or not (kinds := halves(unwrapped(model))):
            raise
        name = str(kinds[0]).removeprefix("torch.")
        raise ConversionError(
            f"{type(unwrapped(model)).__name__} has {name} weights, which are read as float32, and its forward asks "
            f"for {name} all the same: {error.message}",
            fix="x.to(self.layer.weight.dtype) in place of the cast in forward; or convert model.float() without it",
        ) from error


def _sound(model: nn.Module) -> None:
    """Refuse a model whose layers cannot be read or hold no numbers."""
    if isinstance(model, torch.jit.ScriptModule):
        name = getattr(model, "original_name", type(model).__name__)
        raise ConversionError(
            f"{name} is TorchScript, in which modules cannot be followed",
            fix="pass the Python module, with the same weights: model.load_state_dict(scripted.state_dict())",
        )
    if lazy := [name for name, p in model.named_parameters() if nn.parameter.is_lazy(p)]:
        raise ConversionError(f"{', '.join(lazy[:3])} have no shape yet", fix="call the model once on a batch")
    strange = [(name, type(p)) for name, p in model.named_parameters() if type(p).__module__.startswith("torchao.")]
    if strange:
        raise ConversionError(
            f"{strange[0][0]} is a {strange[0][1].__name__} of torchao: quantized, and read by no layer here",
            fix="real numbers: layer.weight = nn.Parameter(layer.weight.dequantize()), of every such layer",
        )
    numbers = [*model.named_parameters(), *(b for b in model.named_buffers() if ".running_" in f".{b[0]}")]
    if broken := [name for name, t in numbers if t.is_floating_point() and not bool(t.detach().isfinite().all())]:
        raise ConversionError(
            f"{', '.join(broken[:3])} {'hold' if len(broken) > 1 else 'holds'} NaN or infinity",
            fix="a checkpoint of before the training diverged",
        )


def _checked(example: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    inputs = (example,) if isinstance(example, Tensor) else tuple(example)
    if not inputs or not all(isinstance(x, Tensor) and x.ndim and x.shape[0] for x in inputs):
        raise ConversionError("the example must be a tensor [N, ...] or a tuple of such", fix="example=images[:2]")
    if len(rows := {x.shape[0] for x in inputs}) > 1:
        raise ConversionError(f"the example's tensors have {sorted(rows)} samples; one number is allowed")
    return inputs


class _Tracer(fx.Tracer):
    """Stops at torch's own layers and at kept modules; notes where in the user's code it is."""

    def __init__(self, inputs: int, arguments: Mapping[str, Any], kept: frozenset[str]) -> None:
        super().__init__()
        self.inputs = inputs
        self.arguments = arguments
        self.kept = kept
        self.thread = threading.get_ident()
        self.lines: dict[str, str] = {}
        self.structure: TreeSpec | None = None
        self.deepest: str | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name in self.kept or is_layer(m):
            return True
        return m.__module__.startswith(("torch.nn", "torch.ao.nn")) and not isinstance(m, nn.Sequential)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self.thread:
            return forward(*args, **kwargs)  # another thread runs a model of its own
        try:
            return super().call_module(m, forward, args, kwargs)
        except _TROUBLE:
            if self.deepest is None:
                self.deepest = self.path_of_module(m)
            raise

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        if threading.get_ident() != self.thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        self.lines[node.name] = _line_here()
        return node

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        """Give ``forward`` as many values to follow as the example has tensors; the rest are constants."""
        del is_module, concrete_args
        values = [self.create_proxy("placeholder", f"input_{i}", (), {}) for i in range(self.inputs)]

        def bound(*given: Any) -> list[Any]:
            leaves, self.structure = tree_flatten(root_fn(*given, **self.arguments))
            return leaves

        return bound, [self.root, *values]


def _line_here() -> str:
    """Return file and line of the user's code that is running now."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code is not _traced.__code__:
        file = frame.f_code.co_filename
        if not file.startswith((_TORCH, "<")) and file != __file__:
            return f"{file}:{frame.f_lineno}"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return ""


def _traced(
    root: nn.Module,
    inputs: Sequence[Tensor],
    arguments: Mapping[str, Any],
    kept: frozenset[str],
    inplace: frozenset[str],
) -> Trace:
    tracer = _Tracer(len(inputs), arguments, kept)
    with _explained(root, lambda: tracer.deepest), _ONE_TRACE:
        graph = tracer.trace(root)
    assert tracer.structure is not None
    scopes = tracer.node_name_to_scope

    def place(node: fx.Node) -> Place:
        line = tracer.lines.get(node.name, "")
        if node.op == "call_module":
            return Place(str(node.target), True, line)
        return Place(scopes.get(node.name, ("", None))[0], False, line)

    return Trace(
        graph=graph,
        root=root,
        place=place,
        structure=tracer.structure,
        model=type(root).__name__,
        inplace=inplace,
        kept=kept,
    )


@contextmanager
def _explained(model: nn.Module, deepest: Callable[[], str | None]) -> Iterator[None]:
    """Turn an error of the tracer into one that says where, why and what to do."""
    try:
        yield
    except _TROUBLE as error:
        if (told := time_in_forward(model, error, converts=True)) is not None:
            raise ConversionError(f"{type(model).__name__} cannot be converted: {told[0]}", fix=told[1]) from error
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if not frame.filename.startswith((_TORCH, "<")) and frame.filename != __file__
        ]
        path = deepest()
        at = f" in module {path!r}" if path else f" in {type(model).__name__}.forward"
        line = f" ({frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line})" if frames else ""
        remedies = [
            'pass what the branch depends on as a constant: concrete_args={"name": value}',
            f"or keep that module as it is: keep_real=[{path or 'its path'!r}]",
            'or run instead of following: frontend="export"',
        ]
        raise ConversionError(
            f"{type(model).__name__} cannot be followed{at}{line}: {error}", fix="; ".join(remedies)
        ) from error
