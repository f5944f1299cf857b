"""How often neurons miss their levels: spike counts of a spiking network against the codes of the quantized one.

    level = round(min(relu(x) / clip, 1) * T),   count = sum over T steps of the neuron's spikes

For steady currents both are equal (ties aside, which torch rounds to even and a neuron up). Where spikes come unevenly
in time, a neuron may have fired for charge that is taken back later, or not be able to send all of what came late.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.conversion.quantized.batches import Batches, device_of, labelled, to_device
from bitspike.conversion.quantized.over_time import spiking_twin
from bitspike.conversion.quantized.run import Run, part_of
from bitspike.conversion.timed import by_step
from bitspike.nn import Neuron, QuantReLU, SignedIF
from bitspike.nn.activation import FLOOR, clip_in_use
from bitspike.nn.trace import evaluation
from bitspike.ops.activation import quant_relu
from bitspike.ops.precision import single
from bitspike.ops.wrappers import unwrapped


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """The counts of one layer of neurons against their levels, over all samples.

    Args:
        neurons: counts that were compared: neurons times samples.
        differ: how many were not their level.
        more, fewer: spikes too many and too few, added up over all counts.
        steps: T.

    Example:
        >>> layer = Mismatch(neurons=8, differ=2, more=1, fewer=2, steps=3)
        >>> layer.share, layer.mean_difference
        (0.25, 0.375)
    """

    neurons: int
    differ: int
    more: int
    fewer: int
    steps: int

    @property
    def share(self) -> float:
        """The share of counts that are not their level, 0 to 1."""
        return self.differ / self.neurons

    @property
    def mean_difference(self) -> float:
        """The mean of |count - level|, in spikes."""
        return (self.more + self.fewer) / self.neurons

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            **{name: getattr(self, name) for name in ("neurons", "differ", "more", "fewer", "steps")},
            "share": self.share,
            "mean_difference": self.mean_difference,
        }


@dataclass
class Tally:
    """Whole numbers that are added up batch by batch, without waiting for an accelerator."""

    neurons: int = 0
    sums: Tensor | None = field(default=None)

    def add(self, counts: Tensor, levels: Tensor) -> None:
        """Take in the counts and levels of one batch, whole numbers of one shape."""
        difference = counts.round().to(torch.int64) - levels.round().to(torch.int64)
        sums = torch.stack(
            [difference.count_nonzero(), difference.clamp(min=0).sum(), (-difference).clamp(min=0).sum()]
        )
        self.neurons += difference.numel()
        self.sums = sums if self.sums is None else self.sums + sums

    def result(self, steps: int) -> Mismatch:
        """Return what was added up."""
        differ, more, fewer = (0, 0, 0) if self.sums is None else map(int, self.sums.tolist())
        return Mismatch(neurons=self.neurons, differ=differ, more=more, fewer=fewer, steps=steps)


def levels_of(activation: QuantReLU, x: Tensor) -> Tensor:
    """Return the codes of a quantized ReLU, 0 to T, for currents x."""
    clip = clip_in_use(activation.clip, FLOOR)
    return (quant_relu(single(x), clip, activation.levels) / clip * activation.levels).round()


def counts_of(spikes: Tensor, clip: Tensor, steps: int) -> Tensor:
    """Return the counts [N, ...] of spikes [T N, ...] that are worth a clip."""
    return (by_step(single(spikes), steps) / clip_in_use(clip, FLOOR)).round().sum(0)


@torch.no_grad()
def mismatch(network: nn.Module, batches: Batches, *, neuron: type[Neuron] = SignedIF) -> dict[str, Mismatch]:
    """Compare the spike counts of every neuron with the levels of a quantized network, at the same places.

    The spiking network is the twin of :func:`~bitspike.conversion.quantized.over_time.spiking_twin`: T = 2**b - 1
    steps. Both run in evaluation mode, call by call next to each other, so that no layer's values are kept; sums are
    whole numbers and exact.

    Args:
        network: a quantized network; it is left as it was.
        batches: a loader, with labels or without, or one tensor of all samples. It is read once.
        neuron: ``bs.SignedIF`` or ``bs.IF``.

    Returns:
        by path of the quantized ReLU, in the order of data flow.

    Raises:
        ConstraintError, ConversionError: as of ``spiking_twin``. DataError: there is no sample.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), QuantReLU(2), nn.Linear(3, 2))
        >>> {path: layer.share for path, layer in mismatch(net, torch.rand(10, 2)).items()}
        {'1': 0.0}
    """
    network = unwrapped(network)
    twin = spiking_twin(network, neuron=neuron)
    flow, steps = twin.flow, twin.steps
    levels, spikes = Run(flow, partial(part_of, network)), Run(flow, partial(part_of, twin), steps)
    tallies = {path: Tally() for path in flow.neurons.values()}
    with evaluation(network), evaluation(twin):
        for inputs, _ in labelled(batches, "mismatch"):
            inputs = to_device(inputs, device_of(network))
            at, spiking = levels.begin(inputs), spikes.begin(inputs)
            for call in flow.calls:
                if call.name in flow.neurons:
                    path = flow.neurons[call.name]
                    wanted = levels_of(part_of(network, path), at[call.reads[0]])
                for run, values in ((levels, at), (spikes, spiking)):
                    run.carry_out([call], values, rows=len(inputs[0]), freed=flow.freed)
                if call.name in flow.neurons:
                    tallies[path].add(counts_of(spiking[call.name], part_of(twin, path).clip, steps), wanted)
    return {path: tally.result(steps) for path, tally in tallies.items()}
