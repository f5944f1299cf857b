"""A network as a file or folder that other programs read."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.formats.table import FORMATS
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.saved.folder import read_tensors
from bitspike.integer.saved.manifest import VECTORS
from bitspike.runs.saved import read_network, saved


@checked
def export(
    network: IntegerNetwork | str | Path,
    format: str,
    out: str | Path,
    *,
    form: str | None = None,
    reader: str | None = None,
    lanes: int | None = None,
    board: str | None = None,
) -> Path:
    """Write a network as C, NIR, ONNX or Verilog, or for Loihi.

    C and Verilog are folders with a test bench of the golden vectors and a README that says what the host does; NIR
    and ONNX are files, ONNX one that computes a time step; for Loihi it is a folder of arrays with a program that runs
    in lava-nc.

    Args:
        network: an integer network, whose golden vectors are made; or the folder of a saved one, or of a run, which
            holds them.
        format: ``c``, ``loihi``, ``nir``, ``onnx`` or ``verilog``.
        out: the folder or file.
        form: of ONNX ``step``, ``sequence``, ``count``, ``qonnx`` or ``qonnx-readouts``; of NIR ``integer`` or ``real``
            units; None is the first of them.
        reader: of NIR, the program that is to run every spike of the file: ``norse``, ``sinabs``, ``snntorch`` or
            ``spikingjelly``.
        lanes: of Verilog, how many channels of a layer are computed at once, at most; None is 16.
        board: of C, what the program is for: ``cortex-m0``, ``cortex-m4``, ``riscv32``, ``avr``, or ``host``, the
            computer that compiles. It brings start-up code, a linker script and the emulator that replays the vectors.

    Returns:
        the folder or file.

    Raises:
        ConstraintError: an unknown format, form, reader or board, or no possible number of lanes.
        ExportError: the format cannot hold the network, it does not fit the board, or nothing can be written.
        PackageError: there is no network, or it cannot be read. RunError: the run has none yet.

    Example:
        >>> import tempfile
        >>> from bitspike.integer.examples import one_convolution
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(p.name for p in export(one_convolution(), "c", folder + "/c").iterdir())
        ['Makefile', 'README.md', 'network.c', 'network.h', 'network_test.c', 'network_vectors.h']
    """
    if format not in FORMATS:
        near = difflib.get_close_matches(format.lower(), FORMATS, n=1) or ["c"]
        raise ConstraintError(
            f"format {format!r}: allowed are {', '.join(FORMATS)}", fix=f'format="{near[0]}" (--format {near[0]})'
        )
    entry = FORMATS[format]
    if form is not None and not entry.forms:
        raise ConstraintError(f"format {format!r} has one form", fix="leave form (--form) away")
    if form is not None and form not in entry.forms:
        usual = entry.forms[0]
        raise ConstraintError(
            f"form {form!r} of format {format!r}: allowed are {', '.join(entry.forms)}",
            fix=f'form="{usual}" (--form {usual})',
        )
    choices: dict[str, Any] = {entry.form: form or entry.forms[0]} if entry.forms else {}
    for name, value, taken, whose, only in (
        ("reader", reader, entry.readers, "NIR files are for readers", "nir"),
        ("lanes", lanes, entry.lanes, "Verilog has lanes", "verilog"),
        ("board", board, entry.boards, "C programs are for boards", "c"),
    ):
        if value is not None and not taken:
            raise ConstraintError(
                f"{name} {value!r} of format {format!r}: {whose}", fix=f'format="{only}" (--format {only})'
            )
        if value is not None:
            choices[name] = value
    if isinstance(network, IntegerNetwork):
        net = network
    else:
        net = read_network(network)
        choices |= {"vectors": read_tensors(saved(network), VECTORS)} if entry.vectors else {}
    return entry.writer()(net, out, **choices)
