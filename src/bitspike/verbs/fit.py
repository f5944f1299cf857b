"""The two fits: a model to its data, as a training loop does, and a recipe's network to a chip, as the verb does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, Literal, overload

from torch import nn

from bitspike.arguments import checked
from bitspike.devices import Device, Precision
from bitspike.errors import ConstraintError, command, some
from bitspike.hardware.chips.check import check
from bitspike.hardware.chips.chip import Chip
from bitspike.hardware.chips.chip import load as load_chip
from bitspike.hardware.chips.plan_repairs import ANYWHERE, WAYS, Repair, Way, cheapest
from bitspike.hardware.chips.report import Report
from bitspike.integer.saved.replay import Certificate
from bitspike.integer.verify import verify
from bitspike.recipe import AnyRecipe, load, recipe_of
from bitspike.recipe.derived import free, values_under, write
from bitspike.runs.kinds.kind import Sketch
from bitspike.runs.shown import watched
from bitspike.runs.sketch import kind_without_images, sketch
from bitspike.surgery.apply import apply
from bitspike.tasks.classify import Classification
from bitspike.tasks.task import Loss, Task
from bitspike.train.average import EMA
from bitspike.train.distill import Distillation
from bitspike.train.evaluate import Batches
from bitspike.train.loop import fit as to_data
from bitspike.train.observe import History, Observer
from bitspike.train.optimizers import SGD, Clip
from bitspike.train.schedules import Cosine, Schedule
from bitspike.train.torch_optimizer import AnyOptimizer

CHANGED = " (Changed to fit a chip.)"
_NAMED = 6
"""Layers that are named for one cause."""
ROUNDS = 4
"""Rounds of planning at most: a repair may uncover a violation that another one hid."""


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """What was changed, and whether the network fits now.

    Args:
        recipe: its name.
        chip: the name of the chip.
        before, after: the reports of the check, before and after all changes.
        repairs: the changes, in words.
        certificate: of the changed network, on random images; None where nothing was changed.
        path: the new recipe, with what could be changed; None where none was written.
        hint: advice for the run of the new recipe; empty where there is none.
        needed: what is left for the user to do, a line for every cause.
    """

    recipe: str
    chip: str
    before: Report
    after: Report
    repairs: tuple[str, ...] = ()
    certificate: Certificate | None = None
    path: Path | None = None
    hint: str = ""
    needed: tuple[str, ...] = ()
    unwritten: Path | None = None

    @property
    def passed(self) -> bool:
        """Whether the network fits the chip, with the changes, and its integers are proven."""
        return self.after.passed and (self.certificate is None or self.certificate.equal)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "recipe": self.recipe,
            "chip": self.chip,
            "passed": self.passed,
            "repairs": list(self.repairs),
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "certificate": None if self.certificate is None else self.certificate.to_dict(),
            "path": None if self.path is None else str(self.path),
            "needed": list(self.needed),
        }

    def __str__(self) -> str:
        left = [] if self.unwritten is None else [f"  recipe    nothing was changed: {self.unwritten} was not written"]
        if not self.repairs and self.passed:
            return "\n".join([f"{self.recipe} fits chip {self.chip!r} as it is", *self.before.to_come(), *left])
        broken = len(self.before.errors)
        lines = [f"{self.recipe} on chip {self.chip!r}: {broken} violation{'s' * (broken != 1)}"]
        lines += [f"  changed   {repair}" for repair in self.repairs]
        lines.append(f"  then      {self.after}".replace("\n", "\n            "))
        if self.certificate is not None:
            lines.append(f"  proof     {self.certificate}".replace("\n", "\n            "))
        lines += [f"  to do     {text}" for text in self.needed]
        if self.path is not None and self.passed:
            lines.append(f"  recipe    {self.path}; now: {command('run', self.path)}{self.hint}")
        elif self.path is not None:
            lines.append(f"  recipe    {self.path}, with what was changed; it does not fit before the rest is done")
        return "\n".join([*lines, *left])


@checked
def fit_to_chip(
    recipe: str | Path | AnyRecipe,
    chip: str | Path | Chip,
    *,
    ways: Collection[Way] = ANYWHERE,
    neuron_price: float = 0.25,
    out: str | Path | None = None,
    set: Iterable[str] = (),
) -> Fitting:
    """Make a recipe's network fit a chip by the cheapest change of every layer that does not.

    The change is planned on the integers, applied to the network, and the result is lowered, checked and proven on
    random images. Where a recipe can say the change a new one is written, which is always so but for a network of the
    package whose weight scheme has no width. Accuracy is for the new recipe to find back. Where some layers cannot be
    repaired, those that can are, and the rest is listed by its cause.

    Args:
        recipe: a shipped name, the path of a YAML file, or a recipe.
        chip: the name of a shipped profile, the path of a TOML file, or a chip.
        ways: what may be done to a layer: fewer ``bits``, ``groups``, a ``split`` into partial sums; ``prune`` takes
            input channels away, where one layer alone reads what another alone makes; ``real`` leaves a layer to the
            host, with all layers before it or all after it, and is chosen where nothing else helps.
        neuron_price: of adding as many neurons as a layer has, in lost signal from 0 to 1. The lower, the sooner layers
            are split into partial sums, which loses no weight; at 0.25 they are grouped wherever they can be.
        out: of the new recipe; None is ``NAME-CHIP.yaml`` in the working directory.
        set: changes to the recipe.

    Raises:
        ConstraintError: the chip or a way is unknown, or not for a recipe of this kind. RunError: the new recipe would
            overwrite a file.
    """
    chosen, chip = load(recipe, set), load_chip(chip)
    if unknown := [way for way in ways if way not in WAYS]:
        raise ConstraintError(
            f"ways: {', '.join(unknown)}; allowed are {', '.join(WAYS)}",
            fix=f"ways={ANYWHERE} (--ways {','.join(ANYWHERE)})",
        )
    kind = kind_without_images(chosen)
    kind.refuse_ways(ways)
    name = f"{chosen.name}-{chip.name}"
    path = free(out, name)
    model = kind.build()
    sketched = sketch(chosen, model)
    before = after = check(sketched.net, chip, trained=False)  # its weights are initial ones
    changed: AnyRecipe | None = chosen
    repairs: list[Repair] = []
    for _ in range(ROUNDS):
        if after.passed:
            break
        latest, _ = cheapest(sketched.net, chip, ways=ways, neuron_price=neuron_price)
        if not latest:  # what is broken now, no change of a layer mends
            break
        repairs += latest
        changed = None if changed is None else _written(changed, latest, sketched, name)
        # A recipe that says the repairs builds the repaired network; else the network at hand is changed.
        model = apply(model, latest) if changed is None else kind_without_images(changed).build()
        sketched = sketch(chosen if changed is None else changed, model)
        after = check(sketched.net, chip, trained=False)
    result = Fitting(
        recipe=chosen.name,
        chip=chip.name,
        before=before,
        after=after,
        repairs=tuple(str(r) for r in repairs),
        certificate=verify(sketched.net, sketched.example) if repairs else None,
        needed=_left(after),
    )
    if not repairs:
        return replace(result, unwritten=None if out is None else path)
    if not (result.certificate is None or result.certificate.equal):
        return result
    if changed is None:
        text = "its weight scheme has no width: take another, or bitspike.surgery.apply.apply and bs.fit in Python"
        return replace(result, needed=(text, *result.needed))
    write(path, changed)
    hint = "" if changed.trainings else ", with a finetune section to win back what it cost"
    return replace(result, path=path, hint=hint)


def _left(report: Report) -> tuple[str, ...]:
    """Return what is left to do, a line for every rule that is broken: where, how often, and every way out of it."""
    lines = []
    for rule in dict.fromkeys(v.rule for v in report.errors):
        group = [v for v in report.errors if v.rule == rule]
        places, ways = list(dict.fromkeys(v.where for v in group)), dict.fromkeys(w for v in group for w in v.fixes)
        lines.append(f"{rule}: {some(places, most=_NAMED)}" + (f"; {', or '.join(ways)}" if ways else ""))
    return tuple(lines)


def _written(recipe: AnyRecipe, repairs: Sequence[Repair], sketched: Sketch, name: str) -> AnyRecipe | None:
    """Return a recipe that says some repairs; None where it cannot."""
    values = values_under(recipe, name, CHANGED)
    repaired = kind_without_images(recipe).with_repairs(values, repairs, sketched)
    return None if repaired is None else recipe_of(repaired)


@overload
def fit(
    model: nn.Module,
    train_loader: Batches,
    *,
    epochs: int,
    seed: int = 0,
    validation: Batches | None = None,
    optimizer: AnyOptimizer = SGD(),
    lr: float | None = None,
    schedule: Schedule = Cosine(),
    loss: Loss | None = None,
    clip_gradient: Clip | None = None,
    precision: Precision = "auto",
    device: Device = "auto",
    keep: Literal["best", "last"] = "best",
    observer: Observer | None = None,
    folder: Path | str | None = None,
    resume: bool = False,
    task: Task = Classification(),
    teacher: nn.Module | None = None,
    distill: Distillation | None = None,
    average: EMA | None = None,
) -> History: ...


@overload
def fit(
    recipe: str | Path | AnyRecipe,
    chip: str | Path | Chip,
    *,
    ways: Collection[Way] = ANYWHERE,
    neuron_price: float = 0.25,
    out: str | Path | None = None,
    set: Iterable[str] = (),
) -> Fitting: ...


@wraps(to_data, assigned=("__doc__",))
def fit(*args: Any, **options: Any) -> Any:  # noqa: D103 (it has the text of training, which tells of both)
    subject = args[0] if args else options.get("model", options.get("recipe"))
    if isinstance(subject, nn.Module) or "model" in options:
        with watched(options.get("observer")) as observer:
            return to_data(*args, **{**options, "observer": observer})
    if isinstance(subject, str | Path | AnyRecipe):
        return fit_to_chip(*args, **options)
    swapped = "the model comes first: " if any(isinstance(arg, nn.Module) for arg in args[1:]) else ""
    raise ConstraintError(
        f"fit({type(subject).__name__}): needed is a network to train, or a recipe whose network has to fit a chip",
        fix=f"{swapped}bs.fit(model, train_loader, epochs=20), or bs.fit('quickstart', chip='fanin1024-v1')",
    )
