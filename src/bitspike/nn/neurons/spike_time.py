"""The leaky neuron whose gradient follows spike times (TSSL-BP)."""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.nn.neurons.base import Neuron, Observer
from bitspike.ops import spike_times
from bitspike.ops.dynamics import Law, RecentState, State
from bitspike.ops.grids import Fire
from bitspike.ops.membrane import Membrane
from bitspike.ops.spike_times import SpikeTimes
from bitspike.ops.surrogate import Sigmoid, Surrogate


@checked
class SpikeTimeLIF(Neuron):
    """LIF with a hard reset to 0, trained by TSSL-BP: its gradient says how currents move spikes in time.

    Forward it is ``LIF(decay, threshold, reset="hard")``, and in integers too; :mod:`bitspike.ops.spike_times` has the
    gradient. A :class:`~bitspike.nn.Synapse` of ``synapse_decay`` belongs after it: the gradient of a spike must hold
    what the spike does at later steps.

    Args:
        decay: what is left of the potential after one step, ``1 - 1/tau_m``, in [0, 1].
        synapse_decay: of the synapse after it, ``1 - 1/tau_s``, in [0, 1).
        steepest: the most that a spike moves in time with its potential, in steps per unit, above 0.
        surrogate: for neurons that have not fired lately: whose synapse has less than a quarter of a spike left.
        reach: distances of the potential from the threshold beyond it count as this one.

    Other arguments as :class:`Neuron`; defaults are the paper's, tau_m = 5 and tau_s = 3. Of two parts of a stream the
    gradient passes from one to the other as within one.
    Source: Zhang and Li, NeurIPS 2020, arXiv 2002.10085.

    Example:
        >>> x = torch.tensor([[0.75], [0.75], [0.75]], requires_grad=True)
        >>> spikes = SpikeTimeLIF(decay=0.5)(x)
        >>> spikes.flatten().tolist()
        [0.0, 1.0, 0.0]
        >>> spikes[1].sum().backward()
        >>> [round(g, 3) for g in x.grad.flatten().tolist()]
        [0.0, 2.667, 0.0]
    """

    def __init__(
        self,
        decay: float = 0.8,
        threshold: float | Tensor = 1.0,
        *,
        synapse_decay: float = 2 / 3,
        steepest: float = 8.0,
        surrogate: Surrogate = Sigmoid(alpha=5.0),
        reach: float = 1.6,
        fire: Fire = "gt",
        initial: float | Tensor = 0.0,
        membrane: Membrane | None = None,
    ) -> None:
        super().__init__(threshold, surrogate=surrogate, reset="hard", fire=fire, initial=initial, membrane=membrane)
        if not 0 <= decay <= 1:
            raise ConstraintError(
                f"SpikeTimeLIF(decay={decay}): the part of the potential that is left after one step lies in [0, 1]",
                fix="a time constant tau_m in steps is decay = 1 - 1/tau_m: decay=0.8 for tau_m = 5",
            )
        self.decay = float(decay)
        self.gradient = SpikeTimes(
            synapse_decay=float(synapse_decay), steepest=float(steepest), surrogate=surrogate, reach=float(reach)
        )

    def law(self) -> Law:
        return Law(self.threshold, self.rule, self.initial, decay=self.decay, membrane=self.membrane)

    def fused(self, x: Tensor, **more: object) -> Tensor | None:
        """Run a kernel where no gradient is asked for: those of kernels are of another kind."""
        return None if torch.is_grad_enabled() else super().fused(x, **more)

    def scan(self, x: Tensor, state: State | None = None, *, observe: Observer | None = None) -> tuple[Tensor, State]:
        """Run T steps from a given state; the state holds the potential, and how recently the neuron has fired."""
        law, wide, threshold, state = self._begin(x, state)
        assert isinstance(state, RecentState)
        spikes, after, h = spike_times.run(wide, state, law, threshold, self.gradient)
        if observe is not None:
            for h_t, s_t in zip(h, spikes, strict=True):
                observe(h_t, s_t)
        return spikes.to(x.dtype), after

    def _rest(self, like: Tensor) -> RecentState:
        potential = super()._rest(like)
        assert isinstance(potential, Tensor)
        return RecentState(potential, torch.zeros_like(potential))

    def extra_repr(self) -> str:
        return f"decay={self.decay:g}, synapse_decay={self.gradient.synapse_decay:g}, {super().extra_repr()}"
