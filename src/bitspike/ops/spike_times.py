"""Gradients by spike times: what a current changes is *when* its neuron fires, as TSSL-BP has it.

Forward it is the leaky neuron of :mod:`bitspike.ops.dynamics` with a hard reset to 0. With h[t] the potential before
the reset, v[t] the one after it, d[t] = h[t] - v[t-1] its rise, and G[t] the gradient of what the spike s[t] adds to
(through a synapse it holds that of all later steps), the sweep t = T-1 .. 0 is

    rho  = s[t] * min(1 / d[t], steepest)          how far a spike moves in time with the potential
    e    = rho * G[t]                              between neurons
           + c * (rho * h[t] * (1 - decay) + decay * (1 - s[t]))      within: the neuron's own later spikes
    c    = e                                       what the step before reads; 0 after the last step
    dx[t] = e                                      where r[t] >= 1/4, the neuron fired lately
            surrogate(h[t] - threshold) * G[t]     where it is silent; this part stays out of c
    r[t] = synapse_decay * r[t-1] + s[t]

Source: Zhang and Li, NeurIPS 2020, arXiv 2002.10085, whose published code this equals; decay = 1 - 1/tau_m and
synapse_decay = 1 - 1/tau_s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import ConstraintError
from bitspike.ops.dynamics import Law, RecentState, step
from bitspike.ops.surrogate import Sigmoid, Surrogate, check_surrogate

_LATELY = 0.25


@dataclass(frozen=True, kw_only=True)
class SpikeTimes:
    """The numbers of the gradient.

    Args:
        synapse_decay: of the synapse that the spikes go through, in [0, 1); it says how long a spike counts as recent.
        steepest: the most that a spike moves with its potential, above 0.
        surrogate: of a neuron that has not fired lately.
        reach: distances from the threshold beyond it count as this one, above 0.

    Raises:
        ConstraintError: a number outside what is allowed.
    """

    synapse_decay: float = 2 / 3
    steepest: float = 8.0
    surrogate: Surrogate = Sigmoid(alpha=5.0)
    reach: float = 1.6

    def __post_init__(self) -> None:
        if not 0 <= self.synapse_decay < 1:
            raise ConstraintError(
                f"synapse_decay={self.synapse_decay}: must lie in [0, 1)", fix="synapse_decay=2 / 3, of tau_s = 3 steps"
            )
        for name in ("steepest", "reach"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConstraintError(
                    f"{name}={getattr(self, name)}: must be finite and above 0",
                    fix=f"{name}={getattr(type(self), name)}",
                )
        check_surrogate(self.surrogate)


def run(
    x: Tensor, state: RecentState, law: Law, threshold: float | Tensor, gradient: SpikeTimes
) -> tuple[Tensor, RecentState, Tensor]:
    """Run a neuron over T steps.

    Args:
        x: [T, N, ...] currents.
        state: potential and recent spikes before them, each [N, ...].
        law: leaky, with a hard reset to 0.
        threshold: that of the law, in a shape that broadcasts against a step of x.

    Returns:
        spikes, the state after them, and the potentials before the reset [T, N, ...]; gradients run through the first
        and through the potential of the second.
    """
    spikes, potential, recent, h = _SpikeTimes.apply(x, state.potential, state.recent, law, threshold, gradient)
    return spikes, RecentState(potential, recent), h


class _SpikeTimes(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, potential: Tensor, recent: Tensor, law: Law, threshold: float | Tensor, how: SpikeTimes
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        spikes, before, rises, lately = [], [], [], []
        for x_t in x.unbind(0):
            s, after, h = step(law, potential, x_t, threshold)
            assert isinstance(after, Tensor)
            recent = how.synapse_decay * recent + s
            spikes.append(s)
            before.append(h)
            rises.append(h - potential)
            lately.append(recent >= _LATELY)
            potential = after
        s_TN, h_TN = torch.stack(spikes), torch.stack(before)
        ctx.save_for_backward(s_TN, h_TN, torch.stack(rises), torch.stack(lately))
        ctx.decay, ctx.threshold, ctx.how = law.decay, threshold, how
        ctx.mark_non_differentiable(recent, h_TN)
        return s_TN, potential, recent, h_TN

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        spikes, h, rises, lately = ctx.saved_tensors
        how, decay, arriving, carry = ctx.how, ctx.decay, grads[0], grads[1]
        moves = spikes * rises.clamp_min(1 / how.steepest).reciprocal()
        within = moves * h * (1 - decay) + decay * (1 - spikes)
        swept = []
        for t in reversed(range(len(arriving))):
            carry = moves[t] * arriving[t] + carry * within[t]
            swept.append(carry)
        distance = (h - ctx.threshold).clamp(-how.reach, how.reach)
        silent = how.surrogate.derivative(distance) * arriving
        return torch.where(lately, torch.stack(swept[::-1]), silent), carry, None, None, None, None
