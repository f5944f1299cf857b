"""What the bench reads: inputs with every potential, spike and output that belongs to them, and their sizes."""

from __future__ import annotations

import numpy as np

from bitspike.formats.verilog.plan import Plan
from bitspike.formats.verilog.tables import hex_lines, packed
from bitspike.formats.verilog.text import MARK
from bitspike.formats.verilog.top import output_bits, output_starts
from bitspike.formats.verilog.wires import Wire, address_bits
from bitspike.integer.nodes import Integers
from bitspike.integer.simulate import Trace


def vectors_text(plan: Plan, codes: Integers, trace: Trace) -> str:
    """Return the vectors of samples whose codes are [T or 1, N, ...]."""
    lines = [f"{MARK}: inputs of a network, with every potential, spike and output that belongs to them."]
    for sample in range(codes.shape[1]):
        for frame in frames(plan):
            lines += hex_lines(
                input_words(plan.input, codes[frame.start if len(codes) > 1 else 0, sample]), plan.input.word_bits
            )
            lines += _values(plan, trace, sample, frame)
        for address, value in zip(addresses(plan), outputs(plan, trace, sample), strict=True):
            lines.append(f"{address} {value}")
    return "\n".join(lines) + "\n"


def frames(plan: Plan) -> list[range]:
    """Return the steps that follow each start: all of them, or one where the input changes."""
    steps = plan.net.steps
    return [range(steps)] if plan.net.input.constant else [range(t, t + 1) for t in range(steps)]


def input_words(wire: Wire, codes: Integers) -> list[int]:
    """Return the words of one input [C, ...]."""
    whole = np.zeros((wire.groups * wire.lanes, wire.height * wire.width), np.int64)
    whole[: wire.channels] = codes.reshape(wire.channels, -1)
    return packed(whole.T.reshape(-1, wire.lanes), wire.bits)


def _values(plan: Plan, trace: Trace, sample: int, steps: range) -> list[str]:
    lines = []
    for step in steps:
        for stage in plan.seen:
            pair = (trace.potentials[stage.node.id], trace.spikes[stage.node.id])
            h, spike = (channels_last(x[step, sample]).tolist() for x in pair)
            lines += [f"{a} {b}" for a, b in zip(h, spike, strict=True)]
    return lines


def outputs(plan: Plan, trace: Trace, sample: int) -> list[int]:
    """Return all outputs of a sample, in the order of their addresses."""
    parts = [channels_last(trace.outputs[s.node.id][sample]).tolist() for s in plan.outputs]
    return [value for part in parts for value in part]


def addresses(plan: Plan) -> list[int]:
    """Return the addresses of all outputs, in their order: channels of a place, then the next place."""
    result = []
    for start, stage in zip(output_starts(plan), plan.outputs, strict=False):
        channels, each = stage.node.shape[0], stage.numbers["P"] * stage.numbers["G"]
        places = stage.numbers["N"] // each
        result += [start + place * each + channel for place in range(places) for channel in range(channels)]
    return result


def channels_last(x: Integers) -> Integers:
    """Return [C, ...] as one row as neurons are run: all channels of a place, then the next place."""
    return np.moveaxis(x, 0, -1).reshape(-1)


def sizes_text(plan: Plan, name: str, samples: int) -> str:
    """Return the sizes that the bench is made for."""
    steps = 1 if not plan.net.input.constant else plan.net.steps
    values = steps * sum(int(np.prod(s.node.shape)) for s in plan.seen)
    sizes = {
        "TOP": name, "SAMPLES": samples, "FRAMES": plan.net.steps // steps, "IN_WORDS": plan.input.words,
        "IN_ADDRESS": plan.input.address_bits, "IN_WORD": plan.input.word_bits, "LAYER": address_bits(len(plan.seen)),
        "OUT_ADDRESS": address_bits(output_starts(plan)[-1]), "OUT_WORD": output_bits(plan),
        "OUTPUTS": len(addresses(plan)), "VALUES": values, "MOST_CYCLES": plan.dense * plan.net.steps + 1000,
    }  # fmt: skip
    return "\n".join([f"// {MARK}: sizes of a network.", *(f"`define BS_{k} {v}" for k, v in sizes.items()), ""])
