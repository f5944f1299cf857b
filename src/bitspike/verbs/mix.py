"""Bits per layer for a recipe's network, found by measurement under a budget of bytes or energy; a new recipe."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitspike.arguments import checked
from bitspike.conversion.mixed.choose import Choice, choose
from bitspike.conversion.mixed.sensitivity import Sensitivity, passes_for, sensitivity
from bitspike.conversion.mixed.variants import Variants
from bitspike.errors import ConstraintError, command
from bitspike.recipe import AnyRecipe, load, recipe_of
from bitspike.recipe.derived import free, values_under, write
from bitspike.runs import mixing
from bitspike.runs.job import Job
from bitspike.runs.kinds.kind import Kind

ALLOWED = (1, 2, 3, 4, 5, 6, 7, 8)
STEPS = (2, 3, 4, 6, 8, 12, 16)
"""The T that are tried where steps are to be chosen."""
IMAGES = 256
"""Training images that are run for every measurement."""
FEWEST = 32
_ROUNDED_WELL = 8
"""Bits from which on rounding after the training costs next to nothing."""
_TRAINED = "What helps: epochs with the codes, --set finetune.quantized=true, where the recipe has a section finetune"
SHARE = 0.1
"""Of the training: where more images would cost more than this, fewer are run."""


@dataclass(frozen=True, kw_only=True)
class MixedLayer:
    """One layer of a mixture.

    Args:
        path: of the module.
        weights: how many.
        bits: of each.
        bytes: of all of them, packed.
        loss: what these bits alone change about the outputs, KL divergence in nats; None where the bits are kept.
    """

    path: str
    weights: int
    bits: int
    bytes: int
    loss: float | None


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Bits per layer, what they cost, and what finding them did.

    Args:
        recipe: its name.
        layers: all layers whose weights are codes.
        steps: T.
        unit, budget, price: ``bytes`` of all weights or ``pJ`` of one inference; what was allowed, what is used.
        loss: the sum of the losses of all layers, and of the steps where these were chosen.
        losses: of every layer with every number of bits.
        steps_losses: the same of every T; empty where T was not to be chosen.
        uniform: bits, price and loss of the most bits for all layers that the budget allows; None where it allows none.
        seconds: of the search.
        images, passes: that were run, and passes of one image through the network.
        share: of the training of the recipe, in passes; None where it trains nothing.
        path: the new recipe.
        trains_codes: whether its training knows these bits; else weights are rounded to them afterwards.
    """

    recipe: str
    layers: tuple[MixedLayer, ...]
    steps: int
    unit: str
    budget: float
    price: float
    loss: float
    losses: Mapping[str, Mapping[int, float]]
    steps_losses: Mapping[int, float]
    uniform: tuple[int, float, float] | None
    seconds: float
    images: int
    passes: int
    share: float | None
    path: Path
    trains_codes: bool

    @property
    def bits(self) -> dict[str, int]:
        """The bits of every layer, by path."""
        return {layer.path: layer.bits for layer in self.layers}

    @property
    def mean_bits(self) -> float:
        """Bits of a weight in the mean over the layers whose bits were chosen."""
        chosen = [layer for layer in self.layers if layer.loss is not None]
        return sum(x.bits * x.weights for x in chosen) / sum(x.weights for x in chosen)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        names = ("recipe", "steps", "unit", "budget", "price", "loss", "mean_bits", "seconds", "images", "passes")
        return {
            **{name: getattr(self, name) for name in (*names, "share", "trains_codes")},
            "layers": [vars(layer) for layer in self.layers],
            "losses": {path: dict(row) for path, row in self.losses.items()},
            "steps_losses": dict(self.steps_losses),
            "uniform": None
            if self.uniform is None
            else dict(zip(("bits", "price", "loss"), self.uniform, strict=True)),
            "path": str(self.path),
        }

    def __str__(self) -> str:
        wide = max(len(layer.path) for layer in self.layers)
        lines = [f"{self.recipe}: {self.mean_bits:.2f} bits in the mean, {self._amount(self.price)}, T = {self.steps}"]
        lines.append(f"  {'layer':<{wide}} {'weights':>9} {'bits':>4} {'bytes':>9}  sensitivity (nats)")
        for x in self.layers:
            word = "kept" if x.loss is None else f"{x.loss:.5f}"
            lines.append(f"  {x.path:<{wide}} {x.weights:>9,} {x.bits:>4} {x.bytes:>9,}  {word:>18}")
        lines.append(f"  predicted   {self.loss:.4f} nats between its outputs and those of the finest network")
        if self.uniform is not None:
            bits, price, loss = self.uniform
            lines[-1] += f"; {loss:.4f} with {bits} bit{'s' * (bits != 1)} everywhere ({self._amount(price)})"
        share = "no training" if self.share is None else f"{self.share:.1%} of the training it serves"
        runs = f"{self.passes // self.images:,} networks on {self.images} images"
        lines.append(f"  search      {runs}: {self.passes:,} passes, {self.seconds:.0f} s; {share}")
        lines.append(f"  recipe      {self.path}; now: {command('run', self.path)}")
        if not self.trains_codes and min(self.bits.values()) < _ROUNDED_WELL:
            lines.append(f"  NOT TRAINED weights are rounded to these bits and no training knows them. {_TRAINED}")
        return "\n".join(lines)

    def _amount(self, price: float) -> str:
        return f"{price:,.0f} {self.unit}"


