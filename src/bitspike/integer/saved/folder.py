"""An integer network as a folder: ``manifest.json``, ``weights.safetensors``, ``vectors.safetensors``.

The manifest holds the graph and everything that is not a tensor; tensors are named ``<node>.<what>`` and stored in the
smallest integer type that holds them. Loading executes nothing. The vectors are golden: inputs with the spikes,
potentials and outputs that belong to them, so a chip's tools can check themselves without this package. A digest over
the manifest, which holds those of the two tensor files, tells whether a package is what was saved.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError
from safetensors.numpy import save as _in_memory_order  # noqa: TID251  # tensor_bytes puts arrays into C order

from bitspike import digests
from bitspike.arguments import checked
from bitspike.errors import BitspikeError, PackageError, command, warn
from bitspike.files import way_out, whole_folder
from bitspike.integer.network import IntegerNetwork, need_integers
from bitspike.integer.saved.entries import AGAIN, Arrays, damaged, node_of, tensors_of
from bitspike.integer.saved.manifest import (
    MANIFEST,
    VECTORS,
    WEIGHTS,
    changed_files,
    contradictions,
    manifest_of,
    read_manifest,
    states_digest,
)
from bitspike.integer.saved.vectors import golden

BUILDING = (AttributeError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError)
"""What values of another form raise while nodes are built from them."""


@checked
def save(net: IntegerNetwork, folder: str | os.PathLike[str], *, vectors: Arrays | None = None) -> Path:
    """Write a network as a folder; it appears whole or not at all.

    Args:
        net: the network.
        folder: is created; an older package in it is replaced, anything else is left alone and refused.
        vectors: golden vectors; None makes them from zeros, the largest codes and seeded random codes.

    Returns:
        the folder.

    Raises:
        PackageError: the folder exists and holds something that is not a package, or it cannot be written.
    """
    need_integers(net, "save")
    folder = Path(folder).absolute()
    _refuse_foreign(folder)
    try:
        with whole_folder(folder) as scratch:
            tensors = {name: array for node in net.nodes for name, array in tensors_of(node)}
            files = {}
            # As bytes, with the rights that any new file gets: the library's own writer keeps files to their owner.
            for name, arrays in ((WEIGHTS, tensors), (VECTORS, golden(net) if vectors is None else vectors)):
                data = tensor_bytes(arrays)
                (scratch / name).write_bytes(data)
                files[name] = digests.of_bytes(data)
            manifest = manifest_of(net, {name: _tensor_digest(array) for name, array in tensors.items()}, files)
            (scratch / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise PackageError(f"{folder} could not be written: {error}", fix=way_out(error)) from error
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
    """Leave everything alone that is not a package of this format, whole and with nothing else in it."""
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


@checked
def load(folder: str | os.PathLike[str], *, check: bool = True) -> IntegerNetwork:
    """Read a network back from its folder.

    A package that an earlier version saved states no digest of its manifest. It loads, with a warning that says what
    nobody can tell of it: whether scales, coding and the widths of codes are still what they were.

    Args:
        folder: what :func:`save` wrote.
        check: refuse whatever differs from the digests of the package. False takes it as it is, codes outside their
            grid included, so that ``verify`` can show what it does.

    Raises:
        PackageError: something is missing, damaged, changed or of another format; the message names it.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    tensors = read_tensors(folder, WEIGHTS)
    if check and (changed := changed_tensors(manifest, tensors)):
        raise PackageError(
            f"{folder / WEIGHTS}: {', '.join(changed)} is not what was saved (its digest differs)",
            fix=f"{command('verify', folder)} shows where, or save the network again",
        )
    try:
        net = _network(manifest, tensors, check=check)
        if check:
            _refuse_changed(manifest, net, folder)
    except BitspikeError as error:
        raise PackageError(f"{folder}: {error.message}", fix=error.fix) from error
    except BUILDING as error:
        raise damaged(f"{folder / MANIFEST} is damaged: {type(error).__name__} {error}") from error
    if not states_digest(manifest):
        warn(
            f"{folder} states no digest of its manifest (earlier versions wrote none): nothing tells whether its "
            "scales, input grid and coding, widths of codes and the numbers of its layers are what was saved; what "
            "bs.save writes now is protected"
        )
    return net


def _network(manifest: dict[str, Any], tensors: Arrays, *, check: bool) -> IntegerNetwork:
    notes, source = manifest["notes"], dict(manifest["source"])
    if not all(isinstance(text, str) for text in (*notes, *source, *source.values())):
        raise TypeError("notes and source are texts")
    nodes = tuple(node_of(entry, tensors, check=check) for entry in manifest["nodes"])
    return IntegerNetwork(steps=manifest["T"], nodes=nodes, notes=tuple(notes), source=source)


def _refuse_changed(manifest: dict[str, Any], net: IntegerNetwork, folder: Path) -> None:
    """Refuse a package that contradicts itself, or differs from a digest that it states."""
    for where, follows, stated in contradictions(manifest, net):
        raise PackageError(f"{MANIFEST}: {where} is {stated}, from the nodes follows {follows}", fix=AGAIN)
    for name, stated, actual in changed_files(manifest, folder):
        raise PackageError(f"{name} is not what was saved: its digest is {actual}, stated is {stated}", fix=AGAIN)


def read_tensors(folder: Path, name: str) -> Arrays:
    """Read one of the package's tensor files."""
    path = folder / name
    if not path.is_file():
        raise damaged(f"{path} is missing from the package")
    try:
        return safetensors.numpy.load(path.read_bytes())
    except (SafetensorError, OSError, *BUILDING) as error:
        raise damaged(f"{path} cannot be read: {error}") from error


def changed_tensors(manifest: dict[str, Any], tensors: Arrays) -> list[str]:
    """Return the names of tensors whose digest is not the manifest's, or that are missing or too many."""
    wanted: dict[str, str] = manifest["tensors"]
    wrong = [n for n, d in wanted.items() if n not in tensors or _tensor_digest(tensors[n]) != d]
    return wrong + [n for n in tensors if n not in wanted]


def _tensor_digest(array: npt.NDArray[Any]) -> str:
    return digests.of_bytes(f"{array.dtype.str}{list(array.shape)}".encode() + np.ascontiguousarray(array).tobytes())
