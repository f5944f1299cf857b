"""Curves of a training over its epochs, and of an evaluation over the time steps."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitspike.analysis.drawing.axes import draw_by_step, draw_curves, lines_of
from bitspike.analysis.plot.canvas import axes_for, whole_numbers
from bitspike.arguments import checked
from bitspike.errors import ConstraintError, RunError
from bitspike.train.evaluate import Evaluation
from bitspike.train.observe import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Records = Sequence[Mapping[str, Any]]


@checked
def curve(
    what: History | Evaluation | Records | str | os.PathLike[str],
    quantity: str | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw the loss or the metric of a training over its epochs, or the metric of an evaluation over the time steps.

    Args:
        what: what ``bs.fit`` returned; the folder of a run; records of epochs, as in its ``metrics.jsonl``; or an
            evaluation with the metric after every step.
        quantity: ``"loss"``, or the metric of the task, such as ``"accuracy"``; None takes the metric where there is
            one, else the loss. An evaluation has its metric alone.
        ax: the axes to draw on; None makes new ones.

    Returns:
        the axes.

    Raises:
        ConstraintError: an argument is something else, or nothing was recorded of the quantity.
        RunError: the folder is not that of a run that trained.

    Example:
        >>> import bitspike as bs
        >>> epochs = [{"epoch": n, "train_loss": 1 / n, "validation_loss": 1.2 / n} for n in (1, 2, 3)]
        >>> bs.plot.curve(epochs, "loss").get_ylabel()
        'loss'
    """
    if isinstance(what, Evaluation):
        return _over_steps(what, quantity, ax)
    records = _records(what)
    known = [name.removeprefix("train_") for name in dict.fromkeys(key for row in records for key in row)
             if name.startswith("train_")]  # fmt: skip
    drawable = [name for name in known if lines_of(records, name)]
    if not drawable:
        raise ConstraintError("no epoch was recorded", fix="the history that bs.fit returned after one epoch or more")
    chosen = next((name for name in drawable if name != "loss"), "loss") if quantity is None else quantity
    if chosen not in drawable:
        raise ConstraintError(
            f"quantity={quantity!r} was not recorded; there are {', '.join(map(repr, drawable))}",
            fix=f"quantity={drawable[0]!r}",
        )
    axes = axes_for(ax)
    draw_curves(axes, lines_of(records, chosen), chosen)
    whole_numbers(axes)
    return axes


def _over_steps(evaluation: Evaluation, quantity: str | None, ax: Axes | None) -> Axes:
    if quantity == "loss":
        raise ConstraintError("an evaluation has no loss after every step, only its metric", fix="quantity=None")
    values = evaluation.by_step
    if values is None:
        raise ConstraintError(
            "the evaluation has no metric after every step",
            fix="bitspike.train.evaluate(model, batches, each_step=True)",
        )
    axes = axes_for(ax)
    draw_by_step(axes, list(enumerate((100 * value for value in values), start=1)), metric=quantity or "accuracy")
    return axes


def _record(line: str) -> Mapping[str, Any]:
    record = json.loads(line)
    if not isinstance(record, Mapping):
        raise ValueError(f"a line of it is {line[:40]}, and no record of an epoch")
    return record


def _records(what: Any) -> Records:
    if isinstance(what, History):
        return what.rows()
    if isinstance(what, str | os.PathLike):
        path = Path(what) / "metrics.jsonl"
        try:
            return [_record(line) for line in path.read_text("utf-8").splitlines()]
        except (OSError, ValueError) as error:
            raise RunError(
                f"{path} cannot be read: {error}", fix="the folder of a run that trained, such as runs/quickstart"
            ) from error
    if isinstance(what, Sequence) and all(isinstance(row, Mapping) for row in what):
        return what
    raise ConstraintError(f"a {type(what).__name__} is no training", fix="what bs.fit returned, or the folder of a run")
