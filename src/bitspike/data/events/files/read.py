"""One door to all event files: the format is told by what a file begins with."""

from __future__ import annotations

from pathlib import Path

from bitspike.arguments import checked_last
from bitspike.data.events.events import Events
from bitspike.data.events.files.aedat2 import read_aedat2
from bitspike.data.events.files.aedat3 import read_aedat3
from bitspike.data.events.files.dat import read_dat
from bitspike.data.events.files.nmnist import read_words
from bitspike.data.events.files.raw import is_raw, read_raw
from bitspike.data.events.files.source import OTHER_READER, Size, Source, checked_size
from bitspike.errors import DataError
from bitspike.places import reason

SUFFIXES = frozenset({".aedat", ".bin", ".dat", ".raw"})
_KNOWN = "AEDAT 2.0 and 3.1, DAT, RAW with EVT 2.0 or 3.0, and .bin files of 40-bit words (N-MNIST)"


@checked_last
def read_events(path: str | Path, *, size: Size | None = None) -> Events:
    """Read a file of events.

    Known are AEDAT 2.0 of the DVS128 camera, AEDAT 3.1, Prophesee's DAT and RAW (EVT 2.0 and EVT 3.0), and files
    ``.bin`` of 40-bit words, as of N-MNIST.

    Args:
        path: the file.
        size: height and width of the sensor, for files that do not tell it.

    Returns:
        the events in the order of the file; ``others`` says what else the file holds.

    Raises:
        DataError: the file is missing, truncated or damaged, or of another format; the message names it.
        ConstraintError: the size of the sensor is not known, or is another one.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "00001.bin"
        ...     _ = file.write_bytes(bytes([10, 20, 128, 1, 0]))
        ...     events = read_events(file, size=(34, 34))
        >>> events.x.tolist(), events.y.tolist(), events.p.tolist(), events.t.tolist()
        ([10], [20], [1], [256])
    """
    path, size = Path(path), checked_size(size)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path.absolute()} cannot be read: {reason(error)}", fix="name a file of events") from None
    source = Source(path, data, size)
    if not data:
        raise source.damaged("it is empty")
    if data.startswith(b"#!AER-DAT2."):
        return read_aedat2(source)
    if data.startswith(b"#!AER-DAT3."):
        return read_aedat3(source)
    if data.startswith(b"%"):
        return read_raw(source) if is_raw(data) else read_dat(source)
    if data.startswith(b"#!AER-DAT"):
        version = data[9:13].decode("latin-1").strip()
        raise DataError(
            f"{path.absolute()} is AEDAT {version}; known are {_KNOWN}",
            fix=OTHER_READER,
        )
    if path.suffix.lower() == ".bin":
        return read_words(source)
    raise DataError(
        f"{path.absolute()} begins with {data[:12]!r}, which no known format does; known are {_KNOWN}",
        fix=OTHER_READER,
    )
