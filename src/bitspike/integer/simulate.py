"""The definition: an integer network run in NumPy int64, with nothing but integers.

Every other way to run the network must agree with this one, spike for spike. Each node runs its own equation
(``Node.run`` in :mod:`bitspike.integer.nodes`); :mod:`bitspike.integer.arithmetic` holds the sums of products and why
they are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.integer.arithmetic import Integers, Whole
from bitspike.integer.network import IntegerNetwork, need_integers
from bitspike.integer.nodes import Input, Neuron, Readout
from bitspike.tables import Shown, Table, times


@dataclass(frozen=True, eq=False, repr=False)
class Trace(Shown):
    """What one run did.

    Args:
        spikes: by neuron id, int8 [T, N, ...].
        potentials: by neuron id, int64 [T, N, ...], the potential h that is compared with the threshold.
        outputs: by read-out id, int64 [N, ...].
    """

    spikes: dict[str, npt.NDArray[np.int8]]
    potentials: dict[str, Integers]
    outputs: dict[str, Integers]

    def table(self) -> Table:
        """Return a row for every neuron and read-out: shape, spikes per step, and the range of its integers."""
        ids = dict.fromkeys((*self.spikes, *self.potentials, *self.outputs))
        rows = [
            (id, *_firing(self.spikes.get(id)), _range(self.potentials.get(id, self.outputs.get(id)))) for id in ids
        ]
        whole = next(iter(self.spikes.values()), None)
        said = "" if whole is None else f": T = {whole.shape[0]}, {whole.shape[1]:,} samples"
        columns = ("node", "shape", "neurons", "rate", "rate of -1", "potentials or outputs")
        return Table(f"Trace{said}", columns, rows)


def _firing(spikes: npt.NDArray[np.int8] | None) -> tuple[str, str, str, str]:
    """Return shape, number of neurons, and the rates of spikes above and below 0."""
    if spikes is None:
        return "", "", "", ""
    shape = spikes.shape[2:]
    below = (spikes < 0).any()
    rates = [f"{np.mean(sent):.3g}" if spikes.size else "" for sent in (spikes > 0, spikes < 0)]
    return times(shape), f"{math.prod(shape):,}", rates[0], rates[1] if below else ""


def _range(values: Integers | None) -> str:
    return "" if values is None or not values.size else f"{int(values.min())} to {int(values.max())}"


@checked
def simulate(net: IntegerNetwork, codes: Integers, *, steps: int | None = None) -> Trace:
    """Run a network on integer input codes.

    Args:
        net: the network; one input.
        codes: [1, N, ...] for an input that is constant in time, or [T, N, ...].
        steps: run only the first so many steps, 1 to T; None runs all.

    Returns:
        the spikes and potentials of every neuron, and the outputs.

    Raises:
        ConstraintError: the codes have another shape or leave the input's grid, or there are not so many steps.
    """
    need_integers(net, "simulate")
    source, steps = net.input, check_run(net, codes, steps)
    spikes: dict[str, npt.NDArray[np.int8]] = {}
    potentials: dict[str, Integers] = {}
    outputs: dict[str, Integers] = {}
    wires: dict[str, Whole] = {source.id: codes}
    last_reader = {s: node.id for node in net.nodes for s in node.sources}
    for node in net.nodes:
        inputs = [wires[s] for s in node.sources]
        match node:
            case Input():
                continue
            case Neuron():
                spikes[node.id], potentials[node.id] = node.spiking(inputs, steps)
                wires[node.id] = spikes[node.id]
            case Readout():
                outputs[node.id] = node.run(inputs, steps)
            case _:
                wires[node.id] = node.run(inputs, steps)
        for s in node.sources:
            if last_reader[s] == node.id:
                wires.pop(s, None)
    return Trace(spikes, potentials, outputs)


def check_run(net: IntegerNetwork, codes: Whole, steps: int | None) -> int:
    """Return the number of steps to run; refuse codes of another shape, dtype or range than the input declares."""
    _need_array(codes)
    source, steps = net.input, net.steps if steps is None else steps
    if not 1 <= steps <= net.steps:
        raise ConstraintError(f"steps={steps}: the network has 1 to {net.steps}", fix="steps=None runs all of them")
    wanted = ("1" if source.constant else str(steps), "N", *map(str, source.shape))
    shape = codes.shape
    if len(shape) != len(wanted) or shape[2:] != source.shape or shape[0] != (1 if source.constant else steps):
        raise ConstraintError(
            f"input codes have the shape {list(shape)}, needed is [{', '.join(wanted)}]", fix="bs.encode(net, images)"
        )
    if not np.issubdtype(codes.dtype, np.integer):
        raise ConstraintError(f"input codes are {codes.dtype}, needed are integers", fix="bs.encode(net, images)")
    if codes.size and (codes.min() < source.grid.low or codes.max() > source.grid.high):
        raise ConstraintError(
            f"input codes reach from {codes.min()} to {codes.max()}, "
            f"the grid from {source.grid.low} to {source.grid.high}",
            fix="bs.encode(net, images), which clips to the grid",
        )
    return steps


def _need_array(codes: object) -> None:
    if not isinstance(codes, np.ndarray):
        kind = f"{type(codes).__module__}.{type(codes).__name__}"
        raise ConstraintError(f"input codes are a {kind}, needed is a NumPy array", fix="bs.encode(net, images)")
