"""One error for everything that a format cannot hold, and the sentence for a missing optional package."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

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
