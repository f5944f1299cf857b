"""Energies and tables as text, for the reports of this room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def columns(rows: Sequence[tuple[str, ...]], *, left: int = 2) -> Iterator[str]:
    """Yield rows in columns of equal width, the first ``left`` of them to the left.

    Example:
        >>> list(columns([("layer", "bits"), ("fc", "4")], left=1))
        ['  layer  bits', '  fc        4']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        yield "  " + "  ".join(cells).rstrip()


def pj(value: float) -> str:
    """Write an energy with a fitting unit.

    Example:
        >>> pj(0.5), pj(1234.0), pj(2.5e7)
        ('0.5 pJ', '1.23 nJ', '25 uJ')
    """
    for factor, unit in ((1e9, "mJ"), (1e6, "uJ"), (1e3, "nJ")):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.3g} pJ"
