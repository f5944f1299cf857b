"""The digits of the package before a simulated event camera; ``assets/DIGITS.md`` says whose they are."""

from __future__ import annotations

from bitspike.data.events.cache import stacked
from bitspike.data.events.event_set import EventSet
from bitspike.data.events.info import EventInfo, Request
from bitspike.data.events.simulate import SIDE, saccades
from bitspike.data.images.sets.digits import read_digits


def _read(info: EventInfo, request: Request) -> EventSet:
    """Simulate one split; the splits are those of the digits."""
    digits = read_digits(request.split)
    frames = stacked(saccades(digits.images[..., 0].numpy()), request.framing)
    return EventSet(frames, digits.labels, digits.classes, info.name, largest=int(frames.max()))


SETS = (
    EventInfo(
        name="digits_events",
        title="UCI handwritten digits before a simulated event camera",
        size=(SIDE, SIDE),
        classes=tuple("0123456789"),
        source="simulated from E. Alpaydin and C. Kaynak, UCI 1998, doi 10.24432/C50P49, CC BY 4.0",
        read=_read,
    ),
)
