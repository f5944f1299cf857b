"""Integrate and fire, without a leak; the signed one takes spikes back."""

from __future__ import annotations

import math

from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.nn.neurons.base import Neuron
from bitspike.ops.dynamics import Law
from bitspike.ops.grids import Fire, Reset
from bitspike.ops.membrane import Membrane
from bitspike.ops.surrogate import ArcTan, Surrogate


@checked
class IF(Neuron):
    """Integrate-and-fire: ``h[t] = v[t-1] + x[t]``, a spike where h reaches the threshold, then reset.

    Example:
        >>> import torch
        >>> IF(threshold=1.0)(torch.tensor([[0.75], [0.5], [0.25]])).flatten().tolist()
        [0.0, 1.0, 0.0]
    """

    counts = True

    def __init__(
        self,
        threshold: float | Tensor = 1.0,
        *,
        surrogate: Surrogate = ArcTan(),
        reset: Reset = "soft",
        fire: Fire = "ge",
        detach_reset: bool = False,
        v_reset: float = 0.0,
        initial: float | Tensor = 0.0,
        resolution: float | None = None,
        potential_bits: int | None = None,
        membrane: Membrane | None = None,
    ) -> None:
        super().__init__(
            threshold,
            surrogate=surrogate,
            reset=reset,
            fire=fire,
            detach_reset=detach_reset,
            v_reset=v_reset,
            initial=initial,
            resolution=resolution,
            potential_bits=potential_bits,
            membrane=membrane,
        )


@checked
class SignedIF(Neuron):
    """Integrate-and-fire that may take back a spike: outputs in {-1, 0, 1}, never more back than were sent.

    The potential starts at half the threshold, which makes the spike count of a constant input equal a quantized ReLU.

    Args:
        initial: potential before the first step, one number or one per channel [C]; None is half the threshold.
        retract: how far below zero the potential must lie to take a spike back, >= 0.

    Other arguments as :class:`Neuron`. Source: Fast-SNN, Hu et al. 2023, arXiv 2305.19868.

    Example:
        >>> import torch
        >>> SignedIF(threshold=1.0)(torch.tensor([[1.2], [-1.0], [0.1]])).flatten().tolist()
        [1.0, -1.0, 0.0]
    """

    counts = True
    signed = True

    def __init__(
        self,
        threshold: float | Tensor = 1.0,
        *,
        surrogate: Surrogate = ArcTan(),
        fire: Fire = "ge",
        detach_reset: bool = False,
        initial: float | Tensor | None = None,
        retract: float = 1e-3,
        resolution: float | None = None,
        potential_bits: int | None = None,
        membrane: Membrane | None = None,
    ) -> None:
        super().__init__(
            threshold,
            surrogate=surrogate,
            fire=fire,
            detach_reset=detach_reset,
            initial=0.0 if initial is None else initial,
            resolution=resolution,
            potential_bits=potential_bits,
            membrane=membrane,
        )
        if not (retract >= 0 and math.isfinite(retract)):
            raise ConstraintError(
                f"SignedIF(retract={retract}): must be finite and at least 0",
                fix="a neuron that never takes a spike back is bs.IF(threshold, initial=threshold / 2)",
            )
        self.retract = retract
        self.half_threshold = initial is None

    def law(self) -> Law:
        initial = self.threshold / 2 if self.half_threshold else self.initial
        return Law(self.threshold, self.rule, initial, retract=self.retract, membrane=self.membrane)
