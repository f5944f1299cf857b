"""The journeys: what each verb of the command line does, as a function that returns plain values.

Names are loaded on first use: listing recipes needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bitspike.journeys.bill import energy as energy
    from bitspike.journeys.chips import check as check
    from bitspike.journeys.evaluation import evaluate as evaluate
    from bitspike.journeys.fits import fit as fit
    from bitspike.journeys.handover import export as export
    from bitspike.journeys.ledger import analyze as analyze
    from bitspike.journeys.listing import recipes as recipes
    from bitspike.journeys.proof import verify as verify
    from bitspike.journeys.whole import run as run

_HOMES = {
    "analyze": "ledger",
    "check": "chips",
    "energy": "bill",
    "evaluate": "evaluation",
    "export": "handover",
    "fit": "fits",
    "recipes": "listing",
    "run": "whole",
    "verify": "proof",
}

__all__ = ["analyze", "check", "energy", "evaluate", "export", "fit", "recipes", "run", "verify"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bitspike.journeys' has no attribute {name!r}")
    return getattr(importlib.import_module(f"bitspike.journeys.{_HOMES[name]}"), name)
