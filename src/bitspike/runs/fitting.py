"""Fit a recipe's network to a chip: repairs are planned, applied, checked, proven and written down as a new recipe."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bitspike.errors import ConstraintError, RunError
from bitspike.files import write_whole
from bitspike.hardware.chips.check import check
from bitspike.hardware.chips.chip import Chip
from bitspike.hardware.chips.plan_repairs import Repair, Way, plan
from bitspike.hardware.chips.report import Report
from bitspike.integer.saved.replay import Certificate
from bitspike.integer.verify import verify
from bitspike.recipe import AnyRecipe, dump, recipe_of
from bitspike.runs.kinds.kind import Sketch
from bitspike.runs.sketch import kind_without_images, sketch
from bitspike.surgery.apply import apply

CHANGED = " (Changed to fit a chip.)"
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
        path: the new recipe; None where none was written.
        hint: advice for the run of the new recipe; empty where there is none.
        needed: changes that no recipe can say, for the user to make.
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
        if not self.repairs and self.passed:
            return f"{self.recipe} fits chip {self.chip!r} as it is"
        broken = len(self.before.errors)
        lines = [f"{self.recipe} on chip {self.chip!r}: {broken} violation{'s' * (broken != 1)}"]
        lines += [f"  changed   {repair}" for repair in self.repairs]
        lines.append(f"  then      {self.after}".replace("\n", "\n            "))
        if self.certificate is not None:
            lines.append(f"  proof     {self.certificate}".replace("\n", "\n            "))
        lines += [f"  to do     {text}" for text in self.needed]
        if self.path is not None:
            lines.append(f"  recipe    {self.path}; now: bitspike run {self.path}{self.hint}")
        return "\n".join(lines)


def fit_recipe(recipe: AnyRecipe, chip: Chip, *, ways: Collection[Way], neuron_price: float, path: Path) -> Fitting:
    """Change a recipe's network until it fits a chip, and write the new recipe to ``path`` where it can say the change.

    Raises:
        ConstraintError: a network of this kind cannot be fitted in one of the ways. RunError: there is such a file.
    """
    kind = kind_without_images(recipe)
    kind.refuse_ways(ways)
    if path.exists():
        raise RunError(f"{path} is there already, and nothing is overwritten", fix="--out ANOTHER_FILE")
    model = kind.build()
    sketched = sketch(recipe, model)
    before = after = check(sketched.net, chip)
    changed: AnyRecipe | None = recipe
    repairs: list[Repair] = []
    needed: tuple[str, ...] = ()
    for _ in range(ROUNDS):
        if after.passed:
            break
        latest, needed = _planned(sketched, chip, ways, neuron_price)
        if not latest:
            break
        repairs += latest
        changed = None if changed is None else _written(changed, latest, sketched, f"{recipe.name}-{chip.name}")
        # A recipe that says the repairs builds the repaired network; else the network at hand is changed.
        model = apply(model, latest) if changed is None else kind_without_images(changed).build()
        sketched = sketch(recipe if changed is None else changed, model)
        after = check(sketched.net, chip)
    result = Fitting(
        recipe=recipe.name,
        chip=chip.name,
        before=before,
        after=after,
        repairs=tuple(str(r) for r in repairs),
        certificate=verify(sketched.net, sketched.example) if repairs else None,
        needed=needed,
    )
    if not repairs or not result.passed:
        return result
    if changed is None:
        text = "its weight scheme has no width: take another, or bitspike.surgery.apply.apply and bs.fit in Python"
        return replace(result, needed=(text,))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, dump(changed))
    hint = "" if changed.trainings else ", with a finetune section to win back what it cost"
    return replace(result, path=path, hint=hint)


def _planned(
    sketched: Sketch, chip: Chip, ways: Collection[Way], neuron_price: float
) -> tuple[list[Repair], tuple[str, ...]]:
    """Return the cheapest repairs; or none, and what would have to be changed by hand."""
    try:
        repairs = plan(sketched.net, chip, ways=ways, neuron_price=neuron_price)
    except ConstraintError as error:
        return [], (str(error).replace("\n  fix: ", "; "),)
    if repairs:
        return repairs, ()
    errors = check(sketched.net, chip).errors
    return [], tuple(f"{v.where}: {v.found}" + "".join(f"; {fix}" for fix in v.fixes[:2]) for v in errors)


def _written(recipe: AnyRecipe, repairs: Sequence[Repair], sketched: Sketch, name: str) -> AnyRecipe | None:
    """Return a recipe that says some repairs; None where it cannot."""
    name = re.sub(r"[^a-z0-9._-]", "-", name.lower())
    question = f"{recipe.question.split(CHANGED)[0]}{CHANGED}"
    values = recipe.model_dump(mode="json") | {"name": name, "question": question, "expect": None}
    repaired = kind_without_images(recipe).repaired(values, repairs, sketched)
    return None if repaired is None else recipe_of(repaired)
