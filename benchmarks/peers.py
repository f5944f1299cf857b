"""Which peers are installed, and what to do where one is not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """Another library: how it is imported, and which distribution holds it."""

    module: str
    distribution: str


PEERS = {
    "SpikingJelly": Peer("spikingjelly", "spikingjelly"),
    "snnTorch": Peer("snntorch", "snntorch"),
}

INSTALL = "pip install 'bitspike[bench]'"


def installed(name: str) -> bool:
    """Tell whether a peer can be imported, without importing it."""
    return importlib.util.find_spec(PEERS[name].module) is not None


def absence(name: str) -> str:
    """Say in one sentence that a peer is missing and how to get it.

    Example:
        >>> absence("snnTorch")
        "snnTorch is not installed, so what needs it is left out; pip install 'bitspike[bench]' brings it."
    """
    return f"{name} is not installed, so what needs it is left out; {INSTALL} brings it."


def versions() -> dict[str, str]:
    """Return the versions of the peers that are installed."""
    return {name: importlib.metadata.version(p.distribution) for name, p in PEERS.items() if installed(name)}
