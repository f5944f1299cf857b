"""An integer network as a C99 program that a firmware can hold, with its own test bench.

The program is two files: ``NAME.h`` and ``NAME.c``. Integer types come from proven bounds, weights lie packed in as
many bits as they have, zeros of the input cost next to nothing, and all state is one struct that the caller owns.
"""

from __future__ import annotations

import os
from pathlib import Path

from bitspike.arguments import checked
from bitspike.errors import ExportError
from bitspike.formats.c.bench import Vectors, bench_text, makefile_text, readme_text, vectors_text
from bitspike.formats.c.boards.board import HOST, Board, board_of
from bitspike.formats.c.boards.fit import need_room, needs
from bitspike.formats.c.boards.folder import board_files, words
from bitspike.formats.c.boards.samples import vectors_that_fit
from bitspike.formats.c.memory import CMemory
from bitspike.formats.c.program import program
from bitspike.formats.c.text import MARK
from bitspike.formats.folder import begins_with, write_folder
from bitspike.formats.refuse import need_name
from bitspike.integer.network import IntegerNetwork, need_integers
from bitspike.integer.saved.vectors import golden

_HEADERS = (
    "assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits", "locale", "math", "setjmp",
    "signal", "stdarg", "stdbool", "stddef", "stdint", "stdio", "stdlib", "string", "tgmath", "time", "wchar", "wctype",
)  # fmt: skip
"""Headers of C's library: a file of such a name would be found in the place of one."""


@checked
def write_c(
    net: IntegerNetwork,
    path: str | os.PathLike[str],
    *,
    vectors: Vectors | None = None,
    name: str | None = None,
    bench: bool = True,
    board: str = HOST,
) -> Path:
    """Write a network as C: ``NAME.h``, ``NAME.c``, a Makefile and a README, and the test bench of its vectors.

    The README says what the host has to do before and after a run, and the memory of every layer.

    The folder appears whole or not at all, and the same network gives the same bytes.

    Args:
        net: the network; one input.
        path: the folder. An older export in it is replaced, anything else is left alone and refused.
        vectors: golden vectors as :func:`bitspike.integer.saved.vectors.golden` makes them: ``NAME_test.c`` compares
            every spike and every output with them. None makes them.
        name: begins every name that leaves the files, a word of lower-case letters; None takes ``network``.
        bench: False writes no test bench.
        board: a board of :mod:`bitspike.formats.c.boards`: start-up code, linker script and the least firmware are
            written too, and the Makefile runs the bench in its emulator. ``host`` is the computer that compiles.

    Returns:
        the folder.

    Raises:
        ConstraintError: there is no such board.
        ExportError: C cannot hold some nodes (all of them are named), the network does not fit the board, the vectors
            do not belong to the network, the name is no name in C, or the folder holds something else or cannot be
            written.

    Example:
        >>> import tempfile
        >>> from bitspike.integer.examples import one_convolution
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(p.name for p in write_c(one_convolution(), folder + "/c").iterdir())
        ['Makefile', 'README.md', 'network.c', 'network.h', 'network_test.c', 'network_vectors.h']
    """
    need_integers(net, "write_c")
    name = need_name("network" if name is None else name, _is_no_header, "but no header of C")
    target, text = board_of(board), program(net, name)
    _need_other_name(target, name)
    need_room(target, needs(net, text))
    said = [] if target.name == HOST else words(target, name, bench=bench)
    files = {
        f"{name}.h": text.header,
        f"{name}.c": text.source,
        "Makefile": makefile_text(text, bench=bench),
        "README.md": readme_text(net, text, bench=bench, said=said),
    }
    if bench:
        replayed = vectors_that_fit(target, net, text, golden(net) if vectors is None else vectors)
        files[f"{name}_vectors.h"] = vectors_text(net, text, replayed)
        files[f"{name}_test.c"] = bench_text(net, text)
    if target.name != HOST:
        files |= board_files(target, net, text, bench=bench)
    return write_folder(Path(path).absolute(), files, foreign=_foreign)


def c_memory(net: IntegerNetwork) -> CMemory:
    """Return the memory that the C program of a network needs, without writing it.

    Raises:
        ExportError: C cannot hold some nodes.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> c_memory(one_convolution()).layers[0]  # 9 codes of 2 bits, and a byte after them
        LayerMemory(path='conv', kind='Convolution', weights=4, tables=130, state=0)
    """
    return program(net, "network").memory


def _is_no_header(name: str) -> bool:
    return name not in _HEADERS


def _need_other_name(board: Board, name: str) -> None:
    """Refuse a name that a file of the board has."""
    if board.name != HOST and name in ("board", "start"):
        raise ExportError(f"name={name!r}: the board has a file of this name", fix=f'name="{name}_net"')


def _foreign(folder: Path) -> set[str]:
    """Return what neither this module wrote nor its Makefile built."""
    ours = {file.name for file in folder.iterdir() if file.is_file() and begins_with(file, MARK)}
    built = {
        name.removesuffix(".c") + end for name in ours if name.endswith(".c") for end in ("", ".o", ".elf", ".log")
    }
    return {file.name for file in folder.iterdir()} - ours - built
