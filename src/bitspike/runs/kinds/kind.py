"""The steps from images to a spiking network that differ between kinds of runs; all other steps are the same.

The order of the work: ``start`` builds the network that is trained or converted, ``in_training`` chooses what each
section of epochs trains, ``baselines`` measures accuracies to compare with, ``finish`` makes the network spike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bitspike.conversion.mixed.variants import Variants
from bitspike.conversion.result import Conversion, spiking_part
from bitspike.data import Batches
from bitspike.errors import RecipeError
from bitspike.graph.ir import Graph
from bitspike.hardware.chips.plan_repairs import Repair, Way
from bitspike.integer.network import IntegerNetwork
from bitspike.lowering.fit_neuron import Precision
from bitspike.nn import set_steps
from bitspike.ops.grids import Grid
from bitspike.recipe import AnyRecipe
from bitspike.runs.construct.data import Data
from bitspike.runs.stages import Clock
from bitspike.train import Evaluation, History, Observer


@dataclass(frozen=True, eq=False)
class SpikingNetwork:
    """A spiking network and what lowering it needs.

    Args:
        network: takes images [N, C, H, W], returns logits [N, K].
        grid: integer grid of its input; None where the network holds it itself.
        precision: how fine the integers are.
        record: of the conversion; None where the network was trained as a spiking one.
    """

    network: nn.Module
    grid: Grid | None = None
    precision: Precision | None = None
    record: Conversion | None = None

    @property
    def partial(self) -> bool:
        """Whether a part of the network stayed in floating point."""
        return self.record is not None and spiking_part(self.network) is not self.network

    def enter(self, x: Tensor) -> Tensor:
        """Return the input of the integers when the network's input is ``x``."""
        if not self.partial:
            return x
        assert self.record is not None
        with torch.no_grad():
            return self.record.packed(x)


@dataclass(frozen=True, eq=False)
class Sketch:
    """A network as a recipe describes it, with initial weights: shapes and widths are right, accuracy is not.

    Args:
        model: what the recipe trains or converts.
        example: random images as the integers take them.
        net: its integers.
        layers: by path of an integer layer, the path of the module in ``model``.
        graph: of the network that is converted; None where nothing is.
    """

    model: nn.Module
    example: Tensor
    net: IntegerNetwork
    layers: dict[str, str]
    graph: Graph | None = None


