"""Recordings of one's own: ROOT/{train,test}/<class>/<file>."""

from __future__ import annotations

from bitspike.data.events.event_set import EventSet
from bitspike.data.events.files.read import SUFFIXES, read_events
from bitspike.data.events.info import EventInfo, Request
from bitspike.data.events.on_disk import framed, names_in
from bitspike.data.events.recordings import Recording, Recordings
from bitspike.data.images.listing import class_folders, refuse_strange
from bitspike.errors import DataError
from bitspike.places import places, reason

_LAYOUT = "{train,test}/<class>/<file>"


def _read(info: EventInfo, request: Request) -> EventSet:
    """Read one split; the classes are the folders of the training split, in alphabetical order."""
    if request.root is None:
        raise DataError(f"the event set {info.name!r} needs root=FOLDER", fix=f"a folder laid out as {_LAYOUT}")
    (root,) = places(request.root)
    train, split = root / "train", root / request.split
    if not train.is_dir():
        raise DataError(f"{root.absolute()} has no folder train", fix=f"lay the recordings out as {_LAYOUT}")
    try:
        classes = class_folders(train)
        present = class_folders(split) if split.is_dir() else []
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {reason(error)}", fix="make it readable") from None
    refuse_strange(split, present, train, classes)
    entries = [
        Recording(f"{request.split}/{name}/{file}", label)
        for label, name in enumerate(classes)
        if name in present
        for file in names_in(split / name, tuple(SUFFIXES))
    ]
    if not entries:
        raise DataError(f"{split.absolute()} holds no class folders", fix=f"lay them out as {_LAYOUT}")
    size = request.size
    if size is None:
        first = read_events(root / entries[0].file)
        size = first.height, first.width
    return framed(Recordings(root, tuple(entries), tuple(classes), size, root.absolute().name), request)


SETS = (
    EventInfo(
        name="event_folder",
        title="your own recordings",
        size=None,
        classes=None,
        source="your own",
        read=_read,
    ),
)
