"""The one path of a weight: quantize, vary, recover, prune, always in this order."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bitspike.errors import ConstraintError
from bitspike.weights.codes import WeightCodes, masked, on_grid
from bitspike.weights.schemes import Scheme
from bitspike.weights.stage import (
    ChannelPlan,
    Encoder,
    FollowsObjective,
    HasAfterEpoch,
    HasAfterStep,
    HasCells,
    HasChip,
    HasMask,
    HasPenalty,
    Recoder,
    SlowsLearning,
    Stage,
    StagePlan,
)

SLOTS = ("quantize", "vary", "recover", "prune")


@dataclass(frozen=True)
class Quantize:
    """A scheme as a stage: it knows along which axis of its weight the channels lie."""

    scheme: Scheme
    axis: int

    @property
    def bits(self) -> int:
        """Width of one code."""
        return self.scheme.bits

    @property
    def low(self) -> int:
        """The smallest code."""
        return self.scheme.low

    @property
    def high(self) -> int:
        """The largest code."""
        return self.scheme.high

    @property
    def levels(self) -> tuple[int, ...] | None:
        """All codes, or None where every integer between is one."""
        return self.scheme.levels

    def __call__(self, w: Tensor) -> Tensor:
        return self.scheme.quantize(w, self.axis)

    def encode(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes and scale."""
        return self.scheme.encode(w, self.axis)

    def __repr__(self) -> str:
        return repr(self.scheme)


class WeightPath(nn.Module):
    """Carry a latent float weight through its four slots; each may be empty.

        weight = prune(recover(vary(quantize(latent))))

    Registered by ``attach`` with ``torch.nn.utils.parametrize``. The latent weight is the parameter that trains; it
    keeps its identity, so an optimizer made before or after ``attach`` finds it, and its key in the state_dict
    is ``parametrizations.weight.original``. Assigning ``layer.weight = w`` sets the latent weight.

    Where the recover stage has memory of its own, that trains instead: the latent weight is frozen, and what the prune
    stage leaves out are weights of that memory.

    Args:
        axis: the channel axis of the weight.
    """

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.quantize: Stage | None = None
        self.vary: Stage | None = None
        self.recover: Stage | None = None
        self.prune: Stage | None = None
        self.trained = False
        """Whether the latent weight trained before it was frozen."""

    def stages(self) -> Iterator[tuple[str, Stage]]:
        """Yield the filled slots in order."""
        for slot in SLOTS:
            if (stage := getattr(self, slot)) is not None:
                yield slot, stage

    def fill(self, slot: str, choice: Scheme | StagePlan | Stage, name: str, weight: Tensor) -> None:
        """Put a stage of this layer's own into an empty slot."""
        setattr(self, slot, _stage(choice, self.axis, name, weight))

    @property
    def freezes(self) -> bool:
        """Whether the latent weight does not train."""
        return isinstance(self.recover, HasCells)

    def cells(self, latent: Tensor) -> Tensor:
        """Return the master of the weights that train."""
        return self.recover.cells() if isinstance(self.recover, HasCells) else latent

    def mask(self, latent: Tensor) -> Tensor | None:
        """Return which of the weights that train stay; None where nothing is masked."""
        return self.prune.mask(self.cells(latent)) if isinstance(self.prune, HasMask) else None

    def forward(self, latent: Tensor) -> Tensor:
        return self._weight(latent, vary=True)

    def _weight(self, latent: Tensor, *, vary: bool) -> Tensor:
        w = latent if self.quantize is None else self.quantize(latent)
        if vary and self.vary is not None:
            w = self.vary(w)
        mask = self.mask(latent)
        if isinstance(self.recover, HasCells):
            w, mask = self.recover(w, mask), None
        elif self.recover is not None:
            w = self.recover(w)
        if mask is not None:
            return w * mask
        return w if self.prune is None or isinstance(self.prune, HasMask) else self.prune(w)

    def right_inverse(self, w: Tensor) -> Tensor:
        """Return the latent weight for a weight that is assigned: the weight itself."""
        return w

    def ideal(self, latent: Tensor) -> Tensor:
        """Return the weight without device variation."""
        return self._weight(latent, vary=False)

    @property
    def on_chip(self) -> bool:
        """Whether the weight is that of one chip, whose levels are codes."""
        return isinstance(self.vary, HasChip) and self.vary.on_chip

    @torch.no_grad()
    def codes(self, latent: Tensor, where: str, *, chip: bool = False) -> WeightCodes | None:
        """Return the integers of the weight; None with an empty quantize slot, or where a sum has no grid.

        Device variation is left out; with ``chip`` the levels of a chip are the codes, where they are on a grid.
        """
        ideal = self.ideal_codes(latent, where)
        return None if ideal is None else self.recoded(ideal, latent, where, chip=chip)

    @torch.no_grad()
    def ideal_codes(self, latent: Tensor, where: str) -> WeightCodes | None:
        """Return the integers of the quantized weight alone; None with an empty quantize slot."""
        stage = self.quantize
        if stage is None:
            return None
        if not isinstance(stage, Encoder):
            raise ConstraintError(
                f"{where}: the quantize stage {type(stage).__name__} lacks encode(w), so it has no codes",
                fix="a scheme such as Uniform(bits=4), or a stage with encode, bits, low, high and levels",
            )
        return on_grid(stage, *stage.encode(latent), self.axis)

    @torch.no_grad()
    def recoded(self, ideal: WeightCodes, latent: Tensor, where: str, *, chip: bool) -> WeightCodes | None:
        """Return the integers that the slots after the first one make of those of the quantized weight."""
        result = ideal
        if chip and isinstance(self.vary, HasChip) and self.vary.on_chip:
            result = self.vary.recode(result)
        mask = self.mask(latent)
        if isinstance(self.recover, HasCells):
            total = self.recover.recode(result, mask)
            if total is None:
                return None
            result, mask = total, None
        if mask is not None:
            result = masked(result, mask)
        for slot, later in self.stages():
            if slot in ("recover", "prune") and not isinstance(later, HasCells | HasMask):
                if not isinstance(later, Recoder):
                    raise ConstraintError(
                        f"{where}: the {slot} stage {type(later).__name__} changes the weight but not its codes: "
                        "it lacks recode(codes)",
                        fix=f"give {type(later).__name__} a method recode(codes) that returns the changed WeightCodes",
                    )
                result = later.recode(result)
        return result

    def penalties(self, latent: Tensor) -> list[Tensor]:
        """Return the terms that the stages add to the loss."""
        stages = [(slot, stage) for slot, stage in self.stages() if isinstance(stage, HasPenalty)]
        return [stage.penalty(self.cells(latent) if slot == "prune" else latent) for slot, stage in stages]

    def after_step(self, latent: Tensor) -> None:
        """Tell the stages that the optimizer has made a step."""
        for _, stage in self.stages():
            if isinstance(stage, HasAfterStep):
                stage.after_step(latent)

    def after_epoch(self, latent: Tensor, objective: float | None = None) -> None:
        """Tell the stages that an epoch is over, and what its objectives add up to."""
        for slot, stage in self.stages():
            if isinstance(stage, HasAfterEpoch):
                stage.after_epoch(latent)
            if isinstance(stage, FollowsObjective):
                if not isinstance(objective, int | float) or not math.isfinite(objective):
                    raise ConstraintError(
                        f"after_epoch(objective={objective!r}): {slot}={stage!r} decides by the sum of what was "
                        "minimized in the epoch, a finite number",
                        fix="after_epoch(model, objective=S), S the sum over batches of loss + bs.penalties(model)",
                    )
                stage.after_objective(latent, objective)

    @property
    def learning_rate_factor(self) -> float:
        """The factor on learning rates that the stages want, the smallest."""
        return min([1.0, *(s.learning_rate_factor for _, s in self.stages() if isinstance(s, SlowsLearning))])

    def extra_repr(self) -> str:
        return ", ".join(f"{slot}={stage!r}" for slot, stage in self.stages() if not isinstance(stage, nn.Module))


