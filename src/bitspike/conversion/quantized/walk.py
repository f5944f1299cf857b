"""A walk through a network, unit by unit, with all batches side by side: what the units before send is kept.

Spikes and levels are small whole numbers, kept in a byte each for as long as a later unit reads them, so that every
unit is run once and not once more for every unit after it. Where they do not fit into memory they are computed again
from the inputs, with the same results.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bitspike.conversion.quantized.batches import to_device
from bitspike.conversion.quantized.flow import Call
from bitspike.conversion.quantized.run import Run, Values
from bitspike.conversion.quantized.units import Unit, before
from bitspike.nn.activation import FLOOR, clip_in_use

Batch = tuple[tuple[Tensor, ...], Any]
"""Inputs and labels."""


class Walk:
    """Where a walk stands: the units before do not change any more.

    Args:
        run: how the network is run: with spikes, step by step, or on its levels.
        units: of the network, all of them.
        batches: inputs and labels.
        keep: whether what neurons send is kept.
        device: where the network is.
    """

    def __init__(
        self, run: Run, units: Sequence[Unit], batches: Sequence[Batch], *, keep: bool, device: torch.device
    ) -> None:
        self.run, self.units, self.batches, self.keep, self.device = run, units, batches, keep, device
        self.done = 0
        self.kept: list[dict[str, Any]] = [{} for _ in batches]
        # The result of a neuron is its clip times a whole number, over T where it is a level.
        self.parts = 1 if run.steps else run.flow.steps

    @torch.no_grad()
    def arriving(self, index: int) -> tuple[Values, int]:
        """Return what the next unit reads of a batch, the inputs of the network too, and how many samples there are."""
        inputs = to_device(self.batches[index][0], self.device)
        values = self.run.begin(inputs)
        if self.keep:
            values.update({name: self._real(name, codes) for name, codes in self.kept[index].items()})
        else:
            self.run.carry_out(self._passed(), values, rows=len(inputs[0]), freed=self.run.flow.freed)
            values.update(self.run.begin(inputs))
        return values, len(inputs[0])

    @torch.no_grad()
    def advance(self) -> None:
        """Step over the next unit."""
        unit = self.units[self.done]
        later = {unit.name, *(source for other in self.units[self.done + 1 :] for source in other.sources)}
        for index in range(len(self.batches)) if self.keep else ():
            values, rows = self.arriving(index)
            self.kept[index][unit.name] = self._code(unit.name, self.run.carry_out(unit.calls, values, rows=rows))
            self.kept[index] = {name: codes for name, codes in self.kept[index].items() if name in later}
        self.done += 1

    @torch.no_grad()
    def sent(self, index: int) -> Any:
        """Return the result of the last unit that was stepped over."""
        name = self.units[self.done - 1].name
        return self._real(name, self.kept[index][name]) if self.keep else self.arriving(index)[0][name]

    @torch.no_grad()
    def answers(self) -> Iterator[tuple[Any, Any]]:
        """Yield the output of the network as it is now, and the labels, batch by batch."""
        rest = before(self.run.flow, self.units[-1].name, {unit.name for unit in self.units[: self.done]})
        for index, (_, labels) in enumerate(self.batches):
            values, rows = self.arriving(index)
            out = self.run.carry_out(rest, values, rows=rows, freed=self.run.flow.freed)
            yield out, to_device(labels, self.device)

    def _passed(self) -> list[Call]:
        """Return the calls of the units that are done, in order."""
        names = {call.name for unit in self.units[: self.done] for call in unit.calls}
        return [call for call in self.run.flow.calls if call.name in names]

    def _clip(self, name: str) -> Tensor | None:
        path = self.run.flow.neurons.get(name)
        return None if path is None else clip_in_use(self.run.part(path).clip, FLOOR).detach()

    def _code(self, name: str, value: Any) -> Any:
        clip = self._clip(name)
        dtype = torch.int8 if self.run.steps else torch.uint8
        return value if clip is None else (value / clip * self.parts).round().to(dtype)

    def _real(self, name: str, codes: Any) -> Any:
        clip = self._clip(name)
        # Divided by a tensor, as the activation itself does it.
        return codes if clip is None else codes.to(clip.dtype).div(clip.new_full((), self.parts)).mul(clip)


def memory_of(units: Sequence[Unit], sizes: Mapping[str, int]) -> int:
    """Return how many values of a sample are kept at most, at one step.

    Args:
        units: of the network.
        sizes: by neuron, what it sends of a sample at one step.

    Example:
        >>> from torch import nn
        >>> from bitspike.conversion.quantized.flow import flow_of
        >>> from bitspike.conversion.quantized.units import units_of
        >>> from bitspike.nn import QuantReLU
        >>> net = nn.Sequential(nn.Linear(2, 3), QuantReLU(2), nn.Linear(3, 2), QuantReLU(2))
        >>> memory_of(units_of(flow_of(net, "example"), net), {"_1": 3, "_3": 2})
        5
    """
    most, alive = 0, set[str]()
    for done, unit in enumerate(units):
        alive.add(unit.name)
        most = max(most, sum(sizes.get(name, 0) for name in alive))
        alive &= {unit.name, *(source for other in units[done + 1 :] for source in other.sources)}
    return most


def sizes_of(run: Run, inputs: Sequence[Tensor]) -> dict[str, int]:
    """Return how many values of one sample each neuron sends, found by running one."""
    values = run.begin(inputs)
    sizes = {}
    with torch.no_grad():
        for call in run.flow.calls:
            result = run.carry_out([call], values, rows=len(inputs[0]), freed=run.flow.freed)
            if call.name in run.flow.neurons:
                sizes[call.name] = math.prod(result.shape[1:])
    return sizes