@checked
def mix(
    recipe: str | Path | AnyRecipe,
    *,
    bytes: int | None = None,
    bits: float | None = None,
    energy: float | None = None,
    steps: int | None = None,
    choose_steps: bool = False,
    allowed: Sequence[int] = ALLOWED,
    out: str | Path | None = None,
    set: Iterable[str] = (),
) -> Mixture:
    """Find bits per layer for a recipe's network under a budget, and write the recipe with them.

    Every layer is measured with every number of bits on some training images, without labels
    (:mod:`bitspike.conversion.mixed.sensitivity`); the choice among them is exact
    (:mod:`bitspike.conversion.mixed.choose`). First and last layers keep the bits of the recipe, unless that says null.
    Of ``bytes``, ``bits`` and ``energy`` one is needed.

    Args:
        recipe: a shipped name, the path of a YAML file, or a recipe of kind ``convert`` with trained weights.
        bytes: that the weights of all layers may take, packed, as ``bytes.weights_packed`` of a report.
        bits: of a weight, in the mean over the layers whose bits are chosen.
        energy: of one inference, in pJ, billed by the spikes of 32 training images, as ``bs.energy`` bills them.
        steps: T; None is that of the recipe.
        choose_steps: choose T too, out of 2, 3, 4, 6, 8, 12 and 16; needs ``energy``, because only that grows with T.
        allowed: the numbers of bits that a layer may have, 1 to 8.
        out: of the new recipe; None is ``NAME-mixed.yaml`` in the working directory.
        set: changes to the recipe, such as ``data.root=FOLDER``.

    Returns:
        the mixture, with what the search cost. Few images are run where 256 would cost more than a tenth of the
        training.

    Raises:
        ConstraintError: not exactly one budget, or one that even the fewest bits exceed. RecipeError: the recipe has
            no trained network. RunError: the new recipe would overwrite a file.
    """
    start = time.perf_counter()
    chosen = load(recipe, set)
    bits_allowed = _checked(allowed, steps, {"bytes": bytes, "bits": bits, "energy": energy}, choose_steps)
    name = f"{chosen.name}-mixed"
    path = free(out, name)
    job = Job(chosen)
    kind, variants = job.kind, job.kind.variants()
    tried = STEPS if choose_steps else (variants.steps if steps is None else steps,)
    number = _images(kind, variants, bits_allowed, tried if choose_steps else ())
    images = mixing.some_images(job.data, number)
    measured = sensitivity(variants, images, bits=bits_allowed, steps=tried if choose_steps else ())
    if energy is None:
        kept = mixing.kept_bytes(variants)
        total = bytes if bits is None else kept + int(sum(variants.weights.values()) * bits / 8)
        assert total is not None
        t, unit, budget = tried[0], "bytes", float(total)
        choice, uniform = _cheapest(measured, mixing.byte_prices(variants, bits_allowed), budget, kept, unit)
    else:
        unit, budget = "pJ", float(energy)
        t, choice, uniform = _within_energy(kind, variants, measured, tried, bits_allowed, budget)
    mixed = recipe_of(kind.with_bits(values_under(chosen, name, _remark(unit, budget)), choice.bits, t))
    write(path, mixed)
    training = mixing.training_passes(kind, len(job.data.train))
    return Mixture(
        recipe=mixed.name,
        layers=_layers(variants, choice, measured),
        steps=t,
        unit=unit,
        budget=budget,
        price=choice.price,
        loss=choice.loss,
        losses=measured.losses,
        steps_losses=measured.steps,
        uniform=uniform,
        seconds=time.perf_counter() - start,
        images=measured.images,
        passes=measured.passes,
        share=measured.passes / training if training else None,
        path=path,
        trains_codes=_trains_codes(mixed),
    )


def _trains_codes(recipe: AnyRecipe) -> bool:
    """Tell whether weights are the codes of these bits while a recipe trains them."""
    tuned = getattr(recipe, "finetune", None)
    return tuned is not None and tuned.quantized is not False


