"""The nodes that sum as C functions: neurons, read-outs, additions, and synapses, which sum over time."""

from __future__ import annotations

import math

from bitspike.formats.c.draft import Draft, by_channel, function, parameter
from bitspike.formats.c.potentials import potentials, shifted
from bitspike.formats.c.text import integer, plain
from bitspike.formats.c.types import work_bits
from bitspike.integer.bounds.widths import Range
from bitspike.integer.nodes import Add, Dyadic, Neuron, Readout, Rounding, Synapse


def neuron(draft: Draft, node: Neuron) -> list[str]:
    """Write a neuron: its potential, its function, its call. ``bitspike.integer.network`` has the equations."""
    bounds, symbol, size = draft.bounds[node.id], draft.symbol(node), math.prod(node.shape)
    bits = work_bits(bounds)
    work = f"int{bits}_t"
    hoisted, current = _sum(draft, node, work)
    kept_potentials = potentials(draft, node)
    names = {"bias": node.bias, "theta": node.threshold}
    if node.reset == "hard":
        names["v_reset"] = node.v_reset
    if node.signed:
        names["retract"] = node.retract
    hoisted += [f"const {work} {name} = {parameter(draft, node, name, v)};" for name, v in names.items()]
    if node.right_shift:
        current = shifted(draft, bits, current, node.right_shift)
    before = _leaked(draft, node, bits, kept_potentials.load())
    lines = [f"const {work} i = {current} + bias;", f"{work} h = {before};"]
    if node.floor is not None:
        lines.append(f"if (h < {integer(node.floor)}) h = {integer(node.floor)};")
    if node.width is not None and node.width < bits:
        least, most = integer(-(1 << (node.width - 1))), integer((1 << (node.width - 1)) - 1)
        lines += [f"if (h < {least}) h = {least};", f"if (h > {most}) h = {most};"]
    fires = "h >= theta" if node.fire == "ge" else "h > theta"
    if node.signed:
        sent = f"sent_{symbol}"
        kept = draft.member((0, draft.net.steps), sent, size, f"spikes sent so far by {plain(node.path)}")
        lines += [
            f"const int spike = ({fires}) - (h <= -retract && s->{sent}[k] > 0);",
            f"s->{sent}[k] = ({kept})(s->{sent}[k] + spike);",
            *kept_potentials.store("h - theta * spike"),
            "out[k] = (int8_t)spike;",
        ]
        draft.resets.append(f"memset(s->{sent}, 0, sizeof s->{sent});")
    else:
        after = "h - theta" if node.reset == "soft" else "v_reset"
        lines += [
            f"const int fired = {fires};",
            *kept_potentials.store(f"fired ? {after} : h"),
            "out[k] = (int8_t)fired;",
        ]
    draft.resets.append(kept_potentials.rest())
    number = draft.net.neurons.index(node)
    note = f"; sums {_span(bounds.work)}, potential {_span(bounds.state)}"
    called = function(
        draft, node, f"neuron_{symbol}", by_channel(node, hoisted, lines), out=draft.wire(node.id), note=note
    )
    return [*called, f"OBSERVE({number}, t, {draft.wire(node.id)});"]


def _span(bounds: Range) -> str:
    return f"{bounds[0]} to {bounds[1]}"


def _leaked(draft: Draft, node: Neuron, bits: int, v: str) -> str:
    if (node.leak.numerator, node.leak.shift) == (1, 0):
        return f"{v} + i"
    if node.leak_order == "before":
        return f"{_product(draft, node.leak, bits, v, node.rounding)} + i"
    return _product(draft, node.leak, bits, f"({v} + i)", node.rounding)


def _product(draft: Draft, leak: Dyadic, bits: int, value: str, rounding: Rounding = "floor") -> str:
    """Return a value times m / 2**k, rounded down or toward zero."""
    product = f"{value} * {integer(leak.numerator)}" if leak.numerator != 1 else value
    if rounding == "zero":  # as C divides, since C99
        return f"{product} / {integer(1 << leak.shift)}" if leak.shift else product
    return shifted(draft, bits, product, leak.shift) if leak.shift else product


def synapse(draft: Draft, node: Synapse) -> list[str]:
    """Write a synapse: its current is part of the state."""
    bounds, symbol = draft.bounds[node.id], draft.symbol(node)
    bits, kept = work_bits(bounds), f"current_{symbol}"
    work = f"int{bits}_t"
    note = f"current of {plain(node.path)}, {_span(bounds.state)}"
    stored = draft.member(bounds.state, kept, math.prod(node.shape), note)
    draft.resets.append(f"memset(s->{kept}, 0, sizeof s->{kept});")
    arriving = f"x0[k] * {integer(1 << node.left_shift)}" if node.left_shift else "x0[k]"
    lines = [
        f"const {work} before = s->{kept}[k];",
        f"const {work} y = {_product(draft, node.leak, bits, 'before')} + ({work}){arriving};",
        f"s->{kept}[k] = ({stored})y;",
        f"out[k] = ({draft.type(node.id)})y;",
    ]
    return function(draft, node, f"synapse_{symbol}", by_channel(node, [], lines), out=draft.wire(node.id))


def readout(draft: Draft, node: Readout) -> list[str]:
    """Write a read-out: its sum over time is part of the state."""
    bounds, symbol, size = draft.bounds[node.id], draft.symbol(node), math.prod(node.shape)
    work, total = f"int{work_bits(bounds)}_t", f"total_{symbol}"
    hoisted, value = _sum(draft, node, work)
    stored = draft.member(bounds.state, total, size, f"sum over time of {plain(node.path)}, {_span(bounds.state)}")
    hoisted.append(f"const {work} bias = {parameter(draft, node, 'bias', node.bias)};")
    draft.resets.append(f"memset(s->{total}, 0, sizeof s->{total});")
    body = by_channel(node, hoisted, [f"s->{total}[k] = ({stored})(s->{total}[k] + {value} + bias);"])
    return function(draft, node, f"readout_{symbol}", body, out=None, note=f"; {_span(bounds.state)}")


def add(draft: Draft, node: Add) -> list[str]:
    """Write a sum of wires."""
    work = f"int{work_bits(draft.bounds[node.id])}_t"
    hoisted, value = _sum(draft, node, work)
    body = by_channel(node, hoisted, [f"out[k] = ({draft.type(node.id)})({value});"])
    return function(draft, node, f"add_{draft.symbol(node)}", body, out=draft.wire(node.id))


def _sum(draft: Draft, node: Add | Neuron | Readout, work: str) -> tuple[list[str], str]:
    """Return declarations and the expression of the sum of gain * source."""
    hoisted, terms = [], []
    for i, gain in enumerate(node.gains):
        value = parameter(draft, node, f"gain{i}", gain)
        if value == "1":
            terms.append(f"({work})x{i}[k]")
        else:
            hoisted.append(f"const {work} g{i} = {value};")
            terms.append(f"g{i} * x{i}[k]")
    return hoisted, " + ".join(terms)
