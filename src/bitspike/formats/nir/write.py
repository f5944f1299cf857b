"""Write a network as a NIR graph, and read such a file back.

NIR (Pedersen et al. 2024, doi 10.1038/s41467-024-52259-9) describes neurons in continuous time: it says neither whether
a spike subtracts the threshold, nor how potential and threshold are compared, nor where the potential starts, nor how
wide a weight is. The file says it in its metadata (``snn.*``); a reader that ignores them runs another network.

Values are integers, or real values from which the integers follow, stored as float32 and refused where float32 would
round to other integers; time is counted in steps (dt = 1).
"""

from __future__ import annotations

import difflib
import io
import os
from pathlib import Path
from typing import Any, get_args

import numpy as np

from bitspike.arguments import checked
from bitspike.errors import BitspikeError, ConstraintError, ExportError
from bitspike.formats.nir.digest import KEY, digest_of
from bitspike.formats.nir.entries import Entry
from bitspike.formats.nir.facts import Units, graph_facts
from bitspike.formats.nir.graph import graph_entries
from bitspike.formats.nir.readers import READERS, Reader
from bitspike.formats.nir.reading.hdf5_guard import AGAIN, refuse_damage, sealed
from bitspike.formats.nir.reading.network import network_of
from bitspike.formats.refuse import optional, refuse, write_whole
from bitspike.integer.network import IntegerNetwork, need_integers
from bitspike.integer.nodes import Fire, Reset

__all__ = ["Reader", "Units", "read_nir", "write_nir"]


@checked
def write_nir(
    net: IntegerNetwork, path: str | os.PathLike[str], *, units: Units = "integer", reader: Reader | None = None
) -> Path:
    """Write a network as a ``.nir`` file (HDF5).

    Weights are codes times the neuron's gain, biases and thresholds integers of the same unit, ``r`` is 1 and
    ``v_reset`` 0 for reset by subtraction. A leak of m / 2**k becomes an LIF with ``tau = r = 1 / (1 - m / 2**k)``.

    In real units everything that reaches a neuron is multiplied by the real value of one count of its potential, and
    what leaves the network by the value of one integer of the output. Where the unit of every neuron is a power of two
    (converted networks, declared grids) a reader's potentials are exact too; others may round (``snn.exact``).

    No reader keeps all that the metadata say. With ``reader`` the file is written for one of them, so that it runs
    every spike: potentials are shifted and scaled until they start, leak, fire and reset as that reader has it.

    Args:
        net: the network.
        path: of the file.
        units: of weights, biases, thresholds and reset values: ``integer`` or ``real``.
        reader: ``norse``, ``sinabs``, ``snntorch`` or ``spikingjelly``, in integer units; None writes what NIR's text
            has. docs/export.md says how each is called.

    Returns:
        the path.

    Raises:
        ConstraintError: units or a reader that do not exist.
        ExportError: NIR cannot hold a node, or the reader runs it otherwise (all are named), the package nir is
            missing, or the file cannot be written.
    """
    need_integers(net, "write_nir")
    if units not in get_args(Units):
        raise ConstraintError(f"units={units!r}: allowed are {', '.join(get_args(Units))}", fix='units="integer"')
    if reader is not None and reader not in get_args(Reader):
        near = difflib.get_close_matches(reader.lower(), get_args(Reader), n=1)
        raise ConstraintError(
            f"reader={reader!r}: allowed are {', '.join(get_args(Reader))}",
            fix=f'reader="{near[0]}" (--for {near[0]})' if near else "leave reader (--for) away",
        )
    if reader is not None and units != "integer":
        raise ConstraintError(
            f"units={units!r}: a file for {reader} has integer units", fix='units="integer" (--form integer)'
        )
    graph = graph_entries(net, units=units, reader=reader)
    if reader is not None and graph.problems:
        refuse(f"A NIR file for {READERS[reader].title}", net, graph.problems, fix=_way_out(net, reader))
    refuse("NIR", net, graph.problems, fix="bs.write_onnx(net, path), bs.write_c(net, folder) or bs.save(net, folder)")
    nir = optional("nir", extra="nir")
    nodes = {name: _node(nir, entry) for name, entry in graph.nodes.items()}
    known = graph_facts(net, units, reader=reader, dt=READERS[reader].dt if reader else 1.0)
    written = nir.NIRGraph(nodes=nodes, edges=graph.edges, metadata=known, type_check=False)
    written.check_types()
    written.metadata[KEY] = digest_of(written)
    path = Path(path)
    # HDF5 floods the screen where a disk is full, so it writes to memory.
    content = io.BytesIO()
    nir.write(content, written)
    write_whole(path, sealed(content.getvalue()))
    return path


