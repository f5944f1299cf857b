"""A board as a file of values, by its name."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bitspike.errors import ConstraintError

HOST = "host"
"""The board without limits: the computer that compiles."""

_PROFILES = Path(__file__).parent / "profiles"


@dataclass(frozen=True, kw_only=True)
class Board:
    """What a board has and how a program gets onto it.

    Args:
        name: of its file.
        title: in words, after "of" and "for".
        compiler, size: commands, both from one GNU tool chain.
        standard: of C, for the compiler.
        flags: of the processor, for compiling and linking.
        link: for linking, besides the linker script.
        flash, ram: bytes; 0 is without a limit.
        flash_origin, ram_origin: addresses.
        constants, array: the most bytes of all constant tables and of one, where the compiler has such a limit.
        start, linker: files in ``start/``; entry is the linker's first function.
        emulator, run: command, and its arguments before the program.
        counts: what the emulator counts of a run, in words.
        tick: numerator and denominator of what one tick of the board's counter counts.
        packages: what Debian calls the packages of ``compiler`` and ``emulator``.
    """

    name: str
    title: str
    compiler: str
    size: str
    standard: str = "c99"
    flags: str = ""
    link: str = ""
    flash: int = 0
    ram: int = 0
    flash_origin: int = 0
    ram_origin: int = 0
    constants: int = 0
    array: int = 0
    start: str = ""
    linker: str = ""
    entry: str = ""
    emulator: str = ""
    run: str = ""
    counts: str = "instructions"
    tick: tuple[int, int] = (1, 1)
    packages: Mapping[str, str] = field(default_factory=dict)


def names() -> tuple[str, ...]:
    """Return the names of all boards.

    Example:
        >>> names()
        ('avr', 'cortex-m0', 'cortex-m4', 'host', 'riscv32')
    """
    return tuple(sorted(file.stem for file in _PROFILES.glob("*.toml")))


def board_of(name: str) -> Board:
    """Read a board.

    Raises:
        ConstraintError: there is none of this name.

    Example:
        >>> board_of("cortex-m0").ram
        16384
        >>> board_of("cortexm4")
        Traceback (most recent call last):
        bitspike.errors.ConstraintError: board 'cortexm4': there are avr, cortex-m0, cortex-m4, host, riscv32
          fix: board="cortex-m4" (--board cortex-m4)
    """
    known = names()
    if name not in known:
        near = [*difflib.get_close_matches(str(name).lower(), known, n=1), "cortex-m4"][0]
        raise ConstraintError(f"board {name!r}: there are {', '.join(known)}", fix=f'board="{near}" (--board {near})')
    values: dict[str, Any] = tomllib.loads((_PROFILES / f"{name}.toml").read_text(encoding="utf-8"))
    return Board(name=name, **values | {"tick": tuple(values.get("tick", (1, 1)))})
