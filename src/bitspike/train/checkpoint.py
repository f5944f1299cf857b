"""Checkpoints: ``checkpoints/last`` to go on from, ``checkpoints/best`` to keep. Weights never travel as pickles.

``last/`` holds ``model.safetensors`` (the whole state, masters of quantized weights included), ``optimizer.pt`` (read
with ``weights_only=True`` only), ``state.json`` (epoch, history, seed, versions) and, where weights are averaged,
``average.safetensors``. It is written next to the old one
and takes its place by renaming, so a run that is killed at any moment finds a whole one. ``state.json`` holds the
digests of the files and of itself: what is not what was written is refused before torch sees it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from bitspike import digests
from bitspike.errors import PackageError, warn
from bitspike.files import previous, whole_folder, write_whole

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.pt", "state.json"
AVERAGE = "average.safetensors"


@dataclass(frozen=True)
class Snapshot:
    """Everything that a run needs to go on: states of model and optimizer, and what is known about the run.

    ``average`` is the averaged state of the model, where one is kept; ``state["average"]`` says how.
    """

    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    state: dict[str, Any]
    average: dict[str, Tensor] | None = None


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the model's state on the CPU, each tensor contiguous and alone in its memory."""
    return {k: v.detach().to("cpu", copy=True).contiguous() for k, v in model.state_dict().items()}


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a model's state as a safetensors file, whole or not at all."""
    write_whole(path, _weights(state))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a model's state.

    Raises:
        PackageError: the file is missing or no safetensors file.
    """
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise PackageError(
            f"{path}: no such file", fix="name a file that exists, such as RUN/model.safetensors"
        ) from None
    except (SafetensorError, OSError, LookupError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise PackageError(
            f"{path}: cannot be read as safetensors ({error})",
            fix="put an undamaged copy there, or run the recipe again",
        ) from error


def restore(model: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Load a state into a model; a PackageError names the first names and shapes that differ."""
    try:
        model.load_state_dict(dict(state), strict=True)
    except RuntimeError as error:
        lines = "\n".join(str(error).splitlines()[1:4])
        raise PackageError(
            f"{source} belongs to another model:\n{lines}", fix="build the model with the recipe of that run"
        ) from error


def save_last(folder: Path, snapshot: Snapshot) -> None:
    """Write ``folder/last`` anew; the old one stays until the new one is complete."""
    buffer = io.BytesIO()
    torch.save(snapshot.optimizer, buffer)
    files = {MODEL: _weights(snapshot.model), OPTIMIZER: buffer.getvalue()}
    if snapshot.average is not None:
        files[AVERAGE] = _weights(snapshot.average)
    _write(folder / "last", files, snapshot.state)


def load_last(folder: Path) -> Snapshot | None:
    """Read the newest whole checkpoint of ``folder``; None if there is none.

    One of an earlier version holds no digests. It is read, with a warning that nothing tells damage in it.

    Raises:
        PackageError: there is one, but it cannot be read, or is not what was written; the message names the file.
    """
    newest = next((f for f in (folder / "last", previous(folder / "last")) if f.is_dir()), None)
    if newest is None:
        return None
    state = _state(newest)
    if "digest" not in state:
        warn(
            f"{newest} holds no digests (earlier versions wrote none): nothing tells whether its weights and the state "
            "of its optimizer are what was written; the next epoch writes them"
        )
    averaged = state.get("average") is not None
    data = {name: _content(newest / name, state) for name in (MODEL, OPTIMIZER, *[AVERAGE] * averaged)}
    try:
        model = safetensors.torch.load(data[MODEL])
        optimizer = torch.load(io.BytesIO(data[OPTIMIZER]), map_location="cpu", weights_only=True)
        average = safetensors.torch.load(data[AVERAGE]) if averaged else None
    except Exception as error:  # zip, pickle, safetensors or torch, depending on what is damaged
        raise PackageError(
            f"{newest}: the checkpoint cannot be read ({type(error).__name__}: {error})", fix=_from_the_start(folder)
        ) from error
    return Snapshot(model, optimizer, state, average)


