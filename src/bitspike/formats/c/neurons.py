"""The nodes that sum with gains as C functions: neurons, read-outs, additions."""

from __future__ import annotations

import math

from bitspike.formats.c import runtime as c_runtime
from bitspike.formats.c.draft import Draft, by_channel, function, parameter
from bitspike.formats.c.text import integer, plain
from bitspike.formats.c.types import work_bits
from bitspike.integer.bounds.widths import Range
from bitspike.integer.nodes import Add, FewBitNeuron, Neuron, Readout


def neuron(draft: Draft, node: Neuron) -> list[str]:
    """Write a neuron: its potential, its function, its call. ``bitspike.integer.network`` has the equations."""
    bounds, symbol, size = draft.bounds[node.id], draft.symbol(node), math.prod(node.shape)
    bits = work_bits(bounds)
    work, potential = f"int{bits}_t", f"v_{symbol}"
    hoisted, current = _sum(draft, node, work)
    stored = draft.member(bounds.state, potential, size, f"potential of {plain(node.path)}, {_span(bounds.state)}")
    names = {"bias": node.bias, "theta": node.threshold}
    if node.reset == "hard":
        names["v_reset"] = node.v_reset
    if node.signed:
        names["retract"] = node.retract
    hoisted += [f"const {work} {name} = {parameter(draft, node, name, v)};" for name, v in names.items()]
    if node.right_shift:
        current = _shift(draft, bits, current, node.right_shift)
    v = f"(int{bits}_t)s->{potential}[k]"
    if isinstance(node, FewBitNeuron) and node.kept_shift:
        v = f"({v} * {integer(1 << node.kept_shift)})"
    lines = [f"const {work} i = {current} + bias;", f"{work} h = {_leaked(draft, node, bits, v)};"]
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
            *_keep(draft, node, bits, f"s->{potential}[k]", stored, "h - theta * spike"),
            "out[k] = (int8_t)spike;",
        ]
        draft.resets.append(f"memset(s->{sent}, 0, sizeof s->{sent});")
    else:
        after = "h - theta" if node.reset == "soft" else "v_reset"
        lines += [
            f"const int fired = {fires};",
            *_keep(draft, node, bits, f"s->{potential}[k]", stored, f"fired ? {after} : h"),
            "out[k] = (int8_t)fired;",
        ]
    draft.resets.append(_rest(draft, node, potential, stored))
    number = draft.net.neurons.index(node)
    note = f"; sums {_span(bounds.work)}, potential {_span(bounds.state)}"
    called = function(
        draft, node, f"neuron_{symbol}", by_channel(node, hoisted, lines), out=draft.wire(node.id), note=note
    )
    return [*called, f"OBSERVE({number}, t, {draft.wire(node.id)});"]


def _span(bounds: Range) -> str:
    return f"{bounds[0]} to {bounds[1]}"


def _shift(draft: Draft, bits: int, value: str, k: int) -> str:
    """Return a shift that rounds down; beyond the sign bit it gives 0 or -1 whatever the distance."""
    draft.runtime[f"shift{bits}"] = c_runtime.SHIFT.replace("@B", str(bits))
    return f"shift{bits}({value}, {min(k, bits - 1)})"


def _leaked(draft: Draft, node: Neuron, bits: int, v: str) -> str:
    m, k = node.leak.numerator, node.leak.shift

    def leak(value: str) -> str:
        product = f"{value} * {integer(m)}" if m != 1 else value
        return _shift(draft, bits, product, k) if k else product

    if (m, k) == (1, 0):
        return f"{v} + i"
    return f"{leak(v)} + i" if node.leak_order == "before" else leak(f"({v} + i)")


def _keep(draft: Draft, node: Neuron, bits: int, place: str, stored: str, left: str) -> list[str]:
    """Return the statements that keep what is left of the potential after the reset."""
    if not isinstance(node, FewBitNeuron):
        return [f"{place} = ({stored})({left});"]
    low, high = map(integer, node.codes)
    code = _shift(draft, bits, f"h + {node.half}", node.kept_shift) if node.kept_shift else "h"
    return [f"h = {left};", f"h = {code};", f"{place} = ({stored})(h < {low} ? {low} : h > {high} ? {high} : h);"]


def _rest(draft: Draft, node: Neuron, potential: str, stored: str) -> str:
    """Return the statement that sets the potential before the first step."""
    if not node.initial.any():
        return f"memset(s->{potential}, 0, sizeof s->{potential});"
    initial = node.stored(node.initial) if isinstance(node, FewBitNeuron) else node.initial
    value = parameter(draft, node, "initial", initial)
    plane = math.prod(node.shape[1:])
    each = f"s->{potential}[c * {plane} + p] = ({stored}){value};"
    return f"for (c = 0; c < {node.shape[0]}; c++) for (p = 0; p < {plane}; p++) {each}"


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
