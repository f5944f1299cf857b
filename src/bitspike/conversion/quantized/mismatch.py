"""How often neurons miss their levels: spike counts of a spiking network against the codes of the quantized one.

    level = round(min(relu(x) / clip, 1) * T),   count = sum over T steps of the neuron's spikes

For steady currents both are equal (ties aside, which torch rounds to even and a neuron up). Where spikes come unevenly
in time, a neuron may have fired for charge that is taken back later, or not be able to send all of what came late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.conversion.construct.records import module_name
from bitspike.conversion.quantized.batches import Batches, device_of, labelled, to_device
from bitspike.conversion.quantized.flow import Call, Flow, flow_of
from bitspike.conversion.quantized.over_time import SpikingTwin, spiking_twin
from bitspike.conversion.quantized.run import Run, part_of
from bitspike.conversion.result import conversion_of, spiking_part
from bitspike.conversion.timed import by_step
from bitspike.errors import ConstraintError
from bitspike.nn import Neuron, QuantReLU, SignedIF
from bitspike.nn.activation import FLOOR, clip_in_use
from bitspike.nn.trace import evaluation, listening
from bitspike.ops.activation import quant_relu
from bitspike.ops.precision import full_precision, single
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
        >>> print(layer)
        25.00% of 8 counts are not their level: 1 spike too many, 2 too few
    """

    neurons: int
    differ: int
    more: int
    fewer: int
    steps: int

    def __str__(self) -> str:
        """Say the share and both sums of spikes."""
        spikes = f"{self.more:,} spike{'' if self.more == 1 else 's'} too many, {self.fewer:,} too few"
        return f"{self.share:.2%} of {self.neurons:,} counts are not their level: {spikes}"

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
        diverged = (counts + levels).isnan()
        sums = torch.stack(
            [
                difference.count_nonzero(),
                difference.clamp(min=0).sum(),
                (-difference).clamp(min=0).sum(),
                diverged.count_nonzero(),
            ]
        )
        self.neurons += difference.numel()
        self.sums = sums if self.sums is None else self.sums + sums

    def result(self, steps: int) -> Mismatch:
        """Return what was added up.

        Raises:
            ConstraintError: there was a count or a level that is no number.
        """
        differ, more, fewer, diverged = (0, 0, 0, 0) if self.sums is None else map(int, self.sums.tolist())
        if diverged:
            raise ConstraintError(
                f"mismatch: {diverged} of {self.neurons} counts or levels are NaN: the training has diverged",
                fix="a checkpoint from before the training diverged",
            )
        return Mismatch(neurons=self.neurons, differ=differ, more=more, fewer=fewer, steps=steps)


def levels_of(activation: QuantReLU, x: Tensor) -> Tensor:
    """Return the codes of a quantized ReLU, 0 to T, for currents x."""
    clip = clip_in_use(activation.clip, FLOOR)
    return (quant_relu(single(x), clip, activation.levels) / clip * activation.levels).round()


def counts_of(spikes: Tensor, clip: Tensor, steps: int) -> Tensor:
    """Return the counts [N, ...] of spikes [T N, ...] that are worth a clip."""
    return (by_step(single(spikes), steps) / clip_in_use(clip, FLOOR)).round().sum(0)


@torch.no_grad()
@checked
def mismatch(
    network: nn.Module, batches: Batches, *, neuron: type[Neuron] = SignedIF, spiking: nn.Module | None = None
) -> dict[str, Mismatch]:
    """Compare the spike counts of every neuron with the levels of a quantized network, at the same places.

    The spiking network is the twin of :func:`~bitspike.conversion.quantized.over_time.spiking_twin`, T = 2**b - 1
    steps, or the one that ``bs.convert`` made of the quantized network. All run in evaluation mode and are left as they
    were; the twin runs call by call next to the network, so that no layer's values are kept. Sums are whole numbers and
    exact.

    Args:
        network: a quantized network.
        batches: a loader, with labels or without, or one tensor of all samples. It is read once.
        neuron: ``bs.SignedIF`` or ``bs.IF``, of the twin.
        spiking: what ``bs.convert`` returned for ``network``, or a twin, for example one whose weights were trained
            since; None is the twin of ``network``.

    Returns:
        by path of the quantized ReLU, in the order of data flow.

    Raises:
        ConstraintError, ConversionError: as of ``spiking_twin``; or ``spiking`` is not the network that was converted.
        DataError: there is no sample.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), QuantReLU(2), nn.Linear(3, 2))
        >>> {path: layer.share for path, layer in mismatch(net, torch.rand(10, 2)).items()}
        {'1': 0.0}
    """
    network = unwrapped(network)
    flow = flow_of(network, "mismatch")
    spiking = spiking_twin(network, neuron=neuron) if spiking is None else spiking
    compare = _twin if isinstance(spiking, SpikingTwin) else _converted
    counting = compare(network, spiking, flow)
    tallies = {path: Tally() for path in flow.neurons.values()}
    with evaluation(network), evaluation(spiking), full_precision():
        for inputs, _ in labelled(batches, "mismatch"):
            for path, counts, levels in counting(to_device(inputs, device_of(network))):
                tallies[path].add(counts, levels)
    return {path: tally.result(flow.steps) for path, tally in tallies.items()}


