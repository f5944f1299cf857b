"""What every writer shares: one error for all that a format cannot hold, names, optional packages, whole files."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bitspike import files
from bitspike.errors import ExportError, short
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


def need_name(name: object, free: Callable[[str], bool], rule: str) -> str:
    """Return a name for what is exported: up to 31 lower-case letters, digits and underscores, a letter first.

    Args:
        name: what was asked for.
        free: whether a word may be the name.
        rule: which words are free; ends the sentence of the error.

    Raises:
        ExportError: it is no such name.

    Example:
        >>> need_name("net", lambda word: word != "math", "but no header")
        'net'
        >>> need_name("Net", lambda word: word != "math", "but no header")
        Traceback (most recent call last):
        bitspike.errors.ExportError: name='Net': a lower-case letter and up to 30 more lower-case letters, digits and \
underscores are possible, but no header
          fix: name='net_net'
    """
    if isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name) and free(name):
        return name
    raise ExportError(
        f"name={short(name)}: a lower-case letter and up to 30 more lower-case letters, digits and underscores are "
        f"possible, {rule}",
        fix=f"name={re.sub('[^a-z0-9_]', '_', 'net_' + str(name).lower())[:31]!r}",
    )


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
