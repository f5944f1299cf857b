"""The ledger that a user holds: its values, and how they are written and shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bitspike.analysis.ledger import page, text
from bitspike.analysis.ledger.parts import Account


@dataclass(frozen=True, kw_only=True)
class Ledger(Account):
    """The result of :func:`~bitspike.analysis.ledger.analyze.analyze`; :class:`Account` names its values."""

    def write(self, folder: str | Path) -> Path:
        """Write ``ledger.json``, ``ledger.html``, and every figure as SVG with its numbers as CSV.

        Returns:
            the path of ``ledger.html``.
        """
        return page.write(self, Path(folder))

    def __str__(self) -> str:
        return text.text(self)
