"""Build the spiking network of a graph: every relu becomes a neuron, and what feeds it becomes its current.

The network is a ``torch.fx.GraphModule`` of :mod:`bitspike.nn` modules over [T, N, ...]. Spikes on its wires are 0 or 1
(-1 with ``SignedIF``); what a spike is worth is folded into the weights of the next layer before those are rounded. In
every neuron weights are codes times one power of two, and threshold, bias and initial potential are whole multiples
of a power of two: single precision computes them without rounding, and lowering has nothing left to round.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, fx

from bitspike.conversion.branches import refused
from bitspike.conversion.construct.draft import ONE_VALUE, Draft
from bitspike.conversion.construct.neurons import add_neuron, add_pool_neuron
from bitspike.conversion.construct.readouts import add_readout
from bitspike.conversion.construct.records import Built, Shifts, Spikes, module_name
from bitspike.conversion.construct.spike_values import carried, compact, is_by_channel, spread
from bitspike.conversion.fold.kept import Kept
from bitspike.conversion.settings import Settings
from bitspike.graph.flow import moves
from bitspike.graph.flow import spikes as spiking
from bitspike.graph.ir import Graph, Op
from bitspike.nn import BernoulliCoder, Codes, CountMaxPool, Gain, RateCoder, Repeat
from bitspike.ops.grids import Grid


def build(
    graph: Graph,
    values: Mapping[str, Tensor],
    grids: Mapping[str, Grid],
    settings: Settings,
    shifts: Shifts | None = None,
    kept: Mapping[str, Kept] | None = None,
) -> Built:
    """Build the spiking network of a folded graph.

    Args:
        graph: without norms and host operations; its outputs are spikes or read-outs.
        values: lambda by relu (and by ``add`` or average pool that becomes a neuron), [1] or [C].
        grids: by input, the integer grid of its codes; ignored for spike codings.
        kept: by weighted operation, the codes of its weights where they are codes already; the others are rounded.

    Raises:
        ConversionError: an operation has no place in a spiking network.
    """
    draft = Draft(graph, values, grids, settings, shifts or Shifts(), kept or {})
    sending = spiking(graph)
    for op in graph:
        if op.kind == "output":
            leaving = {id: add_readout(draft, draft.ops[id]) for id in dict.fromkeys(op.inputs)}
            results = tuple(leaving[id] for id in op.inputs)
            draft.fx.output(results[0] if len(results) == 1 else results)
        elif (wire := _wire(draft, op, sending)) is not None:
            draft.spikes[op.id] = wire
    network = fx.GraphModule(draft.modules, draft.fx, class_name=f"Spiking{graph.model or 'Network'}")
    wires = {id: (wire.node.name, wire.value) for id, wire in draft.spikes.items()}
    return Built(network.to(draft.like.device).eval(), draft.reports, wires, draft.charges)


def _wire(draft: Draft, op: Op, sending: set[str]) -> Spikes | None:
    """Return the spikes that stand for the value of an operation; None for a current, which its neuron adds itself."""
    if op.kind == "input":
        return _input(draft, op)
    if op.kind == "relu":
        source = op.inputs[0]
        if source in draft.spikes and source not in draft.entering:  # rectified already
            return draft.spikes[source]
        return add_neuron(draft, op, source)
    if op.kind == "add" and op.id in sending:
        return add_neuron(draft, op, op.id)
    # Weighted operations come here too: `_carry` has no case for them and returns None.
    return _carry(draft, op) if all(i in draft.spikes for i in op.inputs) else None


def _input(draft: Draft, op: Op) -> Spikes:
    """Encode what enters: as spikes, or as codes that are the same at every step."""
    s, name = draft.settings, op.name
    node = draft.fx.placeholder(name)
    if s.coding == "events":
        return Spikes(node, torch.full((1,), s.input_value, dtype=torch.float64))
    if s.coding in ("rate", "bernoulli"):
        coder = RateCoder(s.steps) if s.coding == "rate" else BernoulliCoder(s.steps)
        return Spikes(draft.add(f"{name}_coder", coder, node), torch.ones(1, dtype=torch.float64))
    grid = draft.grids[op.id]
    node = draft.add(f"{name}_codes", Codes(grid), node)
    node = draft.add(f"{name}_repeat", Repeat(s.steps), node)
    if s.coding == "split":
        # Every step brings the T-th part, so that all steps together bring the input once.
        node = draft.add(f"{name}_split", Gain(1 / s.steps), node)
    return Spikes(node, torch.full((1,), grid.scale, dtype=torch.float64))


def _carry(draft: Draft, op: Op) -> Spikes | None:
    """Carry spikes through an operation that keeps them spikes; None for the others, whose results are currents."""
    wires = [draft.spikes[i] for i in op.inputs]
    wire, shapes = wires[0], [draft.ops[i].shape for i in op.inputs]
    if op.kind == "concat":
        node = draft.fx.call_function(torch.cat, ([w.node for w in wires],), {"dim": 2})
        value = torch.cat([spread(w.value, shape) for w, shape in zip(wires, shapes, strict=True)], 0)
        return Spikes(node, compact(value, len(op.shape)))
    if moves(op):
        return Spikes(draft.add_moves(op, wire.node, shapes[0]), carried(op, wire.value, shapes[0]))
    if op.kind == "avg_pool" and draft.settings.average_pool == "neuron":
        return add_pool_neuron(draft, op, wire)
    if op.kind in ("avg_pool", "max_pool") and not is_by_channel(wire.value):
        does = "averages" if op.kind == "avg_pool" else "compares"
        raise refused(op, f"{does} spikes whose value differs from place to place", ONE_VALUE)
    if op.kind == "avg_pool":  # the sum of a window, one of which is worth the area-th part of a spike
        return Spikes(draft.add_sum_pool(op, wire.node), wire.value / math.prod(op.attrs["kernel"]))
    if op.kind == "max_pool":
        pool = CountMaxPool(op.attrs["kernel"], op.attrs["stride"], op.attrs["padding"])
        return Spikes(draft.add(module_name(op.id), pool, wire.node), wire.value)
    if op.kind == "upsample":
        what = f"{op.attrs['mode']} upsampling has no exact form on spikes"
        raise refused(op, what, "mode='nearest', or keep it outside: exclude=[...]")
    return None
