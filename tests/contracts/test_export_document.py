"""docs/export.md shows the support tables of the code itself, and its reader of ONNX files runs as printed.

Run as a program, this file writes the tables anew.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from bitspike.formats.nir.facts import graph_facts, input_facts, neuron_facts, weight_facts
from bitspike.formats.nir.support import HELD as NIR_HELD
from bitspike.formats.nir.support import REFUSED as NIR_REFUSED
from bitspike.formats.nir.write import write_nir
from bitspike.formats.onnx.write import HELD as ONNX_HELD
from bitspike.formats.onnx.write import PROBLEMS, write_onnx
from bitspike.formats.verilog.support import HELD as VERILOG_HELD
from bitspike.formats.verilog.support import REFUSED as VERILOG_REFUSED
from bitspike.integer.examples import few_bits, one_convolution
from bitspike.integer.nodes import KINDS, Add, Burst, Convolution, FewBitNeuron, MaxPool, Neuron, Node, Readout, Synapse

DOCUMENT = Path(__file__).parents[2] / "docs" / "export.md"
BLOCK = re.compile(r"(<!-- support: [^\n]* -->\n)(.*?)(<!-- /support -->)", re.DOTALL)


COUNTED: dict[type[Node], str] = {
    MaxPool: "only of what is constant in time",
    Add: "gains constant in time",
    Neuron: "soft reset, no leak, sign, shift, floor or width; gains and threshold constant in time, above 0",
    Synapse: "none of them",
    FewBitNeuron: "none of them",
    Readout: "gains constant in time",
}
QUANTIZED = COUNTED | {Node: "integers up to 2**24 over all steps; up to 2**52 inside a neuron or read-out"}
LIMITS: dict[str, dict[type[Node], str]] = {
    "step": {Burst: "only of what is constant in time"},
    "sequence": {},
    "count": COUNTED,
    "qonnx": QUANTIZED,
    "qonnx-readouts": QUANTIZED,
}
"""What each mode of ONNX holds only in part."""


def support() -> str:
    """Return the tables."""
    rows = ["| node | NIR | ONNX | Verilog |", "| --- | --- | --- | --- |"]
    for kind in KINDS.values():
        nir = NIR_HELD.get(kind) or f"refused: {NIR_REFUSED[kind]}"
        verilog = VERILOG_HELD.get(kind) or f"refused: {VERILOG_REFUSED[kind]}"
        rows.append(f"| `{kind.__name__}` | {nir} | {ONNX_HELD[kind]} | {verilog} |")
    rows += ["", "| mode of `write_onnx` | holds only in part |", "| --- | --- |"]
    for mode, limits in LIMITS.items():
        named = {"every node" if kind is Node else f"`{kind.__name__}`": what for kind, what in limits.items()}
        parts = "; ".join(f"{name}: {what}" for name, what in named.items())
        rows.append(f"| `{mode}` | {parts or 'holds all'} |")
    return "\n".join(rows) + "\n"


def test_the_support_tables_are_those_of_the_code() -> None:
    found = BLOCK.search(DOCUMENT.read_text(encoding="utf-8"))
    assert found
    assert found[2] == support(), f"python {Path(__file__).name} writes them anew"


def test_every_kind_of_node_is_held_or_refused_by_every_format() -> None:
    assert set(NIR_HELD) | set(NIR_REFUSED) == set(ONNX_HELD) == set(KINDS.values())
    assert not set(NIR_HELD) & set(NIR_REFUSED)
    assert set(LIMITS) == set(PROBLEMS)


def test_every_key_of_the_metadata_is_explained(tmp_path: Path) -> None:
    net = one_convolution()
    text = DOCUMENT.read_text(encoding="utf-8")
    conv, neuron = net["conv"], net["neuron"]
    assert isinstance(conv, Convolution)
    assert isinstance(neuron, Neuron)
    few = few_bits().neurons[0]
    keys = {*graph_facts(net), *input_facts(net.input), *weight_facts(conv, conv.weight.codes)}
    keys |= {*neuron_facts(neuron), *neuron_facts(few)}
    import onnx

    keys |= {entry.key for entry in onnx.load(write_onnx(net, tmp_path / "net.onnx")).metadata_props}
    missing = sorted(key for key in keys if f"`{key}`" not in text)
    assert not missing


def test_the_reader_of_onnx_files_runs_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if "onnxruntime" in block]
    monkeypatch.chdir(tmp_path)
    write_onnx(one_convolution(), "net.onnx")
    Path("reader.py").write_text(code, encoding="utf-8")
    runpy.run_path("reader.py")
    assert capsys.readouterr().out.split() == ["[[2", *["2"] * 14, "2]]"]  # floor(4 * 5 / 8) spikes of every pixel


def test_the_files_are_written_where_they_should(tmp_path: Path) -> None:
    assert write_nir(one_convolution(), tmp_path / "net.nir") == tmp_path / "net.nir"
    assert write_onnx(one_convolution(), str(tmp_path / "net.onnx")) == tmp_path / "net.onnx"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.nir", "net.onnx"]


if __name__ == "__main__":
    DOCUMENT.write_text(BLOCK.sub(lambda m: m[1] + support() + m[3], DOCUMENT.read_text(encoding="utf-8")), "utf-8")
