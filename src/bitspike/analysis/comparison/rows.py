"""From runs, or reports of networks, to the rows of a comparison: those that differ by their seed alone are one row."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bitspike.analysis.drawing.words import known, plain
from bitspike.analysis.report.facts import facts, idle, mapping
from bitspike.recipe import AnyRecipe
from bitspike.recipe.changes import experiment


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """One finished run, or the report of one network, as far as it is compared.

    Args:
        folder: of the run; empty for a network in memory.
        name: of the recipe, or of the network.
        data: what the data are called.
        steps: T.
        seed: of the training.
        experiment: what the recipe says, but for its seed and its places; empty where there is none.
        report: its ``report.json``.
        energy_pj: of one inference, in pJ; None where it is not known.
    """

    folder: str
    name: str
    data: str
    steps: int
    seed: int
    experiment: Mapping[str, Any]
    report: Mapping[str, Any]
    energy_pj: float | None = None

    @classmethod
    def of_run(
        cls, folder: str, recipe: AnyRecipe, report: Mapping[str, Any], energy_pj: float | None = None
    ) -> Measured:
        """Return a finished run."""
        return cls(
            folder=folder,
            name=recipe.name,
            data=recipe.data.kind,
            steps=recipe.steps,
            seed=recipe.seed,
            experiment=experiment(recipe),
            report=report,
            energy_pj=energy_pj,
        )

    @classmethod
    def of_network(cls, report: Mapping[str, Any], energy_pj: float | None = None) -> Measured:
        """Return a network in memory, by the record that ``bs.report`` made of it."""
        said = report["recipe"]
        return cls(
            folder="",
            name=said["name"],
            data=said["data"]["kind"],
            steps=said["model"]["steps"],
            seed=report["seed"],
            experiment={},
            report=report,
            energy_pj=energy_pj,
        )

    @property
    def score(self) -> float | None:
        """The metric of the task on the test set, 0 to 1."""
        return facts(self.report).test

    @property
    def proven(self) -> bool:
        """Whether the integers were proven equal."""
        return mapping(self.report, "certificate").get("equal") is True

    @property
    def idle(self) -> str:
        """The layers that never fired on the test images, or always, in words; empty where there are none."""
        return idle(self.report)


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """The runs of one experiment, one a seed, in a few values.

    Args:
        runs: in the order in which they were given.
        changes: what this experiment says otherwise than another one of the same name, by dotted keys.
    """

    runs: tuple[Measured, ...]
    changes: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of the recipe, or of the network."""
        return self.runs[0].name

    @property
    def label(self) -> str:
        """The name, and what tells it from another one of that name."""
        return ", ".join([self.name, *(f"{key}={plain(value)}" for key, value in self.changes.items())])

    @property
    def data(self) -> str:
        """The kind of the data."""
        return self.runs[0].data

    @property
    def samples(self) -> tuple[int, ...]:
        """How many test images the integers of each run were proven on."""
        return tuple(int(known(mapping(run.report, "certificate").get("samples")) or 0) for run in self.runs)

    @property
    def metric(self) -> str:
        """What the score is called."""
        return facts(self.runs[0].report).wording.metric

    @property
    def weights(self) -> str:
        """How wide the weights are, in words."""
        return facts(self.runs[0].report).weights.removesuffix(" weights")

    @property
    def bits(self) -> tuple[int, ...]:
        """The different widths of the weights, from few bits to many."""
        return tuple(sorted({int(b) for run in self.runs for b in mapping(run.report, "bits").values()}))

    @property
    def steps(self) -> int:
        """T."""
        return self.runs[0].steps

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of every run."""
        return tuple(run.seed for run in self.runs)

    @property
    def mean(self) -> float | None:
        """The mean score of the runs, 0 to 1."""
        return _mean([run.score for run in self.runs])

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation of the score over the seeds; None of one run."""
        scores = [run.score for run in self.runs]
        return statistics.stdev(s for s in scores if s is not None) if len(scores) > 1 and None not in scores else None

    @property
    def published(self) -> float | None:
        """The published score of this very experiment, 0 to 1."""
        return facts(self.runs[0].report).published

    @property
    def weight_bytes(self) -> float | None:
        """What the weight codes take, packed."""
        return _mean([known(mapping(run.report, "bytes").get("weights_packed")) for run in self.runs])

    @property
    def energy_pj(self) -> float | None:
        """The mean energy of one inference, in pJ."""
        return _mean([run.energy_pj for run in self.runs])

    @property
    def proven(self) -> bool:
        """Whether the integers of every run were proven equal."""
        return all(run.proven for run in self.runs)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "recipe": self.name,
            "changes": dict(self.changes),
            "data": self.data,
            "bits": list(self.bits),
            "steps": self.steps,
            "seeds": list(self.seeds),
            self.metric: {
                "mean": self.mean,
                "deviation": self.deviation,
                "by_seed": [run.score for run in self.runs],
            },
            "published": self.published,
            "weight_bytes": self.weight_bytes,
            "energy_pj": self.energy_pj,
            "certificate": self.proven,
            "runs": [run.folder for run in self.runs],
        }


def rows_of(runs: Sequence[Measured]) -> tuple[Row, ...]:
    """Return the rows of some runs, each where its first run stands.

    A run that repeats experiment and seed of another one has a row of its own, told by its folder: it is no other seed.
    """
    groups: list[list[Measured]] = []
    for run in runs:
        mine = (g for g in groups if _key(g[0]) == _key(run) and run.seed not in {r.seed for r in g})
        group = next(mine, None)
        if group is None:
            groups.append([run])
        else:
            group.append(run)
    return tuple(Row(runs=tuple(group), changes=_changes(group[0], [g[0] for g in groups])) for group in groups)


def _key(run: Measured) -> tuple[str, Mapping[str, Any]]:
    return run.name, run.experiment


def _changes(run: Measured, all_runs: Sequence[Measured]) -> dict[str, Any]:
    """Return the values of a run that others of the same name have not."""
    named = [other for other in all_runs if other is not run and other.name == run.name]
    # Of a network in memory no recipe is known that could say what it has otherwise than a run.
    others = [other for other in named if bool(other.folder) == bool(run.folder)]
    # Stages of one recipe differ in all that each says itself: their names tell them apart.
    alike = [other for other in others if other.experiment.get("stage") == run.experiment.get("stage")]
    keys = dict.fromkeys(key for r in (run, *alike) for key in r.experiment)
    told = {k: run.experiment.get(k) for k in keys if any(o.experiment.get(k) != run.experiment.get(k) for o in alike)}
    if len(alike) < len(others):
        told = {"stage": run.experiment.get("stage"), **told}
    same = len(others) < len(named) or any(other.experiment == run.experiment for other in others)
    return {**told, **({"run": run.folder or "in memory"} if same else {})}


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean; None where a value is missing."""
    there = [value for value in values if value is not None]
    return statistics.fmean(there) if there and len(there) == len(values) else None