@checked
def read_nir(
    path: str | os.PathLike[str],
    *,
    steps: int | None = None,
    dt: float | None = None,
    fire: Fire | None = None,
    reset: Reset | None = None,
) -> IntegerNetwork:
    """Read a network from a ``.nir`` file.

    Of files that :func:`write_nir` wrote, everything comes back that decides a spike; layers that were written in
    another form stay in it (a transposed convolution is a matrix, a concatenation a sum).

    Files of other writers hold floats and do not say how they run. Weights and biases are read exactly where they lie
    on a grid of a power of two (weights of up to 16 bits), thresholds too; the notes of the network say what was
    assumed. SpikingJelly and sinabs fire at the threshold (``ge``), snnTorch and Norse above it; sinabs, and snnTorch
    unless it is told otherwise, subtract (``soft``).

    Args:
        path: of the file.
        steps: T, for a file of another writer, which does not say it.
        dt: the length of a step in the file's unit of time, where an LIF or an IF with ``r`` other than 1 needs it;
            SpikingJelly and snnTorch write 0.0001.
        fire: comparison with the threshold, ``ge`` or ``gt``. None is NIR's text, ``gt``, with a warning.
        reset: ``hard`` to ``v_reset``, or ``soft`` by subtraction. None is NIR's text, ``hard``, with a warning.

    Raises:
        ConstraintError: a comparison or reset that does not exist, or the file says itself what was given.
        ExportError: the file cannot be read, does not say what is needed, holds a node that the integer form lacks, or
            real numbers on no such grid.
    """
    for name, word, kinds in (("fire", fire, Fire), ("reset", reset, Reset)):
        if word is not None and word not in get_args(kinds):
            raise ConstraintError(
                f"{name}={word!r}: allowed are {', '.join(get_args(kinds))}", fix=f"{name}={get_args(kinds)[0]!r}"
            )
    if dt is not None and not dt > 0:
        raise ConstraintError(f"dt={dt}: a step is longer than 0", fix="dt=0.0001 is usual")
    nir = optional("nir", extra="nir")
    path = Path(path)
    if not path.is_file():
        raise ExportError(f"{path} does not exist", fix="a file that does; bs.write_nir(net, path) writes one")
    refuse_damage(path)
    try:
        graph = nir.read(path, type_check=False)
    except Exception as error:  # h5py and nir raise whatever the fields of a node run into
        message = f"{path} is no NIR file: {type(error).__name__}: {error}"
        raise ExportError(message, fix=AGAIN) from error
    try:
        return network_of(graph, str(path), steps=steps, dt=dt, fire=fire, reset=reset)
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        if isinstance(error, BitspikeError):
            raise
        # A field or fact of another kind, shape or size than the reader works with.
        message = f"{path} holds no network: {type(error).__name__}: {error}"
        raise ExportError(message, fix=AGAIN) from error


def _way_out(net: IntegerNetwork, reader: Reader) -> str:
    """Name the readers that run the network, or another way to export it."""
    if others := [name for name in get_args(Reader) if name != reader and not graph_entries(net, reader=name).problems]:
        return " or ".join(f'reader="{name}" (--for {name})' for name in others)
    if graph_entries(net).problems:
        return "bs.write_onnx(net, path), bs.write_c(net, folder) or bs.save(net, folder)"
    return "no reader runs all of it; without reader (--for) the file and its metadata hold it, or bs.write_onnx"


def _node(nir: Any, entry: Entry) -> Any:
    """Build one node and set its shapes, as some versions of nir leave those of pools open."""
    fields = dict(entry.fields)
    if entry.kind in ("Input", "Flatten"):
        fields["input_type"] = {"input": np.array(entry.reads)}
    elif entry.kind == "Output":
        fields["output_type"] = {"output": np.array(entry.gives)}
    node = getattr(nir, entry.kind)(**fields, metadata=entry.facts)
    node.input_type = {"input": np.array(entry.reads)}
    node.output_type = {"output": np.array(entry.gives)}
    return node
