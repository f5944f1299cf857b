"""What a report says and shows of a task, as plain values: reports are drawn without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Wording:
    """How a report speaks of a task.

    Args:
        metric: name of the metric, in reports and in the keys of a run's files.
        lead: first sentence of a report, with the places ``{score}``, ``{samples}`` and ``{setting}``.
    """

    metric: str
    lead: str


WORDINGS = {"classify": Wording(metric="accuracy", lead="{score} of {samples} are recognized with {setting}.")}
"""By the name of the task's file."""


def wording_of(record: Mapping[str, Any]) -> Wording:
    """Return how the report of a run speaks; a ``report.json`` that names no task is of classification.

    Example:
        >>> wording_of({}).metric
        'accuracy'
    """
    return WORDINGS.get(str(record.get("task")), WORDINGS["classify"])


@dataclass(frozen=True, eq=False)
class Exhibit:
    """One section of a report about the answers over the test set: a matrix, a table, or both.

    Args:
        title: of the section.
        text: a sentence that says what is seen.
        matrix: int64 [K, K] counts, the diagonal of which is right; None where there is none.
        names: of the rows and columns of the matrix.
        caption: below the matrix.
        heading: of the table.
        columns: the heads of the table; the last column holds numbers.
        rows: of the table; none, no table.
    """

    title: str
    text: str
    matrix: NDArray[np.int64] | None = None
    names: Sequence[str] = ()
    caption: str = ""
    heading: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[object]] = ()
