"""Checkpoints: ``checkpoints/last`` to go on from, ``checkpoints/best`` to keep. Weights never travel as pickles.

``last/`` holds ``model.safetensors`` (the whole state, masters of quantized weights included), ``optimizer.pt`` (read
with ``weights_only=True`` only) and ``state.json`` (epoch, history, seed, versions). It is written beside the old one
and takes its place by renaming, so a run that is killed at any moment finds a whole one.
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

from bitspike.errors import PackageError
from bitspike.files import previous, whole_folder, write_whole


@dataclass(frozen=True)
class Snapshot:
    """Everything that a run needs to go on: states of model and optimizer, and what is known about the run."""

    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    state: dict[str, Any]


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the model's state on the CPU, each tensor contiguous and alone in its memory."""
    return {k: v.detach().to("cpu", copy=True).contiguous() for k, v in model.state_dict().items()}


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a model's state as a safetensors file, whole or not at all."""
    write_whole(path, safetensors.torch.save(dict(state), metadata={"format": "pt"}))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a model's state.

    Raises:
        PackageError: the file is missing or no safetensors file.
    """
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise PackageError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise PackageError(f"{path}: cannot be read as safetensors ({error})") from error


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a model's state from a file into a model of the same shape.

    Raises:
        PackageError: the file cannot be read, or belongs to another model; the message names the first differences.
    """
    restore(model, read_weights(path), source=str(path))


def restore(model: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Load a state into a model; every name and shape must agree.

    Raises:
        PackageError: names or shapes differ.
    """
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
    with whole_folder(folder / "last") as made:
        write_weights(made / "model.safetensors", snapshot.model)
        write_whole(made / "optimizer.pt", buffer.getvalue())
        write_whole(made / "state.json", json.dumps(snapshot.state, indent=1))


def load_last(folder: Path) -> Snapshot | None:
    """Read the newest whole checkpoint of ``folder``; None if there is none.

    Raises:
        PackageError: there is one, but it cannot be read.
    """
    found = next((f for f in (folder / "last", previous(folder / "last")) if f.is_dir()), None)
    if found is None:
        return None
    try:
        state = json.loads((found / "state.json").read_text())
        optimizer = torch.load(found / "optimizer.pt", map_location="cpu", weights_only=True)
    except Exception as error:
        raise PackageError(
            f"{found}: the checkpoint cannot be read ({type(error).__name__}: {error})",
            fix="remove the run folder and start the run again",
        ) from error
    return Snapshot(read_weights(found / "model.safetensors"), optimizer, state)


def save_best(folder: Path, state: Mapping[str, Tensor]) -> None:
    """Write ``folder/best/model.safetensors``."""
    (folder / "best").mkdir(parents=True, exist_ok=True)
    write_weights(folder / "best" / "model.safetensors", state)


def load_best(folder: Path) -> dict[str, Tensor]:
    """Read ``folder/best/model.safetensors``."""
    return read_weights(folder / "best" / "model.safetensors")
