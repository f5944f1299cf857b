"""An integer network run by torch, through the same neuron equations that training uses.

Values are integers carried by floats: convolutions in single or double precision, potentials in double, and each layer
only where its proven bounds say that the format holds every integer exactly. The definition is
:mod:`bitspike.integer.simulate`; that both agree is what ``verify`` shows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bitspike.errors import ConstraintError
from bitspike.integer.network import (
    Add,
    Convolution,
    Input,
    IntegerNetwork,
    Integers,
    Linear,
    MaxPool,
    Neuron,
    Node,
    Readout,
    Reshape,
    SumPool,
    per_channel,
)
from bitspike.integer.simulate import Trace, check_codes
from bitspike.ops.dynamics import Rule, SignedState, fire_and_reset, integrate, signed_fire_and_reset

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_AVERAGES = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_LARGEST = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


class Engine:
    """Run an integer network on batches.

    Args:
        net: the network; its tensors are converted once.
        device: where it runs.

    Raises:
        ConstraintError: a sum may leave the 53 bits that double precision holds exactly.
    """

    def __init__(self, net: IntegerNetwork, *, device: torch.device | str = "cpu") -> None:
        self.net, self.device = net, torch.device(device)
        self._weights = {n.id: torch.from_numpy(n.weight.codes).to(self.device) for n in net.weighted}

    @torch.no_grad()
    def run(self, codes: Integers, *, steps: int | None = None) -> Trace:
        """Run on integer codes [T or 1, N, ...]; arguments and result as :func:`bitspike.integer.simulate.simulate`."""
        steps = self.net.steps if steps is None else steps
        (source,) = self.net.inputs
        check_codes(source, codes, steps)
        wires: dict[str, Tensor] = {source.id: torch.from_numpy(codes).to(self.device, torch.float64)}
        trace = Trace({}, {}, {})
        last_reader = {s: node.id for node in self.net.nodes for s in node.sources}
        for node in self.net.nodes:
            inputs = [wires[s] for s in node.sources]
            if isinstance(node, Input):
                continue
            if isinstance(node, Neuron):
                spikes, potentials = self._neuron(node, inputs, steps)
                trace.spikes[node.id] = spikes.to(torch.int8).cpu().numpy()
                trace.potentials[node.id] = potentials.to(torch.int64).cpu().numpy()
                wires[node.id] = spikes
            elif isinstance(node, Readout):
                value = self._combine(node, inputs, steps) + self._parameter(node.bias[:steps], node)
                total = value.sum(0) if len(value) == steps else value[0] * steps
                trace.outputs[node.id] = total.to(torch.int64).cpu().numpy()
            else:
                wires[node.id] = self._stateless(node, inputs)
            for s in node.sources:
                if last_reader[s] == node.id:
                    wires.pop(s, None)
        return trace

    def _parameter(self, values: Integers, node: Node) -> Tensor:
        return torch.from_numpy(per_channel(values, len(node.shape))).to(self.device, torch.float64)

    def _combine(self, node: Add | Neuron | Readout, inputs: list[Tensor], steps: int) -> Tensor:
        terms = [self._parameter(g[:steps], node) * x for g, x in zip(node.gains, inputs, strict=True)]
        return sum(terms[1:], terms[0])

    def _stateless(self, node: Node, inputs: list[Tensor]) -> Tensor:
        x = inputs[0]
        if isinstance(node, Add):
            return self._combine(node, inputs, self.net.steps)
        if isinstance(node, Reshape):
            return x.reshape(*x.shape[:2], *node.shape)
        folded = x.flatten(0, 1)
        if isinstance(node, Linear | Convolution):
            out = self._weighted(node, folded)
        elif isinstance(node, SumPool):
            area = int(np.prod(node.kernel))
            out = torch.round(_AVERAGES[len(node.kernel)](folded, node.kernel, node.stride, node.padding) * area)
        elif isinstance(node, MaxPool):
            out = _LARGEST[len(node.kernel)](folded, node.kernel, node.stride, node.padding)
        else:
            raise ConstraintError(f"node {node.id!r}: this version cannot run a {type(node).__name__}")
        return out.view(*x.shape[:2], *out.shape[1:])

    def _weighted(self, node: Linear | Convolution, x: Tensor) -> Tensor:
        codes = self._weights[node.id]
        bound = float(x.abs().max()) * float(codes.abs().flatten(1).sum(1).max()) if x.numel() else 0.0
        if bound > 2**53:
            raise ConstraintError(f"{node.path}: a sum may reach {bound:.3g}, more than 53 bits hold")
        dtype = torch.float32 if bound <= 2**24 else torch.float64
        x, w = x.to(dtype), codes.to(dtype)
        if isinstance(node, Linear):
            return F.linear(x, w).double()
        run = _CONVOLUTIONS[len(node.stride)]
        out = run(x, w, None, node.stride, node.padding, node.dilation, node.groups)
        # A library may pick an algorithm that transforms and rounds (Winograd); rounding back is exact below the bound.
        return torch.round(out).double()

    def _neuron(self, node: Neuron, inputs: list[Tensor], steps: int) -> tuple[Tensor, Tensor]:
        current = self._combine(node, inputs, steps)
        if node.right_shift:
            current = torch.floor(current / 2**node.right_shift)
        current = current + self._parameter(node.bias[:steps], node)
        threshold = self._parameter(node.threshold[:steps], node)
        v_reset = self._parameter(node.v_reset, node)[0]
        v = self._parameter(node.initial, node)[0].expand(current.shape[1:]).clone()
        emitted = torch.zeros_like(v)
        decay = float(node.leak)
        leaks = node.leak.numerator != 1 or node.leak.shift != 0
        rule = Rule(fire=node.fire, reset=node.reset, leak=node.leak_order, resolution=1.0 if leaks else None)
        spikes, potentials = [], []
        for t in range(steps):
            h = integrate(v, current[min(t, len(current) - 1)], decay, rule)
            if node.floor is not None:
                h = h.clamp(min=node.floor)
            if node.width is not None:
                h = h.clamp(-(2 ** (node.width - 1)), 2 ** (node.width - 1) - 1)
            theta = threshold[min(t, len(threshold) - 1)]
            if node.signed:
                s, state = signed_fire_and_reset(h, emitted, theta, rule, self._parameter(node.retract, node)[0])
                v, emitted = SignedState(*state)
            else:
                s, v = fire_and_reset(h, theta, rule)
                v = v + v_reset * s if node.reset == "hard" else v
            spikes.append(s)
            potentials.append(h)
        return torch.stack(spikes), torch.stack(potentials)
