"""A NIR graph as an integer network: who wrote it, which conventions hold for it, and its nodes in order."""

from __future__ import annotations

from typing import Any

from bitspike.errors import BitspikeError, ConstraintError, ExportError, warn
from bitspike.formats.nir.digest import refuse_changed
from bitspike.formats.nir.facts import FORMAT, VERSIONS, text, whole_number
from bitspike.formats.nir.reading.foreign import Conventions, assumed
from bitspike.formats.nir.reading.hdf5_guard import AGAIN
from bitspike.formats.nir.reading.nodes import GraphReader
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Fire, Reset

READ = ("Input", "Output", "Conv1d", "Conv2d", "Affine", "Linear", "SumPool2d", "Flatten", "IF", "LIF", "CubaLIF")
"""Classes of ``nir`` that come back."""


def network_of(
    graph: Any,
    where: str,
    *,
    steps: int | None = None,
    dt: float | None = None,
    fire: Fire | None = None,
    reset: Reset | None = None,
) -> IntegerNetwork:
    """Return the integer network of a graph: a ``nir.NIRGraph``, or anything with its nodes, edges and metadata.

    Messages call its file ``where``; the other arguments and the errors are those of :func:`bitspike.read_nir`.
    """
    metadata = graph.metadata
    refuse_changed(graph, where)
    ours = text(metadata, "snn.format") == FORMAT
    if ours and whole_number(metadata, "snn.format_version") not in VERSIONS:
        raise ExportError(
            f"{where} has format version {metadata.get('snn.format_version')}, this release reads "
            f"{' and '.join(map(str, VERSIONS))}",
            fix="read it with the release that wrote it, or write it again with this one",
        )
    choices = {"steps": steps, "dt": dt, "fire": fire, "reset": reset}
    said = [name for name, value in choices.items() if value is not None]
    if ours and said:
        raise ConstraintError(f"{where} says {', '.join(said)} itself: bs.write_nir wrote it", fix="read_nir(path)")
    if not ours and steps is None:
        raise ExportError(
            f"{where} was not written by bs.write_nir: it does not say how many steps it runs",
            fix="read_nir(path, steps=T); its neurons are then read as NIR's text has them",
        )
    if unknown := [f"{name} ({type(n).__name__})" for name, n in graph.nodes.items() if type(n).__name__ not in READ]:
        raise ExportError(f"{where}: no integer form has {', '.join(unknown)}", fix=f"a graph of {', '.join(READ)}")
    conventions = None if ours else Conventions(int(steps or 1), dt, fire or "gt", reset or "hard")
    notes: tuple[str, ...] = ()
    if conventions is not None:
        notes = (f"{where} was not written by bs.write_nir; assumed: {assumed(conventions, said=said)}",)
        if fire is None or reset is None:
            warn(notes[0])
    reader = GraphReader(graph, conventions)
    try:
        for name in _order(graph):
            reader.read(name)
        steps = int(metadata["snn.T"]) if conventions is None else conventions.steps
        return IntegerNetwork(steps, tuple(reader.nodes), notes=(*notes, *reader.notes))
    except ExportError as error:
        raise ExportError(f"{where}: {error.message}", fix=error.fix) from error
    except (BitspikeError, KeyError) as error:
        raise ExportError(f"{where} holds no network: {error}", fix=AGAIN) from error


def _order(graph: Any) -> list[str]:
    """Return the names so that every source stands before its reader, otherwise as they were written."""
    left = sorted(graph.nodes, key=lambda name: (whole_number(graph.nodes[name].metadata or {}, "snn.index", 0), name))
    waits = {name: {a for a, b in graph.edges if b == name} for name in left}
    order: list[str] = []
    while left:
        ready = next((name for name in left if not waits[name] - set(order)), None)
        if ready is None:
            raise ExportError(
                f"the nodes {', '.join(left)} feed themselves: loops have no integer form",
                fix="leave out the edges that lead back",
            )
        left.remove(ready)
        order.append(ready)
    return order
