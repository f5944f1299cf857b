"""An integer network as a folder: ``manifest.json``, ``weights.safetensors``, ``vectors.safetensors``.

The manifest holds the graph and everything that is not a tensor; tensors are named ``<node>.<what>`` and stored in the
smallest integer type that holds them. Loading executes nothing. The vectors are golden: inputs with the spikes,
potentials and outputs that belong to them, so a chip's tools can check themselves without this package.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as _in_memory_order  # noqa: TID251  # tensor_bytes puts arrays into C order

from bitspike.errors import BitspikeError, PackageError
from bitspike.files import whole_folder
from bitspike.integer import network as forms
from bitspike.integer.network import IntegerNetwork, Node, TransposedConvolution, Weight
from bitspike.integer.schedule import schedule
from bitspike.ops.grids import Dyadic, Grid

FORMAT = "bitspike-network"
VERSION = 1
MANIFEST, WEIGHTS, VECTORS = "manifest.json", "weights.safetensors", "vectors.safetensors"

_NODES: dict[str, type[Node]] = {
    c.__name__: c for c in vars(forms).values() if isinstance(c, type) and issubclass(c, Node) and c is not Node
}
# What chip tools call these tensors.
_KEYS = {"threshold": "theta", "initial": "v0"}

Arrays = dict[str, npt.NDArray[Any]]


def save(net: IntegerNetwork, folder: str | os.PathLike[str], *, vectors: Arrays | None = None) -> Path:
    """Write a network as a folder; it appears whole or not at all.

    Args:
        net: the network.
        folder: is made; an older package in it is replaced, anything else is left alone and refused.
        vectors: golden vectors; None makes them from zeros, the largest codes and seeded random codes.

    Returns:
        the folder.

    Raises:
        PackageError: the folder exists and holds something that is not a package, or it cannot be written.
    """
    from bitspike.integer.vectors import golden

    folder = Path(folder).absolute()
    _refuse_foreign(folder)
    try:
        with whole_folder(folder) as made:
            tensors = dict(_tensors(net))
            manifest = _manifest(net, tensors)
            # As bytes, with the rights that any new file gets: the library's own writer keeps files to their owner.
            for name, arrays in ((WEIGHTS, tensors), (VECTORS, golden(net) if vectors is None else vectors)):
                data = tensor_bytes(arrays)
                (made / name).write_bytes(data)
                manifest["files"].append({"name": name, "sha256": _digest(data)})
            (made / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise PackageError(f"{folder} could not be written: {error}", fix="a folder with room for it") from error
    return folder


def tensor_bytes(arrays: Arrays) -> bytes:
    """Return arrays as a safetensors file, whatever their order in memory.

    The library writes an array as it lies in memory and says that it is in C order (safetensors 0.8.0; 0.4.5 to 0.7.0
    copied it first), so a transposed one would come back with other values.

    Example:
        >>> from safetensors.numpy import load
        >>> load(tensor_bytes({"a": np.arange(4).reshape(2, 2).T}))["a"].tolist()
        [[0, 2], [1, 3]]
    """
    return _in_memory_order({name: np.ascontiguousarray(a).reshape(a.shape) for name, a in arrays.items()})


def _refuse_foreign(folder: Path) -> None:
    """Leave everything alone that is not a package of this format, whole and with nothing beside it."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise PackageError(f"{folder} is a file; it was left alone", fix="another folder")
    names = {path.name for path in folder.iterdir()}
    foreign = sorted(names - {MANIFEST, WEIGHTS, VECTORS})
    if foreign or (names and MANIFEST not in names):
        what = f"holds {', '.join(foreign[:3])}" if foreign else "is no network package"
        raise PackageError(f"{folder} {what}; it was left alone", fix="another folder")
    if names:
        read_manifest(folder)


