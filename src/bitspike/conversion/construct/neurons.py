"""The neuron of a relu or of a sum: what it adds up, its integers, and the nodes that compute them.

In the torch network one count of a neuron's sum is worth ``2**-exponent``, so that potentials stay near 1 and are exact
in single precision. With ``coding="split"`` a step brings the T-th part of the input; the weights that read it stay as
they are, and all else that such a neuron adds up or is compared with is divided by T:

                      weights of the input   other weights, gains    bias, threshold, initial
    split             codes 2**-exponent     codes 2**-exponent / T  whole numbers 2**-(exponent + k) / T
    other codings     codes 2**-exponent     codes 2**-exponent      whole numbers 2**-(exponent + k)
"""

from __future__ import annotations

import math
import operator
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from bitspike.conversion.branches import Branch, branches_of, refused
from bitspike.conversion.construct.draft import ONE_VALUE, Draft
from bitspike.conversion.construct.records import LayerReport, Spikes, module_name
from bitspike.conversion.construct.spike_values import by_weight, is_by_channel, moved
from bitspike.conversion.construct.units import EXACT, Charge, Group, Weighted, fit_group
from bitspike.conversion.settings import Settings
from bitspike.graph.flow import moves
from bitspike.graph.ir import Op
from bitspike.graph.plain import is_transposed
from bitspike.nn import Burst, Gain


def add_neuron(draft: Draft, op: Op, source: str) -> Spikes:
    """Add the neuron that rectifies the value of ``source``; return the wire of its spikes."""
    s, word = draft.settings, module_name(op.id)
    branches = branches_of(draft.ops, draft.spikes, source)
    charge = draft.charges[op.id] = _charge(draft, op, branches)
    group = fit_group(charge, s)
    _need_room(op, s, int(group.threshold.max()))
    # The least exponent e >= 0 with threshold * 2**-(k + e) <= 1, for the largest threshold.
    exponent = max(0, math.ceil(math.log2(float(group.threshold.max())) - group.fraction_bits))
    reads_input = any(branch.op.inputs[0] in draft.entering for branch in charge.branches)
    split_over = s.steps if s.coding == "split" and reads_input else 1
    count = 2.0**-exponent / split_over  # the step of each number, see the table above
    fine = count * 2.0**-group.fraction_bits
    currents = [_current(draft, charge, i, group, exponent, count) for i in range(len(charge.branches))]
    skips = [branch for branch in branches if not branch.weighted]
    for i, branch in enumerate(skips):
        gain = Gain(draft.scalar_or_channels(group.gains[i].double() * count))
        # Sums of windows come before the gain, which has their 1 / area in it (`_skip_value`).
        node = draft.add_rest_of(branch, draft.spikes[branch.op.id].node)
        currents.append(draft.add(f"{word}_skip{i or ''}", gain, node))
    node = currents[0]
    for other in currents[1:]:
        node = draft.fx.call_function(operator.add, (node, other))
    if s.schedule == "layerwise":  # the neuron gets the charge of all steps at once
        node = draft.add(f"{word}_burst", Burst(), node)
    threshold = group.threshold.double() * fine
    # A whole number of the finest step, so that the integers start from the very same potential.
    initial = (group.threshold.double() * s.initial).floor() * fine
    if op.id in draft.shifts.initial:
        shift = draft.shifts.initial[op.id] / group.unit * 2.0**group.fraction_bits
        initial = initial + shift.round() * fine
    if s.potential_bits is not None and s.rounded:
        edge = 1 << (s.potential_bits - 1)
        initial = initial.clamp(-edge * fine, (edge - 1) * fine)
    # Single precision holds both exactly.
    start = draft.scalar_or_channels(initial, torch.float32)
    node = draft.add(word, _neuron(s, draft.scalar_or_channels(threshold, torch.float32), start, fine), node)
    draft.reports[op.id] = LayerReport(
        op.id, op.path, "neuron", source, tuple(module_name(b.op.id) for b in charge.branches), charge.wanted,
        group.value, group.unit, group.threshold, group.fraction_bits, exponent, input_values(draft, charge.branches),
        split_over=split_over, notes=tuple(f"{op.id}: {note}" for note in group.notes),
    )  # fmt: skip
    value = group.value if group.value.numel() == 1 else group.value.reshape(-1, *[1] * (len(op.shape) - 1))
    return Spikes(node, value)


def add_pool_neuron(draft: Draft, op: Op, wire: Spikes) -> Spikes:
    """Add the neuron of an average pool, which fires once for every ``area`` spikes of a window.

    Its weights are 1 and its threshold is k_h * k_w, so one of its spikes is worth as much as one that it reads.
    """
    area, word = math.prod(op.attrs["kernel"]), module_name(op.id)
    node = draft.add_sum_pool(op, wire.node, f"{word}_sum")
    if draft.settings.schedule == "layerwise":
        node = draft.add(f"{word}_burst", Burst(), node)
    initial = float(math.floor(area * draft.settings.initial))
    _need_room(op, draft.settings, area)
    node = draft.add(word, _neuron(draft.settings, float(area), initial, 1.0), node)
    threshold = torch.full((1,), area)
    draft.reports[op.id] = LayerReport(
        op.id, op.path, "pool", op.id, (), wire.value, wire.value, wire.value / area, threshold, 0, 0, {}
    )
    return Spikes(node, wire.value)


