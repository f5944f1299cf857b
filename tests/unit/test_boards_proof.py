"""The proof on boards: what benches print is read, the kept lines hold, and the document shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks import boards

from bitspike.errors import ExportError
from bitspike.formats.c.boards.board import names
from bitspike.formats.c.write import write_c
from bitspike.integer.examples import one_convolution

SAID = """\
network: 73728 spikes of 6 samples compared; the state is 9516 bytes
network: all equal
network: 3489206 instructions an inference in the mean, at most 5317040; 2072 bytes of stack
network:   296686 up to the spikes of relu1
network:   10926 after them
network: 7208 bytes of flash, 9664 of RAM and the stack
"""


def line(board: str, level: str = "-O2", **changes: Any) -> boards.Line:
    about = {"run": "2026-01-01", "network": "net", "bitspike": "0.1.0", "commit": "abc"}
    tools = {"compiler": "gcc 12", "emulator": "qemu 7"}
    return {**about, **tools, "board": board, "level": level, "refused": None, **boards.read(SAID), **changes}


def test_what_a_bench_prints_is_read() -> None:
    assert boards.read(SAID) == {
        "spikes": 73728, "samples": 6, "count": 3489206, "most": 5317040, "stack": 2072, "flash": 7208, "ram": 9664,
        "equal": True, "layers": [["relu1", 296686], ["", 10926]],
    }  # fmt: skip
    assert not boards.read(SAID.replace("all equal", "1 differences"))["equal"]


def test_the_tables_say_what_was_measured() -> None:
    lines = [line("cortex-m4", level, count=count) for level, count in (("-Os", 9e6), ("-O2", 4e6), ("-O3", 5e6))]
    refused = {"run": "2026-01-01", "network": "net", "bitspike": "0.1.0", "commit": "abc", "board": "avr"}
    lines += [
        refused | {"refused": "the network does not fit\n  RAM: too little\n  flash: none"},
        line("mips", equal=False),
    ]
    del lines[-1]["count"]
    shown = boards.table(lines).splitlines()
    assert (
        "| `net` | `cortex-m4` | 6 | 73,728, all equal | 7,208 | 9,664 | 2,072 | 4.00 M instructions | 5.32 M |"
        in shown
    )
    assert "| `net` | `avr` | refused: it does not fit | | | | | | |" in shown
    assert "| `net` | mips, big-endian | 6 | 73,728, **different** | | | | | |" in shown
    assert "| `net`, `cortex-m4` | 9.00 M (7,208) | **4.00 M** (7,208) | 5.00 M (7,208) |" in shown
    assert "Refused, `net`: the network does not fit: RAM: too little; flash: none." in shown


def test_levels_that_were_not_measured_stay_empty() -> None:
    shown = boards.table([line("cortex-m4", "-O2", count=4e6)]).splitlines()
    assert "| `net`, `cortex-m4` |  | **4.00 M** (7,208) |  |" in shown


def test_a_bench_that_fails_is_an_error_with_what_it_said(tmp_path: Path) -> None:
    folder = write_c(one_convolution(), tmp_path / "c", board="avr")
    with pytest.raises(ExportError, match=r"make qemu CC=no-such-tool failed:(?s:.*)gcc-avr avr-libc"):
        boards.made_by_make(folder, ["qemu", "CC=no-such-tool"])


def test_the_kept_lines_hold_and_stand_in_the_document() -> None:
    lines = boards.kept()
    assert {entry["network"] for entry in lines} == set(boards.NETWORKS)
    assert {entry["board"] for entry in lines} == {*boards.BOARDS, *boards.BIG_ENDIAN}
    assert set(boards.BOARDS) == set(names()) - {"host"}
    assert all(entry["equal"] for entry in lines if "samples" in entry)
    text = boards.DOCUMENT.read_text(encoding="utf-8")
    assert boards.put(text, boards.table(lines)) == text, "run scripts/prove_boards"
