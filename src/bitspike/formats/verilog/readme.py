"""The README of an export: what lies where, how the host talks to the design, what it is made of."""

from __future__ import annotations

from bitspike.formats.host import after, around, before, codes
from bitspike.formats.verilog.plan import Plan
from bitspike.formats.verilog.text import MARK, plain
from bitspike.formats.verilog.top import output_bits, output_starts
from bitspike.tables import Table, times


def readme_text(plan: Plan, name: str) -> str:
    """Return the README of the folder."""
    net, source = plan.net, plan.input
    pauses = "all steps" if net.input.constant else "one step: write the codes of the next one and raise it again"
    grid, signed = net.input.grid, ", in two's complement" * source.signed
    outs = [
        f"* `{s.node.id}` {list(s.node.shape)} from address {start}; one is worth {_worth(s.node.scale.tolist())}."
        for s, start in zip(plan.outputs, output_starts(plan), strict=False)
    ]
    return "\n".join([
        f"<!-- {MARK} -->",
        f"# {name}: a spiking network in Verilog, integers only",
        "",
        f"* `{name}.v` is the network: memories, layers, and the order in which they run. `library/` holds the modules",
        "  that it is made of, `*.hex` their tables. These three are what a design needs.",
        "* `bench.v`, `sizes.vh` and `vectors.txt` check it: `make check` compares every spike, potential and output.",
        "* `make prove` proves the equations of every layer by SAT, `make gate` runs the netlist of cells,",
        "  `make ice40` and `make ecp5` place and route it, `make lint` wants no warning. The Makefile names the",
        "  packages.",
        "",
        "## What the host does",
        "",
        f"1. {codes(net.input)} They make {source.words} words of {source.word_bits} bits: `in_we`, `in_addr`,"
        f" `in_data`. Word `place * {source.groups} + group` holds {_channels(source.lanes)} of a place from channel"
        f" `group * {source.lanes}` on, {source.bits} bits each, the first in the lowest bits; places are counted row"
        f" after row. Codes are {grid.low} to {grid.high}{signed}.",
        f"2. It raises `start` for a cycle while `busy` is low, and waits until `busy` falls. A start runs {pauses}.",
        f"3. It reads `out_data`, {output_bits(plan)} bits in two's complement, two cycles after `out_addr`:",
        "",
        *outs,
        "",
        *_besides(plan),
        "`rst` is synchronous; one cycle is enough.",
        "",
        "## What it is made of",
        "",
        "```",
        str(_table(plan)),
        "```",
        "",
    ])  # fmt: skip


def _channels(number: int) -> str:
    return f"{number} channel{'s' * (number > 1)}"


def _besides(plan: Plan) -> list[str]:
    """Return what else the host does: before the codes, around an image, after the outputs."""
    net = plan.net
    said = [
        f"Before the codes it computes, in real numbers: {plain(before(net))}." if before(net) else "",
        f"{around(net)} The words of step 1 hold it too." if net.border is not None else "",
        f"After the outputs it computes, in real numbers: {plain(after(net))}." if after(net) else "",
    ]
    return [line for words in said if words for line in (words, "")]


def _worth(scale: list[float]) -> str:
    return repr(scale[0]) if len(scale) == 1 else f"channel by channel {', '.join(map(repr, scale))}"


def _table(plan: Plan) -> Table:
    columns = ("stage", "shape", "channels at once", "weights", "bits", "sum", "current", "potential", "kept")
    rows = []
    for stage in plan.stages:
        weights, numbers = stage.weights, stage.numbers
        widths = (str(numbers[key]) if key in numbers else "" for key in ("IB", "HB", "VB"))
        rows.append((
            plain(stage.node.path), times(stage.node.shape),
            str(weights.numbers["P"] if weights else numbers["L"]),
            f"{weights.words.size:,}" if weights else "", str(weights.bits) if weights else "",
            str(weights.numbers["SB"]) if weights else "", *widths,
        ))  # fmt: skip
    kept = sum(s.numbers["N"] * s.numbers["VB"] for s in plan.stages if s.parameters is not None)
    stored = sum(w.words * w.word_bits for w in plan.memories)
    coded = sum(s.weights.words.size * s.weights.bits for s in plan.stages if s.weights is not None)
    title = f"T = {plan.net.steps}; {coded:,} bits of weights, {kept:,} of potentials, {stored:,} of spikes and codes"
    return Table(title, columns, rows)
