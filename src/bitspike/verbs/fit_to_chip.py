"""The cheapest change that makes a recipe's network fit a chip: planned, applied, checked, proven, written down."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from bitspike.conversion.region.choose import one_side
from bitspike.errors import ConstraintError, RunError
from bitspike.files import write_whole
from bitspike.hardware.chips.check import check
from bitspike.hardware.chips.chip import Chip
from bitspike.hardware.chips.chip import load as load_chip
from bitspike.hardware.chips.plan_repairs import ANYWHERE, WAYS, Repair, Way, plan
from bitspike.hardware.chips.report import Report
from bitspike.integer.saved.replay import Certificate
from bitspike.integer.verify import verify
from bitspike.recipe import AnyRecipe, ConvertRecipe, Recipe, dump, load, recipe_of
from bitspike.runs.build.factory import build_network
from bitspike.runs.sketch import Sketch, drawn, sketch
from bitspike.surgery.apply import apply

CHANGED = " (Changed to fit a chip.)"
ROUNDS = 4
"""How often is planned: a repair may show what another one hid."""


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """What was changed, and whether the network fits now.

    Args:
        recipe: its name.
        chip: the name of the chip.
        before, after: what the check found, before and after all changes.
        repairs: the changes, in words.
        certificate: of the changed network, on random images; None where nothing was changed.
        path: the new recipe; None where none was written.
        hint: what is worth adding when it is run.
        needed: what has to be changed by hand.
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


