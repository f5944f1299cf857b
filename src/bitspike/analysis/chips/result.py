"""What many chips of one network reached: the values, how they are written, and their text for a terminal."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitspike.analysis.chips.picture import yield_curve
from bitspike.analysis.chips.statistics import Statistics, in_percent
from bitspike.files import write_whole

RESULT, TABLE, FIGURE = "yield.json", "yield.csv", "yield.svg"


@dataclass(frozen=True)
class Yield:
    """The accuracies of many chips of one network.

    Args:
        network: its run folder, or its class.
        metric: what ``accuracies`` are, ``accuracy`` for classes.
        samples: inputs on which every chip was measured.
        ideal: the metric without variation.
        seeds: of the chips.
        accuracies: by chip, fractions.
        resolution: the bits with which cells are read; None where their levels are real numbers.
        by: ``integers`` or ``torch``.
        reason: why not by integers; empty where they were used.
        adapted: samples with which the norms of every chip were measured again.
        statistics: in a few numbers.
        folder: where it is written.
    """

    network: str
    metric: str
    samples: int
    ideal: float
    seeds: tuple[int, ...]
    accuracies: tuple[float, ...]
    resolution: int | None
    by: str
    reason: str
    adapted: int
    statistics: Statistics
    folder: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            **{name: value for name, value in vars(self).items() if name not in ("statistics", "seeds", "accuracies")},
            **self.statistics.to_dict(),
            "seeds": list(self.seeds),
            "accuracies": list(self.accuracies),
        }

    def __str__(self) -> str:
        s = self.statistics
        way = "by integers" if self.by == "integers" else f"by torch ({self.reason})"
        read = "levels are real numbers" if self.resolution is None else f"cells read with {self.resolution} bits"
        adapted = f", norms measured again with {self.adapted:,} samples" if self.adapted else ""
        lines = [
            f"{self.network}: {s.chips:,} chips on {self.samples:,} samples, {way}, {read}{adapted}",
            f"  without variation  {in_percent(self.ideal)}",
            f"  mean               {s.mean}",
            f"  deviation          {s.deviation}",
            f"  5th percentile     {s.percentile5}",
            f"  worst, best        {in_percent(s.worst)}, {in_percent(s.best)}",
        ]
        if s.good is not None and s.required is not None:
            lines.append(f"  yield              {s.good} reach {in_percent(s.required)}")
        if self.folder is not None:
            lines.append(f"  figure             {Path(self.folder) / FIGURE}")
        lines.append("  in brackets the 95 % interval" if s.chips > 1 else "  one chip tells nothing about others")
        return "\n".join(lines)


def write(result: Yield, folder: Path) -> None:
    """Write the result as JSON, its chips as CSV, and its figure as SVG."""
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["seed", result.metric])
    rows.writerows(zip(result.seeds, result.accuracies, strict=True))
    write_whole(folder / TABLE, table.getvalue())
    figure = yield_curve(
        result.accuracies, ideal=result.ideal, required=result.statistics.required, metric=result.metric
    )
    write_whole(folder / FIGURE, figure + "\n")
    write_whole(folder / RESULT, json.dumps(result.to_dict(), indent=1) + "\n")
