"""A run of kind ``convert``: a network of the user's own, fine-tuned where the recipe says so, and converted."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.conversion.convert import convert, finish
from bitspike.conversion.finetune.over_time import over_time
from bitspike.conversion.finetune.prepare import prepare
from bitspike.conversion.finetune.prepared import Prepared
from bitspike.conversion.finetune.shared_step import Within, default_scale
from bitspike.conversion.result import conversion_of
from bitspike.errors import RecipeError
from bitspike.ops.grids import Grid
from bitspike.recipe import ConvertRecipe
from bitspike.recipe.kinds.convert import FineTuning
from bitspike.runs.build import words as b
from bitspike.runs.build.factory import build_network, comes_trained
from bitspike.runs.by_step import Prefixes
from bitspike.runs.kinds.way import Batches, Made, with_steps
from bitspike.runs.stages import Clock
from bitspike.train import Evaluation, evaluate
from bitspike.train.launch import choose_device
from bitspike.weights import Uniform, attach, detach


@dataclass(eq=False)
class Converted:
    """A network of the user's own, fine-tuned where the recipe says so, and converted."""

    recipe: ConvertRecipe
    data: b.Data
    given: nn.Module | None = field(default=None, init=False)
    """The float network before any fine-tuning."""

    @property
    def steps(self) -> int:
        return self.recipe.convert.steps

    def start(self, *, weights: bool = True) -> nn.Module:
        tuning = self.recipe.finetune
        if weights and tuning is None and not self._known():
            raise RecipeError(
                "model.weights is null, the factory draws its weights at random, and nothing is trained: there would "
                "be a network of random weights to convert",
                fix="--set model.weights=FILE, a factory that loads its weights, or a finetune section",
            )
        self.given = network = build_network(self.recipe, weights=weights)
        if tuning is None or not tuning.quantized:
            return network
        prepared = self._prepared(network, tuning)
        return prepared if tuning.quantized is True else _coded(network, prepared, self.recipe)

    def _known(self) -> bool:
        """Tell whether the float network has weights worth converting before any training."""
        return self.recipe.model.weights is not None or comes_trained(self.recipe)

    def _prepared(self, network: nn.Module, tuning: FineTuning) -> Prepared:
        c = self.recipe.convert
        return prepare(
            network,
            self.example(),
            calibrate=self.calibration(),
            bits=c.bits if tuning.bits is None else tuning.bits,
            steps=tuning.steps or c.steps,
            first_bits=c.first_bits,
            last_bits=c.last_bits,
            per_channel=c.per_channel,
            include=c.include,
            exclude=c.exclude,
            rule=None if isinstance(c.threshold, dict) else b.build_threshold(c.threshold),
            scale=b.build(c.scale),
            samples=c.samples,
            seed=self.recipe.seed,
        )

    def trained(self, model: nn.Module, section: str) -> nn.Module:
        return self._over_time(model) if section == "over_time" else model

    def decoded(self, model: nn.Module) -> nn.Module | None:
        tuning = self.recipe.finetune
        coded = tuning is not None and tuning.quantized == "weights"
        return detach(copy.deepcopy(model)) if coded else None

    def _over_time(self, model: nn.Module) -> nn.Module:
        assert isinstance(model, Prepared)
        return over_time(model, neuron=b.build_conversion(self.recipe.convert)["neuron"])

    def beside(self, model: nn.Module, test: Batches, clock: Clock) -> dict[str, float | None]:
        """Measure the float network, and what fine-tuning made of it.

        A float network that was neither given weights nor trained has no accuracy worth telling.
        """
        found: dict[str, float | None] = {"float": None}
        tuning = self.recipe.finetune
        with clock.stage("float"):
            if tuning is None or not tuning.quantized:
                found["float"] = self._accuracy(model, test)
            else:
                if self.given is not None and self._known():
                    found["float"] = self._accuracy(self.given, test)
                timed = self.recipe.over_time is not None
                found["finetuned"] = self._accuracy(self._over_time(model) if timed else model, test)
        return found

    def finish(self, model: nn.Module) -> Made:
        choices = b.build_conversion(self.recipe.convert)
        grid = b.input_grid(self.recipe, self.data.grid)
        tuning = self.recipe.finetune
        if tuning is not None and tuning.quantized and tuning.bits is not None:
            choices["bits"] = tuning.bits
        network = self._spiking(model, choices, grid)
        if grid is not None and not conversion_of(network).reads_input:
            # What enters is computed of pixels, such as their normalization, and lies on no grid of theirs.
            network = self._spiking(model, choices, None)
        return Made(network, record=conversion_of(network))

    def _spiking(self, model: nn.Module, choices: dict[str, Any], grid: Grid | None) -> nn.Module:
        if isinstance(model, Prepared):
            held = {k: v for k, v in choices.items() if k not in ("threshold", "frontend", "seed", "keep_real")}
            return finish(model, self.example(), data=self.calibration(), input_grid=grid, **held)
        return convert(
            model if (decoded := self.decoded(model)) is None else decoded,
            self.example(),
            calibrate=self.calibration(),
            input_grid=grid,
            seed=self.recipe.seed,
            **choices,
        )

    def watched(self, made: Made) -> AbstractContextManager[Prefixes | None]:
        return Prefixes(made.network) if self._stops_anywhere(made) else nullcontext()

    def by_step(
        self, made: Made, test: Batches, tested: Evaluation, heard: list[float] | None
    ) -> Sequence[float | None]:
        if heard is not None:
            return [*heard[:-1], tested.accuracy]
        accuracies: list[float | None] = []
        if not self.recipe.evaluation.by_step:
            return [*[None] * (self.recipe.convert.steps - 1), tested.accuracy]
        for steps in range(1, self.recipe.convert.steps):
            with self.at_steps(made, steps) as network:
                accuracies.append(self._accuracy(network, test))
        return [*accuracies, tested.accuracy]

    def at_steps(self, made: Made, steps: int) -> AbstractContextManager[nn.Module]:
        """Stop the run after so many steps; where every layer waits for the one before, convert for so many steps."""
        if self.recipe.convert.schedule == "synchronous":
            return with_steps(made.network, steps)
        assert made.record is not None
        return nullcontext(made.record.build(steps=steps))

    def _stops_anywhere(self, made: Made) -> bool:
        return self.recipe.convert.schedule == "synchronous" and not made.partial

    def _accuracy(self, network: nn.Module, test: Batches) -> float:
        home = next((p.device for p in [*network.parameters(), *network.buffers()]), torch.device("cpu"))
        network.to(choose_device(self.recipe.device))
        try:
            return evaluate(network, test, seed=self.recipe.seed).accuracy
        finally:
            network.to(home)

    def example(self) -> Tensor:
        """Return two test images as the network takes them."""
        return self.data.pixels.to_input(self.data.test.images[:2])

    def calibration(self) -> Batches:
        """Return training images in an order that depends on the recipe's seed alone, without augmentation."""
        return b.calibration_batches(self.recipe, self.data)


def _coded(network: nn.Module, prepared: Prepared, recipe: ConvertRecipe) -> nn.Module:
    """Return a copy of a float network whose weights are the codes that a prepared one has; its norms stay."""
    result, c = copy.deepcopy(network), recipe.convert
    bits = prepared.settings.bits
    assert not isinstance(bits, int), "prepare names the bits of every layer"
    for path, module in list(result.named_modules()):
        if path not in bits or not isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
            continue
        apart = c.per_channel and not isinstance(module, nn.modules.conv._ConvTransposeNd)
        rule = default_scale(bits[path]) if c.scale is None else Within(b.build(c.scale))
        attach(module, quantize=Uniform(bits[path], per_channel=apart, scale=rule))
    return result
