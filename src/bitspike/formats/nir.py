"""Write a network as a NIR graph, and read such a file back.

NIR (Pedersen et al. 2024, doi 10.1038/s41467-024-52259-9) describes neurons in continuous time: it says neither whether
a spike subtracts the threshold, nor how potential and threshold are compared, nor where the potential starts, nor how
wide a weight is. The file says it in its metadata (``snn.*``); a reader that ignores them runs another network.

Values are integers, or real values of which the integers can be told, stored as float32 and refused where float32 says
other integers; time is counted in steps (dt = 1).
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, get_args

import numpy as np

from bitspike.errors import ConstraintError, ExportError
from bitspike.formats.files import write_whole
from bitspike.formats.nir_facts import Units, graph_facts
from bitspike.formats.nir_plan import Entry, plan
from bitspike.formats.nir_read import network_of
from bitspike.formats.refuse import optional, refuse
from bitspike.integer.network import IntegerNetwork

__all__ = ["Units", "read_nir", "write_nir"]


def write_nir(net: IntegerNetwork, path: str | os.PathLike[str], *, units: Units = "integer") -> Path:
    """Write a network as a ``.nir`` file (HDF5).

    Weights are codes times the neuron's gain, biases and thresholds integers of the same unit, ``r`` is 1 and
    ``v_reset`` 0 for reset by subtraction. A leak of m / 2**k becomes an LIF with ``tau = r = 1 / (1 - m / 2**k)``.

    In real units everything that reaches a neuron is multiplied by the real value of one count of its potential, and
    what leaves the network by the value of one integer of the output. Where the unit of every neuron is a power of two
    (converted networks, declared grids) a reader's potentials are exact too; others may round (``snn.exact``).

    Args:
        net: the network.
        path: of the file.
        units: of weights, biases, thresholds and reset values: ``integer`` or ``real``.

    Returns:
        the path.

    Raises:
        ConstraintError: units that do not exist.
        ExportError: NIR cannot hold a node (all are named), the package nir is missing, or the file cannot be written.
    """
    if units not in get_args(Units):
        raise ConstraintError(f"units={units!r}: allowed are {', '.join(get_args(Units))}")
    made = plan(net, units=units)
    refuse("NIR", net, made.problems, fix="bs.write_onnx(net, path), bs.write_c(net, folder) or bs.save(net, folder)")
    nir = optional("nir", extra="nir")
    nodes = {name: _node(nir, entry) for name, entry in made.entries.items()}
    graph = nir.NIRGraph(nodes=nodes, edges=made.edges, metadata=graph_facts(net, units), type_check=False)
    graph.check_types()
    path = Path(path)
    # HDF5 floods the screen where a disk is full, so it writes to memory.
    content = io.BytesIO()
    nir.write(content, graph)
    write_whole(path, content.getvalue())
    return path


def read_nir(path: str | os.PathLike[str], *, steps: int | None = None) -> IntegerNetwork:
    """Read a network from a ``.nir`` file.

    Of files that :func:`write_nir` wrote, everything comes back that decides a spike; layers that were written in
    another form stay in it (a transposed convolution is a matrix, a concatenation a sum).

    Args:
        path: of the file.
        steps: T, for a file of another writer, which does not say it. Its weights, biases and thresholds must be
            integers, and a warning names what is assumed: reset to ``v_reset``, comparison ``>``, first potential 0.

    Raises:
        ExportError: the file cannot be read, holds a node that the integer form lacks, or real numbers.
    """
    nir = optional("nir", extra="nir")
    path = Path(path)
    if not path.is_file():
        raise ExportError(f"{path} does not exist")
    try:
        graph = nir.read(path, type_check=False)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise ExportError(f"{path} is no NIR file: {error}") from error
    return network_of(graph, str(path), steps=steps)


def _node(nir: Any, entry: Entry) -> Any:
    """Build one node; its shapes are ours, as some versions leave those of pools open."""
    fields = dict(entry.fields)
    if entry.kind in ("Input", "Flatten"):
        fields["input_type"] = {"input": np.array(entry.reads)}
    elif entry.kind == "Output":
        fields["output_type"] = {"output": np.array(entry.gives)}
    node = getattr(nir, entry.kind)(**fields, metadata=entry.facts)
    node.input_type = {"input": np.array(entry.reads)}
    node.output_type = {"output": np.array(entry.gives)}
    return node
