"""The nodes without gains as C: layers with weights, windows, and what only moves integers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bitspike.formats.c import runtime as c_runtime
from bitspike.formats.c.draft import Draft, function, loops, title
from bitspike.formats.c.layout import Action
from bitspike.formats.c.text import integer, plain
from bitspike.formats.c.types import work_bits
from bitspike.integer import nodes
from bitspike.integer.nodes import Node, Shape

LAYERS = (
    nodes.Concat, nodes.Convolution, nodes.CountMaxPool, nodes.Linear, nodes.MaxPool, nodes.Pad, nodes.SumPool,
    nodes.Transpose, nodes.TransposedConvolution, nodes.Upsample,
)  # fmt: skip
"""What :func:`layer` writes."""


def layer(draft: Draft, node: Node) -> list[str]:
    """Write a layer without gains; return the statement that runs it."""
    match node:
        case nodes.Linear():
            return linear(draft, node)
        case nodes.Convolution() | nodes.TransposedConvolution():
            return convolution(draft, node)
        case nodes.SumPool() | nodes.MaxPool() | nodes.CountMaxPool():
            return pool(draft, node)
        case nodes.Concat():
            return concat(draft, node)
        case nodes.Upsample() | nodes.Pad() | nodes.Transpose():
            return moved(draft, node)
    raise AssertionError(f"{type(node).__name__} was let through")


def _weights(draft: Draft, node: nodes.Weighted, order: str) -> str:
    """Write the packed codes of a node and return the name of the struct that points to them."""
    symbol, packed = draft.symbol(node), draft.packed[node.id]
    kind = "uint8_t" if packed.levels else f"int{packed.bits}_t"
    before = draft.tables.size
    stored = f"{packed.bits} bits each, " + ("indices of levels" if packed.levels else "two's complement")
    note = f"{plain(node.path)}: weight codes {order}, {stored}"
    codes = draft.tables.add(f"codes_{symbol}", packed.data, note, ctype=kind)
    draft.weight_bytes += draft.tables.size - before
    levels = "0"
    if packed.levels:
        values = np.array(packed.levels)
        levels = draft.tables.add(f"levels_{symbol}", values, "the codes that indices stand for", ctype="int16_t")
    draft.objects.append(f"static const ROM struct weights weights_{symbol} = {{{codes}, {levels}, {packed.bits}}};\n")
    draft.tables.size += 12
    draft.runtime["weights"] = c_runtime.WEIGHTS
    return f"weights_{symbol}"


def linear(draft: Draft, node: nodes.Linear) -> list[str]:
    """Write a linear layer; its codes are stored by input, so that what one input meets lies together."""
    x, a = draft.type(node.sources[0]), draft.type(node.id)
    weights = _weights(draft, node, f"[{node.weight.codes.shape[1]} in][{node.shape[0]} out]")
    draft.runtime[f"linear_{x}_{a}"] = c_runtime.typed(c_runtime.LINEAR, x, a)
    sizes = f"{node.weight.codes.shape[1]}, {node.shape[0]}"
    source, out = draft.wire(node.sources[0]), draft.wire(node.id)
    return [f"linear_{c_runtime.call(x, a)}(&{weights}, {sizes}, {source}, {out});"]


def convolution(draft: Draft, node: nodes.Convolution | nodes.TransposedConvolution) -> list[str]:
    """Write a convolution or a transposed one: codes, shape, and a call of the runtime."""
    x, a, symbol = draft.type(node.sources[0]), draft.type(node.id), draft.symbol(node)
    transposed = isinstance(node, nodes.TransposedConvolution)
    codes = node.weight.codes
    inside = draft.net[node.sources[0]].shape
    kernel = codes.shape[2:]
    draft.taps = max(draft.taps, math.prod(kernel))
    weights = _weights(draft, node, f"{list(codes.shape)}, " + ("in first" if transposed else "out first"))
    shared = [math.gcd(s, d) for s, d in zip(node.stride, node.dilation, strict=True)]
    out_step = [d if transposed else d // g for d, g in zip(node.dilation, shared, strict=True)]
    tap_step = [1 if transposed else -(s // g) for s, g in zip(node.stride, shared, strict=True)]
    rows = (
        (inside[1:], 1), (node.shape[1:], 1), (kernel, 1), (node.stride, 1), (node.padding, 0), (node.dilation, 1),
        (out_step, 1), (tap_step, 1),
    )  # fmt: skip
    axes = ", ".join(_three(values, missing) for values, missing in rows)
    lead = f"{node.groups}, {inside[0] // node.groups}, {node.shape[0] // node.groups}, {int(transposed)}"
    draft.objects.append(
        f"/* {title(node)} */\nstatic const ROM struct convolution shape_{symbol} = {{{lead}, {axes}}};\n"
    )
    draft.tables.size += 112
    draft.runtime["convolution"] = c_runtime.CONVOLUTION
    draft.runtime[f"spread_{a}"] = c_runtime.typed(c_runtime.SPREAD, x, a)
    draft.runtime[f"convolve_{x}_{a}"] = c_runtime.typed(c_runtime.CONVOLVE, x, a)
    source, out = draft.wire(node.sources[0]), draft.wire(node.id)
    return [f"convolve_{c_runtime.call(x, a)}(&shape_{symbol}, &{weights}, {source}, {out});"]


def _three(values: Sequence[int], missing: int) -> str:
    filled = [*[missing] * (3 - len(values)), *values]
    return "{" + ", ".join(map(str, filled)) + "}"


def pool(draft: Draft, node: nodes.Pool) -> list[str]:
    """Write a pool as loops over its windows."""
    symbol, source = draft.symbol(node), draft.net[node.sources[0]]
    ctype, work, low = draft.type(node.id), f"int{work_bits(draft.bounds[node.id])}_t", 0
    before, after, read = [], [f"out[k++] = ({ctype})value;"], "x0"
    update = "value += {x};" if isinstance(node, nodes.SumPool) else "if ({x} > value) value = {x};"
    if isinstance(node, nodes.MaxPool):
        low = draft.bounds[source.id].wire.span[0]
    if isinstance(node, nodes.CountMaxPool):
        bounds, size = draft.bounds[node.id].state, math.prod(source.shape)
        low, counts, largest, read = bounds[0], f"counts_{symbol}", f"largest_{symbol}", f"s->counts_{symbol}"
        stored = draft.member(bounds, counts, size, f"running counts in front of {plain(node.path)}")
        draft.member(bounds, largest, math.prod(node.shape), f"largest counts of {plain(node.path)} so far")
        draft.resets += [f"memset(s->{name}, 0, sizeof s->{name});" for name in (counts, largest)]
        before = [f"    for (i = 0; i < {size}; i++) s->{counts}[i] = ({stored})(s->{counts}[i] + x0[i]);"]
        after = [f"out[k] = ({ctype})(value - s->{largest}[k]);", f"s->{largest}[k++] = ({stored})value;"]
    padded = (
        "{ if (value < 0) value = 0; continue; }" if isinstance(node, nodes.CountMaxPool) and low < 0 else "continue;"
    )
    dims = len(node.kernel)
    outer = [("c", node.shape[0]), *[(f"o{a}", n) for a, n in enumerate(node.shape[1:])]]
    inner, index = _window(node, source.shape, padded)
    lines = [f"{work} value = {integer(low)};", *inner]
    lines.append("    " * dims + update.format(x=f"{read}[{index}]"))
    lines += ["    " * a + "}" for a in reversed(range(dims))]
    names = ", ".join(["c", *[f"o{a}, k{a}, i{a}" for a in range(dims)], "k = 0", *["i"] * bool(before)])
    body = [f"    int32_t {names};", *before, *loops(outer, [*lines, *after])]
    return function(draft, node, f"pool_{symbol}", body, out=draft.wire(node.id))


def _window(node: nodes.Pool, shape: Shape, padded: str) -> tuple[list[str], str]:
    """Return the heads of the loops over a window, and the flat index of what they reach."""
    lines, index = [], "c"
    for a, (n, kernel, stride, padding) in enumerate(
        zip(shape[1:], node.kernel, node.stride, node.padding, strict=True)
    ):
        lines.append("    " * a + f"for (k{a} = 0; k{a} < {kernel}; k{a}++) {{")
        lines.append("    " * (a + 1) + f"i{a} = o{a} * {stride} + k{a} - {padding};")
        if padding:
            lines.append("    " * (a + 1) + f"if (i{a} < 0 || i{a} >= {n}) {padded}")
        index = f"({index}) * {n} + i{a}" if a else f"c * {n} + i{a}"
    return lines, index


def concat(draft: Draft, node: nodes.Concat) -> list[str]:
    """Write the copies that join wires along the channels."""
    ctype, body = draft.type(node.id), ["    uint32_t k;"]
    start = 0
    for i, id in enumerate(node.sources):
        size = math.prod(draft.net[id].shape)
        body.append(f"    for (k = 0; k < {size}; k++) out[{start} + k] = ({ctype})x{i}[k];")
        start += size
    return function(draft, node, f"concat_{draft.symbol(node)}", body, out=draft.wire(node.id))


def moved(draft: Draft, node: nodes.Upsample | nodes.Pad | nodes.Transpose) -> list[str]:
    """Write the loop that reads every integer of the output from its place in the source."""
    shape, ctype = draft.net[node.sources[0]].shape, draft.type(node.id)
    axes = [(f"o{a}", n) for a, n in enumerate(node.shape)]
    where, inside = [name for name, _ in axes], []
    if isinstance(node, nodes.Transpose):
        where = [f"o{node.axes.index(a)}" for a in range(len(shape))]
    for a in range(1, len(shape)):
        if isinstance(node, nodes.Upsample) and node.factors[a - 1] > 1:
            where[a] = f"o{a} / {node.factors[a - 1]}"
        if isinstance(node, nodes.Pad) and (before := node.before[a - 1]):
            where[a] = f"(o{a} - {before})" if before > 0 else f"(o{a} + {-before})"
        if isinstance(node, nodes.Pad):
            inside += [f"{where[a]} >= 0"] * (node.before[a - 1] > 0) + [f"{where[a]} < {shape[a]}"] * (
                node.after[a - 1] > 0
            )
    index = where[0]
    for a in range(1, len(shape)):
        index = f"({index}) * {shape[a]} + {where[a]}" if a > 1 else f"{index} * {shape[a]} + {where[a]}"
    value = f"{' && '.join(inside)} ? x0[{index}] : 0" if inside else f"x0[{index}]"
    body = [
        f"    int32_t {', '.join(name for name, _ in axes)}, k = 0;",
        *loops(axes, [f"out[k++] = ({ctype})({value});"]),
    ]
    return function(draft, node, f"move_{draft.symbol(node)}", body, out=draft.wire(node.id))


def burst(draft: Draft, action: Action, node: nodes.Burst) -> list[str]:
    """Write one half of a burst: it sums up its source in one phase and sends the sum in a later one."""
    size, symbol = math.prod(node.shape), draft.symbol(node)
    own = draft.layout.addresses[node.id]
    kept = draft.layout.sums.get(node.id, own)
    ctype = f"int{kept.bits}_t"
    if action.kind == "gather":
        source = node.sources[0]
        name = f"gather_{symbol}"
        draft.functions.append(
            f"/* {title(node)}: the sum over all steps */\n"
            f"static void {name}(uint32_t t, const {draft.type(source)} *x0, {ctype} *sum)\n{{\n    uint32_t k;\n"
            f"    for (k = 0; k < {size}; k++) sum[k] = ({ctype})(t == 0 ? x0[k] : sum[k] + x0[k]);\n}}\n"
        )
        return [f"{name}(t, {draft.wire(source)}, {draft.at(kept)});"]
    draft.functions.append(
        f"/* {title(node)}: nothing after the first step */\n"
        f"static void clear_{symbol}({ctype} *x)\n{{\n    uint32_t k;\n"
        f"    for (k = 0; k < {size}; k++) x[k] = 0;\n}}\n"
    )
    if action.kind == "clear":
        return [f"if (t == 1) clear_{symbol}({draft.at(own)});"]
    return [
        f"if (t == 0) memcpy({draft.at(own)}, {draft.at(kept)}, {size} * sizeof({ctype}));",
        f"else clear_{symbol}({draft.at(own)});",
    ]
