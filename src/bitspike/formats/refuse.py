"""What every writer shares: one error for all that a format cannot hold, optional packages, files that are whole."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitspike import files
from bitspike.errors import ExportError
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Node


def refuse(what: str, net: IntegerNetwork, problems: Sequence[tuple[Node, str]], *, fix: str) -> None:
    """Raise one error that names every node of ``problems``, or return if there are none.

    Raises:
        ExportError: there is a problem.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> net = one_convolution()
        >>> refuse("NIR", net, [(net.nodes[1], "too wide")], fix="another format")
        Traceback (most recent call last):
        bitspike.errors.ExportError: NIR cannot hold 1 of 5 nodes
          conv  Convolution conv: too wide
          fix: another format
    """
    if not problems:
        return
    nodes = len({node.id for node, _ in problems})
    lines = [f"{node.path}  {type(node).__name__} {node.id}: {reason}" for node, reason in problems]
    raise ExportError("\n  ".join([f"{what} cannot hold {nodes} of {len(net.nodes)} nodes", *lines]), fix=fix)


def optional(module: str, *, extra: str) -> Any:
    """Import an optional package, or say in one sentence how to get it.

    Raises:
        ExportError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ExportError(
            f"the package {error.name!r} is not installed", fix=f'pip install "bitspike[{extra}]"'
        ) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file as :func:`bitspike.files.write_whole` does.

    Raises:
        ExportError: the file cannot be written: it is a folder, its folder is missing, the disk is full.

    Example:
        >>> write_whole(Path("no-such-folder/net.onnx"), b"")
        Traceback (most recent call last):
        bitspike.errors.ExportError: ...the folder no-such-folder does not exist...
    """
    if path.is_dir():
        raise ExportError(f"{path} could not be written: it is a folder", fix=f"a file, such as {path / 'network'}")
    if not path.parent.is_dir():
        raise ExportError(f"{path} could not be written: the folder {path.parent} does not exist", fix="make it first")
    try:
        files.write_whole(path, content)
    except OSError as error:
        raise ExportError(f"{path} could not be written: {error}", fix=files.way_out(error)) from error
