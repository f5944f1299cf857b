"""The accuracy of a finished run, measured again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bitspike.runs.job import finished


def evaluate(run: str | Path, *, steps: int | None = None, set: Iterable[str] = ()) -> dict[str, Any]:
    """Measure the spiking network of a finished run on its test images.

    The network is built from the recipe and the weights of the run; a converted one is calibrated and converted again.

    Args:
        run: the run folder.
        steps: time steps to run; None is the T of the recipe.
        set: changes to the recipe, such as ``data.root=FOLDER``.

    Returns:
        ``run``, ``accuracy``, ``loss``, ``samples``, ``steps``, ``inputs_clipped`` (input values beyond the grid of a
        converted network) and ``reported``: the test accuracy in its report.

    Raises:
        RunError: there is no finished run. DataError: the images are missing.
        ConstraintError: ``steps`` is below 1.
    """
    job, report = finished(Path(run), set)
    with job.at_steps(steps) as network:
        measured = job.evaluate(network)
    return {
        "run": str(Path(run)),
        "accuracy": measured.accuracy,
        "loss": measured.loss,
        "samples": measured.samples,
        "inputs_clipped": measured.inputs_clipped,
        "steps": job.recipe.steps if steps is None else steps,
        "reported": report[job.task.wording.metric]["test"],
    }
