"""What a checkpoint must hold before a run goes on from it: every field, of its kind, and tensors of the right shape.

torch takes the state of an optimizer as it is, and its fused updates do not look at shapes: a moment of another shape
would be read beyond its end. So everything is compared here, before torch sees it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import PackageError, RunError, short
from bitspike.train.observe import EpochRecord

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "epoch": int,
    "epochs": int,
    "seed": int,
    "best_epoch": (int, type(None)),
    "history": list,
}
_COMPARED = ("weight_decay", "momentum", "nesterov", "betas", "eps")
"""Settings of an optimizer that a run keeps; the learning rate is set anew at every step."""
_HOW = ("foreach", "fused", "capturable", "differentiable")
"""How an optimizer computes, which depends on the device: true, false or null."""


def records_of(state: Mapping[str, Any], where: str) -> list[EpochRecord]:
    """Return the records of the epochs that are done, of the ``state.json`` at path ``where``.

    Raises:
        PackageError: a field is missing or of another kind, or the fields contradict each other.
    """
    for name, kind in _FIELDS.items():
        if name not in state:
            raise PackageError(f"{where}: the field {name!r} is missing", fix=_ELSEWHERE)
        if not isinstance(state[name], kind) or isinstance(state[name], bool):
            raise PackageError(f"{where}: {name} is {state[name]!r}, which is of another kind", fix=_ELSEWHERE)
    rows = [_record(row, f"{where}: history[{i}]") for i, row in enumerate(state["history"])]
    best = state["best_epoch"]
    numbers = [row.epoch for row in rows]
    if len(rows) != state["epoch"] or numbers != list(range(1, len(rows) + 1)) or state["epoch"] > state["epochs"]:
        raise PackageError(
            f"{where}: epoch {state['epoch']} of {state['epochs']} is done, and the history holds {len(rows)} epochs",
            fix=_ELSEWHERE,
        )
    if best is not None and not 1 <= best <= len(rows):
        raise PackageError(f"{where}: best_epoch is {best}, and {len(rows)} epochs are done", fix=_ELSEWHERE)
    return rows


def averaging_of(state: Mapping[str, Any], where: str) -> float | None:
    """Return the decay with which the weights of a checkpoint were averaged; None where they were not.

    Raises:
        PackageError: what the ``state.json`` at path ``where`` says about it is of another kind.
    """
    about = state.get("average")
    if about is None:
        return None
    parts = (about.get("decay"), about.get("updates")) if isinstance(about, Mapping) else ()
    if [type(part) for part in parts] != [float, int]:
        raise PackageError(f"{where}: average is {about!r}; needed are its decay and updates", fix=_ELSEWHERE)
    return float(about["decay"])


_ELSEWHERE = "put an undamaged copy there; or delete the folder checkpoints and resume: it trains from the first epoch"


def _record(row: Any, where: str) -> EpochRecord:
    known = {f.name: f for f in fields(EpochRecord)}
    if not isinstance(row, dict) or (unknown := sorted(set(row) - set(known))):
        raise PackageError(f"{where}: unknown {unknown if isinstance(row, dict) else row!r}", fix=_ELSEWHERE)
    if missing := [n for n, f in known.items() if n not in row and f.default is MISSING]:
        raise PackageError(f"{where}: {', '.join(missing)} is missing", fix=_ELSEWHERE)
    if (firing := row.get("firing")) is not None and not _is_firing(firing):
        raise PackageError(f"{where}: firing is {short(firing)}, numbers by layer were expected", fix=_ELSEWHERE)
    for name, value in row.items():
        if name == "firing":
            continue
        kind: tuple[type, ...] = (int,) if name == "epoch" else (int, float)
        empty = value is None and known[name].default is None
        if not empty and (not isinstance(value, kind) or isinstance(value, bool)):
            raise PackageError(f"{where}: {name} is {value!r}, a number was expected", fix=_ELSEWHERE)
    return EpochRecord(**row)


def _is_firing(value: Any) -> bool:
    """Tell whether a value says how each layer fires."""
    return isinstance(value, dict) and all(
        isinstance(layer, dict)
        and set(layer) == {"rate", "silent", "saturated"}
        and all(isinstance(share, int | float) and not isinstance(share, bool) for share in layer.values())
        for layer in value.values()
    )


def need_same_tensors(mine: Mapping[str, Tensor], read: Mapping[str, Tensor], where: str) -> None:
    """Raise PackageError for weights of other names, shapes or types than the model's, and for any that are NaN."""
    if other := sorted(set(mine) ^ set(read)):
        raise PackageError(f"{where} belongs to another model: {other[0]} is in one of the two only", fix=_ELSEWHERE)
    for name, tensor in read.items():
        needed, there = ((t.dtype, list(t.shape)) for t in (mine[name], tensor))
        if needed != there:
            raise PackageError(
                f"{where}: {name} is {there[0]} {there[1]}, the model's is {needed[0]} {needed[1]}", fix=_ELSEWHERE
            )
        if tensor.is_floating_point() and torch.isnan(tensor).any():
            raise PackageError(f"{where}: {name} holds NaN", fix=_ELSEWHERE)