def _checked(
    allowed: Sequence[int], steps: int | None, budgets: Mapping[str, float | None], choose_steps: bool
) -> tuple[int, ...]:
    """Return the numbers of bits in their order; refuse arguments that say nothing or contradict each other."""
    named = {name: value for name, value in budgets.items() if value is not None}
    if len(named) != 1:
        said = ", ".join(f"{name}={value:g}" for name, value in named.items()) or "none"
        raise ConstraintError(
            f"mix: one budget is needed, found {said}",
            fix="bytes=N (--bytes N), bits=2.5 (--bits 2.5) or energy=PJ (--energy PJ)",
        )
    bits = tuple(sorted({*allowed}))
    if not bits or not all(isinstance(b, int) and 1 <= b <= 8 for b in bits):
        raise ConstraintError(f"mix(allowed={tuple(allowed)}): 1 to 8 bits can be allowed", fix=f"allowed={ALLOWED}")
    if choose_steps and (budgets["energy"] is None or steps is not None):
        what = f"steps={steps}" if steps is not None else f"a budget of {next(iter(named))}, which does not grow with T"
        raise ConstraintError(
            f"mix(choose_steps=True): found {what}",
            fix="energy=PJ with choose_steps=True (--energy PJ --choose-steps), or steps=T (--steps T) alone",
        )
    if steps is not None and steps < 1:
        raise ConstraintError(f"mix(steps={steps}): a whole number of at least 1 is needed", fix="steps=4 (--steps 4)")
    return bits


def _remark(unit: str, budget: float) -> str:
    amount = f"{budget:,.0f} {'bytes of weights' if unit == 'bytes' else 'pJ an inference'}"
    return f" (Mixed precision: bits per layer by sensitivity, at most {amount}.)"


def _images(kind: Kind, variants: Variants, bits: Sequence[int], steps: Sequence[int]) -> int:
    """Return how many images are run: as many as a tenth of the training pays for, within limits."""
    there = len(kind.data.train)
    training = mixing.training_passes(kind, there)
    paid = SHARE * training / passes_for(variants, bits=bits, steps=steps, images=1) if training else IMAGES
    return min(there, IMAGES, max(FEWEST, int(paid)))


def _cheapest(
    measured: Sensitivity, prices: Mapping[str, Mapping[int, float]], budget: float, rest: float, unit: str
) -> tuple[Choice, tuple[int, float, float] | None]:
    """Return the choice within the budget, of which ``rest`` is spent already, and the same for all layers alike."""
    fixed = {"": {0: rest}}
    choice = choose({**measured.losses, "": {0: 0.0}}, {**prices, **fixed}, budget, unit=unit)
    uniform = None
    for b in sorted(next(iter(prices.values()))):
        price = rest + sum(row[b] for row in prices.values())
        if price <= budget:
            uniform = b, price, sum(row[b] for row in measured.losses.values())
    return Choice({path: b for path, b in choice.bits.items() if path}, choice.loss, choice.price), uniform


def _within_energy(
    kind: Kind, variants: Variants, measured: Sensitivity, tried: Sequence[int], bits: Sequence[int], budget: float
) -> tuple[int, Choice, tuple[int, float, float] | None]:
    """Return T, the choice and the best of all layers alike, of the T whose losses are least together."""
    best: tuple[int, Choice, tuple[int, float, float] | None] | None = None
    refused: ConstraintError | None = None
    for t in tried:
        prices = mixing.energy_prices(kind, variants, bits, t)
        added = measured.steps.get(t, 0.0)
        try:
            choice, uniform = _within(kind, variants, measured, prices, t, budget)
        except ConstraintError as error:
            refused = refused or error  # of the fewest steps, which need least
            continue
        choice = Choice(choice.bits, choice.loss + added, choice.price)
        if best is None or choice.loss < best[1].loss:
            best = t, choice, uniform and (uniform[0], uniform[1], uniform[2] + added)
    if best is None:
        assert refused is not None
        raise refused
    return best


def _within(
    kind: Kind,
    variants: Variants,
    measured: Sensitivity,
    prices: mixing.EnergyPrices,
    steps: int,
    budget: float,
) -> tuple[Choice, tuple[int, float, float] | None]:
    """Choose, bill what was chosen by its own spikes, and choose again with less where that costs more."""
    room = budget
    while True:
        choice, uniform = _cheapest(measured, prices.layers, room, prices.rest, "pJ")
        price = mixing.energy_of(kind, variants, choice.bits, steps)
        if price <= budget:
            return Choice(choice.bits, choice.loss, price), uniform
        room = min(room, choice.price) - (price - budget)


def _layers(variants: Variants, choice: Choice, measured: Sensitivity) -> tuple[MixedLayer, ...]:
    bits = {**variants.bits, **choice.bits}
    size = {**variants.weights, **variants.kept}
    return tuple(
        MixedLayer(
            path=path,
            weights=size[path],
            bits=bits[path],
            bytes=mixing.packed_bytes(size[path], bits[path]),
            loss=measured.losses[path][bits[path]] if path in measured.losses else None,
        )
        for path in variants.bits
    )
