"""The report of a network in memory: a few lines, a table for a paper, and a folder with everything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitspike.analysis.comparison.comparison import Comparison
from bitspike.analysis.comparison.rows import Measured, rows_of
from bitspike.analysis.report.facts import ReportDetail
from bitspike.analysis.report.report import summary, write_report
from bitspike.errors import RunError, command
from bitspike.files import write_whole
from bitspike.hardware.text import pj
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.saved.entries import Arrays
from bitspike.integer.saved.folder import save
from bitspike.integer.saved.replay import Certificate
from bitspike.lowering.agreement import Agreement


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NetworkReport:
    """What ``bs.report`` measured; ``print`` shows it, ``bs.compare`` puts several next to each other.

    Args:
        record: all figures, as ``report.json`` of a run has them.
        certificate: the proof of the integers on the data.
        agreement: how far the integers are from the network that was lowered.
        measured: the row of comparisons.
        energy_by: what the energy was counted by, in words.
        net: the integers.
        vectors: golden vectors for the saved integers.
        metrics: of every epoch of the training; empty where it is not known.
        detail: pictures.
    """

    record: Mapping[str, Any]
    certificate: Certificate
    agreement: Agreement
    measured: Measured
    energy_by: str
    net: IntegerNetwork
    vectors: Arrays
    metrics: Sequence[Mapping[str, Any]] = ()
    detail: ReportDetail | None = None

    def __str__(self) -> str:
        spent = self.measured.energy_pj
        assert spent is not None
        return f"{summary(self.record)}\n  {'energy':<15} {pj(spent)} an inference, {self.energy_by}"

    def __repr__(self) -> str:
        return str(self)

    @property
    def table(self) -> Comparison:
        """The network as a table of one row."""
        return Comparison(rows_of([self.measured]), energy_by=self.energy_by)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dict(self.record)

    def latex(self) -> str:
        """Return one row in LaTeX; ``bs.compare(report, ...)`` makes a table of several."""
        return self.table.latex()

    def markdown(self) -> str:
        """Return one row in Markdown."""
        return self.table.markdown()

    def save(self, folder: str | Path) -> Path:
        """Write ``report.html``, ``report.json`` and the integers in ``network/``; return the path of the page.

        Raises:
            RunError: the folder is that of a run, or cannot be written.
        """
        place = Path(folder)
        if (place / "recipe.yaml").exists():
            raise RunError(f"{place} is the folder of a run, which has a report of its own", fix="another folder")
        try:
            place.mkdir(parents=True, exist_ok=True)
            save(self.net, place / "network", vectors=self.vectors)
            write_whole(place / "report.json", json.dumps(self.record, indent=2))
        except OSError as error:
            raise RunError(f"{place} cannot be written: {error.strerror}", fix="another folder") from error
        shown = {**self.record, "again": command("verify", place.resolve() / "network")}
        return write_report(place, shown, self.metrics, self.detail)
