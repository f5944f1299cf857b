"""The synapse: what a spike sends on, which rises at once and decays over the steps after."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.nn.steps import need_steps
from bitspike.ops.precision import single


@checked
class Synapse(nn.Module):
    """Turn spikes into post-synaptic currents: ``a[t] = decay * a[t-1] + gain * x[t]``, a[-1] = 0.

    It is linear, so it does the same before or after a layer of weights.

    Args:
        decay: what is left of a current after one step, in [0, 1]; exact in integers if it is m / 2**k.
        gain: what one spike adds; None is ``1 - decay``, so that spikes at every step become 1 in the end.

    Shape: [T, N, ...] to the same. Half-precision inputs are added up in single precision.

    Raises:
        ConstraintError: a value outside what is allowed; an input that is not floating, or has no steps.

    Example:
        >>> Synapse(decay=0.5)(torch.tensor([[1.0], [0.0], [1.0]])).flatten().tolist()
        [0.5, 0.25, 0.625]
    """

    def __init__(self, decay: float = 2 / 3, *, gain: float | None = None) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise ConstraintError(
                f"Synapse(decay={decay}): the part of a current that is left after one step lies in [0, 1]",
                fix="a time constant tau in steps is decay = 1 - 1/tau: decay=2 / 3 for tau = 3",
            )
        gain = 1 - decay if gain is None else gain
        if not 0 < gain < float("inf"):
            raise ConstraintError(
                f"Synapse(decay={decay}, gain={gain}): a spike adds a finite amount above 0", fix="gain=1.0"
            )
        self.decay, self.gain = float(decay), float(gain)

    def forward(self, x: Tensor) -> Tensor:
        need_steps(x, "Synapse")
        currents = [single(x[0]) * self.gain]
        for x_t in single(x[1:]).unbind(0):
            currents.append(torch.add(self.decay * currents[-1], x_t, alpha=self.gain))
        return torch.stack(currents).to(x.dtype)

    def extra_repr(self) -> str:
        return f"decay={self.decay:g}, gain={self.gain:g}"
