"""An exported file is there whole or not at all, and says why not."""

from __future__ import annotations

from pathlib import Path

from bitspike import files
from bitspike.errors import ExportError


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
