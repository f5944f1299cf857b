"""Leaky integrate and fire: with a leak that is chosen, and with one that is learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.nn.neurons.base import Neuron
from bitspike.ops.dynamics import Law
from bitspike.ops.grids import Fire, Leak, Reset, Rounding
from bitspike.ops.membrane import Membrane
from bitspike.ops.surrogate import ArcTan, Surrogate


@checked
class LIF(Neuron):
    """Leaky integrate-and-fire: ``h[t] = decay * v[t-1] + x[t]``, a spike where h reaches the threshold, then reset.

    Args:
        decay: what is left of the potential after one step, in [0, 1]; exact in integers if it is m / 2**k.
        leak: multiply ``before`` or ``after`` the input is added.
        decay_input: scale the input by ``1 - decay``.

    Other arguments as :class:`Neuron`.

    Example:
        >>> LIF(decay=0.5, threshold=1.0)(torch.tensor([[0.75], [0.75], [0.75]])).flatten().tolist()
        [0.0, 1.0, 0.0]
    """

    def __init__(
        self,
        decay: float = 0.5,
        threshold: float | Tensor = 1.0,
        *,
        surrogate: Surrogate = ArcTan(),
        reset: Reset = "soft",
        fire: Fire = "ge",
        leak: Leak = "before",
        decay_input: bool = False,
        detach_reset: bool = False,
        v_reset: float = 0.0,
        initial: float | Tensor = 0.0,
        resolution: float | None = None,
        potential_bits: int | None = None,
        rounding: Rounding = "floor",
        membrane: Membrane | None = None,
    ) -> None:
        super().__init__(
            threshold,
            surrogate=surrogate,
            reset=reset,
            fire=fire,
            leak=leak,
            decay_input=decay_input,
            detach_reset=detach_reset,
            v_reset=v_reset,
            initial=initial,
            resolution=resolution,
            potential_bits=potential_bits,
            rounding=rounding,
            membrane=membrane,
        )
        if not 0 <= decay <= 1:
            raise ConstraintError(
                f"LIF(decay={decay}): the part of the potential that is left after one step lies in [0, 1]",
                fix="a time constant tau in steps is decay = 1 - 1/tau: bs.LIF.from_tau(2.0)",
            )
        self.decay = float(decay)

    @classmethod
    def from_tau(cls, tau: float, **kwargs: object) -> LIF:
        """Build from a time constant in steps: ``decay = 1 - 1/tau``, tau >= 1.

        Example:
            >>> LIF.from_tau(2.0).decay
            0.5
        """
        if not tau >= 1:
            raise ConstraintError(f"tau={tau}: a time constant of at least one step is needed", fix="tau=2.0")
        return cls(1 - 1 / tau, **kwargs)  # type: ignore[arg-type]

    def law(self) -> Law:
        return Law(self.threshold, self.rule, self.initial, decay=self.decay, membrane=self.membrane)

    def extra_repr(self) -> str:
        return f"decay={self.decay:g}, {super().extra_repr()}"


@checked
class PLIF(Neuron):
    """LIF whose leak is learned, one for the layer: ``decay = 1 - sigmoid(w)``.

    Args:
        tau: time constant in steps at the start, above 1; ``w = -ln(tau - 1)``.

    Other arguments as :class:`LIF`; defaults are the paper's (input scaled by 1 - decay, hard reset, detached).
    Source: Fang et al., ICCV 2021, arXiv 2007.05785.

    Example:
        >>> PLIF(tau=2.0, threshold=1.0)(torch.full((3, 1), 1.5)).flatten().tolist()
        [0.0, 1.0, 0.0]
    """

    def __init__(
        self,
        tau: float = 2.0,
        threshold: float | Tensor = 1.0,
        *,
        surrogate: Surrogate = ArcTan(),
        reset: Reset = "hard",
        fire: Fire = "ge",
        leak: Leak = "before",
        decay_input: bool = True,
        detach_reset: bool = True,
        v_reset: float = 0.0,
        initial: float | Tensor = 0.0,
        rounding: Rounding = "floor",
        membrane: Membrane | None = None,
    ) -> None:
        super().__init__(
            threshold,
            surrogate=surrogate,
            reset=reset,
            fire=fire,
            leak=leak,
            decay_input=decay_input,
            detach_reset=detach_reset,
            v_reset=v_reset,
            initial=initial,
            rounding=rounding,
            membrane=membrane,
        )
        if not tau > 1:
            raise ConstraintError(
                f"PLIF(tau={tau}): a time constant above one step is needed",
                fix="tau=2.0, which starts at a decay of 0.5; bs.LIF(decay=0.0) keeps nothing from step to step",
            )
        self.w = nn.Parameter(torch.tensor(-math.log(tau - 1)))

    @property
    def decay(self) -> float:
        """The decay that the layer has learned."""
        return float(1 - self.w.detach().sigmoid())

    def law(self) -> Law:
        return Law(self.threshold, self.rule, self.initial, decay=1 - self.w.sigmoid(), membrane=self.membrane)

    def extra_repr(self) -> str:
        return f"decay={self.decay:g}, {super().extra_repr()}"
