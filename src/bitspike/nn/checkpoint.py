"""Train with less memory: spikes are kept as bits, and the backward pass runs layers again instead of keeping them."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from bitspike.errors import ConstraintError
from bitspike.nn.activation import QuantReLU
from bitspike.nn.chain import Chain
from bitspike.nn.neurons.base import Neuron

M = TypeVar("M", bound=nn.Module)


def checkpoint_layers(model: M, *, recompute: bool = True, on: bool = True) -> M:
    """Let a model keep less for its backward pass, from now on; return the model.

    What training keeps grows with T: of every neuron its current and its spikes at every step. Spikes are then kept as
    bits, a sixteenth of bfloat16. With ``recompute`` a layer and its neuron keep nothing but their input, and the
    backward pass runs them again, which costs about a third of the time of a step. It saves most in deep networks of
    layers of one size, less where one layer is the largest by far. Results are the same: batch norms take their
    statistics over batch and time and update the running ones once, and torch draws the same random numbers again. A
    layer whose weights vary at random is not run again.

    Reaches the chains of a model: those of bitspike's models, and any ``nn.Sequential`` after :func:`bitspike.nn.fuse`.

    Args:
        model: it is changed, but not its parameters, names or ``state_dict``.
        recompute: run layers again; without it only spikes take less.
        on: False takes everything back.

    Raises:
        ConstraintError: the model has no chain with a neuron.

    Example:
        >>> from bitspike.nn import LIF, TimeDistributed
        >>> model = Chain(TimeDistributed(nn.Linear(3, 2)), LIF())
        >>> checkpoint_layers(model).keeps
        'inputs'
    """
    kinds = (Neuron, QuantReLU)
    chains = [m for m in model.modules() if isinstance(m, Chain) and any(isinstance(p, kinds) for p in m.modules())]
    if not chains:
        raise ConstraintError(
            f"checkpoint_layers: {type(model).__name__} has no bs.Chain with a neuron",
            fix="bs.checkpoint_layers(bs.fuse(model)) makes chains of every nn.Sequential",
        )
    for chain in chains:
        chain.keeps = ("inputs" if recompute else "bits") if on else "all"
    return model
