"""The folder of an export: it appears whole, and takes the place of an older export and of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from bitspike.errors import ExportError
from bitspike.files import way_out, whole_folder


def write_folder(folder: Path, files: Mapping[str, str | bytes], *, foreign: Callable[[Path], Iterable[str]]) -> Path:
    """Write files into a new folder, which replaces an older export.

    Args:
        folder: its place.
        files: the content of every file by its name, which may begin with a folder; texts are ASCII.
        foreign: names what a folder holds that no export wrote; where there is anything, the folder is left alone.

    Raises:
        ExportError: the folder is a file, holds something else, or cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     folder = write_folder(Path(place) / "c", {"a.c": "int a;", "b/c": b"2"}, foreign=lambda older: [])
        ...     sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
        ['a.c', 'b/c']
    """
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"{folder} is a file; it was left alone", fix="another folder")
    others = sorted(foreign(folder)) if folder.exists() else []
    if others:
        raise ExportError(f"{folder} holds {', '.join(others[:3])}; it was left alone", fix="another folder")
    try:
        with whole_folder(folder) as fresh:
            for name, content in files.items():
                place = fresh / name
                place.parent.mkdir(exist_ok=True)
                place.write_bytes(content.encode("ascii") if isinstance(content, str) else content)
    except OSError as error:
        raise ExportError(f"{folder} could not be written: {error}", fix=way_out(error)) from error
    return folder


def begins_with(file: Path, mark: str) -> bool:
    """Say whether a mark stands in the first line of a file."""
    with file.open("rb") as opened:
        return mark.encode() in opened.readline(200)
