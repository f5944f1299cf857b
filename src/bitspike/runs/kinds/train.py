"""A run of kind ``train``: a network of the package, trained as a spiking network from the start."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar

from torch import Tensor, nn

from bitspike.data import Batches, Images
from bitspike.errors import ConstraintError
from bitspike.hardware.chips.plan_repairs import Repair, Way
from bitspike.integer.network import IntegerNetwork
from bitspike.lowering.fit_neuron import Precision
from bitspike.lowering.lower import lower
from bitspike.models.spiking.blocks import BranchNorm
from bitspike.recipe import AnyRecipe
from bitspike.recipe.kinds.train import TrainRecipe
from bitspike.recipe.words.layers import Norm
from bitspike.recipe.words.own import Own
from bitspike.runs.construct.factory import repaired
from bitspike.runs.construct.own import own
from bitspike.runs.construct.parent import Start, place_of_parent, recipe_in, started, weights_of
from bitspike.runs.construct.weights import with_weights
from bitspike.runs.construct.weights_file import load_strictly, read_state
from bitspike.runs.construct.words import build, maker
from bitspike.runs.kinds.kind import Kind, Sketch, SpikingNetwork, repair_values
from bitspike.runs.record import kept_epoch
from bitspike.runs.stages import Clock
from bitspike.train import Evaluation, History, by_step
from bitspike.train.checkpoint import read_weights, restore
from bitspike.train.evaluate import seeded


@dataclass(eq=False)
class Trained(Kind):
    """A network of the package, trained as a spiking network from the start."""

    needs_classes: ClassVar[bool] = True

    recipe: TrainRecipe
    start_of: Start | None = field(default=None, init=False)
    _teacher: nn.Module | None = field(default=None, init=False)

    def build(self, *, weights: bool = True) -> nn.Module:
        # The network of a recipe with stages is that of the last one, whose weights lie in the folder of the whole run.
        parts: list[Any] = list(self.recipe.parts.values())
        return build_model(parts[-1] if parts else self.recipe, self.data.train, weights=weights)

    def start(self, *, weights: bool = True) -> nn.Module:
        """Build the network; of a stage, or with ``init``, it has the float weights of the one that it starts from."""
        # A kind of recipe that trains as this one does may have no stages.
        staged = weights and isinstance(self.recipe, TrainRecipe)
        place = place_of_parent(self.recipe, self.folder) if staged else None
        if place is None:
            return self.build(weights=weights)
        network, file = build_float(self.recipe, self.data.train), weights_of(place)
        state = read_state(file, key_word=None)
        # What a weight path learned belongs to its scheme: the stage has one of its own.
        taken = {name: value for name, value in state.items() if "parametrizations." not in name}
        load_strictly(network, taken, source=str(file), way="the model, neuron and norm sections of that training")
        parent = recipe_in(place)
        if self.recipe.training.distill is not None:
            self._teacher = self._as_trained(network, file, parent)
        network = with_weights(network, self.recipe.weights)
        self.start_of = started(state, network, source=str(file), bits=None if parent is None else parent.bits)
        self.notes.append(f"{self.recipe.stage or self.recipe.name} {self.start_of}")
        return network

    def _as_trained(self, network: nn.Module, file: Path, parent: AnyRecipe | None) -> nn.Module:
        """Return a copy of the network that a training starts from, with the weight paths that it was trained with."""
        teacher = copy.deepcopy(network)
        if isinstance(parent, TrainRecipe) and parent.weights is not None:
            with_weights(teacher, parent.weights, weights=False)
            restore(teacher, read_weights(file), source=str(file))
        return teacher

    def taught(self, section: str) -> dict[str, Any]:
        if self._teacher is None:
            return {}
        return {"teacher": self._teacher, "distill": build(self.recipe.training.distill)}

    def report_entries(
        self, spiking: SpikingNetwork, net: IntegerNetwork, test: Batches, folder: Path, clock: Clock
    ) -> dict[str, Any]:
        """Return where the weights came from, and of a stage its name and its parent's."""
        start = None if self.start_of is None else self.start_of.to_dict()
        name = getattr(self.recipe, "stage", None)
        if name is None:
            return {} if start is None else {"start": start}
        before = self.recipe.parent
        parent = None if before is None else before.name
        return {"stage": {"name": name, "parent": parent, "start": start}}

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
        if getattr(self.recipe, "stages", None):
            raise ConstraintError(
                f"{self.recipe.name} has stages, and 'bitspike fit' changes recipes of one training",
                fix="bitspike check RECIPE --chip CHIP lists what is broken; change stages or model.repairs",
            )
        if "real" in ways:
            raise ConstraintError(
                f"ways: real; every layer of {self.recipe.name} is trained to spike, and none can stay real",
                fix="bits, groups, split, prune; or a recipe of kind convert",
            )

    def with_repairs(self, values: dict[str, Any], repairs: Sequence[Repair], sketch: Sketch) -> dict[str, Any] | None:
        weights = values["weights"] or {"quantize": {"kind": "uniform", "bits": 8}}
        if "bits" not in weights["quantize"]:
            return None
        # One scheme holds for all layers of a recipe, the ends too, so the narrowest layer decides.
        weights = {key: value for key, value in weights.items() if key not in ("first", "last")}
        weights["quantize"]["bits"] = min(r.bits for r in repairs)
        values["model"]["repairs"] += [repair_values(r, r.path) for r in repairs if r.kind != "bits"]
        return values | {"weights": weights}


def build_model(recipe: TrainRecipe, images: Images, *, weights: bool = True) -> nn.Module:
    """Build the recipe's network for these images, its initial weights drawn from the recipe's seed.

    Torch's own generator is as before afterwards.

    Raises:
        ConstraintError: the network does not fit the images, or a pattern matches no layer.
        RecipeError: a repair does not fit the network.
    """
    return with_weights(build_float(recipe, images), recipe.weights, weights=weights)


def build_float(recipe: TrainRecipe, images: Images) -> nn.Module:
    """Build the recipe's network as :func:`build_model` does, with float weights."""
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
        return repaired(net, model.repairs)


def _norm_maker(norm: Norm, threshold: float, steps: int) -> BranchNorm:
    """Return what makes a norm from a number of channels, before neurons of a threshold, in a network of T steps."""
    make = maker(norm)
    return BranchNorm(lambda channels, branches: make(**norm.for_layer(channels, threshold, steps, branches)))
