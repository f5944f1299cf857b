"""Names and comments as text that is the same on every machine."""

from __future__ import annotations

import re

MARK = "Written by Bitspike"
"""Stands in the first line of every file, so that a later export knows what it may replace."""


def plain(text: str) -> str:
    """Return text that neither ends a comment nor a line: letters, digits and a few signs; the rest becomes ``_``.

    Example:
        >>> plain("layers.0 `x \\\\")
        'layers.0 _x _'
    """
    return re.sub(r"\*/|/\*|[^A-Za-z0-9_.,:;()\[\] +=<>-]", "_", text)
