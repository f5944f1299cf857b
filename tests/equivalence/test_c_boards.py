"""C on the processors of boards: every golden vector replayed in emulators, and what is wrong is found there too.

A Cortex-M0 and a big-endian MIPS need two Python packages and run everywhere; the boards' own tools come from the
machine, and where one is missing the test says which.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bitspike.formats.c.boards.board import HOST, board_of, names
from bitspike.formats.c.boards.fit import CALLS, needs
from bitspike.formats.c.boards.folder import board_files
from bitspike.formats.c.program import program
from bitspike.formats.c.write import write_c
from bitspike.integer.examples import convolution_and_pool
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.saved.vectors import golden
from equivalence.emulated import BIG_ENDIAN, START, Said, compiled, needs_emulator, run_cortex_m0, run_mips
from properties.random_networks import random_network

ZIG_M0 = ("-target", "thumb-freestanding-eabi", "-mcpu=cortex_m0")
ZIG_MIPS = (
    "-target", "mips-freestanding-eabi", "-mcpu=mips32r2+soft_float", "-fno-pic", "-Wl,-e,board_reset",
)  # fmt: skip
FAULT = "        __builtin_trap();\n"
"""An instruction that no processor has."""
BOARDS = [name for name in names() if name != HOST]


def on_cortex_m0(net: IntegerNetwork, folder: Path) -> Said:
    return run_cortex_m0(compiled(write_c(net, folder / "m0", board="cortex-m0"), *ZIG_M0))


def on_mips(net: IntegerNetwork, folder: Path) -> Said:
    place = write_c(net, folder / "mips", board="riscv32")
    for name, text in board_files(BIG_ENDIAN, net, program(net, "network")).items():
        (place / name).write_text(START if name == "start.c" else text)
    return run_mips(compiled(place, *ZIG_MIPS))


@needs_emulator
@pytest.mark.parametrize("run", [on_cortex_m0, on_mips])
@pytest.mark.parametrize("seed", [None, 24])
def test_a_small_processor_and_a_big_endian_one_give_every_spike(
    run: Callable[[IntegerNetwork, Path], Said], seed: int | None, tmp_path: Path
) -> None:
    net = convolution_and_pool() if seed is None else random_network(np.random.default_rng(seed))
    said = run(net, tmp_path)
    assert said.failed == 0, said.text
    samples = golden(net)["input_codes"].shape[1]
    spikes = sum(int(np.prod(n.shape)) for n in net.neurons) * net.steps * samples
    assert said.text.startswith(f"network: {spikes} spikes of {samples} samples compared; the state is ")
    assert "\nnetwork: all equal\nnetwork: " in said.text


@needs_emulator
def test_a_wrong_spike_is_found_on_the_processor_too(tmp_path: Path) -> None:
    net = convolution_and_pool()
    vectors = dict(golden(net))
    first = net.neurons[0]
    spikes = vectors[f"{first.id}.spikes"].copy()
    spikes[1, 2, 0] = 1 - spikes[1, 2, 0]
    folder = write_c(net, tmp_path / "m0", board="cortex-m0", vectors=vectors | {f"{first.id}.spikes": spikes})
    said = run_cortex_m0(compiled(folder, *ZIG_M0))
    assert said.failed == 1
    assert f"differences, the first: layer {first.path}, step 1, index [2, 0" in said.text


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("board", BOARDS)
def test_make_replays_the_vectors_and_tells_the_footprint(board: str, tmp_path: Path) -> None:
    known = board_of(board)
    for tool in (known.compiler, known.emulator):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing; on Debian: apt install {' '.join(known.packages.values())}")
    net = convolution_and_pool()
    folder = write_c(net, tmp_path / "c", board=board)
    done = make(folder, "footprint", "FLAGS=-Werror")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("network: ")]
    assert lines[1] == "network: all equal"
    (runs,) = [line.split() for line in lines if "in the mean" in line]
    assert runs[2] == known.counts
    assert 0 < int(runs[1]) <= int(runs[10].rstrip(";"))
    memory, stack = program(net, "network").memory, int(runs[11])
    assert memory.stack <= stack <= memory.stack + CALLS
    layers = [line.split("up to the spikes of ")[1] for line in lines if "up to" in line]
    assert layers == [n.path for n in net.neurons]
    sizes = lines[-1].split()
    assert memory.weights + memory.tables < int(sizes[1]) < known.flash
    ram = sum(needs(net, program(net, "network")).ram.values()) - memory.stack - CALLS
    assert ram <= int(sizes[5]) <= ram + 16  # a counter that wraps, and what aligns the rest

    script = (folder / "board.ld").read_text()
    (folder / "board.ld").write_text(script.replace(str(known.ram), str(int(sizes[5]) + memory.stack)))
    done = make(folder, "network_firmware.elf")
    assert done.returncode == 2
    assert "bytes of RAM are left for the stack" in done.stderr

    (folder / "board.ld").write_text(script)
    if known.start != "avr.c":  # an AVR has no faults
        bench = (folder / "network_test.c").read_text()
        (folder / "network_test.c").write_text(
            bench.replace("    observes = COUNTS;\n", f"{FAULT}    observes = COUNTS;\n")
        )
        done = make(folder, "qemu")
        assert done.returncode == 2
        assert "network: all equal\nboard: the processor reports a fault\n" in done.stdout
        (folder / "network_test.c").write_text(bench)

    text = (folder / "network.c").read_text()
    (folder / "network.c").write_text(text.replace("fired ? ", "!fired ? ", 1))
    done = make(folder, "qemu")
    assert done.returncode == 2
    assert "differences, the first: layer" in done.stdout
