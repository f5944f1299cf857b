"""Any network as a canonical graph: a copy is traced, run on an example and written down operation by operation.

Two front ends make the same graph. ``fx`` follows Python symbolically: modules keep their names, and what cannot be
followed can stay a leaf. ``export`` (:mod:`bitspike.graph.capture.exported`) runs the model once and sees through
branches on shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bitspike.errors import ConversionError, some
from bitspike.graph.capture.canonical import canonical
from bitspike.graph.capture.exported import exported
from bitspike.graph.capture.guests import halves, widen
from bitspike.graph.capture.quantized import float_layers
from bitspike.graph.capture.symbolic import traced
from bitspike.graph.ir import Graph
from bitspike.ops.precision import single
from bitspike.ops.wrappers import unwrapped
from bitspike.patterns import Patterns, matching
from bitspike.weights.chips import drawn_anew


def capture(
    model: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    *,
    frontend: Literal["fx", "export"] = "fx",
    concrete_args: Mapping[str, Any] | None = None,
    keep_real: Patterns = (),
    keep_live: bool = False,
) -> Graph:
    """Return the canonical graph of a network in evaluation mode; the network itself is not touched.

    Args:
        model: any module of torch; the graph holds copies of its layers at their paths.
        example: one tensor [N, ...] for each input, batch first; one or two samples are enough.
        frontend: ``fx`` keeps modules and their names, ``export`` also follows branches on shapes.
        concrete_args: values for other arguments of ``forward``, by name.
        keep_real: glob patterns of module paths that stay as they are, as one ``host`` operation each.
        keep_live: keep what acts in training alone, for a network that will be trained.

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
        return _captured(model, inputs, frontend, concrete_args or {}, keep_real, keep_live)


def _captured(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    frontend: str,
    arguments: Mapping[str, Any],
    keep_real: Patterns,
    keep_live: bool,
) -> Graph:
    copied, inplace = prepared(model)
    if frontend == "export":
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
    return canonical(traced(copied, inputs, arguments, frozenset(kept), inplace), inputs, keep_live=keep_live)


def prepared(model: nn.Module, *, overwrite: bool = False) -> tuple[nn.Module, frozenset[str]]:
    """Return a copy in evaluation mode in which no module overwrites its input, and the paths of those that did.

    The copy is free of wrappers and in at least single precision. With ``overwrite`` its modules go on overwriting.
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
    """Explain why a network in half precision cannot be run in single precision."""
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
    """Refuse a model whose layers cannot be read, or whose weights are not finite or new at every call."""
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
    if drawn := drawn_anew(model):
        raise ConversionError(
            f"the weights of {some(drawn, most=3)} are drawn anew at every call in evaluation, so that no network has "
            "them",
            fix="with bs.on_chip(model, seed): ... for one chip of it; or attach(vary=...) without active_in_eval",
        )
    numbers = [*model.named_parameters(), *(b for b in model.named_buffers() if ".running_" in f".{b[0]}")]
    if broken := [name for name, t in numbers if t.is_floating_point() and not bool(t.detach().isfinite().all())]:
        raise ConversionError(
            f"{', '.join(broken[:3])} {'hold' if len(broken) > 1 else 'holds'} NaN or infinity",
            fix="a checkpoint from before the training diverged",
        )


def _checked(example: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    inputs = (example,) if isinstance(example, Tensor) else tuple(example)
    if not inputs or not all(isinstance(x, Tensor) and x.ndim and x.shape[0] for x in inputs):
        raise ConversionError("the example must be a tensor [N, ...] or a tuple of such", fix="example=images[:2]")
    if len(rows := {x.shape[0] for x in inputs}) > 1:
        raise ConversionError(
            f"the example's tensors have {sorted(rows)} samples; one number is allowed", fix="as many samples of each"
        )
    return inputs
