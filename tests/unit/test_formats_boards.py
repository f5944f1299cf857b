"""C for boards: what an export holds, what does not fit and is refused with figures, what is said where tools miss."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bitspike.cli.completion import boards as offered
from bitspike.errors import ConstraintError, ExportError
from bitspike.formats.c.boards.board import HOST, board_of, names
from bitspike.formats.c.boards.fit import Needs, needs, problems
from bitspike.formats.c.boards.samples import CODE, vectors_that_fit
from bitspike.formats.c.program import program
from bitspike.formats.c.write import write_c
from bitspike.formats.table import FORMATS
from bitspike.integer.examples import convolution_and_pool, one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Input, Linear, Neuron, Readout, Weight
from bitspike.integer.saved.vectors import golden
from bitspike.ops.grids import Grid
from bitspike.verbs.export import export

BOARDS = [name for name in names() if name != HOST]
ONE = np.ones((1, 1), np.int64)


def dense(inputs: int, outputs: int, *, bits: int = 8) -> IntegerNetwork:
    """A linear layer with its neurons."""
    codes = np.ones((outputs, inputs), np.int64)
    weight = Weight(codes=codes, step=np.ones(1), bits=bits, low=1 - (1 << (bits - 1)), high=(1 << (bits - 1)) - 1)
    shape = (outputs,)
    fire = Neuron(
        id="fire", path="fire", sources=("fc",), shape=shape, gains=(ONE,), bias=0 * ONE, threshold=1000 * ONE,
        initial=np.zeros(1, np.int64), unit=np.ones(1),
    )  # fmt: skip
    return IntegerNetwork(
        2,
        (
            Input(id="input", path="input", shape=(inputs,), grid=Grid(1.0, 0, 1)),
            Linear(id="fc", path="fc", sources=("input",), shape=shape, weight=weight),
            fire,
            Readout(id="out", path="out", sources=("fire",), shape=shape, gains=(ONE,), bias=0 * ONE),
        ),
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_words_of_the_format_are_the_profiles() -> None:
    assert FORMATS["c"].boards[0] == HOST
    assert set(FORMATS["c"].boards) == set(names())
    assert list(offered("cortex")) == ["cortex-m0", "cortex-m4"]


def test_the_host_is_what_is_written_without_a_board(tmp_path: Path) -> None:
    usual = write_c(one_convolution(), tmp_path / "usual")
    assert contents(usual) == contents(write_c(one_convolution(), tmp_path / "host", board="host"))
    assert contents(usual) == contents(export(one_convolution(), "c", tmp_path / "verb", board="host"))


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_adds_what_starts_it(board: str, tmp_path: Path) -> None:
    net = convolution_and_pool()
    folder = write_c(net, tmp_path / "c", name="cam", board=board)
    plain, found = contents(write_c(net, tmp_path / "plain", name="cam")), contents(folder)
    added = {"start.c", "board.c", "board.h", "board.ld", "cam_firmware.c"}
    assert set(found) == set(plain) | added
    assert all(found[name] == plain[name] for name in ("cam.c", "cam.h", "cam_test.c", "cam_vectors.h"))
    for name in added | {"Makefile"}:
        text = found[name].decode("ascii")
        assert "Written by Bitspike" in text.splitlines()[0]
        assert "@" not in text.replace("$@", "").replace("\t@", "").replace(")@", "")  # every word has its value
    readme, known = found["README.md"].decode(), board_of(board)
    assert known.title in readme
    assert known.packages["compiler"] in readme
    assert found == contents(write_c(net, folder, name="cam", board=board))  # an older export is replaced
    for built in ("cam_test.elf", "cam_firmware.elf", "cam.log"):
        (folder / built).write_bytes(b"built")
    assert not (write_c(net, folder, name="cam", board=board, bench=False) / "cam_test.elf").exists()
    alone = contents(folder)
    assert set(alone) == added | {"Makefile", "README.md", "cam.c", "cam.h"}
    assert b"qemu:" not in alone["Makefile"]
    assert b"make qemu" not in alone["README.md"]


def test_boards_of_other_formats_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConstraintError, match=r"board 'cortex_m0': there are avr, .*\n  fix: board=\"cortex-m0\""):
        export(one_convolution(), "c", tmp_path / "c", board="cortex_m0")
    for none in ("", 4):  # an empty one is what a script has whose variable is not set
        with pytest.raises(ConstraintError, match=rf"board {none!r}: there are avr"):
            export(one_convolution(), "c", tmp_path / "c", board=none)  # type: ignore[arg-type]
    with pytest.raises(ConstraintError, match=r"board 'avr' of format 'nir'(?s:.*)fix: format=\"c\" \(--format c\)"):
        export(one_convolution(), "nir", tmp_path / "net.nir", board="avr")
    with pytest.raises(ExportError, match=r"name='start': the board has a file(?s:.*)name=\"start_net\""):
        write_c(one_convolution(), tmp_path / "c", name="start", board="avr")
    assert not list(tmp_path.iterdir())
    assert write_c(one_convolution(), tmp_path / "c", name="start").is_dir()


def test_a_network_that_does_not_fit_is_refused_with_its_figures_and_boards_that_hold_it(tmp_path: Path) -> None:
    wide = dense(8, 3000)
    with pytest.raises(ExportError) as refused:
        write_c(wide, tmp_path / "c", board="cortex-m0")
    ram = needs(wide, program(wide, "network")).ram
    assert f"RAM: at least {sum(ram.values()):,} bytes, the board has 16,384 (the state " in str(refused.value)
    assert 'fix: board="cortex-m4" (--board cortex-m4); or board="riscv32" (--board riscv32); or' in str(refused.value)
    assert not list(tmp_path.iterdir())
    assert write_c(wide, tmp_path / "c", board="cortex-m4", bench=False).is_dir()  # the way out is one


def test_flash_and_the_limits_of_a_compiler_are_looked_at(tmp_path: Path) -> None:
    deep = dense(70_000, 4)
    with pytest.raises(ExportError, match=r"flash: at least 280,\d{3} bytes(?s:.*)bitspike mix RECIPE --bytes"):
        write_c(deep, tmp_path / "c", board="cortex-m0")
    small = {"weight codes": 40_000, "other tables": 1_000}
    assert not problems(board_of("cortex-m0"), Needs(small, {}, 40_000))
    assert problems(board_of("avr"), Needs(small, {}, 40_000)) == [
        "the largest table of weights has 40,000 bytes, avr-gcc holds 32,767"
    ]
    assert problems(board_of("avr"), Needs({"weight codes": 62_000}, {}, 31_000)) == [
        "constant tables of 62,000 bytes, avr-gcc reaches 61,440"
    ]
    assert not problems(board_of(HOST), Needs({"weight codes": 1 << 40}, {"the state": 1 << 40}, 1 << 40))


def test_as_many_samples_are_replayed_as_the_flash_holds(tmp_path: Path) -> None:
    net = one_convolution()
    text, vectors = program(net, "network"), golden(net)
    samples = vectors["input_codes"].shape[1]
    assert samples > 2
    per_sample = 16 + 4 * 2 + 8 * 16
    constants = sum(needs(net, text).flash.values())
    for fitting in (1, 2, samples):
        board = replace(board_of("avr"), flash=CODE + constants + fitting * per_sample + per_sample - 1)
        kept = vectors_that_fit(board, net, text, vectors)
        assert {name: v.shape[0 if name.endswith("output") else 1] for name, v in kept.items()} == dict.fromkeys(
            ("input_codes", "neuron.spikes", "readout.output"), fitting
        )
    table = replace(board_of("avr"), array=2 * 128 + 127)
    assert vectors_that_fit(table, net, text, vectors)["input_codes"].shape[1] == 2
    with pytest.raises(ExportError, match=r"holds the network but no sample of its golden vectors: 152 bytes"):
        vectors_that_fit(replace(board, flash=CODE + constants + per_sample - 1), net, text, vectors)
    with pytest.raises(ExportError, match=r"neuron\.spikes is missing"):
        write_c(net, tmp_path / "c", board="avr", vectors={"input_codes": vectors["input_codes"]})


@pytest.mark.parametrize("board", BOARDS)
def test_a_tool_that_is_missing_is_named_with_its_package(board: str, tmp_path: Path) -> None:
    folder, known = write_c(one_convolution(), tmp_path / "c", board=board), board_of(board)
    for part, target in (("compiler", "network_test.elf"), ("emulator", "qemu")):
        (folder / "network_test.elf").touch()
        word = "CC" if part == "compiler" else "EMULATOR"
        fresh = [] if part == "compiler" else [f"--old-file={file.name}" for file in folder.iterdir()]
        if part == "compiler":
            (folder / "network_test.elf").unlink()
        command = ["make", "-C", str(folder), target, f"{word}=no-such-tool", *fresh]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "no-such-tool was not found" in done.stderr
        assert f"on Debian: apt install {known.packages[part]}" in done.stderr
