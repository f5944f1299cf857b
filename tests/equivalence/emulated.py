"""Processors that need no tools of the machine: C compiled by zig and run by unicorn, both Python packages."""

from __future__ import annotations

import importlib.util
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bitspike.formats.c.boards.board import Board, board_of

needs_emulator = pytest.mark.skipif(
    not os.environ.get("CI") and any(importlib.util.find_spec(name) is None for name in ("ziglang", "unicorn")),
    reason='ziglang or unicorn is missing: pip install "bitspike[boards]"',
)
"""Skip without the packages, but never where all checks have to run."""

BIG_ENDIAN = replace(
    board_of("riscv32"), name="mips", title="a big-endian MIPS", entry="board_reset", flash_origin=1 << 24,
    ram_origin=2 << 24,
)  # fmt: skip
PORT, AFTER = 3 << 24, 4 << 24
"""Of the emulated MIPS: where characters and the verdict are written, and where the program goes in the end."""

START = f"""
#include "board.h"
int main(void);
__asm__(".pushsection .vectors, \\"ax\\"\\n.set noreorder\\n.globl board_reset\\nboard_reset:\\n"
        "  lui $sp, %hi(board_stack_top)\\n  addiu $sp, $sp, %lo(board_stack_top)\\n  addiu $sp, $sp, -32\\n"
        "  lui $t9, %hi(main)\\n  addiu $t9, $t9, %lo(main)\\n  jr $t9\\n  nop\\n.popsection\\n");
void board_put(char c) {{ *(volatile uint32_t *){PORT} = (uint32_t)c; }}
uint64_t board_count(void) {{ return 0; }}
void board_exit(int failed)
{{
    *(volatile uint32_t *){PORT + 4} = (uint32_t)failed;
    for (;;) ((void (*)(void)){AFTER})();
}}
"""
STRING = """
#include <stddef.h>
void *memset(void *to, int value, size_t bytes);
void *memcpy(void *to, const void *from, size_t bytes);
"""


@dataclass
class Said:
    """What a program printed, and whether it failed."""

    text: str = ""
    failed: int | None = None


def compiled(folder: Path, *flags: str, name: str = "network") -> bytes:
    """Compile the test bench of an export for a board."""
    library = folder.parent / "library"
    library.mkdir(exist_ok=True)
    (library / "string.h").write_text(STRING)
    sources = [str(folder / file) for file in (f"{name}_test.c", f"{name}.c", "start.c", "board.c")]
    defined = ["-DBOARD", f"-D{name.upper()}_OBSERVER"]
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-g0"]
    linked = ["-T", str(folder / "board.ld"), "-o", str(folder.parent / "test.elf"), "-Wl,--gc-sections"]
    command = [sys.executable, "-m", "ziglang", "cc", *flags, *strict, f"-I{library}", *defined, *sources, *linked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (folder.parent / "test.elf").read_bytes()


def loaded(program: bytes) -> Iterator[tuple[int, bytes]]:
    """Return the addresses and bytes that an ELF file of 32 bits puts into memory."""
    order = "<" if program[5] == 1 else ">"
    (at,) = struct.unpack_from(f"{order}I", program, 28)
    size, count = struct.unpack_from(f"{order}HH", program, 42)
    for i in range(count):
        kind, start, _, address, length = struct.unpack_from(f"{order}5I", program, at + i * size)
        if kind == 1 and length:
            yield address, program[start : start + length]


def machine(architecture: int, mode: int, model: int, board: Board, program: bytes) -> Any:
    """Return a processor with the memory of a board and a program in it."""
    import unicorn

    emulated = unicorn.Uc(architecture, mode)
    emulated.ctl_set_cpu_model(model)  # before any memory is there
    emulated.mem_map(board.flash_origin, board.flash)
    emulated.mem_map(board.ram_origin, board.ram)
    for address, data in loaded(program):
        emulated.mem_write(address, data)
    return emulated


def run_cortex_m0(program: bytes) -> Said:
    """Run a program on a Cortex-M0 with semihosting."""
    import unicorn
    from unicorn import arm_const as arm

    said, board = Said(), board_of("cortex-m0")
    mode = unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS
    emulated = machine(unicorn.UC_ARCH_ARM, mode, arm.UC_CPU_ARM_CORTEX_M0, board, program)
    emulated.mem_map(0xE000E000, 0x1000)  # SysTick, which stands still
    stack, reset = struct.unpack("<II", emulated.mem_read(0, 8))
    emulated.reg_write(arm.UC_ARM_REG_SP, stack)

    def asked(emulated: Any, _number: int, _data: object) -> None:
        operation, about = (emulated.reg_read(r) for r in (arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R1))
        if operation == 3:
            said.text += bytes(emulated.mem_read(about, 1)).decode()
            emulated.reg_write(arm.UC_ARM_REG_PC, (emulated.reg_read(arm.UC_ARM_REG_PC) + 2) | 1)
        else:
            said.failed = int(about != 0x20026)
            emulated.emu_stop()

    emulated.hook_add(unicorn.UC_HOOK_INTR, asked)
    emulated.emu_start(reset | 1, 0xFFFFFFFF)
    return said


def run_mips(program: bytes) -> Said:
    """Run a program on a big-endian MIPS."""
    import unicorn
    from unicorn import mips_const as mips

    said = Said()
    mode = unicorn.UC_MODE_MIPS32 | unicorn.UC_MODE_BIG_ENDIAN
    emulated = machine(unicorn.UC_ARCH_MIPS, mode, mips.UC_CPU_MIPS32_24KF, BIG_ENDIAN, program)
    emulated.mem_map(PORT, 0x1000)
    emulated.mem_map(AFTER, 0x1000)

    def written(_emulated: Any, _access: int, address: int, _size: int, value: int, _data: object) -> None:
        if address == PORT:
            said.text += chr(value)
        else:
            said.failed = value

    emulated.hook_add(unicorn.UC_HOOK_MEM_WRITE, written, begin=PORT, end=PORT + 7)
    emulated.emu_start(BIG_ENDIAN.flash_origin, AFTER)
    return said
