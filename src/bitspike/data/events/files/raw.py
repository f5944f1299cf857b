"""The RAW files of Prophesee's cameras: a header in text that names the encoding of the words after it."""

from __future__ import annotations

import re

from bitspike.data.events.events import Events
from bitspike.data.events.files.evt2 import read_evt2
from bitspike.data.events.files.evt3 import read_evt3
from bitspike.data.events.files.source import OTHER_READER, Source, header_end, told_size
from bitspike.errors import DataError

_END = b"% end\n"
_READ = {"2.0": read_evt2, "3.0": read_evt3}


def is_raw(data: bytes) -> bool:
    """Tell whether a header names an encoding of RAW files.

    Example:
        >>> is_raw(b"% evt 2.0\\n"), is_raw(b"% Version 2\\n")
        (True, False)
    """
    return _encoding(data[: header_end(data, b"%")]) is not None


def read_raw(source: Source) -> Events:
    """Read a file of words in EVT 2.0 or EVT 3.0.

    Raises:
        DataError: another encoding, or a damaged file.
        ConstraintError: the size of the sensor is not known.
    """
    end = source.data.find(_END)
    start = header_end(source.data, b"% ") if end < 0 else end + len(_END)
    header = source.data[:start]
    encoding = _encoding(header)
    if encoding not in _READ:
        raise DataError(
            f"{source.path.absolute()} is in the encoding EVT {encoding}; allowed are EVT 2.0 and EVT 3.0",
            fix=OTHER_READER,
        )
    return _READ[encoding](source, start, source.need_size(told_size(header)))


def _encoding(header: bytes) -> str | None:
    """Return the encoding that a header names, as ``2.0``."""
    version = re.search(rb"(?im)^%\s*evt\s+(\d+)(?:\.(\d+))?", header) or re.search(
        rb"(?im)^%\s*format\s+evt(\d)(\d)?\b", header
    )
    return f"{version[1].decode()}.{(version[2] or b'0').decode()}" if version else None