def need_same_optimizer(optimizer: Any, state: Any, where: str) -> None:
    """Refuse the state of another optimizer, or one that does not belong to these parameters.

    Raises:
        PackageError: it has other groups, parameters, names, shapes or types, or holds NaN.
        RunError: it was made with other settings.
    """
    if problem := _structure(optimizer, state):
        raise PackageError(f"{where} does not belong to this optimizer: {problem}", fix=_ELSEWHERE)
    for mine, stated in zip(optimizer.param_groups, state["param_groups"], strict=True):
        for name in _COMPARED:
            if name in mine and _plain(mine[name]) != _plain(stated[name]):
                raise RunError(
                    f"{where} was made with {name} {_plain(stated[name])}, this run has {name} {_plain(mine[name])}",
                    fix=f"go on with {name} {_plain(stated[name])}, or start in another folder",
                )


def _structure(optimizer: Any, state: Any) -> str | None:
    """Return the first thing that is wrong with groups, names or tensors."""
    if not isinstance(state, dict) or set(state) != {"state", "param_groups"} or not isinstance(state["state"], dict):
        return "it is no mapping of state and param_groups"
    groups, own = state["param_groups"], optimizer.param_groups
    if not isinstance(groups, list) or not all(
        isinstance(g, dict) and isinstance(g.get("params"), list) for g in groups
    ):
        return "its groups are no list of mappings with params"
    sizes = [len(g["params"]) for g in groups], [len(g["params"]) for g in own]
    if sizes[0] != sizes[1]:
        return f"its groups have {sizes[0]} parameters, {sizes[1]} are needed"
    for stated, mine in zip(groups, own, strict=True):
        if missing := [name for name in _COMPARED if (name in mine) != (name in stated)]:
            return f"{', '.join(missing)} is in one of the two only"
        if odd := [name for name in mine if name in stated and not _fits(name, mine[name], stated[name])]:
            return f"{odd[0]} is {stated[odd[0]]!r}, here it is {mine[odd[0]]!r}"
    numbers = [n for g in groups for n in g["params"]]
    if numbers != list(range(len(numbers))):
        return "its parameters are not numbered from 0"
    parameters = [p for g in own for p in g["params"]]
    if numbers and not state["state"] and any(g.get("betas") or g.get("momentum") for g in own):
        return "it holds no moments"
    for number, moments in state["state"].items():
        if not isinstance(moments, dict) or number not in numbers or isinstance(number, bool):
            return f"it holds something for parameter {number!r}"
        if problem := _moments(parameters[number], moments, number, adam="betas" in own[0]):
            return problem
    return None


def _fits(name: str, mine: Any, stated: Any) -> bool:
    """Tell whether a setting of a group is of the same type and, where a run may not change it, has the same value."""
    if name in ("params", *_COMPARED):
        return name == "params" or type(_plain(stated)) is type(_plain(mine))
    if name in ("lr", "initial_lr"):
        return isinstance(stated, int | float) and math.isfinite(stated)
    if name in _HOW:
        return stated is None or isinstance(stated, bool)
    return type(stated) is type(mine) and bool(stated == mine)


def _moments(parameter: Tensor, moments: dict[Any, Any], number: int, *, adam: bool) -> str | None:
    needed = {"step", "exp_avg", "exp_avg_sq"} if adam else {"momentum_buffer"}
    if set(moments) != needed:
        names = ", ".join(map(str, moments)) or "nothing"
        return f"parameter {number} has {names}, needed is {', '.join(sorted(needed))}"
    for name, value in moments.items():
        if value is None and name == "momentum_buffer":
            continue
        if not isinstance(value, Tensor) or value.layout != torch.strided or not value.is_floating_point():
            return f"{name} of parameter {number} is no tensor of floats"
        shape = torch.Size() if name == "step" else parameter.shape
        if value.shape != shape or (name != "step" and value.dtype != parameter.dtype):
            return (
                f"{name} of parameter {number} is {value.dtype} {list(value.shape)}, needed is {parameter.dtype} "
                f"{list(shape)}"
            )
        if torch.isnan(value).any():
            return f"{name} of parameter {number} holds NaN"
    return None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
