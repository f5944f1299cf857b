"""What may stand in a slot of the weight path, and the hooks that it may offer.

A stage is a callable from weight to weight. What else it does, it says by having a method: the training loop calls the
methods that are there and knows no stage by name. Every hook is handed the latent weight, the float master that trains.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from torch import Tensor

from bitspike.weights.codes import CodeGrid, WeightCodes


@runtime_checkable
class Stage(Protocol):
    """One step of the weight path: takes the weight that the step before gave, returns one of the same shape."""

    def __call__(self, w: Tensor, /) -> Tensor: ...


@runtime_checkable
class StagePlan(Protocol):
    """A description from which ``attach`` builds one stage per layer: its own noise, its own cells."""

    def build(self, name: str, weight: Tensor, /) -> Stage:
        """Return the stage of the layer called ``name``; ``weight`` is its master, for shape, device and values."""
        ...


@runtime_checkable
class HasProblem(Protocol):
    """A plan that does not fit every layer: ``attach`` asks all of them before it changes one."""

    def problem(self, name: str, weight: Tensor, /) -> str | None:
        """Say what keeps the plan from the layer called ``name``, and the way out; None where nothing does."""
        ...


@runtime_checkable
class Encoder(CodeGrid, Protocol):
    """A stage of the quantize slot: it also gives the integers of its weight."""

    def encode(self, w: Tensor, /) -> tuple[Tensor, Tensor]: ...


@runtime_checkable
class Recoder(Protocol):
    """A stage of the recover or prune slot that can say what it does to the codes."""

    def recode(self, codes: WeightCodes, /) -> WeightCodes: ...


@runtime_checkable
class HasCells(Protocol):
    """A stage of the recover slot with memory of its own: its master trains, and that of the path is frozen."""

    axis: int
    """The channel axis of the weight; the path sets it."""

    def cells(self) -> Tensor:
        """Return the master of the weights that train."""
        ...

    def __call__(self, w: Tensor, mask: Tensor | None = None, /) -> Tensor: ...
    def recode(self, codes: WeightCodes, mask: Tensor | None = None, /) -> WeightCodes | None: ...


@runtime_checkable
class HasMask(Protocol):
    """A stage of the prune slot that chooses by the master of what trains which weights stay."""

    axis: int
    """The channel axis of the weight; the path sets it."""

    def __call__(self, w: Tensor, /) -> Tensor: ...

    def mask(self, master: Tensor, /) -> Tensor: ...


@runtime_checkable
class HasChip(Protocol):
    """A stage of the vary slot that can be one chip, whose levels are codes while ``on_chip`` is true."""

    @property
    def on_chip(self) -> bool: ...
    def __call__(self, w: Tensor, /) -> Tensor: ...
    def recode(self, codes: WeightCodes, /) -> WeightCodes: ...
    def as_chip(self, seed: int, weight: Tensor, resolution: int | None, /) -> AbstractContextManager[None]: ...


@runtime_checkable
class HasPenalty(Protocol):
    """A stage that adds a term to the loss; of a prune stage the argument is the master of what trains."""

    def penalty(self, latent: Tensor, /) -> Tensor: ...


@runtime_checkable
class HasAfterStep(Protocol):
    """A stage that acts after each step of the optimizer."""

    def after_step(self, latent: Tensor, /) -> None: ...


@runtime_checkable
class HasAfterEpoch(Protocol):
    """A stage that acts after each epoch."""

    def after_epoch(self, latent: Tensor, /) -> None: ...


@runtime_checkable
class FollowsObjective(Protocol):
    """A stage that decides after each epoch, by the sum of all that was minimized in it: losses and penalties."""

    def after_objective(self, latent: Tensor, objective: float, /) -> None: ...


@runtime_checkable
class SlowsLearning(Protocol):
    """A stage that wants all learning rates of the network times a factor in (0, 1]."""

    @property
    def learning_rate_factor(self) -> float: ...


@runtime_checkable
class ChannelPlan(Protocol):
    """A description whose stages also need to know along which axis of the weight the output channels lie."""

    per_channel: bool

    def build(self, name: str, weight: Tensor, axis: int, /) -> Stage: ...