def _stage(choice: Scheme | StagePlan | Stage, axis: int, name: str, weight: Tensor) -> Stage:
    if isinstance(choice, Scheme):
        return Quantize(choice, axis)
    if isinstance(choice, ChannelPlan):
        return choice.build(name, weight, axis)
    if isinstance(choice, StagePlan):
        stage = choice.build(name, weight)
        if isinstance(stage, HasCells | HasMask):
            stage.axis = axis
        return stage
    return copy.deepcopy(choice)  # one per layer: what it learns about one weight is not for another


def plain_name(name: str) -> str:
    """Return the name of a state's entry without the weight path; other names stay.

    Example:
        >>> plain_name("a.parametrizations.weight.original"), plain_name("a.parametrizations.weight.0.quantize.clip")
        ('a.weight', 'a.parametrizations.weight.0.quantize.clip')
    """
    return re.sub(r"(^|\.)parametrizations\.(\w+)\.original$", r"\1\2", name)


def path_of(module: nn.Module, tensor: str = "weight") -> tuple[WeightPath, Tensor] | None:
    """Return the path of a layer's tensor and its latent parameter; None where it has no path."""
    if not parametrize.is_parametrized(module, tensor):
        return None
    steps = cast(parametrize.ParametrizationList, module.parametrizations[tensor])  # type: ignore[index]
    return (steps[0], steps.original) if isinstance(steps[0], WeightPath) else None


def paths(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, WeightPath, Tensor]]:
    """Yield for every weight path of a model: name and module of the layer, ``weight`` or ``bias``, path, master."""
    for name, module in model.named_modules():
        for tensor in ("weight", "bias"):
            if (path_and_latent := path_of(module, tensor)) is not None:
                yield name, module, tensor, *path_and_latent
