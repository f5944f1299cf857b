"""The part of a document between two markers, which a command writes anew."""

from __future__ import annotations


def put(text: str, content: str, begin: str, end: str) -> str:
    """Return a document with the part between two markers replaced.

    Args:
        text: the document.
        content: what is to stand between the markers.
        begin, end: the markers, each once and in this order.

    Raises:
        ValueError: the markers are not there, once each and in order.

    Example:
        >>> put("a <b> old </b> c", "new", "<b>", "</b>").splitlines()
        ['a <b>', 'new', '</b> c']
    """
    before, first, rest = text.partition(begin)
    _, last, after = rest.partition(end)
    if not (first and last) or begin in after or end in after:
        raise ValueError(f"the document has no place for this: it needs one {begin} and, after it, one {end}")
    return f"{before}{begin}\n{content}\n{end}{after}"