@dataclass(eq=False)
class Kind(ABC):
    """A kind of run. A new one is a file here, and a file with its recipe in :mod:`bitspike.recipe.kinds`."""

    finishing: ClassVar[str] = ""
    """The stage in which the network is made to spike; empty where it spikes already."""
    needs_classes: ClassVar[bool] = False
    """Whether the network is built for a number of classes, which data on disk tell."""

    recipe: AnyRecipe
    data: Data
    folder: Path | None = None
    """The folder in which the run is carried out; None for a run that is finished, or only looked at."""
    notes: list[str] = field(default_factory=list, init=False)
    """What the user should read about the network that was started."""

    @abstractmethod
    def build(self, *, weights: bool = True) -> nn.Module:
        """Build the network of the recipe; ``weights=False`` leaves its initial weights."""

    def start(self, *, weights: bool = True) -> nn.Module:
        """Build the network that is trained or converted; ``weights=False`` where its weights are loaded afterwards."""
        return self.build(weights=weights)

    def in_training(self, model: nn.Module, section: str) -> nn.Module:
        """Return the network that a section of the recipe trains; it shares its weights with ``model``."""
        return model

    def taught(self, section: str) -> dict[str, Any]:
        """Return the arguments ``teacher`` and ``distill`` of ``fit``, where a section learns from another network."""
        return {}

    @property
    def tunes(self) -> bool:
        """Whether the network changes after its epochs, by :meth:`tune`."""
        return False

    def tune(self, model: nn.Module, done: Path, observer: Observer) -> None:
        """Change the trained network in place, in this process alone; if the file ``done`` is there, to its weights."""
        raise NotImplementedError

    def weights(self, model: nn.Module) -> dict[str, dict[str, Tensor]]:
        """Return the states that a run keeps besides that of ``model``, by the names of their files."""
        return {}

    def baselines(self, model: nn.Module, test: Batches, clock: Clock) -> dict[str, float | None]:
        """Measure the accuracies to compare with, for example ``{"float": 0.91, "finetuned": 0.90}``."""
        return {}

    @abstractmethod
    def finish(self, model: nn.Module) -> SpikingNetwork:
        """Make a spiking network of the network that was started and trained."""

    @abstractmethod
    def validation(self, network: nn.Module, history: History | None) -> float | None:
        """Return the accuracy on the validation images; None where there are none."""

    def stops_anywhere(self, spiking: SpikingNetwork) -> bool:
        """Tell whether the first steps of a run are a run of fewer steps, so that one run shows all of them."""
        return True

    @abstractmethod
    def by_step(self, spiking: SpikingNetwork, test: Batches, tested: Evaluation) -> Sequence[float | None]:
        """Return the accuracy after 1, 2, ..., T steps; None where it was not asked for.

        ``tested`` is the measurement of all T steps, with the answers after every step where one run showed them.
        """

    @contextmanager
    def at_steps(self, spiking: SpikingNetwork, steps: int) -> Iterator[nn.Module]:
        """Yield the network, run for ``steps`` steps inside the block."""
        with set_steps(spiking.network, steps):
            yield spiking.network

    def report_entries(
        self, spiking: SpikingNetwork, net: IntegerNetwork, test: Batches, folder: Path, clock: Clock
    ) -> dict[str, Any]:
        """Return the entries that only reports of this kind of run have."""
        return {}

    @abstractmethod
    def sketch(self, model: nn.Module, example: Tensor) -> Sketch:
        """Lower a network with initial weights; ``example`` are random images as it takes them."""

    def refuse_ways(self, ways: Collection[Way]) -> None:
        """Raise ConstraintError where a network of this kind cannot be fitted to a chip in one of these ways."""
        del ways

    @abstractmethod
    def with_repairs(self, values: dict[str, Any], repairs: Sequence[Repair], sketch: Sketch) -> dict[str, Any] | None:
        """Return the values of this recipe, changed in place, with repairs; None where a recipe cannot say them.

        The repairs are of layers of the integers of ``sketch``, which is of this recipe.
        """

    def variants(self) -> Variants:
        """Return the trained network before its fine-tuning, whose layers can be given other bits.

        Raises:
            RecipeError: a recipe of this kind has no such network.
        """
        raise RecipeError(
            f"bits per layer are found for recipes of kind 'convert' whose weights are trained, found "
            f"kind {self.recipe.kind!r}",
            fix="a recipe of kind convert whose model.weights names a trained network; a stage of kind progressive can "
            "then name the same bits in its weights: {LAYER: {kind: learned_clip, bits: B}, ...}",
        )

    def with_bits(self, values: dict[str, Any], bits: Mapping[str, int], steps: int) -> dict[str, Any]:
        """Return the values of this recipe, changed in place, with these bits of layers, by module path, and this T."""
        raise NotImplementedError(f"{type(self).__name__} has variants and does not say how a recipe names their bits")


def kind_of(recipe: AnyRecipe) -> type[Kind]:
    """Return the class that runs recipes of this kind.

    Example:
        >>> from bitspike.recipe import load
        >>> kind_of(load("quickstart")).__name__, kind_of(load("digits-convert")).__name__
        ('Trained', 'Converted')
    """
    kind: type[Kind] = resolve_name(recipe.makes)
    return kind


def repair_values(repair: Repair, path: str) -> dict[str, Any]:
    """Return a repair of the module ``path`` as a recipe says it."""
    values = {name: getattr(repair, name) for name in ("kind", "groups", "parts", "source_shape")}
    if repair.kind == "split":  # its groups are those of the partial sums
        values["groups"] = 1
    return values | {"path": path, "keep": repair.keep if repair.kind == "prune" else ()}
