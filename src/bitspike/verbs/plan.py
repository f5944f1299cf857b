"""What a run would do, found out by everything that it does before its first epoch; nothing is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bitspike.analysis.drawing.words import span
from bitspike.arguments import checked
from bitspike.devices import Precision, choose_device, choose_precision
from bitspike.errors import BitspikeError
from bitspike.recipe import AnyRecipe, load
from bitspike.recipe.changes import experiment
from bitspike.runs.construct.weights_file import find_file
from bitspike.runs.folder import RECIPE, need_place, progress, refuse_taken
from bitspike.runs.job import Job
from bitspike.runs.origin import placed
from bitspike.verbs.recipes import measured
from bitspike.verbs.run import folder_of


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Args:
        recipe: its name.
        folder: of the run.
        lines: what it would do, a label and a sentence each.
        problems: what keeps it from beginning, with the way out of each; empty where it can begin.
    """

    recipe: str
    folder: str
    lines: tuple[tuple[str, str], ...] = ()
    problems: tuple[BitspikeError, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        problems = [{"message": problem.message, "fix": problem.fix} for problem in self.problems]
        return {"recipe": self.recipe, "folder": self.folder, **dict(self.lines), "problems": problems}

    def __str__(self) -> str:
        lines = [f"{self.recipe}: a run would do this; nothing was written"]
        return "\n".join([*lines, *(f"  {label:<15} {said}" for label, said in (("folder", self.folder), *self.lines))])


@checked
def plan(
    recipe: str | Path | AnyRecipe, *, set: Iterable[str] = (), out: str | Path | None = None, resume: bool = False
) -> Plan:
    """Say what :func:`bitspike.run` would do with the same arguments: data, network, epochs, folder, time.

    Images are read and the network is built, with the weights that it starts from. Of a recipe in stages these are the
    network and the data of the first one: a later one starts from what an earlier one trains.

    Raises:
        RecipeError: the recipe is wrong.
    """
    chosen = placed(load(recipe, tuple(set)))
    folder, problems, lines = folder_of(chosen, out), list[BitspikeError](), list[tuple[str, str]]()

    def tried(step: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return step(*arguments, **options)
        except BitspikeError as error:
            problems.append(error)
            return None

    tried(refuse_taken, folder, chosen, resume=resume)
    if not problems:
        tried(need_place, folder)
    if resume and (folder / RECIPE).exists():
        lines.append(("goes on", progress(folder)))
    first = next(iter(chosen.parts.values()), chosen)
    job = Job(first)
    data = tried(lambda: job.data)
    if data is not None:
        counts = {"to train": data.train, "for validation": data.validation or (), "to test": data.test}
        lines.append(("data", f"{data.test.name}: {', '.join(f'{len(v):,} {word}' for word, v in counts.items())}"))
        lines += [("network", said) for said in [tried(_network, job)] if said is not None]
    else:  # the weights that it names may be missing, too
        tried(_weights, first)
    lines += [(name, _epochs(part)) for name, part in (chosen.parts or {"training": chosen}).items()]
    device = tried(choose_device, first.device)
    if device is not None:
        precision: Precision = next((t.precision for t in first.trainings.values()), "fp32")
        lines.append(("on", f"{device} in {choose_precision(precision, device)}"))
    lines.append(("time", _time(chosen)))
    return Plan(chosen.name, str(folder), tuple(lines), tuple(problems))


def _network(job: Job) -> str:
    count = sum(p.numel() for p in job.model.parameters())
    bits = "float weights" if job.recipe.bits == 32 else f"{job.recipe.bits}-bit weights"
    return f"{job.recipe.network}: {count:,} parameters, {bits}, T = {job.recipe.steps}"


def _weights(recipe: AnyRecipe) -> None:
    """Raise the error of a run where the file of weights that a recipe names is missing."""
    model = getattr(recipe, "model", None)
    if (named := getattr(model, "weights", None)) is not None:
        find_file(named, getattr(model, "folder", None), "model.weights")


def _epochs(recipe: AnyRecipe) -> str:
    sections = recipe.trainings.values()
    told = ", then ".join(f"{t.epochs}{' over time' * (name == 'over_time')}" for name, t in recipe.trainings.items())
    batches = " and ".join(dict.fromkeys(str(t.batch_size) for t in sections))
    return f"{told} epochs in batches of {batches}" if sections else "none"


def _time(recipe: AnyRecipe) -> str:
    """Say how long it took where it was measured: the recipe as it is shipped, on some processor."""
    time = measured().get(recipe.name)
    if time is None:
        return "not measured"
    runs = "once" if time["runs"] == 1 else f"mean of {time['runs']} runs"
    said = f"{span(time['seconds'])} ({runs} on {' or '.join(time['on'])})"
    same = experiment(recipe) == experiment(load(recipe.name))
    return said if same else f"not measured; as it is shipped {said}"
