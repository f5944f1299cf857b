"""The integers of a saved network, or of the run that has them."""

from __future__ import annotations

import os
from pathlib import Path

from torch import nn

from bitspike.errors import ConstraintError, RunError
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.saved.folder import load as read
from bitspike.runs.folder import RECIPE, progress
from bitspike.runs.origin import go_on


def saved(network: str | Path) -> Path:
    """Return the folder of a saved network: the folder itself, or ``network/`` of a run.

    Raises:
        RunError: it is a run without a network yet. ConstraintError: it is a module of torch, or no folder at all.
    """
    refuse_module(network)
    if not isinstance(network, str | os.PathLike):
        raise ConstraintError(
            f"a {type(network).__name__} is neither an integer network nor the folder of one",
            fix="bs.lower(model, example=images[:1]), the folder of a finished run, or one that bs.save wrote",
        )
    folder = Path(network)
    if (folder / RECIPE).is_file() and not (folder / "manifest.json").exists():
        if not (folder / "network").is_dir():
            raise RunError(f"the run in {folder} has no network yet: {progress(folder)}", fix=go_on(folder))
        return folder / "network"
    return folder


def refuse_module(network: object) -> None:
    """Raise ConstraintError for a module of torch: a network in memory that has not been lowered."""
    if isinstance(network, nn.Module):
        raise ConstraintError(
            f"{type(network).__name__}: a module of torch has no integers yet",
            fix="pass bs.lower(model, example=images[:1])",
        )


def read_network(network: str | Path) -> IntegerNetwork:
    """Read a saved network, or that of a run; a PackageError says that there is none, or that it cannot be read."""
    return read(saved(network))
