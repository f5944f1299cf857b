"""The C, linker and board files that are written as they are but for a few words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from bitspike.formats.c.text import MARK

_HOUSE = Path(__file__).parent


def filled(file: str, words: Mapping[str, object]) -> str:
    """Return a file of this folder with ``@WORD`` replaced; ``@MARK`` is always known.

    Example:
        >>> filled("boards/start/avr.ld", {"TITLE": "a board", "RAM_ORIGIN": 1, "RAM": 2, "STACK": 3}).splitlines()[1]
        'board_stack_end = _end;'
    """
    known = {"MARK": MARK, **words}
    text = (_HOUSE / file).read_text(encoding="ascii")
    longest = sorted(known, key=len, reverse=True)
    return re.sub(f"@({'|'.join(longest)})", lambda match: str(known[match[1]]), text)
