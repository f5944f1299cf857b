"""The nodes without gains as C: layers with weights, windows, and what only moves integers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bitspike.formats.c import runtime as c_runtime
from bitspike.formats.c.parts import Parts, function, loops, title
from bitspike.formats.c.plan import Action
from bitspike.formats.c.text import integer, plain
from bitspike.formats.c.types import work_bits
from bitspike.integer.nodes import (
    Burst,
    Concat,
    Convolution,
    CountMaxPool,
    Linear,
    MaxPool,
    Pad,
    Shape,
    SumPool,
    Transpose,
    TransposedConvolution,
    Upsample,
)


def _weights(parts: Parts, node: Linear | Convolution | TransposedConvolution, order: str) -> str:
    """Write the packed codes of a node and return the name of the struct that describes them."""
    symbol, packed = parts.symbol(node), parts.packed[node.id]
    kind = "uint8_t" if packed.levels else f"int{packed.bits}_t"
    before = parts.tables.size
    stored = f"{packed.bits} bits each, " + ("indices of levels" if packed.levels else "two's complement")
    note = f"{plain(node.path)}: weight codes {order}, {stored}"
    codes = parts.tables.add(f"codes_{symbol}", packed.data, note, ctype=kind)
    parts.weight_bytes += parts.tables.size - before
    levels = "0"
    if packed.levels:
        values = np.array(packed.levels)
        levels = parts.tables.add(f"levels_{symbol}", values, "the codes that indices stand for", ctype="int16_t")
    parts.objects.append(f"static const struct weights weights_{symbol} = {{{codes}, {levels}, {packed.bits}}};\n")
    parts.tables.size += 12
    parts.runtime["weights"] = c_runtime.WEIGHTS
    return f"weights_{symbol}"


def linear(parts: Parts, node: Linear) -> list[str]:
    """Write a linear layer; its codes are stored by input, so that what one input meets lies together."""
    x, a = parts.type(node.sources[0]), parts.type(node.id)
    weights = _weights(parts, node, f"[{node.weight.codes.shape[1]} in][{node.shape[0]} out]")
    parts.runtime[f"linear_{x}_{a}"] = c_runtime.linear(x, a)
    sizes = f"{node.weight.codes.shape[1]}, {node.shape[0]}"
    source, out = parts.wire(node.sources[0]), parts.wire(node.id)
    return [f"linear_{c_runtime.call(x, a)}(&{weights}, {sizes}, {source}, {out});"]


def convolution(parts: Parts, node: Convolution | TransposedConvolution) -> list[str]:
    """Write a convolution or a transposed one: codes, shape, and a call of the runtime."""
    x, a, symbol = parts.type(node.sources[0]), parts.type(node.id), parts.symbol(node)
    transposed = isinstance(node, TransposedConvolution)
    codes = node.weight.codes
    inside = parts.net[node.sources[0]].shape
    kernel = codes.shape[2:]
    parts.taps = max(parts.taps, math.prod(kernel))
    weights = _weights(parts, node, f"{list(codes.shape)}, " + ("in first" if transposed else "out first"))
    shared = [math.gcd(s, d) for s, d in zip(node.stride, node.dilation, strict=True)]
    out_step = [d if transposed else d // g for d, g in zip(node.dilation, shared, strict=True)]
    tap_step = [1 if transposed else -(s // g) for s, g in zip(node.stride, shared, strict=True)]
    rows = (
        (inside[1:], 1), (node.shape[1:], 1), (kernel, 1), (node.stride, 1), (node.padding, 0), (node.dilation, 1),
        (out_step, 1), (tap_step, 1),
    )  # fmt: skip
    axes = ", ".join(_three(values, missing) for values, missing in rows)
    lead = f"{node.groups}, {inside[0] // node.groups}, {node.shape[0] // node.groups}, {int(transposed)}"
    parts.objects.append(f"/* {title(node)} */\nstatic const struct convolution shape_{symbol} = {{{lead}, {axes}}};\n")
    parts.tables.size += 112
    parts.runtime["convolution"] = c_runtime.CONVOLUTION
    parts.runtime[f"spread_{a}"] = c_runtime.spread(a)
    parts.runtime[f"convolve_{x}_{a}"] = c_runtime.convolve(x, a)
    source, out = parts.wire(node.sources[0]), parts.wire(node.id)
    return [f"convolve_{c_runtime.call(x, a)}(&shape_{symbol}, &{weights}, {source}, {out});"]


def _three(values: Sequence[int], missing: int) -> str:
    filled = [*[missing] * (3 - len(values)), *values]
    return "{" + ", ".join(map(str, filled)) + "}"


def pool(parts: Parts, node: SumPool | MaxPool | CountMaxPool) -> list[str]:
    """Write a pool as loops over its windows."""
    symbol, source = parts.symbol(node), parts.net[node.sources[0]]
    ctype, work, low = parts.type(node.id), f"int{work_bits(parts.bounds[node.id])}_t", 0
    before, after, read = [], [f"out[k++] = ({ctype})value;"], "x0"
    update = "value += {x};" if isinstance(node, SumPool) else "if ({x} > value) value = {x};"
    if isinstance(node, MaxPool):
        low = parts.bounds[source.id].wire.span[0]
    if isinstance(node, CountMaxPool):
        bounds, size = parts.bounds[node.id].state, math.prod(source.shape)
        low, counts, largest, read = bounds[0], f"counts_{symbol}", f"largest_{symbol}", f"s->counts_{symbol}"
        stored = parts.member(bounds, counts, size, f"running counts in front of {plain(node.path)}")
        parts.member(bounds, largest, math.prod(node.shape), f"largest counts of {plain(node.path)} so far")
        parts.resets += [f"memset(s->{name}, 0, sizeof s->{name});" for name in (counts, largest)]
        before = [f"    for (i = 0; i < {size}; i++) s->{counts}[i] = ({stored})(s->{counts}[i] + x0[i]);"]
        after = [f"out[k] = ({ctype})(value - s->{largest}[k]);", f"s->{largest}[k++] = ({stored})value;"]
    padded = "{ if (value < 0) value = 0; continue; }" if isinstance(node, CountMaxPool) and low < 0 else "continue;"
    dims = len(node.kernel)
    outer = [("c", node.shape[0]), *[(f"o{a}", n) for a, n in enumerate(node.shape[1:])]]
    inner, index = _window(node, source.shape, padded)
    lines = [f"{work} value = {integer(low)};", *inner]
    lines.append("    " * dims + update.format(x=f"{read}[{index}]"))
    lines += ["    " * a + "}" for a in reversed(range(dims))]
    names = ", ".join(["c", *[f"o{a}, k{a}, i{a}" for a in range(dims)], "k = 0", *["i"] * bool(before)])
    body = [f"    int32_t {names};", *before, *loops(outer, [*lines, *after])]
    return function(parts, node, f"pool_{symbol}", body, out=parts.wire(node.id))


def _window(node: SumPool | MaxPool | CountMaxPool, shape: Shape, padded: str) -> tuple[list[str], str]:
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


def concat(parts: Parts, node: Concat) -> list[str]:
    """Write the copies that put wires side by side."""
    ctype, body = parts.type(node.id), ["    uint32_t k;"]
    start = 0
    for i, id in enumerate(node.sources):
        size = math.prod(parts.net[id].shape)
        body.append(f"    for (k = 0; k < {size}; k++) out[{start} + k] = ({ctype})x{i}[k];")
        start += size
    return function(parts, node, f"concat_{parts.symbol(node)}", body, out=parts.wire(node.id))


def moved(parts: Parts, node: Upsample | Pad | Transpose) -> list[str]:
    """Write the loop that reads every integer of the output from its place in the source."""
    shape, ctype = parts.net[node.sources[0]].shape, parts.type(node.id)
    axes = [(f"o{a}", n) for a, n in enumerate(node.shape)]
    where, inside = [name for name, _ in axes], []
    if isinstance(node, Transpose):
        where = [f"o{node.axes.index(a)}" for a in range(len(shape))]
    for a in range(1, len(shape)):
        if isinstance(node, Upsample) and node.factors[a - 1] > 1:
            where[a] = f"o{a} / {node.factors[a - 1]}"
        if isinstance(node, Pad) and (before := node.before[a - 1]):
            where[a] = f"(o{a} - {before})" if before > 0 else f"(o{a} + {-before})"
        if isinstance(node, Pad):
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
    return function(parts, node, f"move_{parts.symbol(node)}", body, out=parts.wire(node.id))


def burst(parts: Parts, action: Action, node: Burst) -> list[str]:
    """Write one of the two halves of a burst: what it gathers in one phase, what it hands out in a later one."""
    size, symbol = math.prod(node.shape), parts.symbol(node)
    own = parts.plan.places[node.id]
    kept = parts.plan.sums.get(node.id, own)
    ctype = f"int{kept.bits}_t"
    if action.kind == "gather":
        source = node.sources[0]
        name = f"gather_{symbol}"
        parts.functions.append(
            f"/* {title(node)}: the sum over all steps */\n"
            f"static void {name}(uint32_t t, const {parts.type(source)} *x0, {ctype} *sum)\n{{\n    uint32_t k;\n"
            f"    for (k = 0; k < {size}; k++) sum[k] = ({ctype})(t == 0 ? x0[k] : sum[k] + x0[k]);\n}}\n"
        )
        return [f"{name}(t, {parts.wire(source)}, {parts.at(kept)});"]
    parts.functions.append(
        f"/* {title(node)}: nothing after the first step */\n"
        f"static void clear_{symbol}({ctype} *x)\n{{\n    uint32_t k;\n"
        f"    for (k = 0; k < {size}; k++) x[k] = 0;\n}}\n"
    )
    if action.kind == "clear":
        return [f"if (t == 1) clear_{symbol}({parts.at(own)});"]
    return [
        f"if (t == 0) memcpy({parts.at(own)}, {parts.at(kept)}, {size} * sizeof({ctype}));",
        f"else clear_{symbol}({parts.at(own)});",
    ]
