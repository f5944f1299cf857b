"""A network as Verilog text: what is refused and named, how it lies in memory, what is written, what is left alone."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bitspike as bs
from bitspike.errors import ConstraintError, ExportError
from bitspike.formats.verilog.plan import plan
from bitspike.formats.verilog.proof import VerilogRun
from bitspike.formats.verilog.run import run_verilog
from bitspike.formats.verilog.support import HELD, REFUSED
from bitspike.formats.verilog.tables import WIDTHS, packed, weight_words
from bitspike.formats.verilog.vectors import addresses, input_words, vectors_text
from bitspike.formats.verilog.write import write_verilog
from bitspike.integer.border import Border
from bitspike.integer.bounds.widths import survey
from bitspike.integer.examples import convolution_and_pool, few_bits, one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import KINDS, Burst, Node, Synapse, Upsample
from bitspike.integer.saved.vectors import golden
from bitspike.integer.simulate import simulate
from bitspike.ops.grids import Dyadic
from bitspike.verbs.export import export


def changed(net: IntegerNetwork, id: str, **values: object) -> IntegerNetwork:
    return replace(net, nodes=tuple(replace(n, **values) if n.id == id else n for n in net.nodes))  # type: ignore[arg-type]


def inserted(net: IntegerNetwork, node: Node, before: str) -> IntegerNetwork:
    """Put a node of the same shape before another one's first source."""
    nodes: list[Node] = []
    for n in net.nodes:
        nodes += [node, replace(n, sources=(node.id, *n.sources[1:]))] if n.id == before else [n]
    return replace(net, nodes=tuple(nodes))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_every_kind_of_node_is_held_or_refused() -> None:
    assert set(HELD) | set(REFUSED) == set(KINDS.values())
    assert not set(HELD) & set(REFUSED)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (Burst(id="odd", path="odd", sources=("neuron",), shape=(1, 4, 4)), "Burst odd: sums over time"),
        (
            Upsample(id="odd", path="odd", sources=("neuron",), shape=(1, 4, 4), factors=(1, 1)),
            "Upsample odd: repeated places",
        ),
        (
            Synapse(id="odd", path="odd", sources=("neuron",), shape=(1, 4, 4), leak=Dyadic(1, 1), left_shift=0),
            "Synapse odd: currents that decay",
        ),
    ],
)
def test_what_verilog_cannot_hold_is_named_with_a_way_out(node: Node, reason: str, tmp_path: Path) -> None:
    net = inserted(one_convolution(), node, before="flat")
    with pytest.raises(ExportError, match=rf"Verilog cannot hold 1 of 6 nodes\n  odd  {reason}(?s:.*)--format c"):
        write_verilog(net, tmp_path / "v")
    assert not list(tmp_path.iterdir())


def test_parameters_that_verilog_has_no_room_for_are_named(tmp_path: Path) -> None:
    for values, reason in (
        ({"leak": Dyadic(3, 1)}, r"its leak is 3/2\*\*1"),
        ({"floor": -(2**40)}, "its floor of -1099511627776 has more than 32 bits"),
        ({"gains": (np.full((1, 1), 2**33),)}, "its gain has more than 32 bits"),
    ):
        with pytest.raises(ExportError, match=rf"neuron  Neuron neuron: {reason}"):
            write_verilog(changed(one_convolution(), "neuron", **values), tmp_path / "v")


@pytest.mark.parametrize(("lanes", "way"), [(0, 16), (-1, 16), (17, 16)])
def test_lanes_that_no_layer_has_are_refused(lanes: int, way: int, tmp_path: Path) -> None:
    with pytest.raises(ConstraintError, match=rf"lanes={lanes}: 1 to 16 are possible(?s:.*)--lanes {way}"):
        write_verilog(one_convolution(), tmp_path / "v", lanes=lanes)
    with pytest.raises(ConstraintError, match="Verilog has lanes"):
        export(one_convolution(), "c", tmp_path / "c", lanes=2)
    assert not list(tmp_path.iterdir())


def test_a_network_that_is_not_lowered_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConstraintError, match="an integer network is needed"):
        write_verilog(object(), tmp_path / "v")  # type: ignore[arg-type]


def test_a_folder_with_other_things_is_left_alone_and_an_older_export_replaced(tmp_path: Path) -> None:
    folder = write_verilog(one_convolution(), tmp_path / "v")
    before = contents(folder)
    (folder / "build").mkdir()
    (folder / "build" / "bench").write_bytes(b"made by make")
    assert contents(write_verilog(one_convolution(), folder)) == before
    (folder / "mine.v").write_text("module mine; endmodule\n")
    with pytest.raises(ExportError, match=r"holds mine\.v; it was left alone"):
        write_verilog(one_convolution(), folder)
    with pytest.raises(ExportError, match="is a file"):
        write_verilog(one_convolution(), folder / "mine.v")


