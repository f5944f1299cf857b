"""The other front end: torch.export runs the model on an example and records functional ATen operations.

It sees through branches on shapes and through overwritten tensors. Modules are gone by then: their paths are read from
the notes that torch leaves on every node, and layers are made anew from their parameters.
"""

from __future__ import annotations

import inspect
import os
import re
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from bitspike.errors import ConversionError
from bitspike.graph.capture.handlers.transforms import AS_MODULE, TRANSFORMS, followed
from bitspike.graph.capture.site import Place, Trace

_TORCH = str(Path(torch.__file__).parent) + os.sep
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


def exported(model: nn.Module, inputs: Sequence[Tensor], arguments: Mapping[str, Any]) -> Trace:
    """Return the trace that torch.export makes of a model in evaluation mode; N of the inputs [N, ...] is free in it.

    Raises:
        ConversionError: torch.export refuses the model.
    """
    # A batch of 1 would be taken for a constant.
    rows = tuple(x if x.shape[0] > 1 else torch.cat([x, x]) for x in inputs)
    try:
        with torch.no_grad(), warnings.catch_warnings(), followed(model):
            warnings.simplefilter("ignore")
            shapes = _dynamic_shapes(model, rows, arguments)
            program = torch.export.export(model, rows, dict(arguments), dynamic_shapes=shapes, strict=False)
            program = program.run_decompositions(decomp_table={})  # functional, and nothing taken apart
            module = program.module()
    except Exception as error:
        first = str(error).strip().splitlines() or [type(error).__name__]
        frames = traceback.extract_tb(error.__traceback__)
        transform = any(TRANSFORMS in frame.filename for frame in frames)
        raise ConversionError(
            f"torch.export refuses {type(model).__name__}: {first[0]}",
            fix=AS_MODULE if transform else 'frontend="fx" with keep_real=[...] keeps the module in question as it is',
        ) from error
    graph = module.graph
    _only_inputs(graph, len(rows))
    structure = program.call_spec.out_spec
    assert structure is not None
    return Trace(graph=graph, root=module, place=_place_in(model), structure=structure, model=type(model).__name__)


def _dynamic_shapes(model: nn.Module, rows: tuple[Tensor, ...], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Say that the first axis of every tensor is the batch."""
    batch = torch.export.Dim("batch", min=2)
    bound = inspect.signature(model.forward).bind(*rows, **arguments).arguments

    def shape(value: Any) -> Any:
        if isinstance(value, Tensor):
            return {0: batch}
        return tuple(map(shape, value)) if isinstance(value, tuple) else None

    return {name: shape(value) for name, value in bound.items()}


def _only_inputs(graph: fx.Graph, inputs: int) -> None:
    """Drop the placeholders of constants and the checks that torch adds."""
    for node in list(graph.nodes):
        if node.op == "call_module" and not node.users:
            graph.erase_node(node)
    for node in [n for n in graph.nodes if n.op == "placeholder"][inputs:]:
        if not node.users:
            graph.erase_node(node)


def _place_in(model: nn.Module) -> Callable[[fx.Node], Place]:
    """Return the function that reads where a node comes from."""
    modules = dict(model.named_modules())

    def place(node: fx.Node) -> Place:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path = re.sub(r"@\d+", "", stack[-1][0]) if stack else ""
        kind = type(modules.get(path))
        leaf = bool(path) and kind.__module__.startswith("torch.nn") and not issubclass(kind, nn.Sequential)
        return Place(path, leaf, _line(str(node.meta.get("stack_trace") or "")))

    return place


def _line(stack: str) -> str:
    """Return file and line of the user's code in a stack of calls, innermost last."""
    frames = [f for f in _FRAME.finditer(stack) if not f["file"].startswith((_TORCH, "<"))]
    return f"{frames[-1]['file']}:{frames[-1]['line']}" if frames else ""
