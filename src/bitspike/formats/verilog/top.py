"""The one module that is written for a network: it wires modules of the library and says when each of them runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bitspike.formats.verilog.plan import Added, Numbers, Plan, Pooled, Stage
from bitspike.formats.verilog.text import MARK, plain
from bitspike.formats.verilog.wires import Wire, address_bits
from bitspike.integer.nodes import Readout

SEEN_BITS = 64
"""Bits of the potential that a bench sees."""


def top_text(plan: Plan, name: str) -> str:
    """Return the module."""
    return "\n".join([*_head(plan, name), *_body(plan, name), "endmodule", ""])


def output_bits(plan: Plan) -> int:
    """Return the bits of an output: of the widest sum over time."""
    return max(s.numbers["VB"] for s in plan.outputs)


def output_starts(plan: Plan) -> list[int]:
    """Return the address of the first integer of every read-out."""
    starts = [0]
    for stage in plan.outputs:
        starts.append(starts[-1] + stage.numbers["N"])
    return starts


def _head(plan: Plan, name: str) -> list[str]:
    net, source = plan.net, plan.input
    layers = ", ".join(plain(s.node.path) for s in plan.seen)
    out_bits = address_bits(output_starts(plan)[-1])
    constant = net.input.constant
    return [
        f"// {MARK}: a network of T = {net.steps} steps. Do not edit.",
        "//",
        f"// Write the {source.words} words of the input, raise `start` for a cycle, and wait until `busy` falls"
        + ("." if constant else f"; so for each of {net.steps} steps."),
        "// The outputs then stand at their addresses; `out_data` follows `out_addr` two cycles later.",
        f"module {name} (",
        "    input  wire clk,",
        "    input  wire rst,",
        "    input  wire start,",
        "    output reg  busy,",
        "    input  wire in_we,",
        f"    input  wire [{source.address_bits - 1}:0] in_addr,",
        f"    input  wire [{source.word_bits - 1}:0] in_data,",
        f"    input  wire [{out_bits - 1}:0] out_addr,",
        f"    output reg  signed [{output_bits(plan) - 1}:0] out_data",
        "`ifdef BS_OBSERVE",
        f"    // Every neuron that has just been run; layers are {layers or 'none'}.",
        "    , output wire seen",
        f"    , output wire [{address_bits(len(plan.seen)) - 1}:0] seen_layer",
        "    , output wire signed [1:0] seen_spike",
        f"    , output wire signed [{SEEN_BITS - 1}:0] seen_potential",
        "`endif",
        ");",
    ]  # fmt: skip


def _body(plan: Plan, name: str) -> Iterator[str]:
    stages = plan.stages
    step_bits = address_bits(plan.net.steps)
    last = len(stages) - 1
    yield f"    localparam [{step_bits - 1}:0] LAST_STEP = {plan.net.steps - 1};"
    yield f"    reg [{step_bits - 1}:0] step;"
    yield "    wire first = step == 0;"
    yield f"    reg [{last}:0] go;     // the stage that starts"
    yield f"    wire [{last}:0] done;  // the stage that has ended"
    taking_turns = {i for memory in plan.memories for i in _readers(plan, memory)[1:]}
    for memory in plan.memories:
        yield f"    wire {memory.name}_we, {memory.name}_re;"
        yield f"    wire [{memory.address_bits - 1}:0] {memory.name}_wa, {memory.name}_ra;"
        yield f"    wire [{memory.word_bits - 1}:0] {memory.name}_wd, {memory.name}_rq;"
    for number, stage in enumerate(stages):
        yield ""
        if number in taking_turns:
            yield f"    reg runs_{number};  // others read its memory too"
            yield "    always @(posedge clk)"
            yield f"        if (rst || done[{number}]) runs_{number} <= 1'b0;"
            yield f"        else if (go[{number}]) runs_{number} <= 1'b1;"
        yield f"    // {plain(stage.node.path)}: {type(stage.node).__name__} {list(stage.node.shape)}"
        yield from _stage(stage, number, name)
    for memory in plan.memories:
        yield ""
        yield from _memory(plan, memory)
    yield ""
    yield from _schedule(plan, last)
    yield from _outputs(plan)
    yield from _observer(plan)


def _memory(plan: Plan, memory: Wire) -> Iterator[str]:
    """Yield a memory, and who reads it: its stages run one after another."""
    readers = _readers(plan, memory)
    name = memory.name
    sizes = _parameters({"W": memory.word_bits, "D": memory.words, "A": memory.address_bits})
    yield f"    bs_ram #({sizes}) {name} ("
    yield f"        .clk(clk), .we({name}_we), .wa({name}_wa), .wd({name}_wd),"
    yield f"        .re({name}_re), .ra({name}_ra), .rq({name}_rq)"
    yield "    );"
    if memory == plan.input:
        yield f"    assign {name}_we = in_we;"
        yield f"    assign {name}_wa = in_addr;"
        yield f"    assign {name}_wd = in_data;"
    for end in ("re", "ra"):
        choice = "".join(f"runs_{i} ? s{i}_{end} : " for i in readers[1:])
        first = f"s{readers[0]}_{end}" if readers else "0"
        yield f"    assign {name}_{end} = {choice}{first};"


def _readers(plan: Plan, memory: Wire) -> list[int]:
    return [i for i, stage in enumerate(plan.stages) if memory in stage.sources]


def _stage(stage: Stage, number: int, name: str) -> Iterator[str]:
    this, source = f"s{number}", stage.sources[0]
    start = f".clk(clk), .rst(rst), .start(go[{number}])"
    reads = f".re({this}_re), .ra({this}_ra), .rq({source.name}_rq)"
    writes = "" if stage.target is None else "".join(f".{e}({stage.target.name}_{e}), " for e in ("we", "wa", "wd"))
    yield f"    wire {this}_re;"
    yield f"    wire [{source.address_bits - 1}:0] {this}_ra;"
    if isinstance(stage, Pooled):
        yield from _instance("bs_pool", this, stage.numbers, [start, reads, f"{writes}.done(done[{number}])"])
        return
    if isinstance(stage, Added):
        yield from _added(
            stage, this, [start, ".first(first)"], f"{writes}.done(done[{number}])", f"{name}_{number}_gains.hex"
        )
        return
    assert stage.weights is not None
    weighted = stage.weights.numbers
    sums = weighted["P"] * weighted["SB"]
    yield f"    wire {this}_full, {this}_over, {this}_shift;"
    yield f"    wire [{sums - 1}:0] {this}_sums;"
    yield from _instance(
        "bs_weighted", f"{this}_weighted", weighted,
        [start, reads, f".shift({this}_shift), .full({this}_full), .over({this}_over), .sums({this}_sums)"],
        FILE=f"{name}_{number}_weights.hex",
    )  # fmt: skip
    arrives = f".full({this}_full), .over({this}_over)"
    if stage.parameters is None:
        yield f"    assign {this}_shift = 1'b0;"
        yield from _instance(
            "bs_store", this, stage.numbers, [start, arrives, f".sums({this}_sums), {writes}.done(done[{number}])"]
        )
        return
    yield from _neurons(stage, number, name, [start, ".first(first)", arrives], writes)


def _added(stage: Added, this: str, ports: list[str], writes: str, file: str) -> Iterator[str]:
    lanes, bits = stage.numbers["L"], stage.numbers["XB"]
    for i, source in enumerate(stage.reads):
        widened = _parameters({"L": lanes, "B": source.bits, "SIGNED": int(source.signed), "XB": bits})
        yield f"    wire [{lanes * bits - 1}:0] {this}_x{i};"
        yield f"    bs_widen #({widened}) {this}_widen_{i} (.word({source.name}_rq), .wide({this}_x{i}));"
    words = ", ".join(f"{this}_x{i}" for i in reversed(range(len(stage.reads))))
    reads = f".re({this}_re), .ra({this}_ra), .rq({{{words}}})"
    yield from _instance("bs_add", this, stage.numbers, [*ports, reads, writes], FILE=file)


def _neurons(stage: Stage, number: int, name: str, ports: list[str], writes: str) -> Iterator[str]:
    this, numbers = f"s{number}", stage.numbers
    potential, address = numbers["VB"], numbers["NA"]
    leaves = isinstance(stage.node, Readout)
    yield f"    wire {this}_seen;"
    yield f"    wire signed [1:0] {this}_spike;"
    yield f"    wire signed [{numbers['HB'] - 1}:0] {this}_h;"
    yield f"    wire signed [{potential - 1}:0] {this}_looked;"
    if leaves:
        yield f"    wire [{address - 1}:0] {this}_at;"
        yield f"    wire {this}_we;"
        yield f"    wire [{numbers['OA'] - 1}:0] {this}_wa;"
        yield f"    wire [{numbers['P'] * numbers['OB'] - 1}:0] {this}_wd;"
        writes = f".we({this}_we), .wa({this}_wa), .wd({this}_wd), "
    look = f".look(!busy), .look_at({this}_at)" if leaves else f".look(1'b0), .look_at({{{address}{{1'b0}}}})"
    yield from _instance(
        "bs_neurons", this, numbers,
        [
            *ports, f".s({this}_sums[{numbers['SB'] - 1}:0]), .shift({this}_shift), {writes}.done(done[{number}])",
            f"{look}, .looked({this}_looked)",
            f".seen({this}_seen), .seen_spike({this}_spike), .seen_h({this}_h)",
        ],
        FILE=f"{name}_{number}_parameters.hex",
    )  # fmt: skip
    unused = [f"{this}_{end}" for end in (("we", "wa", "wd") if leaves else ("looked",))]
    if numbers["P"] > 1:  # they are shifted down to the first one
        unused.append(f"{this}_sums[{numbers['P'] * numbers['SB'] - 1}:{numbers['SB']}]")
    unobserved = [*unused, *(f"{this}_{end}" for end in ("seen", "spike", "h"))]
    if not leaves:
        yield "`ifdef BS_OBSERVE"
        yield _unused(number, unused)
        yield "`else"
    yield _unused(number, unobserved)
    if not leaves:
        yield "`endif"


def _unused(number: int, names: Sequence[str]) -> str:
    return f"    wire unused_{number} = &{{1'b0, {', '.join(names)}}};"


def _schedule(plan: Plan, last: int) -> Iterator[str]:
    after = f"{{done[{last - 1}:0], 1'b0}}" if last > 0 else "1'b0"
    again = "step != LAST_STEP" if plan.net.input.constant else "1'b0"
    yield from (
        "    always @(posedge clk)",
        "        if (rst) begin",
        "            busy <= 1'b0; go <= 0; step <= 0;",
        "        end else begin",
        f"            go <= {after};",
        "            if (start && !busy) begin",
        "                busy <= 1'b1; go[0] <= 1'b1;",
        f"            end else if (done[{last}]) begin",
        "                step <= step == LAST_STEP ? 0 : step + 1'b1;",
        f"                if ({again}) go[0] <= 1'b1;",
        "                else busy <= 1'b0;",
        "            end",
        "        end",
    )


def _outputs(plan: Plan) -> Iterator[str]:
    """Yield what stands at the addresses of the outputs: read-outs one after another."""
    bits, starts = output_bits(plan), output_starts(plan)
    width = address_bits(starts[-1])
    numbers = [i for i, stage in enumerate(plan.stages) if stage in plan.outputs]
    values = []
    for index, (i, stage) in enumerate(zip(numbers, plan.outputs, strict=True)):
        address, own = stage.numbers["NA"], stage.numbers["VB"]
        if index == 0 and address == width:
            yield f"    assign s{i}_at = out_addr;"
        else:
            yield f"    wire [{width - 1}:0] out_{i} = out_addr - {width}'d{starts[index]};"
            yield f"    assign s{i}_at = out_{i}[{address - 1}:0];"
            if address < width:
                yield f"    wire unused_out_{i} = &{{1'b0, out_{i}[{width - 1}:{address}]}};"
        filled = f"{{{bits - own}{{s{i}_looked[{own - 1}]}}}}, " if own < bits else ""
        values.append((starts[index], f"{{{filled}s{i}_looked}}"))
    if len(values) == 1:
        yield f"    always @(posedge clk) out_data <= {values[0][1]};"
        return
    yield f"    reg [{width - 1}:0] out_addr_1;"
    choice = " : ".join(f"out_addr_1 >= {width}'d{start} ? {value}" for start, value in reversed(values[1:]))
    yield "    always @(posedge clk) begin"
    yield "        out_addr_1 <= out_addr;"
    yield f"        out_data <= {choice} : {values[0][1]};"
    yield "    end"


def _observer(plan: Plan) -> Iterator[str]:
    yield "`ifdef BS_OBSERVE"
    numbers = [i for i, stage in enumerate(plan.stages) if stage in plan.seen]
    bits = address_bits(len(numbers))
    if not numbers:
        yield from (
            "    assign seen = 1'b0;",
            "    assign seen_layer = 0;",
            "    assign seen_spike = 0;",
            "    assign seen_potential = 0;",
        )
    else:
        yield f"    assign seen = {' || '.join(f's{i}_seen' for i in numbers)};"
        layer, spike, potential = f"{bits}'d{len(numbers) - 1}", f"s{numbers[-1]}_spike", _wide(plan, numbers[-1])
        for index, i in reversed(list(enumerate(numbers[:-1]))):
            layer = f"s{i}_seen ? {bits}'d{index} : {layer}"
            spike = f"s{i}_seen ? s{i}_spike : {spike}"
            potential = f"s{i}_seen ? {_wide(plan, i)} : {potential}"
        yield f"    assign seen_layer = {layer};"
        yield f"    assign seen_spike = {spike};"
        yield f"    assign seen_potential = {potential};"
    yield "`endif"


def _wide(plan: Plan, number: int) -> str:
    bits = plan.stages[number].numbers["HB"]
    return f"{{{{{SEEN_BITS - bits}{{s{number}_h[{bits - 1}]}}}}, s{number}_h}}"


def _instance(module: str, name: str, numbers: Numbers, ports: Sequence[str], **words: str) -> Iterator[str]:
    yield f"    {module} #("
    texts = [f".{key}({value})" for key, value in numbers.items()] + [f'.{k}("{v}")' for k, v in words.items()]
    lines = _lines(texts)
    yield from (f"        {line}{',' if i < len(lines) - 1 else ''}" for i, line in enumerate(lines))
    yield f"    ) {name} ("
    yield from (f"        {line}{',' if i < len(ports) - 1 else ''}" for i, line in enumerate(ports))
    yield "    );"


def _parameters(numbers: Numbers) -> str:
    return ", ".join(f".{key}({value})" for key, value in numbers.items())


def _lines(texts: Sequence[str], width: int = 110) -> list[str]:
    """Join texts with commas into lines of a width."""
    lines = [""]
    for text in texts:
        if lines[-1] and len(lines[-1]) + len(text) + 2 > width:
            lines.append("")
        lines[-1] += f"{', ' if lines[-1] else ''}{text}"
    return lines
