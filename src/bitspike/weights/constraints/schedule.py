"""When constrained backpropagation tightens: the window and the multipliers move together, and rarely."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

LATE = 20
"""The window from which the weights learn more slowly."""


@dataclass(frozen=True)
class Standing:
    """Where a training under constraints stands after an epoch.

        if objective >= previous or epochs == patience:   window = window + 1 below 10, else window + 10

    The sum of the epoch's objectives has to rise, or ``patience`` epochs to pass. It is forgotten at every change, so
    at least two epochs lie between two changes (one where ``patience`` is 1).

    Args:
        window: g; 1, 2, ..., 10, 20, 30, ...
        epochs: since the last change.
        previous: sum of the objectives of the epoch before; infinite where there is none since the last change.

    Source: code of Kim and Jeong 2021 (CBP) and Yoo and Jeong 2023 (CBP-QSNN).

    Example:
        >>> standing = Standing()
        >>> for objective in (5.0, 4.0, 4.5):
        ...     standing = standing.after(objective, patience=20)
        >>> standing.window, standing.epochs
        (2, 0)
    """

    window: int = 1
    epochs: int = 0
    previous: float = math.inf

    def after(self, objective: float, *, patience: int) -> Standing:
        """Return where it stands after one more epoch; ``changed`` says whether the window closed a little."""
        epochs = self.epochs + 1
        if objective >= self.previous or epochs >= patience:
            return self.closed()
        return replace(self, epochs=epochs, previous=objective)

    def closed(self) -> Standing:
        """Return where it stands after the window has closed a little."""
        return Standing(self.window + (1 if self.window < 10 else 10))

    @property
    def changed(self) -> bool:
        """Whether the window has just closed a little: the multipliers rise with it."""
        return self.epochs == 0

    @property
    def late(self) -> bool:
        """Whether the weights learn more slowly from here on."""
        return self.window >= LATE
