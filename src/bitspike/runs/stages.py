"""The stages of a run: told to whoever watches, and timed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bitspike.train import Observer


@dataclass
class Clock:
    """Tells the observer each stage, and measures it.

    Args:
        observer: hears of the stages.
        seconds: by stage.
    """

    observer: Observer
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Tell and time what happens inside the block."""
        self.observer.stage(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def total(self, *, train: float) -> float:
        """Return the time of all stages, with the training of earlier sittings."""
        return sum(s for name, s in self.seconds.items() if name not in ("train", "over_time")) + train