def save_best(folder: Path, state: Mapping[str, Tensor], *, epoch: int) -> str:
    """Write ``folder/best`` anew and return the digest of the weights in it."""
    data = _weights(state)
    _write(folder / "best", {MODEL: data}, {"epoch": epoch})
    return digests.of_bytes(data)


def load_best(folder: Path, *, digest: str | None, done: int) -> tuple[dict[str, Tensor], str]:
    """Read the weights of ``folder/best``, and their digest.

    Args:
        folder: of the checkpoints.
        digest: of the weights, as the last checkpoint noted it; None where it did not.
        done: how many epochs the last checkpoint has. A run that was killed after it may have written the best of the
            next epoch, which it is going to repeat; these weights are taken too.

    Raises:
        PackageError: they cannot be read, or are none of these.
    """
    newest = next((f for f in (folder / "best", previous(folder / "best")) if f.is_dir()), folder / "best")
    if not (newest / MODEL).is_file():
        raise PackageError(f"{newest / MODEL}: no such file", fix=_from_the_start(folder))
    note = _state(newest) if (newest / STATE).exists() else {}
    data = _content(newest / MODEL, note)
    actual = digests.of_bytes(data)
    if digest is not None and actual != digest and note.get("epoch") != done + 1:
        raise PackageError(
            f"{newest / MODEL} is not what was written: its digest is {actual}, the last checkpoint noted {digest}",
            fix=_from_the_start(folder),
        )
    return read_weights(newest / MODEL), actual


def _weights(state: Mapping[str, Tensor]) -> bytes:
    return safetensors.torch.save(dict(state), metadata={"format": "pt"})


def _write(folder: Path, files: Mapping[str, bytes], state: dict[str, Any]) -> None:
    """Write files and a state that holds their digests, and its own, as a folder that is whole or absent."""
    noted = {**state, "files": {name: digests.of_bytes(data) for name, data in files.items()}}
    with whole_folder(folder) as new:
        for name, data in files.items():
            write_whole(new / name, data)
        write_whole(new / STATE, json.dumps({**noted, "digest": digests.of_values(noted)}, indent=1))


def _state(folder: Path) -> dict[str, Any]:
    """Read the state of a checkpoint and compare it with its own digest, if it has one."""
    path = folder / STATE
    try:
        state = digests.read_json(path, finite=False)
        if not isinstance(state, dict):
            raise ValueError("it is no mapping")
        if not isinstance(state.get("files", {}), dict):
            raise ValueError("its list of files is no mapping")
        if "digest" not in state and (left := [name for name in ("files", "best_digest") if name in state]):
            raise ValueError(f"it lacks its digest, and still has {' and '.join(left)}, so it is not what was written")
    except (OSError, ValueError) as error:
        raise PackageError(f"{path} cannot be read: {error}", fix=_from_the_start(folder.parent)) from error
    if "digest" in state and state["digest"] != (actual := digests.of_values(state)):
        raise PackageError(
            f"{path} is not what was written: its digest is {actual}, stated is {state['digest']!r}",
            fix=_from_the_start(folder.parent),
        )
    return state


def _content(path: Path, state: Mapping[str, Any]) -> bytes:
    """Return the bytes of a file of a checkpoint, compared with the digest that its state holds, if there is one."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PackageError(f"{path} cannot be read: {error}", fix=_from_the_start(path.parents[1])) from error
    if "digest" in state and state.get("files", {}).get(path.name) != (actual := digests.of_bytes(data)):
        raise PackageError(
            f"{path} is not what was written: its digest is {actual}, the checkpoint states "
            f"{state.get('files', {}).get(path.name)!r}",
            fix=_from_the_start(path.parents[1]),
        )
    return data


def _from_the_start(checkpoints: Path) -> str:
    return f"put an undamaged copy there; or delete {checkpoints} and resume, which trains again from the first epoch"
