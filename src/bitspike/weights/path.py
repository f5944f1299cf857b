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
from bitspike.weights.codes import WeightCodes
from bitspike.weights.schemes import Scheme
from bitspike.weights.stage import (
    ChannelPlan,
    Encoder,
    FollowsObjective,
    HasAfterEpoch,
    HasAfterStep,
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

    def stages(self) -> Iterator[tuple[str, Stage]]:
        """Yield the filled slots in order."""
        for slot in SLOTS:
            if (stage := getattr(self, slot)) is not None:
                yield slot, stage

    def fill(self, slot: str, choice: Scheme | StagePlan | Stage, name: str, weight: Tensor) -> None:
        """Put a stage of this layer's own into an empty slot."""
        setattr(self, slot, _stage(choice, self.axis, name, weight))

    def forward(self, latent: Tensor) -> Tensor:
        w = latent
        for _, stage in self.stages():
            w = stage(w)
        return w

    def right_inverse(self, w: Tensor) -> Tensor:
        """Return the latent weight for a weight that is assigned: the weight itself."""
        return w

    def ideal(self, latent: Tensor) -> Tensor:
        """Return the weight without device variation."""
        w = latent
        for slot, stage in self.stages():
            w = w if slot == "vary" else stage(w)
        return w

    @torch.no_grad()
    def codes(self, latent: Tensor, where: str) -> WeightCodes | None:
        """Return the integers of the weight, device variation left out; None with an empty quantize slot."""
        stage = self.quantize
        if stage is None:
            return None
        if not isinstance(stage, Encoder):
            raise ConstraintError(
                f"{where}: the quantize stage {type(stage).__name__} lacks encode(w), so it has no codes",
                fix="a scheme such as Uniform(bits=4), or a stage with encode, bits, low, high and levels",
            )
        codes, scale = stage.encode(latent)
        least, most = (int(x) for x in codes.aminmax()) if codes.numel() else (0, 0)
        # Only an unclamped grid can be left; its codes then need the width of what is really there.
        inside = stage.low <= least and most <= stage.high
        bits = stage.bits if inside else max(most, -least - 1).bit_length() + 1
        low, high = min(least, stage.low), max(most, stage.high)
        result = WeightCodes(codes, scale.double(), bits, stage.levels, low, high, repr(stage), self.axis)
        for slot, later in self.stages():
            if slot in ("recover", "prune"):
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
        return [stage.penalty(latent) for _, stage in self.stages() if isinstance(stage, HasPenalty)]

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
                if objective is None or not math.isfinite(objective):
                    raise ConstraintError(
                        f"after_epoch(objective={objective}): {slot}={stage!r} decides by the sum of what was "
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
        return choice.build(name, weight)
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
