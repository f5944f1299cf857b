"""What leaves a spiking network: layers whose sum over time is a real value, and rates of spikes."""

from __future__ import annotations

import math
import operator
from dataclasses import replace

import torch
from torch import Tensor, fx

from bitspike.conversion.branches import branches_of, refused
from bitspike.conversion.construct.common_unit import Summand, for_all
from bitspike.conversion.construct.draft import ONE_VALUE, Draft
from bitspike.conversion.construct.neurons import input_values, weighted_of
from bitspike.conversion.construct.records import LayerReport, layer_name, module_name
from bitspike.conversion.construct.units import Weighted, codes_of, shared_unit
from bitspike.graph.ir import Op
from bitspike.nn import Gain, RateReadout


def add_readout(draft: Draft, op: Op) -> fx.Node:
    """Return the node of the real value of ``op``, which leaves the network."""
    return _rate(draft, op) if op.id in draft.spikes else _layer(draft, op)


def _rate(draft: Draft, op: Op) -> fx.Node:
    """Decode spikes: their rate times what one of them is worth."""
    wire, name = draft.spikes[op.id], f"{module_name(op.id)}_rate"
    by_channel = wire.value.dim() == len(op.shape) and wire.value.numel() == op.shape[0]
    if wire.value.numel() > 1 and not by_channel:
        raise refused(op, "leaves the network with a scale of its own per place", ONE_VALUE)
    gain = Gain(draft.scalar_or_channels(wire.value.reshape(-1)))
    return draft.add(name, RateReadout(), draft.add(f"{name}_value", gain, wire.node))


def _layer(draft: Draft, op: Op) -> fx.Node:
    """Sum a layer over time: no neuron follows, so its unit is that of the real result."""
    branches = tuple(branches_of(draft.ops, draft.spikes, op.id))
    if not all(branch.weighted for branch in branches):
        raise refused(op, "adds spikes to a current and leaves the network", "a ReLU after it")
    weighted = [weighted_of(draft, branch, last=True) for branch in branches]
    # One unit for all classes: their sums can then be compared as they are.
    strongest = max(float(w.bias.abs().max()) for w in weighted)
    # Next to a bias of more than 2**16 units the weights are nothing, and single precision cannot hold both.
    least, exact = strongest * 2.0**-16, _kept_unit(weighted)
    if exact is None or float(exact) < least:
        weighted, exact = [_rounded_anew(w) for w in weighted], None
    unit = shared_unit(weighted, [], per_channel=False, scale=draft.settings.scale) if exact is None else exact
    unit = _short(unit.clamp(min=least))
    # Next to codes that are kept a bias grows as they do: the result is larger by unit / exact, less than 2**-7.
    grown = 1.0 if exact is None else float(unit / exact)
    # As many bits below one unit as leave the largest bias 15 bits, and with it sums in single precision exact.
    bits = max(0, min(8, 15 - math.ceil(math.log2(max(1.0, strongest / float(unit))))))
    node: fx.Node | None = None
    for branch, w in zip(branches, weighted, strict=True):
        bias = (w.bias * grown / unit * 2.0**bits).round() * unit / 2.0**bits
        # Kept codes have steps of their own, whole multiples of the unit.
        step = unit if w.kept is None or exact is None else (w.kept.step / exact).round() * unit
        levels = None if w.kept is None else w.kept.levels
        current = draft.add_layer(branch, codes_of(w, step), bias, step=step, bits=w.bits, levels=levels)
        node = current if node is None else draft.fx.call_function(operator.add, (node, current))
    assert node is not None, op.id
    empty = torch.zeros(0, dtype=torch.float64)
    draft.reports[op.id] = LayerReport(
        op.id, op.path, "readout", op.id, tuple(module_name(b.op.id) for b in branches), empty, empty, unit,
        empty.long(), bits, 0, input_values(draft, branches),
    )  # fmt: skip
    return draft.add(layer_name(op.id, "readout"), RateReadout(), node)


def _kept_unit(weighted: list[Weighted]) -> Tensor | None:
    """Return a unit of which the steps of weights that are codes already are whole multiples; None without such."""
    kept = [w.kept.step for w in weighted if w.kept is not None]
    if len(kept) < len(weighted):
        return None
    summands = [Summand(step, torch.ones(1, dtype=torch.float64)) for step in kept]
    return for_all(summands, torch.cat(kept).max().reshape(1))


def _rounded_anew(w: Weighted) -> Weighted:
    """Return a branch whose weights are rounded, to as many levels as its codes reach."""
    if w.kept is None:
        return w
    return replace(w, kept=None, bits=max(w.bits, int(w.kept.codes.abs().max()).bit_length() + 1))


def _short(unit: Tensor) -> Tensor:
    """Round a unit [1] up to 8 digits, so that its product with 16-bit integers is exact in single precision."""
    # 8 + 16 binary digits fit the 24 of single precision. Up, as a smaller unit would clip codes.
    fraction, exponent = math.frexp(float(unit))
    return torch.full((1,), math.ldexp(math.ceil(fraction * 256) / 256, exponent), dtype=torch.float64)
