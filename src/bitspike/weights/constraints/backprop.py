"""Constrained backpropagation as a stage of the weight path: trained weights end on a few levels."""

from __future__ import annotations

import math
import struct
from dataclasses import KW_ONLY, dataclass, field

import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.ops.rounding import straight_through
from bitspike.weights.constraints.multipliers import raise_multiplier
from bitspike.weights.constraints.sawtooth import nearest_code, sawtooth, weighed_sum
from bitspike.weights.constraints.schedule import Standing
from bitspike.weights.scales import MeanAbs, ScaleRule
from bitspike.weights.schemes.base import exact_step, need_finite, wide

LARGEST_LEVEL = 2**14


@checked
@dataclass(frozen=True)
class Constrained:
    """Train weights onto levels: a penalty with a multiplier per weight, in a free window that closes.

        w_q = nearest level;   minimized: loss(w_q) + sum over weights of multiplier * cs(w, g)

    The layer computes with ``w_q`` at all times, and the gradient of the loss reaches ``w`` as if nothing were rounded.
    ``cs`` is the distance to the nearest level, 0 in a window around the middle between two levels
    (:mod:`bitspike.weights.constraints.sawtooth`). After an epoch in which the sum of what is minimized rose, or after
    ``patience`` epochs, the window closes a little and the multipliers of all weights off their levels rise by about
    ``multiplier_lr``: g = 1, 2, ..., 10, 20, 30, ... From g = 20 on all learning rates are ``late_lr`` times as large.
    The papers train 200 epochs and more. In a training of few epochs the window has to be nearly closed, and the
    multipliers large, long before the end: ``patience=1`` and several ``closings`` see to it.

    The scale is read from the weights once, when the stage is attached, and is a constant from then on: load trained
    weights first. The outermost level is worth the scale. Usual levels, and what the papers call them:

        (-1, 1)              binary             (-2, -1, 0, 1, 2)            one-bit shift
        (-1, 0, 1)           ternary            (-4, -2, -1, 0, 1, 2, 4)     two-bit shift

    First and last layers usually stay as they are: ``attach(model, quantize=Constrained(), skip=["conv1", "fc"])``.
    ``bs.fit`` does the rest. In a loop of your own add ``bs.penalties(model)`` to the loss, and call
    ``bs.weights.after_step(model)`` after each step and ``bs.weights.after_epoch(model, objective=S)`` after each
    epoch, S being the sum of what was minimized; ``bs.weights.learning_rate_factor(model)`` is due on every learning
    rate. Scale, multipliers with their moments, window and schedule are part of the state_dict.

    Args:
        levels: codes, whole numbers in ascending order, at least two.
        per_channel: one scale per output channel instead of one per layer.
        scale: reads from the weights how far the outermost level reaches.
        multiplier_lr: about how much a multiplier rises at once, above 0.
        patience: epochs after which the window closes also while the objective falls, at least 1.
        closings: how often the window closes a little, and the multipliers rise, each time they do; at least 1.
        late_lr: factor on all learning rates once g is 20, above 0 and at most 1.
        limit: weights are kept within +-limit after each step; None is 1, or 1.5 times the scale where that is more.

    Raises:
        ConstraintError: a value outside what is allowed.

    Source: Kim and Jeong, NeurIPS 2021, arXiv 2110.02550; for spiking networks Yoo and Jeong, IEEE JETCAS 13(4), 2023.

    Example:
        >>> from bitspike.weights import attach, codes
        >>> layer = nn.Linear(4, 1)
        >>> layer.weight.data = torch.tensor([[-0.5, -0.1, 0.2, 0.8]])
        >>> codes(attach(layer, quantize=Constrained((-1, 0, 1))))[""].codes.tolist()  # the scale is 0.4
        [[-1, 0, 1, 1]]
    """

    levels: tuple[int, ...] = (-1, 1)
    _: KW_ONLY
    per_channel: bool = False
    scale: ScaleRule = field(default_factory=MeanAbs)
    multiplier_lr: float = 1e-3
    patience: int = 20
    closings: int = 1
    late_lr: float = 0.1
    limit: float | None = None

    def __post_init__(self) -> None:
        levels = tuple(self.levels)
        whole = all(isinstance(c, int) and not isinstance(c, bool) and abs(c) <= LARGEST_LEVEL for c in levels)
        if not whole or len(levels) < 2 or list(levels) != sorted(set(levels)):
            raise ConstraintError(
                f"Constrained(levels={self.levels!r}): two or more whole numbers in ascending order are needed, up to "
                f"{LARGEST_LEVEL} in size",
                fix="Constrained((-1, 0, 1)) for ternary weights, Constrained((-1, 1)) for binary ones",
            )
        object.__setattr__(self, "levels", levels)
        for name, ok, allowed, way in (
            ("multiplier_lr", 0 < self.multiplier_lr < math.inf, "a number above 0", "1e-3"),
            ("patience", isinstance(self.patience, int) and self.patience >= 1, "a whole number from 1", "20"),
            ("closings", isinstance(self.closings, int) and self.closings >= 1, "a whole number from 1", "1"),
            ("late_lr", 0 < self.late_lr <= 1, "a factor above 0, at most 1", "0.1"),
            ("limit", self.limit is None or self.limit > 0, "a number above 0, or None", "None"),
        ):
            if not ok:
                said = f"Constrained({name}={getattr(self, name)!r}): {allowed} is needed"
                raise ConstraintError(said, fix=f"{name}={way}")

    @property
    def bits(self) -> int:
        """Bits that tell the levels apart."""
        return (len(self.levels) - 1).bit_length()

    @property
    def low(self) -> int:
        """The smallest code."""
        return self.levels[0]

    @property
    def high(self) -> int:
        """The largest code."""
        return self.levels[-1]

    @property
    def reach(self) -> int:
        """The largest magnitude of a code, which is worth the scale."""
        return max(abs(self.low), abs(self.high))

    def build(self, name: str, weight: Tensor, axis: int = 0) -> ConstrainedWeight:
        """Return the stage of the layer called ``name``, its scale read from ``weight``."""
        return ConstrainedWeight(self, name, weight, axis)