def load(folder: str | os.PathLike[str], *, check: bool = True) -> IntegerNetwork:
    """Read a network back from its folder.

    Args:
        folder: what :func:`save` wrote.
        check: refuse tensors that differ from the digests of the manifest. False takes them as they are, codes outside
            their grid included, so that ``verify`` can show what they do.

    Raises:
        PackageError: something is missing, damaged, changed or of another format; the message names it.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    tensors = read_tensors(folder, WEIGHTS)
    if check and (changed := changed_tensors(manifest, tensors)):
        raise PackageError(
            f"{folder / WEIGHTS}: {', '.join(changed)} is not what was saved (its digest differs)",
            fix=f"bitspike verify {folder} shows where, or save the network again",
        )
    try:
        nodes = tuple(_node(entry, tensors, check=check) for entry in manifest["nodes"])
        return IntegerNetwork(
            steps=int(manifest["T"]), nodes=nodes, notes=tuple(manifest["notes"]), source=dict(manifest["source"])
        )
    except BitspikeError as error:
        raise PackageError(f"{folder}: {error.message}", fix=error.fix) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PackageError(f"{folder / MANIFEST} is damaged: {type(error).__name__} {error}") from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check the head of a manifest."""
    path = folder / MANIFEST
    if not folder.is_dir() or not path.is_file():
        what = "does not exist" if not folder.exists() else "is not a network package: it holds no manifest.json"
        raise PackageError(f"{folder} {what}", fix="the network/ folder of a finished run, or what bs.save wrote")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise PackageError(f"{path} cannot be read: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise PackageError(f"{path} is not a Bitspike manifest")
    if manifest.get("format_version") != VERSION:
        raise PackageError(f"{path} has format version {manifest.get('format_version')}, this release reads {VERSION}")
    if not isinstance(manifest.get("tensors"), dict) or not isinstance(manifest.get("nodes"), list):
        raise PackageError(f"{path} is damaged: its list of tensors or nodes is missing")
    return manifest


def read_tensors(folder: Path, name: str) -> Arrays:
    """Read one of the package's tensor files."""
    path = folder / name
    if not path.is_file():
        raise PackageError(f"{path} is missing from the package")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise PackageError(f"{path} cannot be read: {error}") from error


def changed_tensors(manifest: dict[str, Any], tensors: Arrays) -> list[str]:
    """Return the names of tensors whose digest is not the manifest's, or that are missing or too many."""
    wanted: dict[str, str] = manifest["tensors"]
    wrong = [n for n, d in wanted.items() if n not in tensors or _tensor_digest(tensors[n]) != d]
    return wrong + [n for n in tensors if n not in wanted]


def smallest(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return integers in the smallest signed type that holds them.

    Example:
        >>> smallest(np.array([-128, 127])).dtype, smallest(np.array([255])).dtype
        (dtype('int8'), dtype('int16'))
    """
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    for kind in (np.int8, np.int16, np.int32, np.int64):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.ascontiguousarray(values.astype(kind))
    raise PackageError(f"values from {low} to {high} do not fit 64 bits")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _tensor_digest(array: npt.NDArray[Any]) -> str:
    return _digest(f"{array.dtype.str}{list(array.shape)}".encode() + np.ascontiguousarray(array).tobytes())


def _tensors(net: IntegerNetwork) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    for node in net.nodes:
        for field, value in _fields(node):
            key = f"{node.id}.{_KEYS.get(field, field)}"
            if isinstance(value, Weight):
                yield f"{node.id}.weight", smallest(value.codes)
            elif isinstance(value, np.ndarray) and value.dtype == np.int64:
                yield key, _wide(value)
            elif field == "gains":
                yield from ((f"{node.id}.gain{i}", _wide(g)) for i, g in enumerate(value))


def _wide(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Parameters of neurons: int32 where they fit, [C] where they do not change over time."""
    array = smallest(value)
    array = array.astype(np.int32) if array.dtype.itemsize < 4 else array
    return np.ascontiguousarray(array[0] if array.ndim == 2 and len(array) == 1 else array)


def _fields(node: Node) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(node):
        if field.name not in ("id", "path", "call", "sources", "shape"):
            yield field.name, getattr(node, field.name)


def _manifest(net: IntegerNetwork, tensors: Arrays) -> dict[str, Any]:
    from bitspike.integer.widths import widths

    bounds = {w.layer: w for w in widths(net)}
    return {
        "format": FORMAT,
        "format_version": VERSION,
        "T": net.steps,
        "schedule": schedule(net),
        "source": dict(net.source),
        "notes": list(net.notes),
        "nodes": [_entry(n) for n in net.nodes],
        "outputs": [n.id for n in net.outputs],
        "widths": [
            {
                "layer": w.layer,
                "accumulator": list(w.accumulator),
                "accumulator_bits": w.accumulator_bits,
                "membrane": list(w.membrane),
                "membrane_bits": w.membrane_bits,
            }
            for w in bounds.values()
        ],
        "tensors": {name: _tensor_digest(array) for name, array in tensors.items()},
        "files": [],
    }


def _entry(node: Node) -> dict[str, Any]:
    attrs: dict[str, Any] = {}
    for field, value in _fields(node):
        if isinstance(value, Weight):
            attrs["weight"] = {
                "key": f"{node.id}.weight",
                "axis": _output_axis(type(node)),
                "bits": value.bits,
                "low": value.low,
                "high": value.high,
                "levels": None if value.levels is None else list(value.levels),
                "delta": value.step.tolist(),
                "scheme": value.scheme,
            }
        elif isinstance(value, np.ndarray) and value.dtype == np.int64:
            attrs[field] = {"key": f"{node.id}.{_KEYS.get(field, field)}", "steps": value.ndim == 2 and len(value) > 1}
        elif isinstance(value, np.ndarray):
            attrs[field] = value.tolist()
        elif field == "gains":
            attrs[field] = [
                {"key": f"{node.id}.gain{i}", "steps": g.ndim == 2 and len(g) > 1} for i, g in enumerate(value)
            ]
        elif isinstance(value, Grid | Dyadic):
            attrs[field] = dataclasses.asdict(value)
        else:
            attrs[field] = list(value) if isinstance(value, tuple) else value
    return {
        "id": node.id,
        "path": node.path,
        "call": node.call,
        "op": type(node).__name__,
        "inputs": list(node.sources),
        "out_shape": list(node.shape),
        "attrs": attrs,
    }


def _output_axis(kind: type[Node]) -> int:
    """Return the axis of weight codes along which the output channels of a group lie."""
    return 1 if issubclass(kind, TransposedConvolution) else 0


def _node(entry: dict[str, Any], tensors: Arrays, *, check: bool) -> Node:
    if entry["op"] not in _NODES:
        raise PackageError(f"node {entry['id']!r} is a {entry['op']}, which this release does not know")
    kind = _NODES[entry["op"]]
    hints = typing.get_type_hints(kind)
    attrs = entry["attrs"]
    values: dict[str, Any] = {
        "id": entry["id"],
        "path": entry["path"],
        "call": entry["call"],
        "sources": tuple(entry["inputs"]),
        "shape": tuple(entry["out_shape"]),
    }
    for field in dataclasses.fields(kind):
        if field.name in values:
            continue
        raw, hint = attrs[field.name], hints[field.name]
        if hint is Weight:
            axis = raw.get("axis", 0)  # not written before there were transposed convolutions
            if axis != _output_axis(kind):
                raise PackageError(
                    f"node {entry['id']!r}: output channels along axis {axis}, needed is axis {_output_axis(kind)}"
                )
            codes = _take(tensors, raw["key"]).astype(np.int64)
            as_is = codes.size > 0 and not check
            least, most = (int(codes.min()), int(codes.max())) if as_is else (raw["low"], raw["high"])
            values[field.name] = Weight(
                codes=codes,
                step=np.asarray(raw["delta"], np.float64),
                bits=raw["bits"],
                low=min(least, raw["low"]),
                high=max(most, raw["high"]),
                levels=None if raw["levels"] is None else tuple(raw["levels"]),
                scheme=raw["scheme"],
            )
        elif hint == forms.Integers:
            values[field.name] = _parameter(tensors, raw, timed=field.name in ("bias", "threshold"))
        elif hint == forms.Reals:
            values[field.name] = np.asarray(raw, np.float64)
        elif field.name == "gains":
            values[field.name] = tuple(_parameter(tensors, g, timed=True) for g in raw)
        elif hint in (Grid, Dyadic):
            values[field.name] = hint(**raw)
        else:
            values[field.name] = tuple(raw) if isinstance(raw, list) else raw
    return kind(**values)


def _parameter(tensors: Arrays, raw: dict[str, Any], *, timed: bool) -> forms.Integers:
    array = _take(tensors, raw["key"]).astype(np.int64)
    return array[None] if timed and not raw["steps"] else array


def _take(tensors: Arrays, key: str) -> npt.NDArray[Any]:
    if key not in tensors:
        raise PackageError(f"the tensor {key!r} that the manifest names is missing")
    array = tensors[key]
    if not np.issubdtype(array.dtype, np.integer):
        raise PackageError(f"the tensor {key!r} is {array.dtype}; a network of integers was expected")
    return array
