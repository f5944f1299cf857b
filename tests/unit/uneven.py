"""Where a neuron's spike count differs from the closed form of count mode, told by its final potential alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bitspike.integer.nodes import Neuron, per_channel
from bitspike.integer.simulate import Trace

Mask = npt.NDArray[np.bool_]


def uneven(node: Neuron, trace: Trace) -> tuple[Mask, Mask]:
    """Return where it sent more spikes than its charge is worth, and where fewer, bool [N, ...] each."""
    spikes, theta = trace.spikes[node.id], per_channel(node.threshold[:1], len(node.shape))[0]
    left = trace.potentials[node.id][-1] - theta * spikes[-1] - (node.fire == "gt")
    sent = spikes.sum(0, dtype=np.int64)
    return (left < 0) & (sent > 0), (left >= theta) & (sent < len(spikes))