def fit(
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
    package whose weight scheme has no width. Accuracy is for the new recipe to find back.

    Args:
        recipe: a shipped name, the path of a YAML file, or a recipe.
        chip: the name of a shipped profile, the path of a TOML file, or a chip.
        ways: what may be done to a layer: fewer ``bits``, ``groups``, a ``split`` into partial sums; ``prune`` takes
            input channels away, where one layer alone reads what another alone makes; ``real`` leaves a layer to the
            host, with all in front of it or all behind it, and is chosen where nothing else helps.
        neuron_price: of adding as many neurons as a layer has, in lost signal from 0 to 1. The lower, the sooner layers
            are split into partial sums, which loses no weight; at 0.25 they are grouped wherever they can be.
        out: of the new recipe; None is ``NAME-CHIP.yaml`` in the working directory.
        set: changes to the recipe.

    Raises:
        ConstraintError: the chip or a way is unknown. RunError: the new recipe would overwrite a file.
    """
    chosen, chip = load(recipe, set), load_chip(chip)
    if unknown := [way for way in ways if way not in WAYS]:
        raise ConstraintError(f"ways: {', '.join(unknown)}; allowed are {', '.join(WAYS)}")
    if "real" in ways and isinstance(chosen, Recipe):
        raise ConstraintError(
            f"ways: real; every layer of {chosen.name} is trained to spike, and none can stay real",
            fix="bits, groups, split, prune; or a recipe of kind convert",
        )
    path = Path(f"{chosen.name}-{chip.name}.yaml") if out is None else Path(out)
    if path.exists():
        raise RunError(f"{path} is there already, and nothing is overwritten", fix="--out ANOTHER_FILE")
    model = build_network(chosen) if isinstance(chosen, ConvertRecipe) else drawn(chosen)
    first = made = sketch(chosen, model)
    before = after = check(first.net, chip)
    changed: AnyRecipe | None = chosen
    repairs: list[Repair] = []
    needed: tuple[str, ...] = ()
    for _ in range(ROUNDS):
        if after.passed:
            break
        found, needed = _planned(made, chip, ways, neuron_price)
        if not found:
            break
        repairs += found
        changed = None if changed is None else _written(changed, found, made, f"{chosen.name}-{chip.name}")
        model = _applied(model, changed, found)
        made = sketch(chosen if changed is None else changed, model)
        after = check(made.net, chip)
    result = Fitting(
        recipe=chosen.name,
        chip=chip.name,
        before=before,
        after=after,
        repairs=tuple(str(r) for r in repairs),
        certificate=verify(made.net, made.example) if repairs else None,
        needed=needed,
    )
    if not repairs or not result.passed:
        return result
    if changed is None:
        text = "its weight scheme has no width: take another, or bitspike.surgery.apply.apply and bs.fit in Python"
        return _with(result, needed=(text,))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, dump(changed))
    tuned = isinstance(changed, Recipe) or changed.finetune is not None
    return _with(result, path=path, hint="" if tuned else ", with a finetune section to win back what it cost")


def _with(result: Fitting, **changes: Any) -> Fitting:
    return Fitting(**{name: getattr(result, name) for name in result.__dataclass_fields__} | changes)


def _planned(
    made: Sketch, chip: Chip, ways: Collection[Way], neuron_price: float
) -> tuple[list[Repair], tuple[str, ...]]:
    """Return the cheapest repairs; or none, and what would have to be changed by hand."""
    try:
        found = plan(made.net, chip, ways=ways, neuron_price=neuron_price)
    except ConstraintError as error:
        return [], (str(error).replace("\n  fix: ", "; "),)
    if found:
        return found, ()
    errors = check(made.net, chip).errors
    return [], tuple(f"{v.where}: {v.found}" + "".join(f"; {fix}" for fix in v.fixes[:2]) for v in errors)


def _applied(model: nn.Module, changed: AnyRecipe | None, repairs: Sequence[Repair]) -> nn.Module:
    """Return the changed network: from the changed recipe, or by changing the one at hand."""
    if changed is None:
        return apply(model, repairs)
    return build_network(changed) if isinstance(changed, ConvertRecipe) else drawn(changed)


def _written(recipe: AnyRecipe, repairs: Sequence[Repair], made: Sketch, name: str) -> AnyRecipe | None:
    """Return a recipe that says some repairs; None where it cannot."""
    name = re.sub(r"[^a-z0-9._-]", "-", name.lower())
    question = f"{recipe.question.split(CHANGED)[0]}{CHANGED}"
    values = recipe.model_dump(mode="json") | {"name": name, "question": question, "expect": None}
    if isinstance(recipe, Recipe):
        weights = values["weights"] or {"quantize": {"kind": "uniform", "bits": 8}}
        if "bits" not in weights["quantize"]:
            return None
        # One scheme holds for all layers of a recipe, so the narrowest layer decides.
        weights["quantize"]["bits"] = min(r.bits for r in repairs)
        values["model"]["repairs"] += [_said(r, r.path) for r in repairs if r.kind != "bits"]
        return recipe_of(values | {"weights": weights})
    width = values["convert"]["bits"]
    widths = dict(width) if isinstance(width, dict) else {"*": width}
    for repair in repairs:
        at = made.layers.get(repair.path, repair.path)
        if repair.kind == "real":
            assert made.graph is not None
            values["convert"]["exclude"] = [*values["convert"]["exclude"], *one_side(made.graph, at)]
            continue
        widths[at] = repair.bits
        if repair.kind != "bits":
            values["model"]["repairs"].append(_said(repair, at))
            # What stands in its place: a shuffle may be in front of a grouped layer; what adds is not narrowed.
            widths[f"{at}.parts" if repair.kind == "split" else f"{at}.layers"] = repair.bits
        if repair.kind == "split" and (recipe.finetune is None or recipe.finetune.quantized is not True):
            # Partial sums of one output differ in size, and only what adds them reads their values.
            rules = values["convert"]["threshold"]
            rules = {} if rules is None else {"*": rules} if "kind" in rules else rules
            values["convert"]["threshold"] = rules | {f"{at}.neurons": {"kind": "mse", "per_channel": True}}
    values["convert"]["bits"] = widths
    if values["finetune"] is not None and values["finetune"]["bits"] is not None:
        values["finetune"]["bits"] = widths
    return recipe_of(values)


def _said(repair: Repair, path: str) -> dict[str, Any]:
    """Return a repair as a recipe says it."""
    named = {k: getattr(repair, k) for k in ("kind", "groups", "parts", "source_shape")}
    if repair.kind == "split":  # its groups are those of the partial sums
        named["groups"] = 1
    return named | {"path": path, "keep": repair.keep if repair.kind == "prune" else ()}
