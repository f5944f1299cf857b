"""What the kinds of recipes do differently on the way from images to a spiking network; the rest is one journey."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bitspike.conversion.convert import convert, finish
from bitspike.conversion.finetune.over_time import over_time
from bitspike.conversion.finetune.prepare import Prepared, prepare
from bitspike.conversion.finetune.shared_step import Within, default_scale
from bitspike.conversion.result import Conversion, conversion_of, spiking_part
from bitspike.errors import RecipeError
from bitspike.lowering.fit_neuron import Precision
from bitspike.nn import set_steps
from bitspike.ops.grids import Grid
from bitspike.recipe import AnyRecipe, ConvertRecipe, Recipe
from bitspike.recipe.kinds.convert import FineTuning
from bitspike.runs.build import words as b
from bitspike.runs.build.factory import build_network, comes_trained
from bitspike.runs.by_step import Prefixes
from bitspike.runs.stages import Clock
from bitspike.train import Evaluation, by_step, evaluate
from bitspike.train.launch import choose_device
from bitspike.weights import Uniform, attach, detach

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Made:
    """A spiking network and what its integers need.

    Args:
        network: takes images [N, C, H, W], returns logits [N, K].
        grid: integer grid of what enters it, where the network does not hold it itself.
        precision: how fine the integers are.
        record: of its conversion, where it was converted.
    """

    network: nn.Module
    grid: Grid | None = None
    precision: Precision | None = None
    record: Conversion | None = None

    @property
    def core(self) -> nn.Module:
        """What is lowered: the network, or the spiking part of one that is converted in part."""
        return self.network if self.record is None else spiking_part(self.network)

    @property
    def partial(self) -> bool:
        """Whether some of the network stayed real."""
        return self.core is not self.network

    def enter(self, x: Tensor) -> Tensor:
        """Return what enters the core when the network gets ``x``."""
        if not self.partial:
            return x
        assert self.record is not None
        with torch.no_grad():
            return self.record.packed(x)

    def entered(self, batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches as the core takes them."""
        for x, y in batches:
            yield self.enter(x), y


class Way(Protocol):
    """From the words of a recipe to its spiking network.

    ``start`` gives what is trained, where something is; ``finish`` makes it spike.
    """

    @property
    def steps(self) -> int:
        """T."""
        ...

    def start(self, *, weights: bool = True) -> nn.Module:
        """Build what is trained or converted; ``weights=False`` where the weights come from elsewhere."""
        ...

    def trained(self, model: nn.Module, section: str) -> nn.Module:
        """Return what a section of the recipe trains; it shares its weights with the network that was started."""
        ...

    def decoded(self, model: nn.Module) -> nn.Module | None:
        """Return an ordinary network whose weights were trained as codes, with the values of these; None of others."""
        ...

    def beside(self, model: nn.Module, test: Batches, clock: Clock) -> dict[str, float | None]:
        """Measure what the spiking network is compared with, by its name in the report."""
        ...

    def finish(self, model: nn.Module) -> Made:
        """Make the spiking network of what was built and trained."""
        ...

    def watched(self, made: Made) -> AbstractContextManager[Prefixes | None]:
        """Return what listens while the network is measured, to tell the accuracy of fewer steps afterwards."""
        ...

    def by_step(
        self, made: Made, test: Batches, tested: Evaluation, heard: list[float] | None
    ) -> Sequence[float | None]:
        """Return the accuracy when the network takes 1, 2, ..., T steps; None where it was not asked for."""
        ...

    def at_steps(self, made: Made, steps: int) -> AbstractContextManager[nn.Module]:
        """Yield the network as it runs so many steps."""
        ...


def way_of(recipe: AnyRecipe, data: b.Data) -> Way:
    """Return the way that a recipe's kind takes."""
    return Converted(recipe, data) if isinstance(recipe, ConvertRecipe) else Trained(recipe, data)


@dataclass(eq=False)
class Trained:
    """A network of the package, trained as a spiking network from the start."""

    recipe: Recipe
    data: b.Data

    @property
    def steps(self) -> int:
        return self.recipe.model.steps

    def start(self, *, weights: bool = True) -> nn.Module:
        del weights
        return b.build_model(self.recipe, self.data.train)

    def trained(self, model: nn.Module, section: str) -> nn.Module:
        del section
        return model

    def beside(self, model: nn.Module, test: Batches, clock: Clock) -> dict[str, float | None]:
        del model, test, clock
        return {}

    def decoded(self, model: nn.Module) -> None:
        del model

    def finish(self, model: nn.Module) -> Made:
        return Made(model, self.data.grid, b.build_precision(self.recipe))

    def watched(self, made: Made) -> AbstractContextManager[Prefixes | None]:
        del made
        return nullcontext()

    def by_step(
        self, made: Made, test: Batches, tested: Evaluation, heard: list[float] | None
    ) -> Sequence[float | None]:
        del heard
        return by_step(made.network, test, seed=self.recipe.seed, final=tested)

    def at_steps(self, made: Made, steps: int) -> AbstractContextManager[nn.Module]:
        return _with_steps(made.network, steps)


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
            return _with_steps(made.network, steps)
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


@contextmanager
def _with_steps(network: nn.Module, steps: int) -> Iterator[nn.Module]:
    with set_steps(network, steps):
        yield network
