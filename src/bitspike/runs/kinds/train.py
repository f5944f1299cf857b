"""A run of kind ``train``: a network of the package, trained as a spiking network from the start."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from bitspike.data import Batches
from bitspike.errors import ConstraintError
from bitspike.hardware.chips.plan_repairs import Repair, Way
from bitspike.lowering.lower import lower
from bitspike.recipe.kinds.train import TrainRecipe
from bitspike.runs.build.model import build_model, build_precision
from bitspike.runs.by_step import Prefixes
from bitspike.runs.kinds.kind import Kind, Sketch, SpikingNetwork, repair_values
from bitspike.runs.record import kept_epoch
from bitspike.train import Evaluation, History, by_step


@dataclass(eq=False)
class Trained(Kind):
    """A network of the package, trained as a spiking network from the start."""

    needs_classes: ClassVar[bool] = True

    recipe: TrainRecipe

    def build(self, *, weights: bool = True) -> nn.Module:
        return build_model(self.recipe, self.data.train)

    def finish(self, model: nn.Module) -> SpikingNetwork:
        return SpikingNetwork(model, self.data.grid, build_precision(self.recipe))

    def validation(self, network: nn.Module, history: History | None) -> float | None:
        """Return what was measured after the epoch that was kept."""
        assert history is not None
        return kept_epoch(history).validation_accuracy

    def by_step(
        self, spiking: SpikingNetwork, test: Batches, tested: Evaluation, prefixes: Prefixes | None
    ) -> Sequence[float | None]:
        return by_step(spiking.network, test, seed=self.recipe.seed, final=tested, task=self.data.test.task)

    def sketch(self, model: nn.Module, example: Tensor) -> Sketch:
        net = lower(model, example[:1], grid=self.data.grid, precision=build_precision(self.recipe))
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
