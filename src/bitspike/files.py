"""Files and folders that are whole or absent: written under another name, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PARTIAL, _PREVIOUS = ".partial", ".previous"


def partial(path: Path) -> Path:
    """Return where a file or folder is written: a hidden name in the same folder, which no user takes."""
    return path.with_name(f".{path.name}{_PARTIAL}")


def previous(path: Path) -> Path:
    """Return where an older folder is kept until the new one stands."""
    return path.with_name(f".{path.name}{_PREVIOUS}")


def is_left_over(path: Path) -> bool:
    """Tell whether a name is one of these two.

    Example:
        >>> is_left_over(partial(Path("network"))), is_left_over(Path("network"))
        (True, False)
    """
    return path.name.startswith(".") and path.name.endswith((_PARTIAL, _PREVIOUS))


def way_out(error: BaseException) -> str:
    """Return what helps where a file could not be written.

    Example:
        >>> way_out(OSError(errno.EFBIG, "File too large"))
        'lift the limit on the size of files (ulimit -f unlimited)'
    """
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EFBIG:
        return "lift the limit on the size of files (ulimit -f unlimited)"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "a folder that you may write to"
    if number == errno.EAGAIN:
        return "wait until the other process has ended, or another folder"
    if number in (errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG):
        return "a folder that is there or can be made"
    return "a folder with room for it"


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file so that at every moment either the old or the new content stands at ``path``, never a part.

    Of two processes that write one file, each writes all of it, and the later one stays.

    Raises:
        OSError: the disk is full or the folder cannot be written; ``path`` is then as it was, and no part is left.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_whole(Path(folder) / "net.onnx", b"new")
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['net.onnx']
    """
    data = content.encode() if isinstance(content, str) else content
    part = partial(path.with_name(f"{path.name}.{secrets.token_hex(4)}"))  # no other process writes into this one
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # on the disk before the name is: a crash between the two leaves the old file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write into, which takes the place of ``folder`` when the block ends well.

    An older folder is kept as :func:`previous` until the new one stands. If the block fails it is as it was.

    Raises:
        OSError: the disk is full, the folder cannot be made, or another process is writing it just now.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     with whole_folder(Path(place) / "network") as fresh:
        ...         _ = (fresh / "manifest.json").write_text("{}")
        ...     [str(path.relative_to(place)) for path in Path(place).rglob("*.json")]
        ['network/manifest.json']
    """
    fresh, older = partial(folder), previous(folder)
    fresh.mkdir(parents=True, exist_ok=True)
    with locked(fresh) as mine:
        if not mine:
            raise BlockingIOError(errno.EAGAIN, "another process is writing it")
        try:
            for left in fresh.iterdir():  # by a process that was killed
                _remove(left)
            yield fresh
            _flush(fresh)
            if folder.exists():  # a folder cannot be renamed onto one that is not empty
                shutil.rmtree(older, ignore_errors=True)
                folder.rename(older)
            fresh.rename(folder)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    shutil.rmtree(older, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Lock a folder for this process while a block runs; the system releases the lock if the process ends.

    Gives True, or at once False where another process holds the lock. Where folders cannot be locked, it gives True.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place, locked(Path(place)) as mine, locked(Path(place)) as again:
        ...     mine, again
        (True, False)
    """
    try:
        import fcntl
    except ImportError:  # not on this system
        yield True
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except BlockingIOError:
            mine = False
        except OSError:  # a file system without locks
            mine = True
        yield mine
    finally:
        os.close(handle)


def remove_partial(folder: Path) -> None:
    """Remove everything below ``folder`` that was left half-written."""
    for path in sorted(folder.rglob(f".*{_PARTIAL}")):
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    """Make the names inside a folder durable before it is renamed, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
