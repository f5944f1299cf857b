"""A kind of run for tests: nothing is trained."""

from __future__ import annotations

from torch import nn

from bitspike.runs.kinds.train import Trained
from bitspike.train import History


class Untrained(Trained):
    """Measures, lowers and proves a network with its initial weights."""

    def validation(self, network: nn.Module, history: History | None) -> float | None:
        del network, history
        return None
