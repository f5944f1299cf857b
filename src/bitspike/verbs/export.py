"""A network in the format of somebody else."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal, cast, get_args

from bitspike.errors import ConstraintError
from bitspike.formats.c.write import write_c
from bitspike.formats.nir.write import Reader, Units, write_nir
from bitspike.formats.onnx.write import Mode, write_onnx
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.saved.folder import VECTORS, read_tensors
from bitspike.integer.saved.vectors import golden
from bitspike.runs.saved import read_network, saved

Format = Literal["c", "nir", "onnx"]

FORMS: dict[str, tuple[str, ...]] = {"c": (), "nir": get_args(Units), "onnx": get_args(Mode)}
"""What a format can hold, the usual form first."""


def export(
    network: IntegerNetwork | str | Path,
    format: str,
    out: str | Path,
    *,
    form: str | None = None,
    reader: str | None = None,
) -> Path:
    """Write a network as C, NIR or ONNX.

    C is a folder with a test bench of the golden vectors; NIR and ONNX are files, ONNX one that computes a time step.

    Args:
        network: an integer network, whose golden vectors are made; or the folder of a saved one, or of a run, which
            holds them.
        format: ``c``, ``nir`` or ``onnx``.
        out: the folder or file.
        form: of ONNX ``step``, ``sequence``, ``count``, ``qonnx`` or ``qonnx-readouts``; of NIR ``integer`` or ``real``
            units; None is the first of them.
        reader: of NIR, the program that is to run every spike of the file: ``norse``, ``sinabs``, ``snntorch`` or
            ``spikingjelly``.

    Returns:
        the folder or file.

    Raises:
        ConstraintError: an unknown format, form or reader.
        ExportError: the format cannot hold the network, or nothing can be written.
        PackageError: there is no network, or it cannot be read. RunError: the run has none yet.

    Example:
        >>> import tempfile
        >>> from bitspike.integer.examples import one_convolution
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(p.name for p in export(one_convolution(), "c", folder + "/c").iterdir())
        ['Makefile', 'README.md', 'network.c', 'network.h', 'network_test.c', 'network_vectors.h']
    """
    if format not in get_args(Format):
        near = difflib.get_close_matches(format.lower(), get_args(Format), n=1) or ["c"]
        raise ConstraintError(
            f"format {format!r}: allowed are {', '.join(get_args(Format))}",
            fix=f'format="{near[0]}" (--format {near[0]})',
        )
    if form is not None and form not in FORMS[format]:
        if not FORMS[format]:
            raise ConstraintError(f"format {format!r} has one form", fix="leave form (--form) away")
        raise ConstraintError(f"form {form!r} of format {format!r}: allowed are {', '.join(FORMS[format])}")
    if reader is not None and format != "nir":
        raise ConstraintError(
            f"reader {reader!r} of format {format!r}: NIR files are for readers", fix='format="nir" (--format nir)'
        )
    net = network if isinstance(network, IntegerNetwork) else read_network(network)
    if format == "c":
        known = golden(net) if isinstance(network, IntegerNetwork) else read_tensors(saved(network), VECTORS)
        return write_c(net, out, vectors=known)
    form = form or FORMS[format][0]
    if format == "nir":
        return write_nir(net, out, units=cast(Units, form), reader=cast("Reader | None", reader))
    return write_onnx(net, out, mode=cast(Mode, form))
