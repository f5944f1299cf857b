"""The equations of every neuron, one pure step each. Nothing else in the package knows them.

One step takes the state of the last one and the input current x, and gives spikes and the new state:

    leak      h = decay * v + x               leak "before" the input (STBP, BNTT, TSSL-BP)
              h = decay * (v + x)             leak "after" the input
              x is replaced by (1 - decay) * x if decay_input (the RC circuit; PLIF)
    limits    h = clip(h, -2**(bits - 1), 2**(bits - 1) - 1) in multiples of ``resolution``, where the potential has
              ``potential_bits``
    fire      s = 1[h >= threshold]           fire "ge";  1[h > threshold] for "gt"
    reset     v = h - threshold * s           "soft", by subtraction
              v = h * (1 - s) + v_reset * s   "hard"

    keep      v = its nearest code, where the potential is kept in few bits: bitspike.ops.membrane

IF is decay = 1. A membrane with a finite ``resolution`` rounds the leak's product down to a multiple of it, which is
what integers do with a product and a right shift; with ``rounding="zero"`` toward zero, as Loihi does. A register of
``potential_bits`` holds so many multiples of it, and saturates at the ends; the gradient stops where it does, as that
of a clip does. ``detach_reset`` keeps the reset out of the gradient.

Sources: Gerstner and Kistler, Spiking Neuron Models, 2002, ch. 4; Wu et al. 2018 (STBP) eq. 3; Fang et al. 2021 (PLIF)
eq. 4; Hu et al. 2023 (Fast-SNN, arXiv 2305.19868) for the signed neuron.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.ops.grids import Fire, Leak, Reset, Rounding
from bitspike.ops.membrane import Membrane, kept
from bitspike.ops.rounding import floor_through, trunc_through
from bitspike.ops.surrogate import ArcTan, Surrogate, check_fire, check_surrogate, spike

FEWEST, MOST = 2, 24
"""Bits at which a potential may saturate."""


@checked
@dataclass(frozen=True, kw_only=True)
class Rule:
    """Every choice that is not a number learned or calibrated: comparison, reset, order of the leak, gradient.

    Raises:
        ConstraintError: a choice outside what is allowed.

    Example:
        >>> Rule(reset="hard", fire="gt").reset
        'hard'
    """

    reset: Reset = "soft"
    fire: Fire = "ge"
    leak: Leak = "before"
    decay_input: bool = False
    detach_reset: bool = False
    v_reset: float = 0.0
    resolution: float | None = None
    surrogate: Surrogate = ArcTan()
    potential_bits: int | None = None
    rounding: Rounding = "floor"

    def __post_init__(self) -> None:
        check_fire(self.fire)
        if self.reset not in ("soft", "hard"):
            raise ConstraintError(
                f"reset={self.reset!r}: allowed are 'soft' (subtract the threshold) and 'hard' (to v_reset)",
                fix="reset='soft', which keeps what exceeds the threshold",
            )
        if self.leak not in ("before", "after"):
            raise ConstraintError(
                f"leak={self.leak!r}: allowed are 'before' and 'after' the input is added", fix="leak='before'"
            )
        if self.rounding not in ("floor", "zero"):
            raise ConstraintError(
                f"rounding={self.rounding!r}: the leak rounds down ('floor', as a right shift) or toward zero ('zero')",
                fix="rounding='floor'",
            )
        if not math.isfinite(self.v_reset):
            raise ConstraintError(f"v_reset={self.v_reset}: must be finite", fix="v_reset=0.0")
        if self.reset == "soft" and self.v_reset != 0.0:
            raise ConstraintError(f"v_reset={self.v_reset} has no meaning for a soft reset", fix="reset='hard'")
        if self.resolution is not None and not (self.resolution > 0 and math.isfinite(self.resolution)):
            raise ConstraintError(
                f"resolution={self.resolution}: must be finite and above 0, or None for a real-valued membrane",
                fix="resolution=None, or a power of two such as 2**-8",
            )
        check_surrogate(self.surrogate)
        self._check_width()

    def _check_width(self) -> None:
        bits = self.potential_bits
        if bits is None:
            return
        if not FEWEST <= bits <= MOST:
            raise ConstraintError(
                f"potential_bits={bits}: a potential saturates at {FEWEST} to {MOST} bits, which float32 holds exactly",
                fix="potential_bits=16, or None for a potential that never saturates",
            )
        if self.resolution is None:
            raise ConstraintError(
                f"potential_bits={bits}: it counts in steps of a resolution, and there is none",
                fix=f"resolution={2.0 ** (3 - bits):g}, with which a potential reaches from -4 to 4",
            )

    @property
    def limits(self) -> tuple[float, float] | None:
        """The smallest and the largest potential, or None where it never saturates.

        Example:
            >>> Rule(resolution=0.25, potential_bits=4).limits
            (-2.0, 1.75)
        """
        if self.potential_bits is None or self.resolution is None:
            return None
        half = 1 << (self.potential_bits - 1)
        return -half * self.resolution, (half - 1) * self.resolution


class SignedState(NamedTuple):
    """State of the signed neuron: the potential, and how many spikes are out and not taken back."""

    potential: Tensor
    emitted: Tensor


class RecentState(NamedTuple):
    """State of a neuron whose gradient asks how recently it fired: the potential, and its spikes, decaying."""

    potential: Tensor
    recent: Tensor


State = Tensor | SignedState | RecentState
"""Between two steps: the potential [N, ...], of a signed neuron with the spikes that are out, of one that learns by
spike times with its recent spikes."""


@dataclass(frozen=True)
class Law:
    """The equation of a neuron with its numbers; the plain loop, the kernels and the integers compute what it says.

    Args:
        threshold: above 0; one number, or one per channel [C].
        rule: comparison, reset, order of the leak, gradient.
        initial: potential before the first step; one number, or one per channel [C].
        decay: what is left of the potential after one step, in [0, 1]: a number or a learned scalar; None is no leak.
        retract: how far below zero the potential must lie to take a spike back; None for a neuron that never does.
        membrane: in how few bits the potential is kept from step to step; None for one that is kept as it is.

    Example:
        >>> law = Law(1.0, Rule(), initial=0.5)
        >>> s, v, h = step(law, rest(law, torch.zeros(1)), torch.tensor([0.75]), law.threshold)
        >>> s.item(), v.item(), h.item()
        (1.0, 0.25, 1.25)
    """

    threshold: float | Tensor
    rule: Rule
    initial: float | Tensor = 0.0
    decay: float | Tensor | None = None
    retract: float | None = None
    membrane: Membrane | None = None

    def __post_init__(self) -> None:
        if self.retract is not None and (self.decay is not None or self.rule.reset == "hard"):
            raise ConstraintError(
                f"a neuron that takes spikes back (retract={self.retract}) has no leak and resets by subtraction",
                fix="decay=None and Rule(reset='soft'), or retract=None",
            )
        if self.membrane is not None and self.membrane.step is None:
            object.__setattr__(self, "membrane", replace(self.membrane, step=self.membrane.step_for(self.threshold)))


def rest(law: Law, like: Tensor) -> State:
    """Return the state before the first step, in the shape [N, C, ...] and the type of ``like``.

    What is kept in few bits is so before the first step too.
    """
    if isinstance(law.initial, Tensor):
        v = torch.zeros_like(like) + law.initial.to(like.dtype).view(-1, *[1] * (like.dim() - 2))
    else:
        v = torch.full_like(like, law.initial)
    v = v if law.membrane is None else kept(v, law.membrane)
    return v if law.retract is None else SignedState(v, torch.zeros_like(v))


def step(law: Law, state: State, x: Tensor, threshold: float | Tensor) -> tuple[Tensor, State, Tensor]:
    """Advance a neuron by one step; returns spikes, the new state and the potential before the reset.

    The state is of its kind, as :func:`rest` gives it; the threshold is the law's, in a shape that broadcasts against
    ``x`` [N, ...].
    """
    s, after, h = _step(law, state, x, threshold)
    if law.membrane is None:
        return s, after, h
    if isinstance(after, SignedState):
        return s, after._replace(potential=kept(after.potential, law.membrane)), h
    return s, kept(after, law.membrane), h


def _step(law: Law, state: State, x: Tensor, threshold: float | Tensor) -> tuple[Tensor, Tensor | SignedState, Tensor]:
    """Advance a neuron by one step, up to its reset."""
    if law.retract is not None:
        assert isinstance(state, SignedState)
        return signed_if_step(state, x, threshold, law.rule, retract=law.retract)
    assert isinstance(state, Tensor)
    if law.decay is None:
        return if_step(state, x, threshold, law.rule)
    return lif_step(state, x, law.decay, threshold, law.rule)


def _decayed(v: Tensor, decay: float | Tensor, rule: Rule) -> Tensor:
    v = v * decay
    if rule.resolution is None:
        return v
    return floor_through(v, rule.resolution) if rule.rounding == "floor" else trunc_through(v, rule.resolution)


def integrate(v: Tensor, x: Tensor, decay: float | Tensor, rule: Rule) -> Tensor:
    """Leak and add one step's input, as :func:`lif_step`; returns the potential h that meets the threshold."""
    if rule.decay_input:
        x = x * (1 - decay)
    if rule.leak == "after":
        return _decayed(v + x, decay, rule)
    return _decayed(v, decay, rule) + x


