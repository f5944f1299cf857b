"""How the networks of the zoo are taken down: whole, or not at all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from torch import nn

from bitspike.analysis.report.report import write_report
from bitspike.arguments import checked
from bitspike.errors import RunError
from bitspike.files import way_out, whole_folder
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.saved.folder import load as read
from bitspike.integer.saved.folder import save
from bitspike.recipe import recipe_of
from bitspike.runs.folder import RECIPE, REPORT
from bitspike.runs.sketch import kind_without_images
from bitspike.train.checkpoint import read_weights, restore
from bitspike.zoo.catalog import opened

MODEL, NETWORK = "model.safetensors", "network"
FILES = (RECIPE, REPORT, MODEL, f"{NETWORK}/manifest.json", f"{NETWORK}/weights.safetensors")
"""What a network of the zoo consists of. Golden vectors are made again when it is unpacked: the same, to the byte."""


@checked
def load(name: str) -> IntegerNetwork:
    """Return the integers of a network.

    Raises:
        ConstraintError: there is no network of this name. PackageError: its file is damaged.
        RunError: the folder for temporary files is full, or cannot be written.

    Example:
        >>> load("quickstart").steps
        4
    """
    with _laid_out(name) as folder:
        return _integers(folder)


@checked
def module(name: str) -> nn.Module:
    """Return the trained network of torch, in evaluation mode: of a conversion the one that was converted.

    No images are read. Its weights are floats that their schemes turn into codes, so it can be trained on.

    Raises:
        ConstraintError: there is no network of this name. PackageError: its file is damaged.
        RunError: the folder for temporary files is full, or cannot be written.

    Example:
        >>> type(module("quickstart")).__name__
        'Chain'
    """
    with _laid_out(name) as folder:
        recipe = recipe_of(json.loads((folder / REPORT).read_bytes())["recipe"])
        model = kind_without_images(recipe).start(weights=False)
        restore(model, read_weights(folder / MODEL), source=f"{name} of the zoo")
    return model.eval()


@checked
def unpack(name: str, folder: str | Path) -> Path:
    """Lay a network out as the folder of a finished run: ``evaluate``, ``export`` and all other verbs work on it.

    Args:
        name: of the network.
        folder: is made; it must not exist.

    Returns:
        the folder.

    Raises:
        ConstraintError: there is no network of this name. RunError: the folder exists, cannot be written, or another
        process is writing it. PackageError: the file of the network is damaged.
    """
    folder = Path(folder)
    _need_new(folder)
    with _laid_out(name) as place:
        net = _integers(place)
        try:
            with whole_folder(folder) as fresh:
                _need_new(folder)  # another process may have made it since
                for file in (RECIPE, REPORT, MODEL):
                    (fresh / file).write_bytes((place / file).read_bytes())
                save(net, fresh / NETWORK)
                write_report(fresh, json.loads((place / REPORT).read_bytes()), [])
        except OSError as error:
            raise RunError(f"{folder} cannot be written: {error.strerror}", fix=way_out(error)) from error
    return folder


def _need_new(folder: Path) -> None:
    if folder.exists():
        raise RunError(f"{folder} exists, and nothing is overwritten", fix="another folder, which does not exist yet")


def _integers(folder: Path) -> IntegerNetwork:
    """Read the integers; the digest of their file was compared already, and golden vectors are not there."""
    return read(folder / NETWORK, check=False)


@contextmanager
def _laid_out(name: str) -> Iterator[Path]:
    """Give a folder with the files of a network for a block."""
    archive = opened(name)
    with ExitStack() as until:
        try:
            folder = Path(until.enter_context(tempfile.TemporaryDirectory()))
            (folder / NETWORK).mkdir()
            for file in FILES:
                (folder / file).write_bytes(archive.read(file))
        except OSError as error:
            place = tempfile.gettempdir()
            raise RunError(
                f"{name} of the zoo cannot be laid out in {place}: {error.strerror}",
                fix=f"{way_out(error)}; TMPDIR=FOLDER names another one",
            ) from error
        yield folder
