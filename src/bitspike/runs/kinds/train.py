"""A run of kind ``train``: a network of the package, trained as a spiking network from the start."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, ClassVar

from torch import Tensor, nn

from bitspike.data import Batches, Images
from bitspike.errors import ConstraintError
from bitspike.hardware.chips.plan_repairs import Repair, Way
from bitspike.lowering.fit_neuron import Precision
from bitspike.lowering.lower import lower
from bitspike.models.spiking.blocks import BranchNorm
from bitspike.recipe.kinds.train import TrainRecipe
from bitspike.recipe.words.layers import Norm
from bitspike.recipe.words.own import Own
from bitspike.runs.construct.factory import repaired
from bitspike.runs.construct.own import own
from bitspike.runs.construct.words import build, maker
from bitspike.runs.kinds.kind import Kind, Sketch, SpikingNetwork, repair_values
from bitspike.runs.record import kept_epoch
from bitspike.train import Evaluation, History, by_step
from bitspike.train.evaluate import seeded
from bitspike.weights import attach


@dataclass(eq=False)
class Trained(Kind):
    """A network of the package, trained as a spiking network from the start."""

    needs_classes: ClassVar[bool] = True

    recipe: TrainRecipe

    def build(self, *, weights: bool = True) -> nn.Module:
        return build_model(self.recipe, self.data.train)

    def finish(self, model: nn.Module) -> SpikingNetwork:
        return SpikingNetwork(model, self.data.grid, self._precision())

    def _precision(self) -> Precision:
        return Precision(**self.recipe.lowering.model_dump())

    def validation(self, network: nn.Module, history: History | None) -> float | None:
        """Return what was measured after the epoch that was kept."""
        assert history is not None
        return kept_epoch(history).validation_accuracy

    def by_step(self, spiking: SpikingNetwork, test: Batches, tested: Evaluation) -> Sequence[float | None]:
        return by_step(spiking.network, test, seed=self.recipe.seed, final=tested, task=self.data.test.task)

    def sketch(self, model: nn.Module, example: Tensor) -> Sketch:
        net = lower(model, example[:1], grid=self.data.grid, precision=self._precision())
        return Sketch(model, example, net, {node.path: node.path for node in net.weighted})

    def refuse_ways(self, ways: Collection[Way]) -> None:
        if "real" in ways:
            raise ConstraintError(
                f"ways: real; every layer of {self.recipe.name} is trained to spike, and none can stay real",
                fix="bits, groups, split, prune; or a recipe of kind convert",
            )

    def with_repairs(self, values: dict[str, Any], repairs: Sequence[Repair], sketch: Sketch) -> dict[str, Any] | None:
        weights = values["weights"] or {"quantize": {"kind": "uniform", "bits": 8}}
        if "bits" not in weights["quantize"]:
            return None
        # One scheme holds for all layers of a recipe, so the narrowest layer decides.
        weights["quantize"]["bits"] = min(r.bits for r in repairs)
        values["model"]["repairs"] += [repair_values(r, r.path) for r in repairs if r.kind != "bits"]
        return values | {"weights": weights}


def build_model(recipe: TrainRecipe, images: Images) -> nn.Module:
    """Build the recipe's network for these images, its initial weights drawn from the recipe's seed.

    Torch's own generator is as before afterwards.

    Raises:
        ConstraintError: the network does not fit the images, or a pattern matches no layer.
        RecipeError: a repair does not fit the network.
    """
    height, width, channels = images.shape
    model = recipe.model
    neuron = maker(recipe.neuron)
    make = own(model) if isinstance(model, Own) else resolve_name(model.makes)
    with seeded(recipe.seed):
        net = make(
            steps=model.steps,
            num_classes=len(images.classes),
            in_channels=channels,
            image_size=(height, width),
            neuron=neuron,
            norm=None if recipe.norm is None else _norm_maker(recipe.norm, neuron().threshold, model.steps),
            readout=lambda: build(model.readout),
            encoder=lambda steps: build(model.encoder, steps=steps),
            width=model.width,
            **model.more,
        )
        net = repaired(net, model.repairs)
    if recipe.weights is not None:
        w = recipe.weights
        attach(net, quantize=build(w.quantize), bias=build(w.bias), include=w.include, skip=w.skip)
    return net


def _norm_maker(norm: Norm, threshold: float, steps: int) -> BranchNorm:
    """Return what makes a norm from a number of channels, before neurons of a threshold, in a network of T steps."""
    make = maker(norm)
    return BranchNorm(lambda channels, branches: make(**norm.for_layer(channels, threshold, steps, branches)))