def limited(h: Tensor, rule: Rule) -> Tensor:
    """Return potentials as a register holds them that saturates, or as they are.

    Example:
        >>> limited(torch.tensor([-3.0, 0.5, 3.0]), Rule(resolution=0.25, potential_bits=4)).tolist()
        [-2.0, 0.5, 1.75]
    """
    limits = rule.limits
    return h if limits is None else h.clamp(*limits)


def fire_and_reset(h: Tensor, threshold: float | Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
    """Compare a potential h with the threshold and reset it where it fired; returns spikes and the potential left."""
    s = spike(h - threshold, rule.surrogate, rule.fire)
    r = s.detach() if rule.detach_reset else s
    if rule.reset == "soft":
        return s, _subtracted(h, threshold, r)
    v = torch.addcmul(h, h, r, value=-1)
    return s, v + rule.v_reset * r if rule.v_reset else v


def _subtracted(h: Tensor, threshold: float | Tensor, r: Tensor) -> Tensor:
    """Return ``h - threshold * r`` in one pass over memory; r is -1, 0 or 1, so the product cannot round."""
    if isinstance(threshold, Tensor):
        return torch.addcmul(h, threshold, r, value=-1)
    return h.sub(r, alpha=threshold)


def signed_fire_and_reset(
    h: Tensor, emitted: Tensor, threshold: float | Tensor, rule: Rule, retract: float | Tensor
) -> tuple[Tensor, SignedState]:
    """Fire upwards at the threshold, or take a spike back below ``-retract``; arguments as :func:`signed_if_step`."""
    positive = spike(h - threshold, rule.surrogate, rule.fire)
    # The taking back has its own step, of the distance below zero; its gradient uses the same surrogate.
    negative = spike(-h - retract, rule.surrogate, "ge") * emitted.sign()
    s = positive - negative
    r = s.detach() if rule.detach_reset else s
    return s, SignedState(_subtracted(h, threshold, r), emitted + s.detach())


def if_step(v: Tensor, x: Tensor, threshold: float | Tensor, rule: Rule) -> tuple[Tensor, Tensor, Tensor]:
    """Advance an integrate-and-fire neuron by one step.

    Args:
        v: [N, ...] potential after the last step.
        x: [N, ...] input current.
        threshold: above 0; a number or a tensor that broadcasts against v.
        rule: comparison, reset, surrogate.

    Returns:
        spikes, potential after reset, potential h before it; each [N, ...].

    Example:
        >>> import torch
        >>> s, v, h = if_step(torch.tensor([0.75]), torch.tensor([0.5]), 1.0, Rule())
        >>> s.item(), v.item(), h.item()
        (1.0, 0.25, 1.25)
    """
    h = limited(v + x, rule)
    return *fire_and_reset(h, threshold, rule), h


def lif_step(
    v: Tensor, x: Tensor, decay: float | Tensor, threshold: float | Tensor, rule: Rule
) -> tuple[Tensor, Tensor, Tensor]:
    """Advance a leaky integrate-and-fire neuron by one step; arguments as :func:`if_step`.

    The decay lies in [0, 1]: a number, or a tensor that broadcasts against v.

    Example:
        >>> import torch
        >>> s, v, h = lif_step(torch.tensor([0.5]), torch.tensor([0.5]), 0.5, 1.0, Rule())
        >>> s.item(), v.item()
        (0.0, 0.75)
    """
    h = limited(integrate(v, x, decay, rule), rule)
    return *fire_and_reset(h, threshold, rule), h


def signed_if_step(
    state: SignedState, x: Tensor, threshold: float | Tensor, rule: Rule, *, retract: float | Tensor = 1e-3
) -> tuple[Tensor, SignedState, Tensor]:
    """Advance a signed IF neuron by one step: it can take back a spike that it has sent.

    h = v + x;  +1 if h >= threshold;  else -1 if h <= -retract and more spikes are out than were taken back.
    The reset is by subtraction of the signed spike. Source: Fast-SNN (Hu et al. 2023).

    Args:
        state: potential and emitted count, each [N, ...].
        x, threshold, rule: as :func:`if_step`; the reset is always soft.
        retract: how far below zero the potential must lie to take a spike back, >= 0.

    Returns:
        spikes in {-1, 0, 1}, the new state, the potential h before reset.

    Example:
        >>> import torch
        >>> state = SignedState(torch.tensor([0.5]), torch.tensor([0.0]))
        >>> for x in (1.2, -1.0, 0.1):
        ...     s, state, h = signed_if_step(state, torch.tensor([x]), 1.0, Rule())
        ...     print(int(s), round(h.item(), 3), round(state.potential.item(), 3))
        1 1.7 0.7
        -1 -0.3 0.7
        0 0.8 0.8
    """
    h = limited(state.potential + x, rule)
    return *signed_fire_and_reset(h, state.emitted, threshold, rule, retract), h
