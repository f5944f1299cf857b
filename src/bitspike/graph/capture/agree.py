"""Does a graph compute what its model does? The two run on the same example and every result is compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from bitspike.errors import ConversionError
from bitspike.graph.capture.from_module import prepared
from bitspike.graph.ir import Graph, Op
from bitspike.graph.rebuild import evaluate
from bitspike.ops.precision import single


def agree(graph: Graph, model: nn.Module, example: Tensor | tuple[Tensor, ...], tolerance: float = 1e-5) -> float:
    """Return the largest difference between a graph and the model it stands for, relative to the largest value.

    Args:
        graph: captured from the model, with or without norms folded.
        model: the original; it runs as a copy in evaluation mode.
        example: tensors [N, ...].
        tolerance: what the difference may be.

    Raises:
        ConversionError: they differ by more; the message names the first operation that does, as far as the modules
            of the model can be compared.
    """
    inputs = tuple(map(single, (example,) if isinstance(example, Tensor) else example))
    calls: dict[tuple[str, int], Tensor] = {}
    model, _ = prepared(model, overwrite=True)
    with torch.no_grad():
        expected, spec = tree_flatten(_watched(model, tuple(x.clone() for x in inputs), calls))
        worst, first = 0.0, ""
        for op, value in evaluate(graph, inputs):
            if op.kind == "output":
                results, structure = tree_flatten(value)
                if structure != spec:
                    raise ConversionError(
                        f"{graph.model}: the graph returns {structure}, the model {spec}",
                        fix='frontend="export", which runs the model instead of following its code',
                    )
                worst = max([0.0, *(_difference(a, b) for a, b in zip(results, expected, strict=True))])
            elif (
                not first and (reference := calls.get((op.path, op.call))) is not None and _comparable(graph, op, model)
            ):
                apart = _difference(value, reference)
                # A relu before a pool has another shape than after it, so infinity says nothing.
                first = f"; the first operation that differs is {op.where}" if tolerance < apart < float("inf") else ""
    if not worst <= tolerance:
        raise ConversionError(
            f"{graph.model}: the graph differs from the model by {worst:.2g} of the largest value, "
            f"allowed is {tolerance:g}{first}",
            fix='frontend="export" follows overwritten tensors; or keep that module real: keep_real=[...]',
        )
    return worst


def _difference(value: Any, expected: Any) -> float:
    """Return the largest difference relative to the largest expected value; infinity where shapes or types differ."""
    if not isinstance(expected, Tensor):
        return 0.0 if value == expected else float("inf")
    if not isinstance(value, Tensor) or value.shape != expected.shape:
        return float("inf")
    if not expected.numel():
        return 0.0
    value, expected = value.double(), expected.double()
    apart = (value - expected).abs()
    # Equal infinities and NaN in both are no difference.
    apart = torch.where((value == expected) | (value.isnan() & expected.isnan()), torch.zeros_like(apart), apart)
    largest = expected[expected.isfinite()].abs().max().item() if bool(expected.isfinite().any()) else 1.0
    most = float(apart.max())
    return float("inf") if most != most else most / max(largest, torch.finfo(torch.float32).tiny)


def _watched(model: nn.Module, inputs: tuple[Tensor, ...], calls: dict[tuple[str, int], Tensor]) -> Any:
    """Run a model, which is a copy, and note what each call of its modules returned."""
    counts: dict[str, int] = {}

    def note(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, result: Any) -> None:
            del module, args
            if isinstance(result, Tensor):
                calls[path, counts.get(path, 0)] = result.clone()
            counts[path] = counts.get(path, 0) + 1

        return hook

    for path, module in model.named_modules():
        if path:
            module.register_forward_hook(note(path))
    return model(*inputs)


def _comparable(graph: Graph, op: Op, model: nn.Module) -> bool:
    """Tell whether an operation stands for just the one module of its path."""
    if op.id.partition("#")[0] != op.path:
        return False
    if op.kind not in ("convolution", "linear", "norm"):
        return op.kind != "reshape"
    theirs = dict(model.named_modules()).get(op.path)
    mine = graph.module_of(op)
    pairs = [(getattr(mine, name, None), getattr(theirs, name, None)) for name in ("weight", "bias", "running_var")]
    return all(torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a is b for a, b in pairs)
