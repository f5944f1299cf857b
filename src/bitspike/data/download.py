"""One file from the network to the disk: whole and checked, or not at all."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

from bitspike import digests
from bitspike.errors import DataError
from bitspike.files import write_whole
from bitspike.places import reason

TRIES = 3
_PATIENCE = 30.0
"""Seconds without a byte after which a connection is given up."""


def download(address: str, path: Path, *, sha256: str, size: int, wait: float = 2.0) -> None:
    """Fetch a file, check that its bytes are those that are expected, and write it; a broken connection is tried again.

    Args:
        address: http, https or file.
        path: where it goes; its folder is made.
        sha256: of its bytes, 64 hexadecimal digits.
        size: in bytes; no more are read, and it fits into memory.
        wait: seconds before it is tried again.

    Raises:
        DataError: there is no network, the server refuses, the bytes are others, or the file cannot be written. What
            stood at ``path`` is then as it was.
    """
    content = _read(address, path, size, wait)
    if (digest := digests.of_bytes(content)) != sha256:
        raise DataError(
            f"{address} is not the file that is known: its SHA-256 is {digest[:16]}..., expected is {sha256[:16]}...",
            fix="try again in another network, where no page of a provider takes its place; "
            f"or copy the file with SHA-256 {sha256} to {path.absolute()}",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise DataError(f"{path.absolute()} cannot be written: {reason(error)}", fix="--root ANOTHER_FOLDER") from None


def _read(address: str, path: Path, size: int, wait: float) -> bytes:
    for again in range(TRIES):
        time.sleep(wait if again else 0.0)
        try:
            with urllib.request.urlopen(address, timeout=_PATIENCE) as answer:
                content: bytes = answer.read(size + 1)  # one more shows that a file is longer
            if len(content) >= size:
                return content
            said = f"the connection ended after {len(content):,} of {size:,} bytes"
        except urllib.error.HTTPError as error:
            said = f"the server answers {error.code} {error.reason}"
            if error.code < 500:  # it will answer the same again
                break
        except urllib.error.URLError as error:
            said = reason(error.reason) if isinstance(error.reason, BaseException) else str(error.reason)
        except (OSError, http.client.HTTPException) as error:
            said = reason(error)
    raise DataError(
        f"{path.name} could not be fetched: {said}",
        fix=f"the same again where there is a network; or fetch {address}"
        f"\n       elsewhere, and copy it to {path.absolute()}",
    )
