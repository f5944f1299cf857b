"""Checks before the HDF5 library opens a file: the digest at its end, or a trial read in another process.

Damage inside a file can end or hang the library, with the process that called it. A file that bitspike wrote ends with
the SHA-256 of all that stands before it; readers of HDF5 do not look there, as the file says itself where it ends. If
it agrees the file is whole. One without a digest, of another writer or edited by another tool, is walked through in a
process of its own first.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from bitspike import digests
from bitspike.errors import ExportError

_MARK = b"\nbitspike sha256 "
_LENGTH = len(_MARK) + 64
_SECONDS = 20.0
AGAIN = "write the file again, with bs.write_nir or nir.write"
"""The way out for files that cannot be read."""


def sealed(content: bytes) -> bytes:
    """Return the bytes of a file with their digest at the end.

    Example:
        >>> sealed(b"abc")[:36]
        b'abc\\nbitspike sha256 ba7816bf8f01cfea'
    """
    return content + _MARK + digests.of_bytes(content).encode("ascii")


def refuse_damage(path: Path) -> None:
    """Raise where a file cannot be given to the HDF5 library.

    Raises:
        ExportError: it differs from its digest, cannot be walked through, or claims more than it can hold.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error}", fix="a file that you may read") from error
    end = content[-_LENGTH:]
    if end.startswith(_MARK):
        if end[len(_MARK) :] != digests.of_bytes(content[:-_LENGTH]).encode("ascii"):
            raise ExportError(f"{path} is damaged: its bytes differ from the digest at its end", fix=AGAIN)
        return
    if not re.search(rb"\A(?:.{512})*?\x89HDF\r\n\x1a\n", content[: 1 << 16], re.DOTALL):
        raise ExportError(f"{path} is no NIR file: it does not begin as HDF5 does", fix=AGAIN)
    if (verdict := _walked(path)) != "sound":
        raise ExportError(f"{path} is no NIR file, or a damaged one: {verdict}", fix="an undamaged copy")


def _walked(path: Path) -> str:
    """Return what the walk through a file says; where no process can be started, that it is sound."""
    if not sys.executable:
        return "sound"
    script = Path(__file__).with_name("hdf5_walk.py")
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(script), str(path.absolute())],
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"reading it does not come to an end within {_SECONDS:g} seconds"
    except OSError:
        return "sound"
    if done.returncode != 0:
        return f"the HDF5 library does not survive it (exit code {done.returncode})"
    return next(iter(done.stdout.splitlines()[-1:]), "the HDF5 library said nothing")
