"""The front end ``fx``: Python is followed symbolically, modules keep their names, and a module can stay a leaf."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import TreeSpec, tree_flatten

from bitspike.errors import ConversionError
from bitspike.graph.capture.handlers.layers import is_layer
from bitspike.graph.capture.handlers.transforms import AS_MODULE, TRANSFORMS
from bitspike.graph.capture.site import Place, Trace
from bitspike.nn.loops import time_in_forward

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


def traced(
    root: nn.Module,
    inputs: Sequence[Tensor],
    arguments: Mapping[str, Any],
    kept: frozenset[str],
    inplace: frozenset[str],
) -> Trace:
    """Return the trace that ``torch.fx`` makes of a model, with each of the ``kept`` modules as one node.

    Raises:
        ConversionError: ``forward`` cannot be followed.
    """
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

        def bound(*followed: Any) -> list[Any]:
            leaves, self.structure = tree_flatten(root_fn(*followed, **self.arguments))
            return leaves

        return bound, [self.root, *values]


def _line_here() -> str:
    """Return file and line of the user's code that is running now."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code is not traced.__code__:
        file = frame.f_code.co_filename
        if not file.startswith((_TORCH, "<")) and file != __file__:
            return f"{file}:{frame.f_lineno}"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return ""


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
        remedies = [AS_MODULE] * (path is None and bool(frames) and TRANSFORMS in frames[-1].filename) or [
            'pass what the branch depends on as a constant: concrete_args={"name": value}',
            f"or keep that module as it is: keep_real=[{path or 'its path'!r}]",
            'or run instead of following: frontend="export"',
        ]
        raise ConversionError(
            f"{type(model).__name__} cannot be followed{at}{line}: {error}", fix="; ".join(remedies)
        ) from error
