"""A network as the text of ``NAME.h`` and ``NAME.c``, and how much memory it needs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from bitspike.formats.c import runtime as c_runtime
from bitspike.formats.c.draft import Draft, Member, title
from bitspike.formats.c.layout import lay_out
from bitspike.formats.c.nodes import KNOWN, write
from bitspike.formats.c.text import integer, plain
from bitspike.formats.c.types import bounds_of, type_bits
from bitspike.formats.c.weights import Packed, pack
from bitspike.formats.refuse import refuse
from bitspike.integer.bounds.widths import Bounds
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import (
    Convolution,
    Input,
    Integers,
    Linear,
    MaxPool,
    Neuron,
    Node,
    Readout,
    Reshape,
    Slice,
    TransposedConvolution,
    Weighted,
)

MARK = "Written by Bitspike"
"""Stands in the first line of every file, so that a later export knows what it may replace."""


@dataclass(frozen=True)
class CMemory:
    """The memory that a C program of a network needs, in bytes.

    Args:
        weights: weight codes, packed, in flash.
        tables: everything else that is constant: thresholds, biases, gains, shapes; in flash, pointers of 4 bytes.
        state: the struct that the caller owns, in RAM.
        stack: local arrays of the deepest call.
    """

    weights: int
    tables: int
    state: int
    stack: int

    def __str__(self) -> str:
        flash = f"{self.weights + self.tables} bytes of constants ({self.weights} of them weight codes)"
        return f"{flash}, {self.state} bytes of state, {self.stack} bytes of local arrays"


@dataclass(frozen=True)
class Program:
    """The two files that a firmware needs.

    Args:
        name: begins every name that leaves the files.
        header, source: their texts.
        memory: what they need.
        input_type: of one input code.
        bursts: paths of the nodes that need all steps at once; with any, there is no door for single steps.
    """

    name: str
    header: str
    source: str
    memory: CMemory
    input_type: str
    bursts: tuple[str, ...]


def program(net: IntegerNetwork, name: str) -> Program:
    """Return a network as C.

    Raises:
        ExportError: C cannot hold some of its nodes; all of them are named.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> print(program(one_convolution(), "network").memory)
        134 bytes of constants (4 of them weight codes), 68 bytes of state, 1572 bytes of local arrays
    """
    bounds = bounds_of(net)
    packed = {n.id: found for n in net.weighted if (found := pack(n.weight, _order(n)))}
    refuse("C", net, _problems(net, bounds, packed), fix="leave these parts to the host, or choose another format")
    draft = Draft(net, bounds, lay_out(net, bounds), packed, _input_type(net.input), name)
    phases = [[line for action in phase for line in write(draft, action)] for phase in draft.layout.phases]
    bursts = tuple(n.path for n in net.nodes if n.memory == "all")
    memory = _memory(draft)
    header = _header(draft, memory, bursts)
    return Program(name, header, _source(draft, phases, memory, bursts), memory, draft.input_type, bursts)


def _order(node: Weighted) -> Integers:
    """Return a node's codes in the order in which they are stored: what one input meets lies together."""
    return node.weight.codes.T if isinstance(node, Linear) else node.weight.codes


def _input_type(node: Input) -> str:
    """Return the smallest type of C that holds a code; without a sign where none is below 0."""
    if node.grid.low >= 0:
        for bits in (8, 16):
            if node.grid.high < 1 << bits:
                return f"uint{bits}_t"
    return f"int{type_bits((node.grid.low, node.grid.high))}_t"


def _problems(net: IntegerNetwork, bounds: dict[str, Bounds], packed: dict[str, Packed]) -> list[tuple[Node, str]]:
    """Return every node that cannot be written, with the reason."""
    found: list[tuple[Node, str]] = [(n, "a program reads one input") for n in net.inputs[1:]]
    for node in net.nodes:
        if not isinstance(node, KNOWN):
            found.append((node, f"a {type(node).__name__} is not known"))
        if math.prod(node.shape) * net.steps >= 2**31:
            found.append((node, "more than 2**31 integers over all steps"))
        if isinstance(node, Convolution | TransposedConvolution):
            if not 1 <= len(node.stride) <= 3:
                found.append((node, f"{len(node.stride)} axes; 1 to 3 are possible"))
            if min(node.padding, default=0) < 0:
                found.append((node, f"padding {node.padding}; at least 0 is possible"))
            if type_bits(bounds[node.sources[0]].wire.span) > 32:
                found.append((node, "it reads integers of more than 32 bits"))
        if isinstance(node, Linear | Convolution | TransposedConvolution):
            if node.id not in packed:
                found.append((node, "weight codes of more than 32 bits"))
            elif node.weight.codes.size * packed[node.id].bits >= 2**32:
                found.append((node, "more than 2**32 bits of weight codes"))
        if isinstance(node, MaxPool) and not _windows_see(node, net[node.sources[0]]):
            found.append((node, "a window that sees only padding has no largest value"))
    return found


