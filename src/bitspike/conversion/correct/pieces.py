"""Run a spiking network from neuron to neuron, a few samples at a time: only what neurons send is kept, in bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from bitspike.conversion.construct.records import LayerReport
from bitspike.errors import ConversionError
from bitspike.nn import BernoulliCoder, Neuron

PIECE = 2**25
"""Values over all steps that are computed together; a single sample may have more."""


class Pieces:
    """What neurons have sent so far, and everything that can be computed of it without another neuron.

    Args:
        network: the spiking network; its nodes are asked for by :meth:`of`. Modules are looked up at every call:
            ``modules`` may be replaced by those of a network that was built again with other weights.
        entering: what enters, [N, ...] each, in the order of the placeholders.
        samples: N.
        steps: T.
    """

    def __init__(self, network: fx.GraphModule, entering: tuple[Tensor, ...], *, samples: int, steps: int) -> None:
        self.modules: Mapping[str, nn.Module] = dict(network.named_modules())
        self.samples, self.steps = samples, steps
        self.network = network
        self.dtype = next((x.dtype for x in entering if x.is_floating_point()), torch.float32)
        placeholders = [n for n in network.graph.nodes if n.op == "placeholder"]
        self.sent: dict[fx.Node, Tensor] = dict(zip(placeholders, entering, strict=True))
        self.sending = [n for n in network.graph.nodes if self._sends(n)]

    def of(self, node: fx.Node, size: int) -> Iterator[Tensor]:
        """Yield what a node gives over time, [T, n, ...], n samples of ``size`` values each at a time."""
        most = max(1, PIECE // max(1, size * self.steps))
        for start in range(0, self.samples, most):
            yield self._value(node, slice(start, min(start + most, self.samples)), {})

    def mean(self, node: fx.Node, shape: tuple[int, ...]) -> Tensor:
        """Return the mean over time of what a node gives, [N, ...]; ``shape`` is that of one sample."""
        return torch.cat([part.mean(0) for part in self.of(node, math.prod(shape))])

    def keep(self, node: fx.Node, spikes: Tensor) -> None:
        """Remember what a node of ``sending`` sent, [T, N, ...], and forget what nobody reads any more."""
        self.sent[node] = spikes
        later = self.sending[self.sending.index(node) + 1 :]
        read = {source for n in later for source in self._sources(n)}
        self.sent = {n: x for n, x in self.sent.items() if n in read}

    def _sources(self, node: fx.Node) -> set[fx.Node]:
        """Return what has to be kept when a node is computed."""
        sources, left, seen = set(), list(node.all_input_nodes), set()
        while left:
            n = left.pop()
            if n.op == "placeholder" or self._sends(n):
                sources.add(n)
            elif n not in seen:
                seen.add(n)
                left += n.all_input_nodes
        return sources

    def _sends(self, node: fx.Node) -> bool:
        """Tell whether a node has a state or draws at random, so that it is computed once."""
        return node.op == "call_module" and isinstance(self.modules[str(node.target)], Neuron | BernoulliCoder)

    def _value(self, node: fx.Node, rows: slice, known: dict[fx.Node, Tensor]) -> Tensor:
        if node in known:
            return known[node]
        if node in self.sent:
            sent = self.sent[node]
            value = sent[rows] if node.op == "placeholder" else sent[:, rows].to(self.dtype)
        else:
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self._value(n, rows, known))
            if node.op == "call_module":
                value = self.modules[str(node.target)](*args, **kwargs)
            else:
                assert node.op == "call_function", f"{node.op} {node.name}"
                value = cast(Any, node.target)(*args, **kwargs)
        known[node] = value
        return value


class MeasuredNeuron:
    """One neuron with the current that reaches it, as a layer that :func:`correct` measures and changes.

    Args:
        pieces: what runs the network; it has the spikes of all neurons before this one.
        node: of the neuron.
        report: what the neuron became.
        source: [N, C, ...] the float value that it rectifies.
        burst: whether all charge comes at the first step.
    """

    def __init__(self, pieces: Pieces, node: fx.Node, report: LayerReport, source: Tensor, *, burst: bool) -> None:
        value = report.value.to(source)
        top = value if value.numel() == 1 else value.view(-1, *[1] * (source.dim() - 2))
        self.report, self.neuron = report, pieces.modules[str(node.target)]
        self.burst, self.places = burst, source.dim() - 2
        self.count = 2.0**-report.exponent / report.split_over  # one count of its sum, in the torch network
        self._pieces, self._node, self._size = pieces, node.all_input_nodes[0], math.prod(source.shape[1:])
        self._small = self._size * len(source) * pieces.steps <= 2 * PIECE
        self._kept: list[Tensor] = []
        self.wanted, self.top = torch.minimum(source.clamp(min=0), top), top
        self.shifts = {kind: torch.zeros(source.shape[1], dtype=torch.float64) for kind in ("bias", "potential")}
        self.kind = "bias"
        self._run: list[tuple[dict[str, Tensor], Tensor]] = []

    def added(self, kind: str) -> Tensor:
        """Return a shift so that it broadcasts against samples, in real units."""
        return self.shifts[kind].view(-1, *[1] * self.places)

    def spikes(self) -> Tensor:
        """Return what the neuron sends with the shifts as they are now, int8 [T, N, ...]."""
        for shifts, spikes in self._run:
            if all(torch.equal(shifts[kind], self.shifts[kind]) for kind in shifts):
                return spikes
        spikes = torch.cat([self._fired(part).to(torch.int8) for part in self._currents()], 1)
        self._run = [*self._run[-1:], (self.shifts, spikes)]  # the one before is asked for where this one is no better
        return spikes

    def _currents(self) -> Iterable[Tensor]:
        """Return the current of all samples, piece by piece; a large one is computed each time it is read."""
        if self._small and not self._kept:
            self._kept = list(self._pieces.of(self._node, self._size))
        return self._kept or self._pieces.of(self._node, self._size)

    def _fired(self, current: Tensor) -> Tensor:
        if self.wanted.shape[1:] != current.shape[2:]:
            raise ConversionError(
                f"{self.report.id}: measures {list(self.wanted.shape)} against {list(current.shape[1:])}",
                fix="correct=None",
            )
        real = self.count / self.report.unit.view(-1, *[1] * self.places)
        bias, initial = ((self.added(kind) * real).to(current) for kind in ("bias", "potential"))
        current = current.clone()
        if self.burst:  # the charge of all steps comes at the first, and so does the bias of all steps
            initial = initial + bias * len(current)
        else:
            current += bias
        current[0] += initial  # given with the first current, it is there before the first comparison too
        return self.neuron(current)  # type: ignore[no-any-return]

    def reference(self) -> Tensor:
        return self.wanted

    def decoded(self) -> Tensor:
        spikes = self.spikes()
        return spikes.sum(0, dtype=torch.int32).to(self.top) / len(spikes) * self.top

    def read(self) -> Tensor:
        return self.shifts[self.kind]

    def write(self, value: Tensor) -> None:
        self.shifts = {**self.shifts, self.kind: value.clone()}
