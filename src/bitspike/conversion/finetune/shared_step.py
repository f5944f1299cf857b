"""One weight grid for all layers that meet in one neuron.

The neuron adds up the integers of its branches, so one count has to be worth the same in each of them. With V_i = W_i *
lambda_i the current of layer i per input spike, of which average pools leave a share a_i:

    unit  U = max over layers of step(V_i a_i);   step(V) = reach(V) / Q, Q the largest code of the layer
    codes     clip(round(W_i / step_i), -Q_i, Q_i),  step_i = U / (lambda_i a_i)

A skip, spikes that are added without weights, has the whole number round(lambda a / U) as its gain.

Layers of 1 bit have codes -1 and +1, and U is the mean magnitude over all of them, which has the least squared error.
U follows weights and lambdas in every forward pass; the gradient passes straight through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field

import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.nn.clip_floor_shift import ClipFloorShift
from bitspike.ops.rounding import straight_through
from bitspike.weights import attach
from bitspike.weights.codes import along
from bitspike.weights.path import path_of
from bitspike.weights.scales import EMPTY_STEP, NEGLIGIBLE, Max, MeanAbs, Projection, ScaleRule, normal_factor
from bitspike.weights.schemes.base import exact_step, need_finite, sign_codes, wide


@dataclass(frozen=True)
class Within(ScaleRule):
    """Take the step of another rule, but no wider a grid than the weights need: the largest is on the outermost level.

    Whoever reads the codes back as ``max|w| / Q`` then finds the same codes.

    Args:
        rule: the rule whose step is limited.

    Example:
        >>> Within(MeanAbs(4.0)).step(torch.tensor([0.9, -0.8]), (0,), 1, torch.round).tolist()
        [0.8999999761581421]
    """

    rule: ScaleRule = field(default_factory=Max)

    def reach(self, w: Tensor, dims: tuple[int, ...], kept: Tensor | None = None) -> Tensor:
        return torch.minimum(self.rule.reach(w, dims, kept), Max().reach(w, dims, kept))

    def step(
        self, w: Tensor, dims: tuple[int, ...], high: int, project: Projection, kept: Tensor | None = None
    ) -> Tensor:
        own = self.rule.step(w, dims, high, project, kept)
        return torch.minimum(own, Max().step(w, dims, high, project, kept))


def default_scale(bits: int) -> ScaleRule:
    """Return the rule for the steps of a layer that is fine-tuned.

    From 5 bits on the largest weight is the outermost level. With fewer bits most weights would then be 0, so the
    levels are laid where :func:`bitspike.weights.scales.normal_factor` says.
    """
    factor = normal_factor(2 ** (bits - 1) - 1)
    return Max() if factor is None else Within(MeanAbs(factor))


@dataclass(frozen=True, eq=False)
class Member:
    """One weighted layer among those that meet.

    Args:
        layer: with weights [C_out, C_in, ...], or [C_in, C_out, ...] where ``axis`` is 1.
        bits: of a code, 1 to 16.
        sources: the activations whose spikes it reads; of several, which are concatenated, the largest lambda counts.
        share: what average pools before and after the layer leave of its current.
        scale: reads the step from the weights; at 1 bit it is the mean magnitude.
        axis: of the output channels.
    """

    layer: nn.Module
    _: KW_ONLY
    bits: int
    sources: tuple[ClipFloorShift, ...] = ()
    share: float = 1.0
    scale: ScaleRule = field(default_factory=Max)
    axis: int = 0

    @property
    def high(self) -> int:
        """The largest code."""
        return max(1, int(2 ** (self.bits - 1)) - 1)

    def value(self, like: Tensor) -> Tensor:
        """Return what its currents are multiplied by, a scalar: lambda of its input and the share."""
        if not self.sources:
            return like.new_tensor(self.share)
        return largest_clip(self.sources).to(like.dtype) * self.share

    def latent(self) -> Tensor:
        """Return the master weights, in at least single precision."""
        path = path_of(self.layer)
        assert path is not None, "the layer has been detached from its group"
        return wide(path[1])


def _largest(values: Sequence[Tensor]) -> Tensor:
    # Most groups have one layer and most layers one source: nothing is stacked for them in every step.
    return values[0] if len(values) == 1 else torch.stack(list(values)).amax(0)


def largest_clip(sources: Sequence[ClipFloorShift]) -> Tensor:
    """Return the largest lambda of some activations, a scalar."""
    return _largest([source.threshold().detach().max() for source in sources])


class SharedStep:
    """Attach to every layer of a group a scheme whose step is the layer's part of the common unit.

    Args:
        members: at least one.
        per_channel: one unit per output channel instead of one for all.

    Raises:
        ConstraintError: there is no layer, or ``attach`` refuses a layer.

    Example:
        >>> wide, narrow = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
        >>> with torch.no_grad():
        ...     _ = wide.weight.copy_(torch.tensor([[0.7, -0.2]])), narrow.weight.copy_(torch.tensor([[0.2, 0.36]]))
        >>> SharedStep([Member(wide, bits=4), Member(narrow, bits=4)]).attach()
        >>> narrow.weight.detach().mul(10).round().tolist()  # the step is 0.1 for both
        [[2.0, 4.0]]
    """

    def __init__(self, members: Sequence[Member], *, per_channel: bool = False) -> None:
        if not members:
            raise ConstraintError("SharedStep: there are no branches", fix="SharedStep([Member(layer, bits=4), ...])")
        self.members = tuple(members)
        self.per_channel = per_channel

    def attach(self) -> None:
        """Fill the quantize slots of all layers."""
        for i, member in enumerate(self.members):
            attach(member.layer, quantize=_Stage(self, i))

    @torch.no_grad()
    def unit(self) -> Tensor:
        """Return the real value of one count, [1] or [C_out]."""
        needs, bit_totals, bit_counts = [], [], []  # the step that each layer needs; 1-bit layers have one mean
        for member in self.members:
            w = member.latent()
            dims = tuple(d for d in range(w.dim()) if not (self.per_channel and d == member.axis))
            value = member.value(w)
            if member.bits == 1:
                # Sums and counts, since the mean is taken over the weights of all 1-bit layers together.
                bit_totals.append(w.abs().sum(dims).reshape(-1) * value)
                bit_counts.append(w.numel() // bit_totals[-1].numel())
            else:
                needs.append(member.scale.step(w, dims, member.high, torch.round).reshape(-1) * value)
        if bit_totals:
            needs.append(torch.stack(bit_totals).sum(0) / sum(bit_counts))
        unit = _largest(needs)
        return torch.where(unit > NEGLIGIBLE, unit, EMPTY_STEP)

    @torch.no_grad()
    def reaches(self) -> list[float]:
        """Return for each layer of two or more bits the part of its levels that it uses, 0 to 1; 1 for 1 bit."""
        codes = [_Stage(self, i).encode(member.latent())[0] for i, member in enumerate(self.members)]
        return [float(own.abs().max()) / member.high for own, member in zip(codes, self.members, strict=True)]


class _Stage:
    """The quantize stage of one layer; its grid has a step that follows the group."""

    def __init__(self, group: SharedStep, index: int) -> None:
        self.group, self.member = group, group.members[index]
        self.bits, self.low, self.high = self.member.bits, -self.member.high, self.member.high
        self.levels = (-1, 1) if self.bits == 1 else None

    def build(self, name: str, weight: Tensor) -> _Stage:
        """Return the stage of the layer that it was made for; ``attach`` would copy it, and the group with it."""
        return self

    def encode(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes, int64, and their real value, [1] or [C_out]."""
        with torch.no_grad():
            need_finite(w)
            codes, step = self._project(wide(w))
        return codes.to(torch.int64), step

    def __call__(self, w: Tensor) -> Tensor:
        with torch.no_grad():
            codes, step = self._project(wide(w))
            value = (codes * along(step, self.member.axis, w.dim())).to(w.dtype)
        return straight_through(value, w)

    def _project(self, w: Tensor) -> tuple[Tensor, Tensor]:
        # One count is worth the unit in every layer; a code of this one is a count of its current, lambda a times it.
        step = self.group.unit().to(w.dtype) / self.member.value(w)
        step = torch.where(step > NEGLIGIBLE, step, EMPTY_STEP)
        if self.bits == 1:
            return sign_codes(w), step
        step = exact_step(step, self.high)  # codes times step are then exact, as everywhere in weights
        codes = (w / along(step, self.member.axis, w.dim())).round_().clamp_(self.low, self.high)
        return codes, step

    def __repr__(self) -> str:
        channel = ", per_channel=True" if self.group.per_channel else ""
        return f"SharedStep(bits={self.bits}, branches={len(self.group.members)}{channel})"
