"""DVS128 Gesture: 11 gestures of 29 people under three lights, several in a file."""

from __future__ import annotations

from pathlib import Path

from bitspike.data.events.info import EventInfo
from bitspike.data.events.on_disk import OnDisk
from bitspike.data.events.recordings import Recording, Recordings
from bitspike.errors import DataError
from bitspike.places import reason

_CLASSES = (
    "hand_clapping", "right_hand_wave", "left_hand_wave", "right_arm_clockwise", "right_arm_counter_clockwise",
    "left_arm_clockwise", "left_arm_counter_clockwise", "arm_roll", "air_drums", "air_guitar", "other_gestures",
)  # fmt: skip
_HEAD = "class,startTime_usec,endTime_usec"


def _listing(info: EventInfo, folder: Path, split: str) -> Recordings:
    """List one split: the files that its list of trials names, each with the parts that its labels name."""
    assert info.size is not None
    entries = []
    for name in _lines(folder / f"trials_to_{split}.txt"):
        entries += _parts(folder, name)
    return Recordings(folder, tuple(entries), _CLASSES, info.size, info.name)


def _parts(folder: Path, name: str) -> list[Recording]:
    """Return the recordings in a file, in the order of its labels; their times may overlap and need not ascend."""
    path = folder / f"{name.removesuffix('.aedat')}_labels.csv"
    head, *rows = _lines(path)
    if head.replace(" ", "") != _HEAD:
        raise DataError(f"{path.absolute()} begins with {head!r}, needed is {_HEAD!r}", fix="unpack the set again")
    parts = []
    for number, row in enumerate(rows, start=2):
        cells = row.split(",")
        if len(cells) != 3 or not all(cell.strip().isdecimal() for cell in cells):
            raise DataError(
                f"{path.absolute()}, line {number}: {row!r} are no three numbers", fix="unpack the set again"
            )
        label, start, end = (int(cell) for cell in cells)
        if not (1 <= label <= len(_CLASSES) and start < end):
            raise DataError(
                f"{path.absolute()}, line {number}: {row!r}; classes are 1 to {len(_CLASSES)}, and a gesture ends "
                "after it begins",
                fix="unpack the set again",
            )
        parts.append(Recording(name, label - 1, start, end))
    return parts


def _lines(path: Path) -> list[str]:
    """Return the lines of a file of the set that hold something.

    Raises:
        DataError: it cannot be read, or is empty.
    """
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path.absolute()} cannot be read: {reason(error)}", fix="unpack the set again") from None
    if not lines:
        raise DataError(f"{path.absolute()} is empty", fix="unpack the set again")
    return lines


SETS = (
    EventInfo(
        name="dvs_gesture",
        title="DVS128 Gesture: hand and arm gestures before an event camera",
        size=(128, 128),
        classes=_CLASSES,
        source="A. Amir et al. 2017, https://research.ibm.com/interactive/dvsgesture, CC BY 4.0",
        read=OnDisk(
            "DvsGesture",
            "trials_to_train.txt",
            "trials_to_{train,test}.txt and the pairs userNN_LIGHT.aedat, userNN_LIGHT_labels.csv that they name",
            _listing,
        ),
    ),
)
