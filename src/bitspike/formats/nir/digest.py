"""The digest of a NIR graph: of every field and all metadata in a fixed order, whichever program writes the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bitspike.errors import ExportError

KEY = "snn.digest"


def digest_of(graph: Any) -> str:
    """Return the SHA-256 of a graph: its nodes by name, their fields and facts, its edges and its own facts.

    Numbers count with their type, shape and bytes, texts as UTF-8. Types of inputs and outputs that follow from the
    fields are left out, as is the digest itself.
    """
    digest = hashlib.sha256()
    for name in sorted(graph.nodes):
        node = graph.nodes[name]
        fields = {key: value for key, value in vars(node).items() if key not in ("input_type", "output_type")}
        ends = {"ends": node.input_type["input"]} if type(node).__name__ in ("Input", "Flatten") else {}
        for line in _lines(f"{name}\0{type(node).__name__}", fields | ends):
            digest.update(line)
    edges = sorted(f"{a}\0{b}" for a, b in graph.edges)
    for line in _lines("graph", {"edges": edges, "metadata": graph.metadata}):
        digest.update(line)
    return digest.hexdigest()


def refuse_changed(graph: Any, where: str) -> None:
    """Raise if a graph differs from the digest in its metadata.

    Raises:
        ExportError: it is not what was written.
    """
    stated = (graph.metadata or {}).get(KEY)
    stated = stated.decode("utf-8", "replace") if isinstance(stated, bytes) else stated
    if stated is not None and str(stated) != (actual := digest_of(graph)):
        raise ExportError(
            f"{where} is not what bs.write_nir wrote: its digest is {actual}, stated is {stated}",
            fix="write it again; or remove snn.digest from its metadata, if it was changed on purpose",
        )


def _lines(where: str, values: Any) -> Iterator[bytes]:
    if isinstance(values, Mapping):
        for key in sorted(values):
            if key != KEY and values[key] is not None:
                yield from _lines(f"{where}\0{key}", values[key])
    elif isinstance(values, str | bytes):
        text = values if isinstance(values, bytes) else values.encode("utf-8")
        yield f"{where}\0text\0{len(text)}\0".encode() + text
    elif isinstance(values, list | tuple) and values and isinstance(values[0], str):
        for i, value in enumerate(values):
            yield from _lines(f"{where}\0{i}", value)
    else:
        array = np.asarray(values)
        if array.dtype == object:
            array = array.astype(str)
        yield f"{where}\0{array.dtype.str}{list(array.shape)}\0".encode() + np.ascontiguousarray(array).tobytes()
