"""The accuracy of a finished run, measured again: of all steps, after each of them, and with early exit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bitspike.analysis.exits.rules import ExitRule, gammas_of
from bitspike.analysis.exits.study import study
from bitspike.arguments import checked
from bitspike.errors import ConstraintError, command
from bitspike.nn.firing import Recorder
from bitspike.runs.job import Job, finished
from bitspike.train import Evaluation


@checked
def evaluate(
    run: str | Path,
    *,
    steps: int | None = None,
    set: Iterable[str] = (),
    by_step: bool = False,
    exits: Sequence[ExitRule] = (),
) -> dict[str, Any]:
    """Measure the spiking network of a finished run on its test images.

    The network is built from the recipe and the weights of the run; a converted one is calibrated and converted again.

    Args:
        run: the run folder.
        steps: the run is stopped after so many time steps, at most the T of the recipe; None is T.
        set: changes to the recipe, such as ``data.root=FOLDER``.
        by_step: also measure the accuracy after 1, 2, ..., T steps.
        exits: rules by which the network is stopped early, such as ``bs.ConfidenceExit(0.9)``.

    Returns:
        ``run``, ``accuracy``, ``loss``, ``samples``, ``steps``, ``inputs_clipped`` (input values beyond the grid of a
        converted network), ``reported``: the test accuracy in its report, and ``never_fire`` and ``always_fire``: the
        layers that never fired within these steps, or sent the same at every step of every image. Where they were
        asked for, ``by_step``, and in ``exits`` for each rule its ``rule`` and ``value``, ``accuracy``, the mean
        ``steps`` of a sample, and the ``shares`` of the samples that stop after a step.

    Raises:
        RunError: there is no finished run. DataError: the images are missing.
        ConstraintError: ``steps`` is below 1 or beyond T, or a rule asks for what the network has not: norms through
            time, a step beyond T, or answers after every step where its layers wait for one another.
    """
    job, report = finished(Path(run), set)
    if isinstance(steps, int) and steps > job.recipe.steps:
        way = command("evaluate", run, "--steps", job.recipe.steps)
        more_steps = f", or --set {job.recipe.steps_key}={steps} for a network of more steps"
        raise ConstraintError(
            f"{run}: steps={steps}, and its network runs for T = {job.recipe.steps} steps",
            fix=way + (more_steps if job.recipe.steps_key else ""),
        )
    with job.at_steps(steps) as network:
        told = (by_step or bool(exits)) and job.kind.stops_anywhere(job.spiking) and job.one_run_tells(network)
        with Recorder(network) as recorder:
            measured = job.evaluate(network, each_step=told)
        answers = measured.answers
        more: dict[str, Any] = {}
        if exits:
            if answers is None:
                raise ConstraintError(
                    f"{run}: one run of this network does not show what it answers after each step, because its "
                    "layers wait for one another, read steps ahead, or are followed by layers of the host",
                    fix=f"{command('evaluate', run, '--steps', 'T')}, a run for every T; without a rule of early exit",
                )
            more["exits"] = [result.to_dict() for result in study(answers, gammas_of(network), exits).results]
    if by_step:
        more["by_step"] = _by_step(job, measured, steps)
    return {
        "run": str(Path(run)),
        "accuracy": measured.accuracy,
        "loss": measured.loss,
        "samples": measured.samples,
        "inputs_clipped": measured.inputs_clipped,
        "steps": job.recipe.steps if steps is None else steps,
        **_idle(recorder),
        "reported": report[job.task.wording.metric]["test"],
        **more,
    }


def _idle(recorder: Recorder) -> dict[str, list[str]]:
    """Return the layers that tell nothing about the input."""
    layers = recorder.layers().items()
    return {
        "never_fire": [path for path, layer in layers if layer.silent == 1],
        "always_fire": [path for path, layer in layers if layer.saturated == 1],
    }


def _by_step(job: Job, measured: Evaluation, steps: int | None) -> list[float]:
    """Return the accuracy after every step, of the one run or of a run for each."""
    if measured.by_step is not None:
        return measured.by_step
    accuracies = []
    for t in range(1, job.recipe.steps if steps is None else steps):
        with job.at_steps(t) as network:
            accuracies.append(job.evaluate(network).accuracy)
    return [*accuracies, measured.accuracy]
