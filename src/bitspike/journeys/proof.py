"""The proof of a saved network, found in its own folder or in that of its run."""

from __future__ import annotations

from pathlib import Path

from bitspike.integer.replay import Certificate
from bitspike.integer.verify import verify as prove
from bitspike.journeys.networks import saved


def verify(network: str | Path, *, engine: bool = False) -> Certificate:
    """Replay the golden vectors of a saved network with integers only.

    Args:
        network: the folder of a network, or of a run that holds one.
        engine: replay them on the fast engine, in every way that it has.

    Raises:
        PackageError: there is no network, or it cannot be read. RunError: the run has none yet.
    """
    return prove(saved(network), engine=engine)
