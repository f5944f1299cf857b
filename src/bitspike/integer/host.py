"""The host's side of an integer network: real inputs to codes, integer outputs to real values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bitspike.errors import ConstraintError
from bitspike.integer.network import IntegerNetwork, Integers, Readout
from bitspike.ops.coding import bernoulli, even_rate


def encode(net: IntegerNetwork, images: Tensor, *, generator: torch.Generator | None = None) -> Integers:
    """Turn real inputs into the codes that a network reads.

    Args:
        net: the network; one input.
        images: [N, ...] as the trained network takes them, or [T, N, ...] for a network without an encoder.
        generator: source of the random numbers of a Bernoulli coder.

    Returns:
        int64 [1 or T, N, ...]; values outside the grid are clipped to it.

    Raises:
        ConstraintError: the shape is not the network's.
    """
    source = net.input
    timed = source.coding == "direct" and not source.constant
    if tuple(images.shape[2 if timed else 1 :]) != source.shape or (timed and len(images) != net.steps):
        wanted = [*(["T"] if timed else []), "N", *source.shape]
        raise ConstraintError(
            f"inputs have the shape {list(images.shape)}, needed is [{', '.join(map(str, wanted))}]",
            fix="where a real part stands before the spiking one, what that gives: snn.conversion.packed(images)",
        )
    if source.coding == "bernoulli":
        images = bernoulli(images, net.steps, divisor=source.divisor, generator=generator)
    elif source.coding == "rate":
        images = even_rate(images, net.steps)
    codes = source.grid.encode(images).cpu().numpy()
    return codes[None] if source.constant else codes


def decode(output: Readout, value: Integers) -> npt.NDArray[np.float64]:
    """Return the real value of an output: ``scale * integers``, float64 [N, ...]."""
    return value * output.scale.reshape(1, -1, *[1] * (value.ndim - 2))
