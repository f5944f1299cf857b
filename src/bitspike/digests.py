"""SHA-256 of files and of plain values, and JSON that is read to the letter.

A digest tells whether something is what it was; it is no signature. Who changes a file can write a new digest into it
as well, so a digest protects against a forger only where it was written down elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

_DEEPEST = 64
_TOO_DEEP = f"it is nested too deeply; at most {_DEEPEST} levels are read"


def of_bytes(data: bytes) -> str:
    """Return the SHA-256 of bytes, 64 hexadecimal digits.

    Example:
        >>> of_bytes(b"abc")[:16]
        'ba7816bf8f01cfea'
    """
    return hashlib.sha256(data).hexdigest()


def of_file(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_values(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain values in one canonical form of JSON, whatever their order and layout in a file.

    The canonical form is ASCII without white space: keys sorted by code point, other characters as ``\\uXXXX``, floats
    in the shortest form that reads back as the same number, as Python's ``repr`` writes them. So 1 and 1.0 differ. The
    entry ``digest`` at the top is left out: that is where the digest itself is kept.

    Example:
        >>> of_values({"b": 1, "a": 0.5}) == of_bytes(b'{"a":0.5,"b":1}') == of_values({"a": 0.5, "b": 1, "digest": ""})
        True
    """
    kept = {key: value for key, value in values.items() if key != "digest"}
    return of_bytes(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode("ascii"))


def read_json(path: Path, *, finite: bool = True) -> Any:
    """Read a JSON file and refuse what JSON readers understand differently: a key given twice, NaN, overflowing floats.

    Args:
        path: of the file.
        finite: False takes NaN and infinite numbers, which Python writes as words that are no JSON.

    Raises:
        ValueError: it is no such JSON, or it is nested too deeply.
        OSError: it cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    try:
        if finite:
            value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite)
        else:
            value = json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            part for v in level if isinstance(v, dict | list) for part in (v.values() if isinstance(v, dict) else v)
        ]
        if not level:
            return value
    raise ValueError(_TOO_DEEP)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return entries


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"the number {text[:40]} is too large")
    return value
