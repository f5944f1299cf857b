"""A run of kind ``convert``: a network of the user's own, fine-tuned where the recipe says so, and converted."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bitspike.analysis.ledger.analyze import analyze
from bitspike.conversion.convert import convert, finish
from bitspike.conversion.finetune.over_time import over_time
from bitspike.conversion.finetune.prepare import prepare
from bitspike.conversion.finetune.prepared import Prepared
from bitspike.conversion.finetune.shared_step import Within, default_scale
from bitspike.conversion.mixed.variants import Variants, variants_of
from bitspike.conversion.region.choose import one_side
from bitspike.conversion.result import conversion_of
from bitspike.data import Batches
from bitspike.errors import RecipeError
from bitspike.hardware.chips.check import check
from bitspike.hardware.chips.plan_repairs import Repair
from bitspike.integer.network import IntegerNetwork
from bitspike.lowering.lower import lower
from bitspike.ops.grids import Grid
from bitspike.recipe.kinds.convert import ConvertRecipe
from bitspike.runs.construct.factory import build_network, comes_trained
from bitspike.runs.construct.weights_file import find_chip
from bitspike.runs.construct.words import build, build_conversion
from bitspike.runs.converting import Converting, described, origins
from bitspike.runs.kinds.kind import Sketch, SpikingNetwork, repair_values
from bitspike.runs.stages import Clock
from bitspike.train.checkpoint import state_of
from bitspike.weights import Uniform, attach, detach

_OF_CAPTURE = ("threshold", "frontend", "keep_real")
"""Choices of a conversion that were settled when the network was prepared for fine-tuning."""
_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)


@dataclass(eq=False)
class Converted(Converting):
    """A network of the user's own, fine-tuned where the recipe says so, and converted."""

    recipe: ConvertRecipe
    float_network: nn.Module | None = field(default=None, init=False)
    """The network before any fine-tuning."""

    def build(self, *, weights: bool = True) -> nn.Module:
        return build_network(self.recipe, weights=weights)

    def start(self, *, weights: bool = True) -> nn.Module:
        tuning = self.recipe.finetune
        if weights and tuning is None and not self._has_weights():
            raise RecipeError(
                "model.weights is null, the factory draws its weights at random, and nothing is trained: there would "
                "be a network of random weights to convert",
                fix="--set model.weights=FILE, a factory that loads its weights, or a finetune section",
            )
        self.float_network = network = self.build(weights=weights)
        if tuning is None or not tuning.quantized:
            return network
        prepared = self._prepared(network)
        return prepared if tuning.quantized is True else self._coded(network, prepared)

    def _has_weights(self) -> bool:
        """Tell whether the float network has weights worth converting before any training."""
        return self.recipe.model.weights is not None or comes_trained(self.recipe)

    def _prepared(self, network: nn.Module) -> Prepared:
        choices, tuning = self._choices(network), self.recipe.finetune
        rule = choices.pop("threshold", None)
        choices["steps"] = (tuning and tuning.steps) or choices["steps"]
        return prepare(
            network,
            self.example(),
            calibrate=self.data.calibration_batches(),
            # A clip learns one threshold for a whole layer; rules by pattern are for the conversion alone.
            rule=None if isinstance(rule, dict) else rule,
            seed=self.recipe.seed,
            **{name: choice for name, choice in choices.items() if name in inspect.signature(prepare).parameters},
        )

    def _coded(self, network: nn.Module, prepared: Prepared) -> nn.Module:
        """Return a copy of a float network whose weights are the codes that a prepared one has; its norms stay."""
        result, c = copy.deepcopy(network), self.recipe.convert
        bits = prepared.settings.bits
        assert not isinstance(bits, int), "prepare names the bits of every layer"
        for path, module in list(result.named_modules()):
            if path not in bits or not isinstance(module, _LAYERS):
                continue
            per_channel = c.per_channel and not isinstance(module, nn.modules.conv._ConvTransposeNd)
            rule = default_scale(bits[path]) if c.scale is None else Within(build(c.scale))
            attach(module, quantize=Uniform(bits[path], per_channel=per_channel, scale=rule))
        return result

    def in_training(self, model: nn.Module, section: str) -> nn.Module:
        return self._over_time(model) if section == "over_time" else model

    def _over_time(self, model: nn.Module) -> nn.Module:
        assert isinstance(model, Prepared)
        return over_time(model, neuron=self._choices(model)["neuron"])

    def weights(self, model: nn.Module) -> dict[str, dict[str, Tensor]]:
        decoded = self._decoded(model)
        return {} if decoded is None else {"decoded.safetensors": state_of(decoded)}

    def _decoded(self, model: nn.Module) -> nn.Module | None:
        """Return an ordinary network whose weights were trained as codes, with the real values of the codes."""
        tuning = self.recipe.finetune
        coded = tuning is not None and tuning.quantized == "weights"
        return detach(copy.deepcopy(model)) if coded else None

    def baselines(self, model: nn.Module, test: Batches, clock: Clock) -> dict[str, float | None]:
        """Measure the float network, and the fine-tuned one.

        A float network that was neither given weights nor trained has no accuracy worth telling.
        """
        accuracies: dict[str, float | None] = {"float": None}
        tuning = self.recipe.finetune
        with clock.stage("float"):
            if tuning is None or not tuning.quantized:
                accuracies["float"] = self.accuracy(model, test)
            else:
                if self.float_network is not None and self._has_weights():
                    accuracies["float"] = self.accuracy(self.float_network, test)
                timed = self.recipe.over_time is not None
                accuracies["finetuned"] = self.accuracy(self._over_time(model) if timed else model, test)
        return accuracies

    def finish(self, model: nn.Module) -> SpikingNetwork:
        choices = self._choices(model if self.float_network is None else self.float_network)

        def spiking(grid: Grid | None) -> nn.Module:
            example, data = self.example(), self.data.calibration_batches()
            if isinstance(model, Prepared):
                known = {name: choice for name, choice in choices.items() if name not in _OF_CAPTURE}
                return finish(model, example, data=data, input_grid=grid, **known)
            decoded = self._decoded(model)
            network = model if decoded is None else decoded
            return convert(network, example, calibrate=data, input_grid=grid, seed=self.recipe.seed, **choices)

        network = self.on_pixels(spiking)
        return SpikingNetwork(network, record=conversion_of(network))

    def sketch(self, model: nn.Module, example: Tensor) -> Sketch:
        # Random images and weights have nothing to correct by.
        choices = self._choices(model) | {"calibrate": example, "seed": self.recipe.seed, "correct": None}
        spiking = self.on_pixels(lambda grid: convert(model, example[:1], input_grid=grid, **choices))
        net = lower(spiking, example[:1])
        record = conversion_of(spiking)
        return Sketch(model, record.packed(example), net, origins(spiking, net), record.graph)

    def _choices(self, network: nn.Module) -> dict[str, Any]:
        """Return the arguments of ``bs.convert`` for a float network; bits that were fine-tuned are kept."""
        choices, tuning = build_conversion(self.recipe.convert), self.recipe.finetune
        if tuning is not None and tuning.quantized and tuning.bits is not None:
            choices["bits"] = tuning.bits
        if isinstance(choices["bits"], dict):
            # Recipes that were fitted to a chip name a repaired layer twice: as it was, and as a repair may call it.
            layers = {path for path, module in network.named_modules() if isinstance(module, _LAYERS)}
            names = {f"{repair.path}{end}" for repair in self.recipe.model.repairs for end in ("", ".layers", ".parts")}
            choices["bits"] = {name: bits for name, bits in choices["bits"].items() if name not in names - layers}
        return choices

    def on_pixels(self, spiking: Callable[[Grid | None], nn.Module], *, whole: bool = True) -> nn.Module:
        c = self.recipe.convert
        return super().on_pixels(spiking, whole=whole and c.include is None and not c.exclude and not c.keep_real)

    def stops_anywhere(self, spiking: SpikingNetwork) -> bool:
        # Layerwise, the read-out waits for the last layer.
        return self.recipe.convert.schedule == "synchronous" and super().stops_anywhere(spiking)

    @contextmanager
    def at_steps(self, spiking: SpikingNetwork, steps: int) -> Iterator[nn.Module]:
        """Stop the run after ``steps`` steps; a layerwise network, whose layers wait in turn, is converted anew."""
        if self.recipe.convert.schedule == "layerwise":
            assert spiking.record is not None
            yield spiking.record.build(steps=steps)
            return
        with super().at_steps(spiking, steps) as network:
            yield network

    def report_entries(
        self, spiking: SpikingNetwork, net: IntegerNetwork, test: Batches, folder: Path, clock: Clock
    ) -> dict[str, Any]:
        """Return the choices of the conversion, the verdict of the chip and the ledger of errors."""
        entries = {"conversion": described(spiking)}
        if self.recipe.chip is not None:
            entries["chip"] = check(net, find_chip(self.recipe.chip, self.recipe.model.folder)).to_dict()
        if self.recipe.analysis is not None:
            with clock.stage("analyze"):
                ledger = analyze(
                    spiking.network,
                    test,
                    samples=self.recipe.analysis.samples,
                    seed=self.recipe.seed,
                    task=self.data.test.task,
                    name=self.recipe.name,
                )
                ledger.write(folder / "ledger")
            entries["ledger"] = ledger.to_dict()
        return entries

    def with_repairs(self, values: dict[str, Any], repairs: Sequence[Repair], sketch: Sketch) -> dict[str, Any]:
        width = values["convert"]["bits"]
        widths = dict(width) if isinstance(width, dict) else {"*": width}
        tuning = self.recipe.finetune
        for repair in repairs:
            at = sketch.layers.get(repair.path, repair.path)
            if repair.kind == "real":
                assert sketch.graph is not None
                values["convert"]["exclude"] = [*values["convert"]["exclude"], *one_side(sketch.graph, at)]
                continue
            widths[at] = repair.bits
            if repair.kind != "bits":
                values["model"]["repairs"].append(repair_values(repair, at))
                # Repairs put other modules in the layer's place: a shuffle may come before a grouped layer, and the
                # sum of the parts has no weights to narrow.
                widths[f"{at}.parts" if repair.kind == "split" else f"{at}.layers"] = repair.bits
            if repair.kind == "split" and (tuning is None or tuning.quantized is not True):
                # Partial sums of one output differ in size, and only what adds them reads their values.
                rules = values["convert"]["threshold"]
                rules = {} if rules is None else {"*": rules} if "kind" in rules else rules
                values["convert"]["threshold"] = rules | {f"{at}.neurons": {"kind": "mse", "per_channel": True}}
        values["convert"]["bits"] = widths
        if values["finetune"] is not None and values["finetune"]["bits"] is not None:
            values["finetune"]["bits"] = widths
        return values

    def variants(self) -> Variants:
        if not self._has_weights():
            raise RecipeError(
                "model.weights is null and the factory draws its weights at random: bits per layer are found on a "
                "network that is trained",
                fix="--set model.weights=FILE, such as the model.safetensors of a run of this recipe",
            )
        c = self.recipe.convert
        return variants_of(self._prepared(self.build()), first=c.first_bits is None, last=c.last_bits is None)

    def with_bits(self, values: dict[str, Any], bits: Mapping[str, int], steps: int) -> dict[str, Any]:
        width = values["convert"]["bits"]
        widths = {**(width if isinstance(width, dict) else {"*": width}), **bits}
        values["convert"] |= {"bits": widths, "steps": steps}
        if values["finetune"] is not None:
            values["finetune"] |= {"bits": None, "steps": None}  # those of the conversion
        return values