class ConstrainedWeight(nn.Module):
    """The quantize stage of one layer that :class:`Constrained` describes; it holds scale, multipliers and schedule.

    Args:
        plan: the description.
        name: of the layer, for messages.
        weight: its trained weights.
        axis: their channel axis.

    Raises:
        ConstraintError: a weight is not finite, or ``limit`` lies below the outermost level.

    Shape: any, to the same; computed in at least single precision and returned in the dtype of the weight.
    """

    step: Tensor
    multiplier: Tensor
    first_moment: Tensor
    second_moment: Tensor
    schedule: Tensor

    def __init__(self, plan: Constrained, name: str, weight: Tensor, axis: int) -> None:
        super().__init__()
        self.plan, self.name = plan, name
        # Updates, window, epochs, and the bits of the last objective: whole numbers stay what they are in any dtype.
        self.register_buffer("schedule", torch.zeros(4, dtype=torch.int64, device=weight.device))
        self._read: tuple[Tensor | None, int | None, Standing | None] = (None, None, None)
        with torch.no_grad():
            self.standing = Standing()
            w = wide(weight)
            need_finite(w, self._said("a weight"))
            self.register_buffer("step", self._step(w, axis))
            for kind in ("multiplier", "first_moment", "second_moment"):
                self.register_buffer(kind, torch.zeros_like(w))
            if plan.limit is not None and (self.step * plan.reach > plan.limit).any():
                raise ConstraintError(
                    f"Constrained(limit={plan.limit}): {self._said('the outermost level')} is "
                    f"{float(self.step.max()) * plan.reach:g}, which no weight could reach",
                    fix="limit=None, which is 1.5 times the scale where that is more than 1",
                )
            self._raise_multipliers(w)  # of the weights beyond the outermost levels

    @property
    def bits(self) -> int:
        """Width of one code."""
        return self.plan.bits

    @property
    def low(self) -> int:
        """The smallest code."""
        return self.plan.low

    @property
    def high(self) -> int:
        """The largest code."""
        return self.plan.high

    @property
    def levels(self) -> tuple[int, ...] | None:
        """All codes, or None where every integer between is one."""
        levels = self.plan.levels
        return None if len(levels) == self.high - self.low + 1 else levels

    def forward(self, w: Tensor) -> Tensor:
        with torch.no_grad():
            value = (self._codes(wide(w)) * self.step).to(w.dtype)
        return straight_through(value, w)

    def encode(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes, int64 of the shape of ``w``, and their scale, [1] or [channels].

        Raises:
            ConstraintError: a weight is NaN or infinite.
        """
        with torch.no_grad():
            need_finite(w, self._said("a weight"))
            codes = self._codes(wide(w))
        return codes.to(torch.int64), self.step.reshape(-1)

    def penalty(self, latent: Tensor) -> Tensor:
        """Return the constraint term of the loss, a scalar: the sum over weights, divided by nothing."""
        w = latent if latent.dtype in (torch.float32, torch.float64) else latent.float()
        return weighed_sum(w, self.step, self.multiplier, self.plan.levels, self.standing.window)

    def after_step(self, latent: Tensor) -> None:
        """Keep the weights within reach of the levels."""
        limit = self.plan.limit
        most = (1.5 * self.plan.reach * self.step).clamp(min=1) if limit is None else self.step.new_tensor(limit)
        most = most.to(latent.dtype)
        latent.clamp_(-most, most)

    def after_objective(self, latent: Tensor, objective: float) -> None:
        """Close the window and raise the multipliers, if an epoch whose objectives add up to this asks for it."""
        self.standing = self.standing.after(objective, patience=self.plan.patience)
        if self.standing.changed:
            self._raise_multipliers(wide(latent))
            for _ in range(self.plan.closings - 1):
                self.standing = self.standing.closed()
                self._raise_multipliers(wide(latent))

    @property
    def learning_rate_factor(self) -> float:
        """The factor on all learning rates."""
        return self.plan.late_lr if self.standing.late else 1.0

    @torch.no_grad()
    def distances(self, latent: Tensor) -> Tensor:
        """Return how far each weight is from its level, in units of the scale, >= 0."""
        u = wide(latent) / self.step
        return (u - nearest_code(u, self.plan.levels)).abs() / self.plan.reach

    @property
    def standing(self) -> Standing:
        """Where the schedule stands. It lies in a buffer, which goes wherever the state goes."""
        buffer = self.schedule
        kept, version, standing = self._read
        now = None if buffer.is_inference() else buffer._version
        if kept is not buffer or version != now or now is None:  # reading waits for an accelerator: once a change
            _, window, epochs, previous = buffer.tolist()
            standing = Standing(window, epochs, struct.unpack("<d", struct.pack("<q", previous))[0])
            self._read = (buffer, now, standing)
        assert standing is not None
        return standing

    @standing.setter
    def standing(self, standing: Standing) -> None:
        (previous,) = struct.unpack("<q", struct.pack("<d", standing.previous))
        self.schedule[1:] = self.schedule.new_tensor([standing.window, standing.epochs, previous])

    @property
    def updates(self) -> int:
        """How often the multipliers have risen."""
        return int(self.schedule[0])

    def get_extra_state(self) -> Tensor:
        """Return the levels, as text in uint8, which every file of weights can hold."""
        return torch.tensor(list(self._grid().encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Take up a saved state.

        Raises:
            ConstraintError: it was saved with other levels, or is none of constrained weights.
        """
        if (saved := bytes(state.tolist()).decode(errors="replace")) != self._grid():
            raise ConstraintError(
                f"{self._said('the state')} was trained with {saved}, this layer has {self._grid()}",
                fix=f"attach(model, quantize={saved}) for the network that the state is loaded into",
            )

    def _grid(self) -> str:
        return f"Constrained({self.plan.levels})"

    def _said(self, what: str) -> str:
        return f"{what} of {self.name}" if self.name else what

    def _step(self, w: Tensor, axis: int) -> Tensor:
        """Return the real value of one code, which broadcasts against the weights."""
        plan = self.plan
        dims = tuple(d for d in range(w.dim()) if not (plan.per_channel and d == axis))
        step = plan.scale.step(w, dims, plan.reach, self._magnitudes)
        # Times a power of two a step stays exact; for other codes its mantissa has to be shorter.
        shifts = all(c & (c - 1) == 0 for c in map(abs, plan.levels))
        return step if shifts else exact_step(step, plan.reach)

    def _magnitudes(self, u: Tensor) -> Tensor:
        return nearest_code(u, self.plan.levels).abs()

    def _codes(self, w: Tensor) -> Tensor:
        """Return the codes as whole floats."""
        return nearest_code(w / self.step, self.plan.levels)

    def _raise_multipliers(self, w: Tensor) -> None:
        value, _ = sawtooth(w / self.step, self.plan.levels, self.standing.window)
        self.schedule[0] += 1
        moments = self.first_moment, self.second_moment
        lr = self.plan.multiplier_lr
        raise_multiplier(self.multiplier, moments, value * self.step, updates=self.updates, lr=lr)

    def extra_repr(self) -> str:
        return f"{self.plan!r}, window={self.standing.window}"

    def __repr__(self) -> str:
        return repr(self.plan)