Counting = Callable[[tuple[Tensor, ...]], Iterator[tuple[str, Tensor, Tensor]]]
"""From the inputs of a batch to path, counts and levels of every layer of neurons."""


def _levels(network: nn.Module, flow: Flow, inputs: tuple[Tensor, ...]) -> Iterator[tuple[Call, Tensor | None]]:
    """Run a quantized network; yield every call and, of a quantized ReLU, its codes."""
    run = Run(flow, partial(part_of, network))
    values, rows = run.begin(inputs), len(inputs[0])
    for call in flow.calls:
        path = flow.neurons.get(call.name)
        codes = None if path is None else levels_of(part_of(network, path), values[call.reads[0]])
        run.carry_out([call], values, rows=rows, freed=flow.freed)
        yield call, codes


def _twin(network: nn.Module, twin: nn.Module, flow: Flow) -> Counting:
    """Return what runs a twin call by call next to the network."""
    assert isinstance(twin, SpikingTwin)
    mine, its = ((dict(x.neurons), x.bits, [call.name for call in x.calls]) for x in (flow, twin.flow))
    if mine != its:
        raise ConstraintError(
            f"mismatch(spiking=): the twin has {twin.flow.bits} bits and {len(twin.flow.neurons)} layers of neurons, "
            f"the quantized network {flow.bits} and {len(flow.neurons)}, or their calls differ",
            fix="spiking=bs.spiking_twin(network) of a network with the layers of this one; or leave spiking out",
        )
    run = Run(flow, partial(part_of, twin), flow.steps)

    def count(inputs: tuple[Tensor, ...]) -> Iterator[tuple[str, Tensor, Tensor]]:
        values, rows = run.begin(inputs), len(inputs[0])
        for call, codes in _levels(network, flow, inputs):
            sent = run.carry_out([call], values, rows=rows, freed=flow.freed)
            if codes is not None:
                path = flow.neurons[call.name]
                yield path, counts_of(sent, part_of(twin, path).clip, flow.steps), codes

    return count


def _converted(network: nn.Module, spiking: nn.Module, flow: Flow) -> Counting:
    """Return what runs a converted network and hears its neurons, which have the names of the quantized ReLUs."""
    record = conversion_of(spiking)
    names = {module_name(id): id for id, layer in record.layers.items() if layer.kind == "neuron"}
    missing = sorted({*flow.neurons.values()} - {*names.values()})
    if record.settings.steps != flow.steps or missing:
        raise ConstraintError(
            f"mismatch(spiking=): it runs {record.settings.steps} steps and the quantized network has {flow.steps} "
            f"levels above zero; quantized relus that are no neurons in it: {', '.join(missing[:3]) or 'none'}",
            fix="spiking=bs.convert(network, example, calibrate=images) of this very network; or leave spiking out",
        )
    core = spiking_part(spiking)

    def count(inputs: tuple[Tensor, ...]) -> Iterator[tuple[str, Tensor, Tensor]]:
        counts: dict[str, Tensor] = {}

        def hear(name: str, spikes: Tensor) -> None:
            if name in names:
                counts[names[name]] = spikes.sum(0)

        with evaluation(spiking), listening(core, hear):
            spiking(*inputs)
        for call, codes in _levels(network, flow, inputs):
            if codes is None:
                continue
            path = flow.neurons[call.name]
            if counts[path].shape != codes.shape:
                raise ConstraintError(
                    f"mismatch(spiking=): {path!r} counts {list(counts[path].shape)} in the spiking network and "
                    f"{list(codes.shape)} in the quantized one: the conversion has moved it before a pool",
                    fix="leave spiking out, which measures the network itself over time",
                )
            yield path, counts[path], codes

    return count
