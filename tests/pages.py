"""What tests read of a page in Markdown: its blocks of code, and the links outside of them."""

from __future__ import annotations

import re

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s#]+)")


def blocks_of(text: str) -> list[tuple[str, str]]:
    """Return the language, which may be empty, and the text of every block of code."""
    return _BLOCK.findall(text)


def prose_of(text: str) -> str:
    """Return a page without its blocks of code."""
    return _BLOCK.sub("", text)


def links_of(text: str) -> list[str]:
    """Return the files that a page links to, as they are written there and without their anchors; no other sites."""
    return [link for link in _LINK.findall(prose_of(text)) if not re.match(r"[a-z]+:", link)]