@pytest.mark.parametrize(
    "name",
    [
        "bs_ram",
        "bench",
        "formal",
        "module",
        "wire",
        "string",
        "do",
        "start",
        "busy",
        "in_we",
        "9x",
        "my net",
        "x" * 32,
        5,
    ],
)
def test_a_name_that_verilog_cannot_have_is_refused_with_one_that_it_can(name: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"up to 30 more lower-case letters(?s:.*)fix: name='net_") as refused:
        write_verilog(one_convolution(), tmp_path / "v", name=name)
    assert not list(tmp_path.iterdir())
    way = str(refused.value).rsplit("'", 2)[1]
    assert (write_verilog(one_convolution(), tmp_path / "v", name=way) / f"{way}.v").is_file()


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        ({}, "input_codes, an array of integers .* is missing"),
        ({"input_codes": [[1]]}, ".* is missing"),
        (np.zeros((1, 1, 1, 4, 4), np.int64), ".* is missing"),
        ({"input_codes": np.full((1, 1, 1, 4, 4), 0.5)}, "input_codes is float64, needed are integers"),
        ({"input_codes": np.zeros((1, 0, 1, 4, 4), np.int64)}, "there is no sample in them"),
    ],
)
def test_vectors_that_do_not_belong_are_refused(vectors: dict[str, np.ndarray], reason: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=rf"no golden vectors of the network\n  {reason}(?s:.*)bs\.encode"):
        write_verilog(one_convolution(), tmp_path / "v", vectors=vectors)
    assert not list(tmp_path.iterdir())


def test_the_readme_says_all_that_the_host_does(tmp_path: Path) -> None:
    said = {"host": "before the spikes: 0 (Conv2d); after the spikes: softmax (softmax)"}
    text = (write_verilog(replace(one_convolution(), source=said), tmp_path / "v") / "README.md").read_text()
    assert "Before the codes it computes, in real numbers: 0 (Conv2d)." in text
    assert "After the outputs it computes, in real numbers: softmax (softmax)." in text
    assert "16 codes of" in text
    net = one_convolution()
    bordered = replace(net, source=Border((1, 1), (1, 1), (3,)).said())
    assert bordered.border is not None
    text = (write_verilog(bordered, tmp_path / "v") / "README.md").read_text()
    assert "Around the image stands a border, 1 wide on every side, of the code of each channel: 3." in text


