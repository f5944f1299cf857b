"""A node as an entry of the manifest, and back: everything of it that is not a tensor, and the names of its tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from bitspike.errors import PackageError
from bitspike.integer.limits import codes_problems, fields_of
from bitspike.integer.nodes import KINDS, Integers, Node, Reals, Weight, Weighted
from bitspike.ops.grids import Dyadic, Grid

Arrays = dict[str, npt.NDArray[Any]]
AGAIN = "save the network again, or use an undamaged copy"


def damaged(what: str) -> PackageError:
    """Return the error of a package that is not what was saved."""
    return PackageError(what, fix=AGAIN)


# What chip tools call these tensors.
_KEYS = {"threshold": "theta", "initial": "v0"}
_UNWRITTEN = {"rounding": "floor"}
"""Values of fields that the first packages did not have: entries that hold them are as they were then."""


def tensors_of(node: Node) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield the tensors of a node by name, each in the smallest integer type that holds it."""
    for field, value in _fields(node):
        key = f"{node.id}.{_KEYS.get(field, field)}"
        if isinstance(value, Weight):
            yield f"{node.id}.weight", smallest(value.codes)
        elif isinstance(value, np.ndarray) and value.dtype == np.int64:
            yield key, _wide(value)
        elif field == "gains":
            yield from ((f"{node.id}.gain{i}", _wide(g)) for i, g in enumerate(value))


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
    raise PackageError(f"values from {low} to {high} do not fit 64 bits", fix="smaller scales or fewer fraction bits")


def _wide(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Parameters of neurons: int32 where they fit, [C] where they do not change over time."""
    array = smallest(value)
    array = array.astype(np.int32) if array.dtype.itemsize < 4 else array
    return np.ascontiguousarray(array[0] if array.ndim == 2 and len(array) == 1 else array)


def _fields(node: Node) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(node):
        if field.name not in ("id", "path", "call", "sources", "shape"):
            yield field.name, getattr(node, field.name)


def entry_of(node: Node) -> dict[str, Any]:
    """Return a node as plain values."""
    attrs: dict[str, Any] = {}
    for field, value in _fields(node):
        if field in _UNWRITTEN and value == _UNWRITTEN[field]:
            continue
        if isinstance(node, Weighted) and isinstance(value, Weight):
            attrs["weight"] = {
                "key": f"{node.id}.weight",
                "axis": node.output_axis,
                "bits": value.bits,
                "low": value.low,
                "high": value.high,
                "levels": None if value.levels is None else list(value.levels),
                "delta": value.step.tolist(),
                "scheme": value.scheme,
            }
        elif isinstance(value, np.ndarray) and value.dtype == np.int64:
            attrs[field] = _named(f"{node.id}.{_KEYS.get(field, field)}", value)
        elif isinstance(value, np.ndarray):
            attrs[field] = value.tolist()
        elif field == "gains":
            attrs[field] = [_named(f"{node.id}.gain{i}", gain) for i, gain in enumerate(value)]
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


def _named(key: str, value: npt.NDArray[Any]) -> dict[str, Any]:
    """Return what stands for a tensor: its name, and whether it has a row for each step."""
    return {"key": key, "steps": value.ndim == 2 and len(value) > 1}


def node_of(entry: dict[str, Any], tensors: Arrays, *, check: bool) -> Node:
    """Build a node from its entry and the tensors of the package; ``check`` refuses codes outside their grid.

    Raises:
        PackageError: a tensor is missing or holds no integers, or the release does not know the node.
        ConstraintError: a value is not allowed. KeyError, TypeError, ValueError, AttributeError: it has another form.
    """
    if entry["op"] not in KINDS:
        raise PackageError(
            f"node {entry['id']!r} is a {entry['op']}, which this release does not know",
            fix="the release that saved it",
        )
    kind = KINDS[entry["op"]]
    attrs = _UNWRITTEN | entry["attrs"]
    values: dict[str, Any] = {
        "id": entry["id"],
        "path": entry["path"],
        "call": entry["call"],
        "sources": tuple(_listed(entry["inputs"], entry["id"], "inputs")),
        "shape": tuple(_listed(entry["out_shape"], entry["id"], "out_shape")),
    }
    for field in fields_of(kind):
        if field.name in values:
            continue
        raw, hint = attrs[field.name], field.kind
        if hint is Weight and issubclass(kind, Weighted):
            values[field.name] = _weight(raw, entry["id"], kind, tensors, check=check)
        elif hint == Integers:
            values[field.name] = _parameter(tensors, raw, timed=field.by_step)
        elif hint == Reals:
            values[field.name] = _reals(raw, entry["id"], field.name)
        elif field.name == "gains":
            values[field.name] = tuple(_parameter(tensors, g, timed=True) for g in raw)
        elif hint in (Grid, Dyadic):
            values[field.name] = hint(**raw)
        else:
            values[field.name] = tuple(raw) if isinstance(raw, list) else raw
    return kind(**values)


def _weight(raw: dict[str, Any], id: str, kind: type[Weighted], tensors: Arrays, *, check: bool) -> Weight:
    axis = raw.get("axis", 0)  # not written before there were transposed convolutions
    if axis != kind.output_axis:
        raise damaged(f"node {id!r}: output channels along axis {axis}, needed is axis {kind.output_axis}")
    levels = None if raw["levels"] is None else tuple(_listed(raw["levels"], id, "levels"))
    if wrong := list(codes_problems(raw["bits"], raw["low"], raw["high"], levels)):
        raise damaged(f"node {id!r}: weight: {'; '.join(wrong)}")
    codes = _take(tensors, raw["key"]).astype(np.int64)
    if check and levels is not None and not np.isin(codes, levels).all():
        raise damaged(f"node {id!r}: weight: there are codes that are none of its {len(levels)} levels")
    as_is = codes.size > 0 and not check
    least, most = (int(codes.min()), int(codes.max())) if as_is else (raw["low"], raw["high"])
    return Weight(
        codes=codes,
        step=_reals(raw["delta"], id, "delta"),
        bits=raw["bits"],
        low=min(least, raw["low"]),
        high=max(most, raw["high"]),
        levels=levels,
        scheme=raw["scheme"],
    )


def _listed(raw: Any, id: str, name: str) -> list[Any]:
    if not isinstance(raw, list):
        raise damaged(f"node {id!r}: {name} is {raw!r}; a list is needed")
    return raw


def _reals(raw: Any, id: str, name: str) -> npt.NDArray[np.float64]:
    """Return a list of numbers as float64; texts and truths are none, though NumPy would take them."""
    numbers = _listed(raw, id, name)
    if any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        raise damaged(f"node {id!r}: {name} holds something else than numbers")
    return np.asarray(numbers, np.float64)


def _parameter(tensors: Arrays, raw: dict[str, Any], *, timed: bool) -> Integers:
    array = _take(tensors, raw["key"]).astype(np.int64)
    if not isinstance(raw["steps"], bool):
        raise damaged(f"the tensor {raw['key']!r}: steps is {raw['steps']!r}; allowed are true and false")
    return array[None] if timed and not raw["steps"] else array


def _take(tensors: Arrays, key: str) -> npt.NDArray[Any]:
    if key not in tensors:
        raise damaged(f"the tensor {key!r} that the manifest names is missing")
    array = tensors[key]
    if not np.issubdtype(array.dtype, np.integer):
        raise damaged(f"the tensor {key!r} is {array.dtype}; a network of integers was expected")
    if array.dtype == np.uint64:
        raise damaged(f"the tensor {key!r} is uint64; integers of at most 63 bits and a sign were expected")
    return array