def weighted_of(draft: Draft, branch: Branch, *, last: bool = False) -> Weighted:
    """Return what one input spike adds through a weighted branch: the value of the spike is folded into the weights."""
    op, layer = branch.op, draft.graph.module_of(branch.op)
    weight = _weight(draft, op)
    transposed, groups = is_transposed(layer), int(getattr(layer, "groups", 1))
    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    bias = getattr(layer, "bias", None)
    real = torch.zeros(channels, dtype=torch.float64) if bias is None else bias.detach().double().cpu()
    factor, kept = _factor(draft, branch), draft.kept.get(op.id)
    # Input channels whose spikes are worth different values would make other codes.
    kept = kept.times(float(factor)) if kept is not None and factor.numel() == 1 else None
    reach = draft.reach(op.inputs[0])
    if kept is not None and kept.largest_sum * reach > EXACT:
        kept = None
    bits = draft.settings.bits_of(op.path, first=op.id in draft.first, last=last) if kept is None else kept.bits
    # A sum of windows after the layer counts the bias once for each value, hence 1 / area.
    return Weighted(
        weight * factor,
        real * branch.sign / branch.area,
        bits,
        axis=1 if transposed else 0,
        groups=groups if transposed else 1,
        kept=kept,
        reach=reach,
    )


def input_values(draft: Draft, branches: tuple[Branch, ...]) -> dict[str, Tensor]:
    """Return by weighted layer what one of its input spikes is worth."""
    return {module_name(b.op.id): draft.spikes[b.op.inputs[0]].value for b in branches}


def _charge(draft: Draft, op: Op, branches: list[Branch]) -> Charge:
    """Return what a neuron adds up, in real values."""
    if op.id not in draft.values:
        raise refused(op, "has no calibrated value", f"calibrate={{{op.id!r}: value, ...}}, or batches of data")
    layers = tuple(branch for branch in branches if branch.weighted)
    mixes = any(o.kind in ("reshape", "transpose") for b in layers for o in b.after)  # channels before the neuron
    charge = Charge(
        branches=layers,
        weighted=tuple(weighted_of(draft, branch) for branch in layers),
        factors=tuple(_factor(draft, branch) for branch in layers),
        skips=tuple(_skip_value(draft, branch) for branch in branches if not branch.weighted),
        wanted=draft.values[op.id].detach().double().cpu(),
        per_channel=draft.settings.per_channel and not mixes,
        one_value=bool(draft.kept),
    )
    bias = draft.shifts.bias.get(op.id)
    if bias is None or not charge.takes_bias(len(bias)):
        return charge
    # The first layer takes the correction; a sum of windows after it multiplies its bias by the area.
    first = replace(charge.weighted[0], bias=charge.weighted[0].bias + bias / layers[0].area)
    return replace(charge, weighted=(first, *charge.weighted[1:]))


def _current(draft: Draft, charge: Charge, index: int, group: Group, exponent: int, count: float) -> fx.Node:
    """Add a weighted layer; one of its codes is worth ``count``, or ``2**-exponent`` where it reads a split input."""
    branch, multipliers, weighted = charge.branches[index], group.multipliers[index], charge.weighted[index]
    if bool((multipliers == multipliers[0]).all()):
        multipliers = multipliers[:1]
    return draft.add_layer(
        branch,
        group.codes[index],
        group.biases[index].double() * count * 2.0**-group.fraction_bits,
        step=multipliers.double() * (2.0**-exponent if branch.op.inputs[0] in draft.entering else count),
        bits=weighted.bits,
        levels=None if weighted.kept is None else weighted.kept.levels,
    )


def _weight(draft: Draft, op: Op) -> Tensor:
    """Return the weights of a layer in double precision, on the CPU: units and codes are worked out there."""
    weight = draft.shifts.weights.get(op.id, cast(Tensor, draft.graph.module_of(op).weight))
    return weight.detach().double().cpu()


def _factor(draft: Draft, branch: Branch) -> Tensor:
    """Return what a weight is multiplied by to be the current of one input spike, broadcastable against weights."""
    value = draft.spikes[branch.op.inputs[0]].value.cpu()
    if value.numel() > 1 and not is_by_channel(value):
        raise refused(branch.op, "reads spikes whose value differs from place to place", ONE_VALUE)
    return by_weight(value, draft.graph.module_of(branch.op)) * branch.sign / branch.area


def _skip_value(draft: Draft, branch: Branch) -> Tensor:
    """Return what one spike of a skip is worth where it reaches the neuron, [1] or [C]."""
    value, shape = draft.spikes[branch.op.id].value * branch.sign / branch.area, branch.op.shape
    for op in branch.after:
        # What does not move is an average pool, whose 1 / area is in the value already.
        value = moved(op, value, shape) if moves(op) else value
        shape = op.shape
    if not is_by_channel(value):
        raise refused(branch.op, "is a skip whose value differs from place to place", ONE_VALUE)
    return value.reshape(-1)


def _need_room(op: Op, s: Settings, threshold: int) -> None:
    """Refuse a neuron whose potential would saturate before it fires."""
    if s.potential_bits is not None and s.rounded and threshold >= 1 << (s.potential_bits - 1):
        raise refused(
            op,
            f"fires at {threshold}, which a potential of {s.potential_bits} bits does not reach",
            f"potential_bits={threshold.bit_length() + 2}; or smaller sums: fewer bits of weights (bits, first_bits) "
            "or of the codes that enter (input_bits, input_grid)",
        )


def _neuron(s: Settings, threshold: float | Tensor, initial: float | Tensor, fine: float) -> nn.Module:
    # A signed neuron always resets by subtraction, and takes a spike back from one step of the potential below zero on.
    choices: dict[str, Any] = {"retract": fine} if s.neuron.signed else {"reset": s.reset}
    if s.potential_bits is not None and s.rounded:
        choices |= {"resolution": fine, "potential_bits": s.potential_bits}
    return s.neuron(threshold, fire=s.fire, initial=initial, **choices)
