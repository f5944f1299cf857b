"""The stages of a run: announced to an observer, and timed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bitspike.train import Observer

STAGES = {
    "data": "reading the images",
    "train": "training",
    "over_time": "training over time, step by step",
    "tune": "tuning the spiking network, layer by layer",
    "float": "measuring the network before it spikes",
    "convert": "converting",
    "evaluate": "measuring the test accuracy",
    "lower": "lowering to integers",
    "verify": "proving every spike of the test images",
    "compare": "comparing with the training graph",
    "energy": "counting the operations of an inference, and their energy",
    "neurons": "measuring the other kind of neuron",
    "analyze": "accounting for the errors",
    "report": "writing the report",
}
"""What a person is told of a stage."""


@dataclass
class Clock:
    """Announces each stage to the observer, and measures its time.

    The time of ``trainings``, the stages of epochs, is that of the history, which counts earlier sittings too.
    """

    observer: Observer = field(default_factory=Observer)
    seconds: dict[str, float] = field(default_factory=dict)
    trainings: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str, *, trains: bool = False) -> Iterator[None]:
        """Announce and time the block as a stage; without a name the block belongs to the stage around it."""
        if not name:
            yield
            return
        self.observer.stage(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        if trains:
            self.trainings.append(name)

    def total(self, *, train: float) -> float:
        """Return the time of all stages, with ``train`` seconds for the stages of epochs."""
        return sum(s for name, s in self.seconds.items() if name not in self.trainings) + train
