"""The accuracy of a finished run, measured again."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from bitspike.recipe import load
from bitspike.runs.build import words as b
from bitspike.runs.folder import opened
from bitspike.runs.kinds.choose import way_of
from bitspike.train import evaluate as measure
from bitspike.train.checkpoint import load_weights
from bitspike.train.launch import choose_device


def evaluate(run: str | Path, *, steps: int | None = None, set: Iterable[str] = ()) -> dict[str, Any]:
    """Measure the spiking network of a finished run on its test images.

    The network is built from the recipe and the weights of the run; a converted one is calibrated and converted again.

    Args:
        run: the run folder.
        steps: run only so many time steps; None is the recipe's number.
        set: changes to the recipe, such as ``data.root=FOLDER``.

    Returns:
        ``run``, ``accuracy``, ``loss``, ``samples``, ``steps``, ``inputs_clipped`` (input values beyond the grid of a
        converted network) and ``reported``: the test accuracy in its report.

    Raises:
        RunError: there is no finished run. DataError: the images are missing.
        ConstraintError: ``steps`` is below 1.
    """
    folder = Path(run)
    recipe, report = opened(folder)
    recipe = load(recipe, set)
    data = b.build_data(recipe)
    way = way_of(recipe, data)
    model = way.start(weights=False)
    load_weights(model, folder / "model.safetensors")
    made, training = way.finish(model), b.training_of(recipe)
    with nullcontext(made.network) if steps is None else way.at_steps(made, steps) as network:
        network.to(choose_device(recipe.device))
        loss = None if training is None else b.build(training.loss)
        found = measure(network, b.evaluation_batches(recipe, data, data.test), loss=loss, seed=recipe.seed)
    return {
        "run": str(folder),
        "accuracy": found.accuracy,
        "loss": found.loss,
        "samples": found.samples,
        "inputs_clipped": found.inputs_clipped,
        "steps": way.steps if steps is None else steps,
        "reported": report["accuracy"]["test"],
    }
