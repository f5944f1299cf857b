"""N-MNIST: the digits of MNIST, recorded by a camera that moves in three saccades."""

from __future__ import annotations

from pathlib import Path

from bitspike.data.events.info import EventInfo
from bitspike.data.events.on_disk import OnDisk, names_in
from bitspike.data.events.recordings import Recording, Recordings


def _listing(info: EventInfo, folder: Path, split: str) -> Recordings:
    assert info.size is not None
    assert info.classes is not None
    place = split.capitalize()
    entries = [
        Recording(f"{place}/{digit}/{name}", label)
        for label, digit in enumerate(info.classes)
        for name in names_in(folder / place / digit, (".bin",))
    ]
    return Recordings(folder, tuple(entries), info.classes, info.size, info.name)


SETS = (
    EventInfo(
        name="nmnist",
        title="N-MNIST: MNIST digits before a moving event camera",
        size=(34, 34),
        classes=tuple("0123456789"),
        source="G. Orchard et al. 2015, https://www.garrickorchard.com/datasets/n-mnist, CC BY-SA 4.0",
        read=OnDisk("N-MNIST", "Train", "{Train,Test}/{0,...,9}/*.bin", _listing),
    ),
)
