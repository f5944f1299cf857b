"""Walk through an HDF5 file as a reader of NIR does, in a process of its own: ``python -P hdf5_walk.py FILE``.

A damaged file can end or hang the HDF5 library itself, where no exception is raised. So files of unknown origin are
walked here first (:mod:`bitspike.formats.nir.reading.hdf5_guard`), and nothing but this process ends. The last line
on stdout is ``sound``, or says what is wrong. Imports nothing of bitspike: it runs as a script.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

_MOST_OBJECTS, _DEEPEST, _MOST_BYTES = 20_000, 12, 1 << 31
_MOST_PACKED = 1100
"""deflate makes at most 1032 bytes of one."""


def walk(path: Path) -> str:
    """Return ``sound``, or what is wrong with a file."""
    h5py: Any = importlib.import_module("h5py")
    room = max(1 << 20, _MOST_PACKED * path.stat().st_size)
    objects, claimed = 0, 0
    with h5py.File(path, "r") as file:
        level: list[Any] = [(file, "")]
        for _ in range(_DEEPEST):
            inner: list[Any] = []
            for group, where in level:
                for name in group:
                    place, item = f"{where}/{name}", group[name]
                    objects += 1
                    if objects > _MOST_OBJECTS:
                        return f"it holds more than {_MOST_OBJECTS:,} objects"
                    if isinstance(item, h5py.Group):
                        inner.append((item, place))
                        continue
                    if not isinstance(item, h5py.Dataset):
                        return f"{place} is neither a group nor a data set"
                    claimed += item.size * max(1, item.dtype.itemsize)
                    if claimed > min(_MOST_BYTES, room):
                        return f"{place} claims {list(item.shape)} of {item.dtype}, more than the file can hold"
                    item[()]
            level = inner
            if not level:
                return "sound"
    return f"it is nested more than {_DEEPEST} deep"


if __name__ == "__main__":
    try:
        verdict = walk(Path(sys.argv[1]))
    except Exception as error:  # noqa: BLE001  whatever the library raises is what is wrong
        verdict = " ".join(f"{type(error).__name__}: {error}".split())
    sys.stdout.write(verdict + "\n")
