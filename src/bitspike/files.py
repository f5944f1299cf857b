"""Files and folders that are whole or absent: written under another name, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import shutil
import time
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


def obstacle(folder: Path) -> str | None:
    """Say why nothing could be written into a folder, without touching it; None where nothing is seen in the way.

    A folder that does not exist is judged by the nearest one around it that does. Long work asks this before it begins.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     obstacle(Path(file.name) / "figures") == f"{file.name} is a file"
        True
    """
    # Path.exists raises where a folder around it may not be looked into.
    nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if os.path.exists(place))  # noqa: PTH110
    if not nearest.is_dir():
        return f"{nearest} is a file"
    return None if os.access(nearest, os.W_OK | os.X_OK) else f"you may not write into {nearest}"


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file so that at every moment either the old or the new content stands at ``path``, never a part.

    Of two processes that write one file, each writes all of it, and the later one stays. What a process that was killed
    has left of it goes, where the system can tell that nobody writes it any more.

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
    _remove_abandoned(path)
    try:
        with part.open("wb") as file, _lock(file.fileno()):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # on the disk before the name is: a crash between the two leaves the old file
            os.utime(part)  # young until it has its name, however long that took
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _remove_abandoned(path: Path) -> None:
    """Remove parts of a file that processes have left which were killed: the system has released their locks."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}{_PARTIAL}"):
        try:
            if time.time() - part.stat().st_mtime < _YOUNG:  # may be between its first byte and its lock
                continue
            handle = os.open(part, os.O_RDONLY)
            try:
                with _lock(handle) as mine:
                    if mine:
                        part.unlink()
            finally:
                os.close(handle)
        except OSError:  # another process was faster, or it may not be touched
            continue


_YOUNG = 60.0
"""Seconds in which a part of a file is not looked at."""


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
    if os.name != "posix":  # elsewhere folders cannot be opened
        yield True
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with _lock(handle) as mine:
            yield mine is not False
    finally:
        os.close(handle)


@contextmanager
def _lock(handle: int) -> Iterator[bool | None]:
    """Lock an open file or folder until it is closed: True; False where another process has it, None without locks."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    except (ImportError, OSError):  # not on this system, or a file system without locks
        yield None
    else:
        yield True


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
