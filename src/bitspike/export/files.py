"""A file that is there whole or not at all: a full disk or a keypress leaves what was there before."""

from __future__ import annotations

import os
from pathlib import Path

from bitspike.errors import ExportError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name beside ``path`` and rename it at the end.

    Raises:
        ExportError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_whole(Path(folder) / "net.onnx", b"new")
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['net.onnx']
    """
    if path.is_dir():
        raise ExportError(f"{path} could not be written: it is a folder", fix=f"a file, such as {path / 'network'}")
    if not path.parent.is_dir():
        raise ExportError(f"{path} could not be written: the folder {path.parent} does not exist", fix="make it first")
    made = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        made.write_bytes(content)
        made.replace(path)
    except OSError as error:
        raise ExportError(f"{path} could not be written: {error}", fix="a folder with room for it") from error
    finally:
        made.unlink(missing_ok=True)