def _windows_see(node: MaxPool, source: Node) -> bool:
    """Tell whether every window holds at least one integer of the source."""
    axes = zip(source.shape[1:], node.shape[1:], node.kernel, node.stride, node.padding, strict=True)
    return all(o * s - p + k > 0 and o * s - p < n for n, made, k, s, p in axes for o in range(made))


# --- memory ------------------------------------------------------------------------------------------------------


def _members(draft: Draft) -> list[Member]:
    """Return the state's arrays, the widest integers first, so that no gaps lie between them."""
    wires = [
        Member(f"int{bits}_t", f"wires{bits}", size, "wires of one step; those of different moments share it")
        for bits, size in draft.layout.arenas.items()
    ]
    counter = Member("uint32_t", "step", 1, "steps done", single=True)
    return sorted([*draft.members, *wires, counter], key=lambda m: -_width(m.ctype))


def _width(ctype: str) -> int:
    return int(re.sub(r"\D", "", ctype)) // 8


def _memory(draft: Draft) -> CMemory:
    members = _members(draft)
    size, widest = sum(_width(m.ctype) * m.size for m in members), max(_width(m.ctype) for m in members)
    stack = 0
    if any(name.startswith("linear") for name in draft.runtime):
        stack = 4 * c_runtime.SOME
    if "convolution" in draft.runtime:
        stack = max(stack, c_runtime.EVENT_BYTES * c_runtime.SOME + 4 * draft.taps)
    return CMemory(draft.weight_bytes, draft.tables.size - draft.weight_bytes, -(-size // widest) * widest, stack)


# --- the header --------------------------------------------------------------------------------------------------


def arguments(net: IntegerNetwork) -> str:
    """Return the parameters that take the outputs, one array of int64_t for each read-out."""
    return ", ".join(f"int64_t *out_{node.id}" for node in net.outputs)


def _header(draft: Draft, memory: CMemory, bursts: tuple[str, ...]) -> str:
    net, name = draft.net, draft.name
    upper, entry = name.upper(), draft.net.input
    per_step = math.prod(entry.shape)
    reading = "the same codes at every step" if entry.constant else f"[{net.steps}] steps of codes"
    sizes = [f"#define {upper}_OUT_{o.id} {math.prod(o.shape)} /* {title(o)} */" for o in net.outputs]
    members = "\n".join(f"    {m.ctype} {m.declared}; /* {m.note} */" for m in _members(draft))
    lines = [
        f"/* {MARK}: a spiking network in integers, {net.steps} steps. Do not edit.",
        " *",
        f" * {memory}.",
        " * Integers only: no floats, no memory is asked for, nothing is shared between two states.",
        " */",
        f"#ifndef {upper}_H",
        f"#define {upper}_H",
        "",
        "#include <stdint.h>",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        f"#define {upper}_STEPS {net.steps}",
        f"#define {upper}_INPUT_CONSTANT {int(entry.constant)} /* {reading} */",
        f"#define {upper}_INPUT_SIZE {per_step} /* codes of one step: {list(entry.shape)} */",
        f"#define {upper}_INPUT_LOW {integer(entry.grid.low)} /* codes outside this range give wrong sums */",
        f"#define {upper}_INPUT_HIGH {integer(entry.grid.high)}",
        *sizes,
        f"#define {upper}_STEPWISE {int(not bursts)} /* whether there is a door for single steps */",
        "",
        f"typedef {draft.input_type} {name}_input;",
        "",
        f"/* Everything that changes; {memory.state} bytes. The caller owns it and need not prepare it. */",
        f"typedef struct {name}_state {{",
        members,
        f"}} {name}_state;",
        "",
        *_prototypes(draft, bursts),
        f"#ifdef {upper}_OBSERVER",
        "/* Written by the caller: is shown the spikes of every neuron layer at every step. */",
        f"void {name}_observer(uint32_t neuron, uint32_t step, const int8_t *spikes);",
        "#endif",
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def _prototypes(draft: Draft, bursts: tuple[str, ...]) -> list[str]:
    net, name = draft.net, draft.name
    outs, constant = arguments(net), net.input.constant
    layout = "" if constant else "step by step, "
    lines = [
        f"/* Run all steps on one sample of codes, {layout}the last axis fastest. */",
        f"void {name}_run({name}_state *s, const {name}_input *input, {outs});",
        "",
    ]
    if bursts:
        why = ", ".join(plain(path) for path in bursts)
        return [*lines, f"/* There is no door for single steps: {why} needs all steps of what it reads. */", ""]
    same = ": the same ones at every step" if constant else ""
    return [
        *lines,
        "/* The same step by step: reset, then at most STEPS steps; read may be called after any of them. */",
        f"void {name}_reset({name}_state *s);",
        f"/* Run one step on its codes{same}; returns 0, or 1 if all steps are done and nothing happened. */",
        f"int {name}_step({name}_state *s, const {name}_input *input);",
        f"void {name}_read(const {name}_state *s, {outs});",
        "",
    ]


# --- the source --------------------------------------------------------------------------------------------------


def _source(draft: Draft, phases: list[list[str]], memory: CMemory, bursts: tuple[str, ...]) -> str:
    name, upper = draft.name, draft.name.upper()
    rows = [f" *   {title(n)}: {_says(draft, n)}" for n in draft.net.nodes if not isinstance(n, Reshape | Slice)]
    head = [
        f"/* {MARK}: a spiking network in integers. Do not edit.",
        " *",
        f" * {memory}.",
        " * What no input can leave, worked out by interval arithmetic; it chose the types:",
        *rows,
        " */",
        f'#include "{name}.h"',
        "",
        "#include <string.h>",
        "",
        f"#ifdef {upper}_OBSERVER",
        f"#define OBSERVE(neuron, step, spikes) {name}_observer(neuron, step, spikes)",
        "#else",
        "#define OBSERVE(neuron, step, spikes) ((void)(step))",
        "#endif",
        "",
        f"#define SOME {c_runtime.SOME} /* inputs that are worked on together */",
        f"#define TAPS {draft.taps} /* of the largest kernel */",
        "",
    ]
    order = sorted(draft.runtime, key=lambda key: next(i for i, k in enumerate(_RUNTIME) if key.startswith(k)))
    runtime = [draft.runtime[key] for key in order]
    body = [*runtime, *draft.tables.texts, *draft.objects, *draft.functions]
    return "\n".join(head) + "\n" + "\n".join(body) + "\n" + _entry(draft, phases, bursts)


_RUNTIME = ("shift", "weights", "convolution", "spread", "linear", "convolve")


def _says(draft: Draft, node: Node) -> str:
    found = draft.bounds[node.id]
    span = f"sums {found.work[0]} to {found.work[1]}"
    if isinstance(node, Neuron | Readout):
        kept = "potential" if isinstance(node, Neuron) else "total"
        return f"{span}, {kept} {found.state[0]} to {found.state[1]}"
    return "{} to {}".format(*found.wire.span)


def _entry(draft: Draft, phases: list[list[str]], bursts: tuple[str, ...]) -> str:
    """Return the phases and the functions of the header."""
    net, name = draft.net, draft.name
    outs, linkage = arguments(net), "static " if bursts else ""
    texts = []
    for number, lines in enumerate(phases):
        body = "\n".join(f"    {line}" for line in lines)
        unused = "".join(
            f"    (void){word};\n" for word in ("s", "x", "t") if not re.search(rf"(?<!\w){word}(?!\w)", body)
        )
        what = "one step of the network" if len(phases) == 1 else f"one step of phase {number}"
        texts.append(
            f"/* {what[0].upper()}{what[1:]}. */\n"
            f"static void phase{number}({name}_state *s, const {name}_input *x, uint32_t t)\n{{\n{unused}{body}\n}}\n"
        )
    loops = [line for line in draft.resets if line.startswith("for")]
    declared = ["uint32_t c, p;"] if loops else []
    reset = "\n".join(f"    {line}" for line in [*declared, *draft.resets, "s->step = 0;"])
    texts.append(f"{linkage}void {name}_reset({name}_state *s)\n{{\n{reset}\n}}\n")
    if not bursts:
        texts.append(
            f"int {name}_step({name}_state *s, const {name}_input *input)\n{{\n"
            f"    if (s->step >= {net.steps}) return 1;\n"
            "    phase0(s, input, s->step);\n    s->step++;\n    return 0;\n}\n"
        )
    read = ["    uint32_t k;"]
    for node in net.outputs:
        total = f"s->total_{draft.symbol(node)}"
        read.append(f"    for (k = 0; k < {math.prod(node.shape)}; k++) out_{node.id}[k] = {total}[k];")
    texts.append(f"{linkage}void {name}_read(const {name}_state *s, {outs})\n{{\n" + "\n".join(read) + "\n}\n")
    step = "" if net.input.constant else f" + t * {math.prod(net.input.shape)}"
    run = ["    uint32_t t;", f"    {name}_reset(s);"]
    run += [f"    for (t = 0; t < {net.steps}; t++) phase{i}(s, input{step}, t);" for i in range(len(phases))]
    run += [f"    s->step = {net.steps};", f"    {name}_read(s, {', '.join(f'out_{n.id}' for n in net.outputs)});"]
    signature = f"void {name}_run({name}_state *s, const {name}_input *input, {outs})"
    texts.append(f"{signature}\n{{\n" + "\n".join(run) + "\n}\n")
    return "\n" + "\n".join(texts)
