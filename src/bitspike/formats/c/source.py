"""The source of a C program: runtime, tables, functions of the nodes, and the functions of the header."""

from __future__ import annotations

import math
import re

from bitspike.formats.c import runtime as c_runtime
from bitspike.formats.c.draft import Draft, title
from bitspike.formats.c.header import arguments
from bitspike.formats.c.host import function, packing_of
from bitspike.formats.c.memory import CMemory
from bitspike.formats.c.text import MARK
from bitspike.integer.nodes import Neuron, Node, Readout, Reshape, Slice


def source(draft: Draft, phases: list[list[str]], memory: CMemory, bursts: tuple[str, ...]) -> str:
    """Return the text of ``NAME.c``; ``phases`` are the statements of one step of each phase."""
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
        "#ifndef ROM /* a word that keeps a table in flash, where const alone would take RAM */",
        "#ifdef __FLASH /* avr-gcc has one */",
        "#define ROM __flash",
        "#else",
        "#define ROM",
        "#endif",
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
    bounds = draft.bounds[node.id]
    span = f"sums {bounds.work[0]} to {bounds.work[1]}"
    if isinstance(node, Neuron | Readout):
        kept = "potential" if isinstance(node, Neuron) else "total"
        return f"{span}, {kept} {bounds.state[0]} to {bounds.state[1]}"
    return "{} to {}".format(*bounds.wire.span)


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
    packing = packing_of(net)
    texts += [] if packing is None else [function(packing, name)]
    signature = f"void {name}_run({name}_state *s, const {name}_input *input, {outs})"
    texts.append(f"{signature}\n{{\n" + "\n".join(run) + "\n}\n")
    return "\n" + "\n".join(texts)
