"""Run a spiking network and record what every neuron decodes to, how it fires, and where formula (*) does not hold.

The upper rungs of the ladder are such runs. A *local* run hands every layer spikes that carry M0's value and keep the
times at which the layer's own neurons fired: of a value a and a train s of N spikes, every spike is worth ``a T / N``
instead of lambda; where nothing fired, a comes as a constant current. What such a layer then gets wrong is due to the
times alone.

Legend: T time, N batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from bitspike.analysis.ledger.activations import by_channel
from bitspike.conversion.result import Conversion
from bitspike.integer.network import IntegerNetwork
from bitspike.nn import Neuron, RateReadout
from bitspike.ops.dynamics import SignedState, fire_and_reset, signed_fire_and_reset


@dataclass(frozen=True, eq=False)
class Limits:
    """What the potential of one neuron may not leave, in counts, and how many counts the torch network's 1 is.

    Args:
        floor: lower clamp, or None.
        width: bits of two's complement at which it saturates, or None.
        counts: [1] or [C].
    """

    floor: int | None
    width: int | None
    counts: Tensor


@dataclass(frozen=True, eq=False)
class Firing:
    """How the neurons of one layer fired in one run.

    Args:
        spikes: sum of the sizes of all spikes.
        chances: samples times steps times neurons.
        fired: by neuron, at how many samples and steps it fired, [F].
        possible: samples times steps.
        off: how many counts are above, and how many below, what formula (*) says for the same charge, and the largest
            difference; None where the formula does not apply.
    """

    spikes: float
    chances: int
    fired: Tensor
    possible: int
    off: tuple[int, int, int] | None

    def __add__(self, other: Firing) -> Firing:
        ours, theirs = self.off, other.off
        return Firing(
            self.spikes + other.spikes,
            self.chances + other.chances,
            self.fired + other.fired,
            self.possible + other.possible,
            None if not (ours and theirs) else (ours[0] + theirs[0], ours[1] + theirs[1], max(ours[2], theirs[2])),
        )


@dataclass(frozen=True, eq=False)
class Run:
    """What one run recorded.

    Args:
        values: by neuron and read-out, the real value that its spikes, or its sum, decode to, [N, ...].
        inputs: by input of the spiking part, the real value of what entered.
        trains: by input, what entered, [T, N, ...].
        outputs: real values that leave, [N, ...] each.
        partial: by number of steps, the outputs decoded after so many steps.
        firing: by neuron.
    """

    values: dict[str, Tensor] = field(default_factory=dict)
    inputs: dict[str, Tensor] = field(default_factory=dict)
    trains: dict[str, Tensor] = field(default_factory=dict)
    outputs: tuple[Tensor, ...] = ()
    partial: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)
    firing: dict[str, Firing] = field(default_factory=dict)


@torch.no_grad()
def run_once(
    network: fx.GraphModule,
    record: Conversion,
    entries: Sequence[Tensor],
    *,
    substitutes: Mapping[str, Tensor] | None = None,
    trains: Mapping[str, Tensor] | None = None,
    limits: Mapping[str, Limits] | None = None,
    steps_at: Sequence[int] = (),
) -> Run:
    """Run a spiking part once.

    Args:
        network: made by a conversion.
        record: of that conversion, built with the same settings.
        entries: what enters the spiking part, real.
        substitutes: by neuron, the value that its readers get instead of its own; None lets every layer read the one
            before it.
        trains: by input, what enters step by step, instead of what the coder makes.
        limits: by neuron, what its potential may not leave.
        steps_at: numbers of steps after which the outputs are decoded too.
    """
    walk = _Walk(network, record, substitutes, trains or {}, limits or {}, steps_at)
    outputs = walk.run(*entries)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    for id, value in zip(record.core.ops[-1].inputs, outputs, strict=True):
        if id in record.layers and record.layers[id].kind == "readout":
            walk.result.values[id] = value
    partial = {t: tuple(walk.partial[name][t] for name in walk.leaving) for t in steps_at}
    return replace(walk.result, outputs=outputs, partial=partial)


class _Walk(fx.Interpreter):
    """Runs a spiking network node by node."""

    def __init__(
        self,
        network: fx.GraphModule,
        record: Conversion,
        substitutes: Mapping[str, Tensor] | None,
        trains: Mapping[str, Tensor],
        limits: Mapping[str, Limits],
        steps_at: Sequence[int],
    ) -> None:
        super().__init__(network)
        self.record, self.substitutes, self.trains = record, substitutes, trains
        self.limits, self.steps_at = limits, steps_at
        self.result = Run()
        self.partial: dict[str, dict[int, Tensor]] = {}
        nodes = {node.name: node for node in network.graph.nodes}
        self.spiking = [id for id, r in record.layers.items() if r.kind != "readout"]
        self.sends = {record.wires[id][0]: id for id in self.spiking}
        self.fires = {neuron_node(nodes, network, record.wires[id][0], Neuron).name: id for id in self.spiking}
        self.enters = {
            record.wires[op.id][0]: op.id for op in record.core if op.kind == "input" and op.id in record.wires
        }
        (output,) = [node for node in network.graph.nodes if node.op == "output"]
        left = output.args[0] if isinstance(output.args[0], tuple | list) else (output.args[0],)
        self.leaving = [cast(fx.Node, node).name for node in left]

    def run_node(self, n: fx.Node) -> Any:
        if n.name in self.fires:
            result = self._fire(n)
        else:
            result = super().run_node(n)
        if n.name in self.enters:
            result = self._enter(self.enters[n.name], result)
        if n.name in self.sends:
            result = self._send(self.sends[n.name], result)
        if n.name in self.leaving and self.steps_at:
            self.partial[n.name] = self._decoded_after(n)
        return result

    def _enter(self, id: str, train: Tensor) -> Tensor:
        train = self.trains.get(id, train)
        settings = self.record.settings
        total = train.sum(0) if settings.coding == "split" else train.mean(0)
        self.result.trains[id] = train
        self.result.inputs[id] = total * by_channel(self.record.wires[id][1], train.dim() - 2).to(total)
        return train

    def _fire(self, n: fx.Node) -> Tensor:
        args, _ = self.fetch_args_kwargs_from_env(n)
        neuron, current = cast(Neuron, self.module.get_submodule(str(n.target))), cast(Tensor, args[0])
        id = self.fires[n.name]
        limits = self.limits.get(id)
        spikes = neuron(current) if limits is None else limited(neuron, current, limits)
        if self.substitutes is None:
            self.result.firing[id] = firing(neuron, current, spikes)
        return cast(Tensor, spikes)

    def _send(self, id: str, train: Tensor) -> Tensor:
        value = by_channel(self.record.wires[id][1], train.dim() - 2).to(train)
        self.result.values[id] = train.mean(0) * value
        return train if self.substitutes is None else carrying(train, self.substitutes[id].to(train) / value)

    def _decoded_after(self, n: fx.Node) -> dict[int, Tensor]:
        assert isinstance(self.module.get_submodule(str(n.target)), RateReadout)
        args, _ = self.fetch_args_kwargs_from_env(n)
        x = cast(Tensor, args[0])
        return {t: x[:t].mean(0) for t in self.steps_at}


def carrying(train: Tensor, value: Tensor) -> Tensor:
    """Return a train with the times of ``train`` whose mean over time is ``value``.

    Args:
        train: [T, N, ...] spikes.
        value: [N, ...], in spikes per step.

    Example:
        >>> carrying(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([0.25, 0.5])).tolist()
        [[0.0, 0.5], [0.5, 0.5]]
    """
    count = train.sum(0)
    spread = train * (value * len(train) / count.clamp(min=1))
    return torch.where(count > 0, spread, value)


def firing(neuron: Neuron, current: Tensor, spikes: Tensor) -> Firing:
    """Count spikes, and compare counts with formula (*) for the charge that really came; both are [T, N, ...].

    Example:
        >>> from bitspike.nn import IF
        >>> neuron, late = IF(1.0), torch.tensor([[1.0], [1.0], [-1.0]])
        >>> firing(neuron, late, neuron(late)).off
        (1, 0, 1)
    """
    steps, samples = spikes.shape[:2]
    fired = (spikes != 0).reshape(steps * samples, -1).sum(0)
    off = None
    if neuron.rule.reset == "soft":
        # Formula (*) for the charge that came in all T steps, in double precision: its counts are exact.
        threshold, start = _doubles(neuron.threshold, spikes), _doubles(neuron.initial, spikes)
        share = (current.sum(0, dtype=torch.float64) + start.to(current.device)) / threshold.to(current.device)
        wanted = (share.floor() if neuron.rule.fire == "ge" else share.ceil() - 1).clamp(0, steps)
        more = spikes.sum(0, dtype=torch.float64) - wanted
        off = int((more > 0).sum()), int((more < 0).sum()), int(more.abs().max())
    size = float(spikes.abs().sum(dtype=torch.float64))
    return Firing(size, spikes.numel(), fired.cpu(), steps * samples, off)


def limited(neuron: Neuron, current: Tensor, limits: Limits) -> Tensor:
    """Run a neuron whose potential has a lower clamp and saturates, as :mod:`bitspike.integer.network` defines it.

    Example:
        >>> from bitspike.nn import IF
        >>> limits = Limits(floor=-1, width=None, counts=torch.ones(1))
        >>> limited(IF(1.0), torch.tensor([[-9.0], [2.0]]), limits).flatten().tolist()
        [0.0, 1.0]
    """
    law = neuron.law()
    threshold, start, counts = (_doubles(v, current).to(current) for v in (law.threshold, law.initial, limits.counts))
    low: Tensor | None = None if limits.floor is None else limits.floor / counts
    high: Tensor | None = None
    if limits.width is not None:
        least, most = -(2 ** (limits.width - 1)), 2 ** (limits.width - 1) - 1
        low = least / counts if low is None else torch.maximum(low, least / counts)
        high = most / counts
    v = torch.zeros_like(current[0]) + start
    emitted = torch.zeros_like(v)
    spikes = []
    for x in current.unbind(0):
        h = (v + x).clamp(min=low, max=high) if low is not None or high is not None else v + x
        if law.retract is not None:
            s, state = signed_fire_and_reset(h, emitted, threshold, law.rule, law.retract)
            v, emitted = state if isinstance(state, SignedState) else (h, emitted)
        else:
            s, v = fire_and_reset(h, threshold, law.rule)
        spikes.append(s)
    return torch.stack(spikes)


def limits_of(network: IntegerNetwork, spiking: fx.GraphModule, record: Conversion) -> dict[str, Limits]:
    """Return what the integer network limits, by neuron of the conversion it was lowered from."""
    nodes = {node.name: node for node in spiking.graph.nodes}
    limits: dict[str, Limits] = {}
    for id, report in record.layers.items():
        if report.kind == "readout":
            continue
        name = str(neuron_node(nodes, spiking, record.wires[id][0], Neuron).target)
        node = next((n for n in network.neurons if n.path == name or n.path.endswith(f".{name}")), None)
        if node is None or (node.floor is None and node.width is None):
            continue
        real = torch.as_tensor(cast(Neuron, spiking.get_submodule(name)).threshold, dtype=torch.float64)
        counts = torch.as_tensor(node.threshold[0], dtype=torch.float64) / real.reshape(-1).cpu()
        limits[id] = Limits(node.floor, node.width, counts)
    return limits


def _doubles(value: Tensor | float, like: Tensor) -> Tensor:
    """Return a number or [C] in double precision, shaped to broadcast against the [N, C, ...] of [T, N, C, ...]."""
    return by_channel(torch.as_tensor(value, dtype=torch.float64).reshape(-1), like.dim() - 2)


def neuron_node(nodes: Mapping[str, fx.Node], network: fx.GraphModule, name: str, kind: type[nn.Module]) -> fx.Node:
    """Return the node of the neuron whose spikes arrive at node ``name``, after pools of counts."""
    node = nodes[name]
    while not (node.op == "call_module" and isinstance(network.get_submodule(str(node.target)), kind)):
        node = cast(Any, node.args[0])
    return node
