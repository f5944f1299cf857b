"""CIFAR10-DVS: 10,000 images of CIFAR-10, recorded from a monitor on which they move."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bitspike.data.events.events import Events
from bitspike.data.events.info import EventInfo
from bitspike.data.events.on_disk import OnDisk, names_in
from bitspike.data.events.recordings import Recording, Recordings

_SIDE = 128


def _upright(events: Events) -> Events:
    """Turn the addresses of the camera so that the images are upright: x = 127 - y, y = 127 - x."""
    return replace(events, x=_SIDE - 1 - events.y, y=_SIDE - 1 - events.x)


def _listing(info: EventInfo, folder: Path, split: str) -> Recordings:
    """List one split: of every class, in the order of the file names as text, the last tenth is the test split."""
    assert info.size is not None
    assert info.classes is not None
    entries = []
    for label, name in enumerate(info.classes):
        files = names_in(folder / name, (".aedat",))
        kept = len(files) - len(files) // 10
        part = files[:kept] if split == "train" else files[kept:]
        entries += [Recording(f"{name}/{file}", label) for file in part]
    return Recordings(folder, tuple(entries), info.classes, info.size, info.name, _upright)


SETS = (
    EventInfo(
        name="cifar10_dvs",
        title="CIFAR10-DVS: CIFAR-10 images that move before an event camera",
        size=(_SIDE, _SIDE),
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        source="H. Li et al. 2017, https://doi.org/10.6084/m9.figshare.4724671, CC BY 4.0",
        read=OnDisk("CIFAR10DVS", "airplane", "{airplane,...,truck}/*.aedat, of AEDAT 2.0", _listing),
    ),
)
