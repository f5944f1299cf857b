"""A network in one table: what its layers are, how wide their numbers are, and how much they fire."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from bitspike.analysis.plot.observed import Layer, counted_calls, entering, observed
from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.graph.shown import bits_of, kind_of, latent_of, layers_said, layers_table, parts
from bitspike.integer.bounds.widths import widths
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Move, Neuron, Weighted
from bitspike.nn.aside import aside
from bitspike.nn.trace import fires
from bitspike.ops.wrappers import unwrapped
from bitspike.tables import Shown, Table, times

Rates = dict[str, tuple[str, str, str]]


@checked
def summary(what: nn.Module | IntegerNetwork | Shown, inputs: Any = None) -> Table:
    """Return a network as a table: layers, shapes, weights and their bits, neurons, proven widths, rates of spikes.

    Args:
        what: any network; an integer network; or a trace, a certificate or the record of a conversion, which show
            themselves.
        inputs: what the network takes, a few samples; rates are those of these samples. Without them nothing is run,
            and what only a run can tell is left out.

    Returns:
        a table, which a terminal shows as text and a notebook as HTML. Rates are spikes per neuron and step. The
        layers of an integer network that only move values are left out.

    Raises:
        ConstraintError: it is something else, or inputs are none of its own.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> print(summary(one_convolution(threshold=8)))
        IntegerNetwork: T = 4, 9 weights in 3 bytes, 16 neurons
          layer    kind         shape      weights  bits  neurons  accumulator  membrane
          input    Input        1 x 4 x 4
          conv     Convolution  1 x 4 x 4        9     2
          neuron   Neuron       1 x 4 x 4                      16            5         5
          readout  Readout      16                                           2         4
    """
    if isinstance(what, IntegerNetwork):
        return _of_integers(what, {} if inputs is None else _rates(what, inputs))
    if isinstance(what, nn.Module):
        return layers_table(what) if inputs is None else _of_model(unwrapped(what), inputs)
    if isinstance(what, Shown):
        if inputs is not None:
            raise ConstraintError(f"a {type(what).__name__} is not run: it takes no inputs", fix="leave the inputs out")
        return what.table()
    raise ConstraintError(
        f"a {type(what).__name__} is no network", fix="a torch module, or what bs.lower or bs.load returned"
    )


def _rates(what: nn.Module | IntegerNetwork, inputs: Any) -> Rates:
    """Return by layer the number of its neurons, and the rates of spikes of +1 and of -1."""

    def keep(layer: Layer) -> tuple[str, str, str]:
        spikes = layer.spikes
        if not spikes.size:
            raise ConstraintError("the inputs hold no sample", fix="inputs of at least one sample")
        above, below = float((spikes > 0).mean()), float((spikes < 0).mean())
        return f"{math.prod(spikes.shape[2:]):,}", f"{above:.3g}", f"{below:.3g}" if below else ""

    return observed(what, inputs, keep)


def _of_integers(net: IntegerNetwork, rates: Rates) -> Table:
    wide = {w.layer: w for w in widths(net)}
    calls = dict(zip((n.id for n in net.neurons), counted_calls(n.path for n in net.neurons), strict=True))
    rows = []
    for node in net.nodes:
        if isinstance(node, Move):
            continue
        has = wide.get(node.path) if node.memory == "past" else None
        name = calls.get(node.id, node.path)
        rows.append(
            (
                name,
                type(node).__name__,
                times(node.shape),
                f"{node.weight.codes.size:,}" if isinstance(node, Weighted) else "",
                str(node.weight.bits) if isinstance(node, Weighted) else "",
                f"{math.prod(node.shape):,}" if isinstance(node, Neuron) else "",
                "" if has is None else str(has.accumulator_bits),
                "" if has is None else str(has.membrane_bits),
                "" if has is None or has.kept_bits is None else str(has.kept_bits),
                *(rates[name][1:] if isinstance(node, Neuron) and name in rates else ("", "")),
            )
        )
    columns = ("layer", "kind", "shape", "weights", "bits", "neurons", "accumulator", "membrane", "kept")
    neurons = sum(math.prod(node.shape) for node in net.neurons)
    size = f"{net.weight_count():,} weights in {net.weight_bytes():,} bytes, {neurons:,} neurons"
    return Table(f"IntegerNetwork: T = {net.steps}, {size}", (*columns, "rate", "rate of -1"), rows)


def _of_model(model: nn.Module, inputs: Any) -> Table:
    shapes: dict[str, str] = {}

    def hear(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                shapes.setdefault(path, times(output.shape))

        return hook

    layers = list(parts(model))
    with aside(model), ExitStack() as hooks:
        for path, module in layers:
            hooks.callback(module.register_forward_hook(hear(path)).remove)
        if any(fires(module) for module in model.modules()):
            rates = _rates(model, inputs)
        else:
            rates = {}
            model(*entering(model, inputs))
    rows = [
        (
            path,
            kind_of(module),
            shapes.get(path, ""),
            "" if (weight := latent_of(module)) is None else f"{weight.numel():,}",
            bits_of(module),
            *rates.get(path or "neuron", ("", "", "")),
        )
        for path, module in layers
    ]
    count = sum(weight.numel() for _, module in layers if (weight := latent_of(module)) is not None)
    neurons = sum(int(row[5].replace(",", "") or 0) for row in rows)
    title = f"{type(model).__name__}: {layers_said(layers)}, {count:,} weights, {neurons:,} neurons"
    return Table(title, ("layer", "kind", "output", "weights", "bits", "neurons", "rate", "rate of -1"), rows)
