"""The files that a board adds to a C program: start-up code, linker script, the least firmware, a Makefile."""

from __future__ import annotations

from bitspike.formats.c.bench import caller_words
from bitspike.formats.c.boards.board import Board
from bitspike.formats.c.boards.fit import CALLS
from bitspike.formats.c.program import Program
from bitspike.formats.c.templates import filled
from bitspike.integer.network import IntegerNetwork


def board_files(board: Board, net: IntegerNetwork, program: Program, *, bench: bool = True) -> dict[str, str]:
    """Return the texts of the files by name.

    Example:
        >>> from bitspike.formats.c.boards.board import board_of
        >>> from bitspike.formats.c.program import program
        >>> from bitspike.integer.examples import one_convolution
        >>> net = one_convolution()
        >>> sorted(board_files(board_of("avr"), net, program(net, "network")))
        ['Makefile', 'board.c', 'board.h', 'board.ld', 'network_firmware.c', 'start.c']
    """
    names = caller_words(net, program) | {
        "TITLE": board.title,
        "COUNTS": board.counts,
        "TICK_TIMES": board.tick[0],
        "TICK_PER": board.tick[1],
        "ENTRY": board.entry,
        "FLASH": board.flash,
        "FLASH_ORIGIN": hex(board.flash_origin),
        "RAM": board.ram,
        "RAM_ORIGIN": hex(board.ram_origin),
        "STACK": program.memory.stack + CALLS,
    }
    rules = ["boards/firmware.mk", *(["boards/replay.mk"] if bench else [])]
    says = "make size says what a firmware takes"
    if bench:
        says = f"make qemu replays the golden vectors, {says}, make does both"
    commands = {"SAYS": f"{says}.", "REPLAY": "qemu " * bench} | _commands(board)
    makefile = "".join(filled(file, names | commands) for file in rules)
    return {
        "Makefile": makefile,
        "start.c": filled(f"boards/start/{board.start}", names),
        "board.h": filled("boards/start/board.h", names),
        "board.c": filled("boards/start/board.c", names),
        "board.ld": filled(f"boards/start/{board.linker}", names),
        f"{program.name}_firmware.c": filled("boards/firmware.c", names),
    }


def words(board: Board, name: str, *, bench: bool) -> list[str]:
    """Return lines of a README about a board."""
    tools = dict.fromkeys(package for packages in board.packages.values() for package in packages.split())
    replays = f" `make qemu` replays the vectors there in `{board.emulator}`." * bench
    return [
        f"It is for {board.title}: `start.c`, `board.c` and `board.ld` start it.{replays}",
        f"`{name}_firmware.c` is the least firmware, to go on from; `make size` says what it takes.",
        f"The tools on Debian: `apt install {' '.join(tools)}`.",
    ]


def _commands(board: Board) -> dict[str, object]:
    """Return the words of the Makefile."""
    return {
        "COMPILER": board.compiler,
        "SIZE": board.size,
        "STANDARD": board.standard,
        "PEDANTIC": " -pedantic" * (board.standard == "c99"),
        "FLAGS": board.flags,
        "LINK": f"{board.link} " * bool(board.link),
        "SCRIPT": "-T board.ld" if board.entry else "board.ld",
        "EMULATOR": board.emulator,
        "RUN": board.run,
        "COMPILER_PACKAGES": board.packages["compiler"],
        "EMULATOR_PACKAGES": board.packages["emulator"],
    }
