"""The header of a C program: its sizes, its state, its functions."""

from __future__ import annotations

import math

from bitspike.formats.c.draft import Draft, title
from bitspike.formats.c.host import packing_of, prototype
from bitspike.formats.c.memory import CMemory, members
from bitspike.formats.c.text import MARK, integer, plain
from bitspike.integer.network import IntegerNetwork


def arguments(net: IntegerNetwork) -> str:
    """Return the parameters that take the outputs, one array of int64_t for each read-out."""
    return ", ".join(f"int64_t *out_{node.id}" for node in net.outputs)


def header(draft: Draft, memory: CMemory, bursts: tuple[str, ...]) -> str:
    """Return the text of ``NAME.h``; ``bursts`` are the paths of the nodes that need all steps at once."""
    net, name = draft.net, draft.name
    upper, entry = name.upper(), draft.net.input
    per_step = math.prod(entry.shape)
    reading = "the same codes at every step" if entry.constant else f"[{net.steps}] steps of codes"
    sizes = [f"#define {upper}_OUT_{o.id} {math.prod(o.shape)} /* {title(o)} */" for o in net.outputs]
    state = "\n".join(f"    {m.ctype} {m.declared}; /* {m.note} */" for m in members(draft))
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
        state,
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
    packing = packing_of(net)
    lines = [
        *(prototype(packing, name) if packing is not None else []),
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