@pytest.mark.parametrize("target", ["check", "lint", "prove", "gate", "ice40", "ecp5"])
def test_make_names_the_tool_that_is_missing_and_its_package(target: str, tmp_path: Path) -> None:
    folder, tools = write_verilog(one_convolution(), tmp_path / "v"), tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "mkdir"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    done = subprocess.run(
        [str(shutil.which("make")), "-C", folder, target], check=False, env={"PATH": str(tools)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert re.search(r"(verilator|yosys) was not found; on Debian: apt install \1", done.stderr), done.stderr
    assert not (folder / "build").exists()


def test_the_folder_holds_the_library_the_tables_and_the_bench(tmp_path: Path) -> None:
    files = contents(export(convolution_and_pool(), "verilog", tmp_path / "v", lanes=2))
    assert {"network.v", "bench.v", "sizes.vh", "vectors.txt", "Makefile", "README.md"} <= set(files)
    used = set(re.findall(r"\b(bs_\w+) ", files["network.v"].decode("ascii")))
    assert used == {"bs_ram", "bs_weighted", "bs_neurons", "bs_pool"}
    library = {Path(name).stem for name in files if name.startswith("library/")}
    for text in (data.decode("ascii") for name, data in files.items() if name.endswith(".v")):
        assert set(re.findall(r"^\s*(bs_\w+) #?\(", text, re.MULTILINE)) <= library
    for name, number in re.findall(r'"(network_(\d+)_\w+\.hex)"', files["network.v"].decode("ascii")):
        assert name in files, number
    assert all(b"Written by Bitspike" in data.splitlines()[0] for data in files.values())


def declared_late(text: str) -> list[str]:
    """Return the names of a module that are used above their declaration."""
    code = re.sub(r'//.*|"[^"]*"', "", text).partition(");")[2]  # after the ports
    late = []
    for found in re.finditer(r"\b(?:wire|reg|integer|localparam)\b(?: signed)? *(?:\[[^]]*\])?([^;]*);", code):
        for name in re.findall(r"(?:^|,) *(\w+)", re.sub(r"\{[^{}]*\}|\([^()]*\)|\[[^]]*\]", "", found[1])):
            late += [name] if re.search(rf"(?<![.\w`]){name}\b", code[: found.start()]) else []
    return [name for name in late if not name.startswith("unused")]  # one of each branch


def test_every_name_is_declared_above_its_use_as_newer_simulators_want_it(tmp_path: Path) -> None:
    assert declared_late("module m (input a, output b); assign b = c; wire [1:0] d, c = a; endmodule") == ["c"]
    folder = write_verilog(convolution_and_pool(), tmp_path / "v")
    assert {p.name: late for p in folder.rglob("*.v") if (late := declared_late(p.read_text()))} == {}


def test_weights_lie_in_the_order_in_which_they_are_read() -> None:
    codes = np.arange(3 * 4 * 2 * 1).reshape(3, 4, 2, 1)
    words = weight_words(codes, 2, 3)  # 2 channels at once, words of 3 lanes
    assert words.shape == (2 * 2 * 2 * 3, 2)
    expected = [
        [codes[c, i, k, 0] if c < 3 and i < 4 else 0 for c in (2 * group, 2 * group + 1)]
        for group in range(2)
        for k in range(2)
        for i in range(6)
    ]  # fmt: skip
    assert words.tolist() == [[int(c < 3 and v) for c, v in enumerate(row)] for row in expected]
    assert packed(np.array([[1, -2, 3]]), 3) == [0b011_110_001]


def test_parameters_are_as_wide_as_what_they_hold() -> None:
    net = changed(one_convolution(), "neuron", bias=np.array([[1], [-5], [2], [3]]), initial=np.array([7]))
    stage = plan(net, 16).stages[0]
    assert stage.parameters is not None
    rows, numbers = stage.parameters.rows, stage.numbers
    assert (len(rows), numbers["TIMED"], numbers["BB"], numbers["TB"], numbers["VB"]) == (4, 1, 4, 5, 5)
    (low, high), bits = survey(net)["neuron"].membrane, numbers["HB"]
    assert -(1 << (bits - 1)) <= low
    assert high < 1 << (bits - 1)
    fields, word = [], rows[1]
    for width in reversed([numbers[w] for w in WIDTHS]):
        fields.append(word & (1 << width) - 1)
        word >>= width
    initially, retract, v_reset, theta, bias, gain = fields
    assert (initially, retract, v_reset, theta, bias, gain) == (7, 0, 0, 8, 16 - 5, 0)


def test_a_code_of_few_bits_is_what_the_memory_holds() -> None:
    stage = plan(few_bits(bits=2, shift=1), 16).stages[0]
    assert (stage.numbers["VB"], stage.numbers["FEW"], stage.numbers["KEEP"]) == (2, 1, 1)


def test_the_bench_reads_words_values_and_outputs_in_the_order_of_the_hardware() -> None:
    net = convolution_and_pool(steps=2)
    codes = golden(net)["input_codes"].astype(np.int64)[:, :1]
    planned, trace = plan(net, 1), simulate(net, codes)
    lines = vectors_text(planned, codes, trace).splitlines()
    assert len(lines) == 1 + 16 + 2 * (16 + 4) + 4
    assert input_words(planned.input, np.arange(16).reshape(1, 4, 4) % 9) == [i % 9 for i in range(16)]
    assert lines[17] == f"{trace.potentials['neuron'][0, 0, 0, 0, 0]} {trace.spikes['neuron'][0, 0, 0, 0, 0]}"
    assert addresses(planned) == [0, 1, 2, 3]


def test_every_step_and_channel_is_a_case_of_the_proof(tmp_path: Path) -> None:
    net = changed(one_convolution(), "neuron", bias=np.array([[1], [-5], [2], [3]]))
    folder = write_verilog(net, tmp_path / "v")
    cases = {
        file.name: re.findall(r"'d(\d+): begin", file.read_text()) for file in sorted((folder / "formal").iterdir())
    }
    assert [len(found) for found in cases.values()] == [4, 4 * 16]
    assert all(len(set(found)) == len(found) for found in cases.values())
    text = (folder / "formal" / "layer_0.v").read_text()
    assert "sum_high = 64'sd8; next_high = 64'sd7; gain = 64'sd1; bias = 64'sd1;" in text  # step 0: h is 1 to 9
    assert "high = 64'sd7; next_low = -64'sd5; next_high = 64'sd7;" in text  # step 1, with a bias of -5


def test_the_certificate_of_verilog_says_how_long_it_takes() -> None:
    net = one_convolution()
    run, certificate = VerilogRun(), bs.verify(net)
    found = run.certificate(certificate)
    assert (found.equal, found.samples, found.cycles) == (True, 6, 0)
    assert str(found).splitlines()[0] == str(certificate).splitlines()[0]
    for values, reason in (({"rtl": True, "engine": True}, "one of them"), ({"lanes": 2}, "Verilog has lanes")):
        with pytest.raises(ConstraintError, match=reason):
            bs.verify(net, **values)


def test_a_missing_simulator_is_told_with_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    net = one_convolution()
    codes = np.zeros((1, 1, 1, 4, 4), np.int64)
    with pytest.raises(ExportError, match=r"no simulator of Verilog is installed\n  fix: apt install verilator"):
        run_verilog(net, codes)
    with pytest.raises(ExportError, match="iverilog is not installed"):
        run_verilog(net, codes, simulator="iverilog")
    with pytest.raises(ExportError, match="allowed are verilator, iverilog"):
        run_verilog(net, codes, simulator="modelsim")
