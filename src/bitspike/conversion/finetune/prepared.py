"""The network that is fine-tuned: a plain module that knows which graph, clips and groups of layers it stands for."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from bitspike.conversion.calibrate.entering import Seen
from bitspike.conversion.calibrate.find import Calibration
from bitspike.conversion.finetune.shared_step import SharedStep
from bitspike.conversion.settings import Settings
from bitspike.errors import ConstraintError
from bitspike.graph.ir import Graph
from bitspike.graph.shown import ShownNetwork
from bitspike.nn.clip_floor_shift import ClipFloorShift
from bitspike.ops.precision import single
from bitspike.ops.wrappers import strip_prefixes, unwrapped
from bitspike.patterns import Patterns
from bitspike.weights import WeightCodes, detach, weight_codes
from bitspike.weights.path import path_of
from bitspike.weights.scales import ScaleRule


class Prepared(ShownNetwork, nn.Module):
    """A network that is ready to be fine-tuned: takes what the original takes, returns what it returned.

    :func:`~bitspike.conversion.finetune.prepare.prepare` makes it, a plain module with a plain state_dict; convert it
    when the training is over.

    Attributes:
        network: the module that runs.
        settings: steps and the other choices that the weights were prepared for; its bits name every layer.
        calibration: where the clips started.
        entering: what calibration saw of what enters the region, by id: the input's grid is made of it.
        include, exclude: the patterns of the region.
        scale: the rule that reads the steps of the weights; None is the usual one of their bits.
        folded: the graph without norms, whose modules are trained.
        region: ids of the operations that become spiking.
        activations: by id of the operation that becomes the neuron.
        sums: where currents and skips meet, by id.
        brought: notes on the network as it came.
    """

    def __init__(
        self,
        network: nn.Module,
        graph: Graph,
        settings: Settings,
        calibration: Calibration,
        activations: Mapping[str, ClipFloorShift],
        groups: Sequence[SharedStep],
        *,
        region: Collection[str],
        sums: Mapping[str, nn.Module],
        entering: Mapping[str, Seen],
        include: Patterns | None = None,
        exclude: Patterns = (),
        scale: ScaleRule | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.calibration, self.entering = calibration, dict(entering)
        self.include, self.exclude, self.scale = include, exclude, scale
        self.folded, self.region = graph, frozenset(region)
        self.activations, self.sums = dict(activations), dict(sums)
        self.brought: tuple[str, ...] = ()
        self._groups = tuple(groups)

    def forward(self, *inputs: Tensor) -> object:
        return self.network(*map(single, inputs))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, metadata: Any, strict: bool, *more: Any
    ) -> None:
        strip_prefixes(self._modules, state_dict, prefix)
        if state_dict and not any(key.startswith(f"{prefix}network.") for key in state_dict):
            more[-1].append(
                "the state is not that of a prepared network, in which norms are folded into weights.\n\t"
                "  fix: load it into the network that is prepared, and prepare that"
            )
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, *more)

    def lambdas(self) -> dict[str, Tensor]:
        """Return the learned lambdas, float64 [1] or [C], by id of the operation that becomes the neuron."""
        return {id: a.threshold().detach().double().reshape(-1).cpu() for id, a in self.activations.items()}

    def codes(self) -> dict[str, WeightCodes]:
        """Return the weight codes as they stand, by module path."""
        codes = {path: weight_codes(module) for path, module in self.folded.modules.items()}
        return {path: own for path, own in codes.items() if own is not None}

    def graph(self) -> Graph:
        """Return the folded graph with copies of the weights as they stand: the values of the codes, exactly."""
        modules = {
            path: module if path_of(module) is None else detach(copy.deepcopy(module))
            for path, module in self.folded.modules.items()
        }
        return Graph(self.folded.ops, modules, self.folded.model)

    def notes(self) -> list[str]:
        """Return what capture and calibration noted; W203 for every branch that uses few of the levels it shares."""
        names = {id(module): path for path, module in self.folded.modules.items()}
        notes = [*self.brought, *self.calibration.notes]
        for group in self._groups:
            for member, reach in zip(group.members, group.reaches(), strict=True):
                if reach < 0.5:
                    notes.append(
                        f"W203: {names[id(member.layer)]} uses {reach:.0%} of the levels that it shares with the other "
                        "branches of its sum; more bits for it would help"
                    )
        return notes


def prepared_of(model: nn.Module, verb: str) -> Prepared:
    """Return a prepared network without what training has put around it; anything else is refused."""
    model = unwrapped(model)
    if not isinstance(model, Prepared):
        raise ConstraintError(
            f"bs.{verb} takes a network that bs.prepare has returned, found {type(model).__name__}",
            fix=f"bs.{verb}(bs.prepare(model, ...), ...), after the prepared network was trained",
        )
    return model
