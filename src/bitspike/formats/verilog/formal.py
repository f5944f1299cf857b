"""What `make prove` reads: each layer of neurons next to its equations in 64 bits, for every input that it may meet.

The proof is an induction over steps. Before step t the potential of channel c lies in an interval, and the sum that
arrives in another: from these two and from nothing else, one step of the module must equal one step of the equations,
and what is kept must lie in the interval of step t + 1. The intervals are those of the proven widths; here they are
proven once more, by a SAT solver that knows no interval arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bitspike.formats.verilog.plan import Plan, Stage
from bitspike.formats.verilog.text import MARK, plain
from bitspike.formats.verilog.wires import address_bits
from bitspike.integer.bounds.intervals import Interval, Numbers
from bitspike.integer.nodes import FewBitNeuron, Integers, Neuron, Readout

WIDE = 64
"""Bits of the equations that the module is compared with."""
FIELDS = ("gain", "bias", "theta", "v_reset", "retract")
"""Parameters of a channel at a step."""


@dataclass(frozen=True, eq=False)
class Claim:
    """What is proven of one layer, by step and channel, [T, C] each.

    Args:
        sums: the interval of what arrives.
        before, after: the interval of what is kept before the step and after it.
        fields: the parameters, as the node has them.
    """

    sums: tuple[Numbers, Numbers]
    before: tuple[Numbers, Numbers]
    after: tuple[Numbers, Numbers]
    fields: dict[str, Integers]


def claim(plan: Plan, stage: Stage) -> Claim:
    """Return what is proven of a stage of neurons or of a read-out."""
    node, steps, known = stage.node, plan.net.steps, plan.known
    assert isinstance(node, Neuron | Readout)
    assert stage.weights is not None
    several = len(node.sources) > 1
    arriving = known[node.id].sums if several else known[node.sources[0]].wire
    gains = np.ones((1, 1), np.int64) if several else node.gains[0]
    sums = tuple(_by_step(bound, steps, node.shape[0]) for bound in (arriving.low, arriving.high))
    kept = _kept(node, known[node.id].sums, steps)
    nothing = np.zeros((1, 1), np.int64)
    fields = {"gain": gains, "bias": node.bias, "theta": nothing, "v_reset": nothing, "retract": nothing}
    if isinstance(node, Neuron):
        fields |= {"theta": node.threshold, "v_reset": node.v_reset[None], "retract": node.retract[None]}
    low, high = (np.stack([_by_step(pair[i][None], 1, node.shape[0])[0] for pair in kept]) for i in (0, 1))
    return Claim(
        sums=(sums[0], sums[1]),
        before=(low[:-1], high[:-1]),
        after=(low[1:], high[1:]),
        fields={name: _by_step(values, steps, node.shape[0]) for name, values in fields.items()},
    )


def _kept(node: Neuron | Readout, sums: Interval, steps: int) -> list[tuple[Numbers, Numbers]]:
    """Return the intervals of what is kept before the first step and after each."""
    if isinstance(node, Neuron):
        return node.kept_bounds(sums, steps)
    low = high = np.zeros(node.shape[0], np.int64)
    kept = [(low, high)]
    for t in range(steps):
        bias = node.bias[min(t, len(node.bias) - 1)]
        low = low + sums.low[min(t, len(sums.low) - 1)] + bias
        high = high + sums.high[min(t, len(sums.high) - 1)] + bias
        kept.append((low, high))
    return kept


def _by_step(values: Numbers, steps: int, channels: int) -> Numbers:
    """Return [1 or T, 1 or C] as [T, C]."""
    rows = values if len(values) == 1 else values[:steps]
    return np.broadcast_to(rows, (steps, channels))


def formal_text(plan: Plan, stage: Stage, name: str) -> str:
    """Return the module whose asserts are proven."""
    return "\n".join([*_module(plan, stage, claim(plan, stage), name), ""])


def _module(plan: Plan, stage: Stage, of: Claim, name: str) -> Iterator[str]:
    node, numbers, steps = stage.node, stage.numbers, plan.net.steps
    assert isinstance(node, Neuron | Readout)
    channels = node.shape[0]
    step_bits, channel_bits = address_bits(steps), address_bits(channels)
    bounds = ("sum_low", "sum_high", "low", "high", "next_low", "next_high")
    yield f"// {MARK}: one step of {plain(node.path)}, any channel, any potential and sum that may arise. Do not edit."
    yield "// CUT = 1 takes a bit from the potential; then there must be an input that shows it."
    yield from ("`ifndef CUT", "`define CUT 0", "`endif")
    yield f"module {name} ("
    yield f"    input wire [{channel_bits - 1}:0] channel,"
    yield f"    input wire [{step_bits - 1}:0] step,"
    yield f"    input wire signed [{numbers['SB'] - 1}:0] sum,"
    yield f"    input wire signed [{numbers['VB'] - 1}:0] kept,"
    yield f"    input wire [{numbers['EB'] - 1}:0] sent"
    yield ");"
    yield f"    reg signed [{WIDE - 1}:0] {', '.join([*bounds, *FIELDS])};"
    yield "    reg known;"
    yield "    always @* begin"
    yield f"        known = 1'b1; {' '.join(f'{word} = 0;' for word in (*bounds, *FIELDS))}"
    yield "        case ({step, channel})"
    for t in range(steps):
        for c in range(channels):
            values = [of.sums[0], of.sums[1], of.before[0], of.before[1], of.after[0], of.after[1]]
            values += [of.fields[field] for field in FIELDS]
            numbers_here = [int(v[t, c]) for v in values]
            settings = " ".join(
                f"{word} = {_number(v)};" for word, v in zip((*bounds, *FIELDS), numbers_here, strict=True) if v
            )
            yield f"            {step_bits + channel_bits}'d{t << channel_bits | c}: begin {settings} end"
    yield "            default: known = 1'b0;"
    yield "        endcase"
    yield "    end"
    parameters = {key: value for key, value in numbers.items() if key in _OF_NEURON}
    shown = ", ".join(
        f".{key}({value} - `CUT)" if key == "HB" else f".{key}({value})" for key, value in parameters.items()
    )
    cut = numbers["HB"]
    yield f"    wire signed [{cut - 1}-`CUT:0] h;"
    yield "    wire signed [1:0] spike;"
    yield f"    wire signed [{numbers['VB'] - 1}:0] kept_after;"
    yield f"    wire [{numbers['EB'] - 1}:0] sent_after;"
    yield f"    bs_neuron #(.PIPE(0), {shown}) module_that_ships ("
    yield "        .clk(1'b0), .s(sum), .v(kept), .sent(sent),"
    yield f"        .gain(gain[{numbers['GB'] - 1}:0]), .bias(bias[{numbers['IB'] - 1}:0]),"
    yield f"        .theta(theta[{cut - 1}-`CUT:0]), .v_reset(v_reset[{cut - 1}-`CUT:0]),"
    yield f"        .retract(retract[{cut - 1}-`CUT:0]),"
    yield "        .h(h), .spike(spike), .kept(kept_after), .sent_after(sent_after)"
    yield "    );"
    yield from _equations(node)
    asserts = ["$signed(h) == wide_h", "$signed(kept_after) == wide_kept", "$signed(spike) == wide_spike"]
    asserts += ["next_low <= wide_kept", "wide_kept <= next_high"]
    assumes = ["known", "sum_low <= sum", "sum <= sum_high", "low <= kept", "kept <= high"]
    if numbers.get("SIGNED"):
        assumes.append("sent <= step")
        asserts += ["wide_sent_after == wide_sent + wide_spike", "sent_after <= step + 1"]
        yield f"    wire signed [{WIDE - 1}:0] wide_sent = {{1'b0, sent}};"
        yield f"    wire signed [{WIDE - 1}:0] wide_sent_after = {{1'b0, sent_after}};"
    yield "    always @* begin"
    yield from (f"        assume ({text});" for text in assumes)
    yield from (f"        assert ({text});" for text in asserts)
    yield "    end"
    yield "endmodule"


def _equations(node: Neuron | Readout) -> Iterator[str]:
    """Yield one step in 64 bits, as the docstring of the neuron has it."""
    wire = f"    wire signed [{WIDE - 1}:0]"
    potential = f"kept <<< {node.kept_shift}" if isinstance(node, FewBitNeuron) else "kept"
    yield f"{wire} wide_sum = sum;"
    yield f"{wire} wide_kept_before = kept;"
    yield f"{wire} wide_v = wide_{potential.replace('kept', 'kept_before')};"
    if isinstance(node, Readout):
        yield f"{wire} wide_h = wide_v + gain * wide_sum + bias;"
        yield f"{wire} wide_spike = 0;"
        yield f"{wire} wide_kept = wide_h;"
        return
    yield f"{wire} wide_gained = gain * wide_sum;"
    yield f"{wire} wide_i = (wide_gained >>> {node.right_shift}) + bias;"
    before = node.leak_order == "before"
    yield f"{wire} wide_product = {'wide_v' if before else '(wide_v + wide_i)'} * 64'sd{node.leak.numerator};"
    k = node.leak.shift
    raised = (
        f"(wide_product < 0 ? wide_product + 64'sd{(1 << k) - 1} : wide_product)"
        if node.rounding == "zero"
        else "wide_product"
    )
    yield f"{wire} wide_leaked = {raised} >>> {k};"
    yield f"{wire} wide_raw = {'wide_leaked + wide_i' if before else 'wide_leaked'};"
    floored = (
        "wide_raw" if node.floor is None else f"(wide_raw < {_number(node.floor)} ? {_number(node.floor)} : wide_raw)"
    )
    yield f"{wire} wide_floored = {floored};"
    clipped = "wide_floored"
    if node.width is not None:
        clipped = _clipped("wide_floored", node.width)
    yield f"{wire} wide_h = {clipped};"
    fires = "wide_h >= theta" if node.fire == "ge" else "wide_h > theta"
    yield f"    wire wide_up = {fires};"
    down = "wide_h <= -retract && sent != 0" if node.signed else "1'b0"
    yield f"    wire wide_down = {down};"
    yield f"{wire} wide_spike = (wide_up ? 64'sd1 : 64'sd0) - (wide_down ? 64'sd1 : 64'sd0);"
    after = "wide_h - theta * wide_spike" if node.reset == "soft" else "wide_up ? v_reset : wide_h"
    yield f"{wire} wide_after = {after};"
    if isinstance(node, FewBitNeuron):
        yield f"{wire} wide_code = (wide_after + {_number(node.half)}) >>> {node.kept_shift};"
        yield f"{wire} wide_kept = {_clipped('wide_code', node.kept_bits)};"
    else:
        yield f"{wire} wide_kept = wide_after;"


def _clipped(word: str, bits: int) -> str:
    low, high = _number(-(1 << (bits - 1))), _number((1 << (bits - 1)) - 1)
    return f"{word} < {low} ? {low} : {word} > {high} ? {high} : {word}"


def _number(value: int) -> str:
    return f"64'sd{value}" if value >= 0 else f"-64'sd{-value}"


_OF_NEURON = frozenset({
    "SB", "GB", "FIXED", "GAIN", "RSHIFT", "IB", "RB", "HB", "VB", "EB", "M", "K", "ZERO", "AFTER", "HARD", "GT",
    "SIGNED", "READOUT", "FLOORED", "FLOOR", "CLIP", "FEW", "KEEP",
})  # fmt: skip
"""The parameters of ``bs_neuron``."""
