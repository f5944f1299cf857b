"""A run of kind ``progressive``: one stage of it, from the weights of its parent to the spiking network of its bits."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bitspike.conversion.convert import convert
from bitspike.conversion.quantized.layerwise import tune_layers
from bitspike.conversion.quantized.mismatch import mismatch
from bitspike.conversion.quantized.over_time import spiking_twin
from bitspike.conversion.quantized.quantize import quantize
from bitspike.conversion.quantized.tuning import TunedEpoch
from bitspike.conversion.result import conversion_of
from bitspike.data import Batches
from bitspike.digests import read_json
from bitspike.errors import ConstraintError, RecipeError
from bitspike.files import write_whole
from bitspike.hardware.chips.plan_repairs import Repair, Way
from bitspike.integer.network import IntegerNetwork
from bitspike.lowering.lower import lower
from bitspike.nn import Neuron
from bitspike.ops.grids import Grid
from bitspike.recipe.kinds.progressive import ProgressiveRecipe
from bitspike.recipe.words.stages import FLOAT, Stage
from bitspike.runs.construct.factory import build_network, comes_trained
from bitspike.runs.construct.parent import ANN, Start, compared, load_parent, place_of_parent, weights_of
from bitspike.runs.construct.words import build, neuron_of
from bitspike.runs.converting import Converting, described, origins
from bitspike.runs.kinds.kind import Sketch, SpikingNetwork
from bitspike.runs.stages import Clock
from bitspike.train import Observer
from bitspike.train.checkpoint import read_weights, restore, state_of

TUNING = "tuning.json"
"""The file of a run that says what the layer-wise tuning did."""
NEURONS = ("signed_if", "if")
"""The neurons that stages are compared with."""


@dataclass(eq=False)
class Progressive(Converting):
    """A stage of a progressive recipe; of a whole one the last, whose network the run ends with."""

    recipe: ProgressiveRecipe
    parent: nn.Module | None = field(default=None, init=False)
    """The network that the stage starts from, if that is trained: the teacher."""
    start_of: Start | None = field(default=None, init=False)
    ann: dict[str, Tensor] | None = field(default=None, init=False)
    """The state of the quantized network before its spiking network was trained or tuned."""
    measured: dict[str, dict[str, float | None]] = field(default_factory=dict, init=False)
    """Accuracies by network: ``ann``, and the spiking ones by their neurons."""
    tuning: dict[str, Any] | None = field(default=None, init=False)
    """What the layer-wise tuning did."""
    _model: nn.Module | None = field(default=None, init=False)

    def build(self, *, weights: bool = True) -> nn.Module:
        return self._quantized(build_network(self.recipe, weights=weights), self.recipe.chosen)

    def start(self, *, weights: bool = True) -> nn.Module:
        if not weights:
            return self.build(weights=False)
        before, stage, place = self.recipe.parent, self.recipe.chosen, place_of_parent(self.recipe, self.folder)
        if place is None:
            parent, source, bits = build_network(self.recipe), self.recipe.model.weights or "", FLOAT
            trained = self.recipe.model.weights is not None or comes_trained(self.recipe)
            if not trained and not self.recipe.trainings:
                raise RecipeError(
                    f"model.weights is null, the factory draws its weights at random, and {stage.called} trains none: "
                    "there would be a network of random weights to convert",
                    fix="--set model.weights=FILE, or epochs for the first stage",
                )
        else:
            bits = FLOAT if before is None else before.bits
            parent = build_network(self.recipe, weights=False)
            parent = parent if before is None else self._quantized(parent, before)
            file, trained = weights_of(place), True
            load_parent(parent, file, self.recipe)
            source = str(file)
        # Clips that were trained for these bits stay; for other bits they are placed anew.
        network = self._quantized(parent, stage, clips_anew=bits != stage.bits)
        if trained:
            self.parent = parent if network is not parent else copy.deepcopy(parent)
        self.start_of = compared(parent, network, source=source, bits=bits, random=not trained)
        self.notes.append(f"{stage.called} {self.start_of}")
        return network

    def _quantized(self, network: nn.Module, stage: Stage, *, clips_anew: bool = False) -> nn.Module:
        """Return a network with the bits of a stage; a float stage leaves it."""
        if stage.bits == FLOAT:
            return network
        words, images = self.recipe.quantize, self.recipe.quantize.calibrate
        more = {name: getattr(words, name) for name in ("first_bits", "last_bits", "clip", "include", "skip")}
        weights = _built(stage.weights or words.weights)
        if clips_anew and images is not None:
            batches = self.data.calibration_batches(most=images)
            more |= {"calibrate": batches, "samples": images, "seed": self.recipe.seed}
        return quantize(network, self.example(), bits=stage.bits, weights=weights, **more)

    def in_training(self, model: nn.Module, section: str) -> nn.Module:
        if section != "over_time":
            return model
        self._keep(model)
        return spiking_twin(model, neuron=self._neuron)

    def taught(self, section: str) -> dict[str, Any]:
        words = getattr(self.recipe.trainings[section], "distill", None)
        if words is None or self.parent is None:
            return {}
        return {"teacher": self.parent, "distill": build(words)}

    def _keep(self, model: nn.Module) -> None:
        if self.ann is None:
            self.ann = state_of(model)

    @property
    def tunes(self) -> bool:
        return self.recipe.tuning is not None

    def tune(self, model: nn.Module, done: Path, observer: Observer) -> None:
        """Tune the spiking network of the stage, layer by layer."""
        words, record = self.recipe.tuning, done.with_name(TUNING)
        assert words is not None
        self._keep(model)
        if done.exists():
            restore(model, read_weights(done), source=str(done))
            self.tuning = read_json(record)
            return
        choices = words.model_dump(exclude={"samples", "batch_size"})
        images = self.data.validation
        with self.placed(model):
            tuned = tune_layers(
                model,
                self.data.calibration_batches(words.batch_size, words.samples),
                judge=None if images is None else self.data.batches(images),
                neuron=self._neuron,
                seed=self.recipe.seed,
                task=self.data.test.task,
                observe=lambda epoch: observer.note(_said(epoch)),
                **choices,
            )
        self.tuning = tuned.to_dict()
        write_whole(record, json.dumps(self.tuning, indent=1) + "\n")

    def weights(self, model: nn.Module) -> dict[str, dict[str, Tensor]]:
        return {} if self.ann is None else {ANN: self.ann}

    @property
    def _neuron(self) -> type[Neuron]:
        return neuron_of(self.recipe.convert.neuron)

    def _ann(self, model: nn.Module) -> nn.Module:
        """Return the quantized network as it was before the spiking network of it was trained."""
        if self.ann is None:
            return model
        network = copy.deepcopy(model)
        restore(network, self.ann, source=ANN)
        return network

    def baselines(self, model: nn.Module, test: Batches, clock: Clock) -> dict[str, float | None]:
        """Measure the network of the stage before it spikes."""
        with clock.stage("float"):
            self.measured["ann"] = self._on_both(self._ann(model), test)
        of = "float" if self.recipe.chosen.bits == FLOAT else "finetuned"
        return {of: self.measured["ann"]["test"]}

    def _on_both(self, network: nn.Module, test: Batches) -> dict[str, float | None]:
        images = self.data.validation
        return {
            "validation": None if images is None else self.accuracy(network, self.data.batches(images)),
            "test": self.accuracy(network, test),
        }

    def finish(self, model: nn.Module) -> SpikingNetwork:
        self._model = model
        network = self._converted(model, self._neuron)
        return SpikingNetwork(network, record=conversion_of(network))

    def _converted(self, model: nn.Module, neuron: type[Neuron], images: Tensor | None = None) -> nn.Module:
        """Return the spiking network of a quantized one; random ``images`` take the place of the data in a sketch."""
        words = self.recipe.convert
        names = ("input_bits", "max_fraction_bits", "multiplier_bits", "tolerance", "samples")
        choices: dict[str, Any] = {n: choice for n in names if (choice := getattr(words, n)) is not None}
        # Weights that are codes keep them; the width is for those that are floats.
        choices |= {"bits": words.float_bits}
        if images is not None:
            choices |= {"correct": None}

        def spiking(grid: Grid | None) -> nn.Module:
            return convert(
                model,
                self.example() if images is None else images[:1],
                calibrate=self.data.calibration_batches() if images is None else images,
                steps=self.recipe.steps,
                neuron=neuron,
                input_grid=grid,
                seed=self.recipe.seed,
                **choices,
            )

        return self.on_pixels(spiking)

    def report_entries(
        self, spiking: SpikingNetwork, net: IntegerNetwork, test: Batches, folder: Path, clock: Clock
    ) -> dict[str, Any]:
        """Return the choices of the conversion, and what is compared between stages."""
        stage, model = self.recipe.chosen, self._model
        assert model is not None
        with clock.stage("neurons"):
            for name in NEURONS:
                if name != self.recipe.convert.neuron:
                    self.measured[name] = self._on_both(self._converted(model, neuron_of(name)), test)
        return {
            "conversion": described(spiking),
            "stage": {
                **({} if stage.name is None else {"name": stage.name}),
                "bits": stage.bits,
                "steps": self.recipe.steps,
                "neuron": self.recipe.convert.neuron,
                "start": None if self.start_of is None else self.start_of.to_dict(),
                "accuracy": self.measured,
                "tuning": self.tuning,
                "mismatch": None if stage.bits == FLOAT else self._mismatches(model),
            },
        }

    def _mismatches(self, model: nn.Module) -> dict[str, Any]:
        """Return by layer how often spike counts miss the levels, before and after the spiking network was trained.

        Both are counts of the network over time, not of its conversion, which rounds what enters it too.
        """
        batches = self.data.held_batches(self.recipe.evaluation.mismatch)

        def of(network: nn.Module, spiking: nn.Module | None) -> dict[str, Any]:
            with self.placed(network), nullcontext() if spiking is None else self.placed(spiking):
                counted = mismatch(network, batches, neuron=self._neuron, spiking=spiking)
            return {path: layer.to_dict() for path, layer in counted.items()}

        ann = self._ann(model)
        before = of(ann, None)
        # Whatever trained the spiking network, the levels that it is to have are those of the network before that.
        after = before if self.ann is None else of(ann, spiking_twin(model, neuron=self._neuron))
        return {"images": len(batches.image_set), "before": before, "after": after}

    def sketch(self, model: nn.Module, example: Tensor) -> Sketch:
        spiking = self._converted(model, self._neuron, example)
        net = lower(spiking, example[:1])
        record = conversion_of(spiking)
        return Sketch(model, record.packed(example), net, origins(spiking, net), record.graph)

    def refuse_ways(self, ways: Collection[Way]) -> None:
        raise ConstraintError(
            f"{self.recipe.name} has stages of other bits each, and 'bitspike fit' changes recipes of one network",
            fix="bitspike check RECIPE --chip CHIP lists what is broken; change stages, quantize or model.repairs",
        )

    def with_repairs(self, values: dict[str, Any], repairs: Sequence[Repair], sketch: Sketch) -> None:
        """Say none: stages are changed by hand."""


def _built(weights: Any) -> Any:
    """Return the weights argument of ``bs.quantize`` for the words of a recipe."""
    if isinstance(weights, dict):
        return {pattern: _built(choice) for pattern, choice in weights.items()}
    return weights if weights is None or isinstance(weights, str) else build(weights)


def _said(epoch: TunedEpoch) -> str:
    """Say what came of an epoch of a layer."""
    judged = "" if epoch.accuracy is None else f"  validation {epoch.accuracy:.2%}"
    kept = "" if epoch.kept else "  (taken back)"
    return f"layer {epoch.layer}/{epoch.layers} {epoch.path}, epoch {epoch.epoch}  loss {epoch.loss:.4g}{judged}{kept}"
