"""An integer network run by torch, through the same neuron equations that training uses.

Values are integers carried by floats, each layer in single or double precision as its proven bounds
(:func:`bitspike.integer.bounds.widths.magnitudes`) say that the format holds every integer exactly. The definition is
:mod:`bitspike.integer.simulate`; that both agree is what ``verify`` shows. A kind of node that has no words here runs
as it defines itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bitspike.errors import ConstraintError
from bitspike.integer import nodes
from bitspike.integer.arithmetic import Whole
from bitspike.integer.bounds.widths import magnitudes
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers, Node, per_channel
from bitspike.integer.simulate import Trace, check_run
from bitspike.ops.dynamics import Rule, fire_and_reset, integrate, signed_fire_and_reset

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_AVERAGES = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_LARGEST = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


class TorchEngine:
    """Run an integer network on batches.

    Args:
        net: the network; its tensors are converted once.
        device: where it runs.

    Raises:
        ConstraintError: a number may leave the 53 bits that double precision holds exactly.
    """

    def __init__(self, net: IntegerNetwork, *, device: torch.device | str = "cpu") -> None:
        self.net, self.device = net, torch.device(device)
        # Libraries for other devices may shorten single precision (TF32) or transform and round (Winograd, FFT).
        single = self.device.type == "cpu" and torch.get_float32_matmul_precision() == "highest"
        self._formats: dict[str, torch.dtype] = {}
        for node, bound in magnitudes(net).items():
            if bound > 2**53:
                raise ConstraintError(
                    f"{net[node].path}: a number may reach {bound:.3g}, more than 53 bits hold",
                    fix="fewer fraction bits, or bs.simulate(net, codes), which runs in 64-bit integers",
                )
            # Single precision holds every integer up to 2**24, double precision up to 2**53.
            self._formats[node] = torch.float32 if single and bound <= 2**24 else torch.float64
        self._weights = {n.id: self._tensor(n.weight.codes, n) for n in net.weighted}

    @torch.no_grad()
    def run(self, codes: Whole, *, steps: int | None = None) -> Trace:
        """Run on integer codes [T or 1, N, ...]; arguments and result as :func:`bitspike.integer.simulate.simulate`."""
        source, steps = self.net.input, check_run(self.net, codes, steps)
        wires: dict[str, Tensor] = {source.id: self._tensor(codes, source)}
        trace = Trace({}, {}, {})
        last_reader = {s: node.id for node in self.net.nodes for s in node.sources}
        # Autocast would shorten sums, and NNPACK transforms convolutions; both would round.
        with torch.autocast(self.device.type, enabled=False), torch.backends.nnpack.flags(enabled=False):
            for node in self.net.nodes:
                inputs = [wires[s] for s in node.sources]
                if isinstance(node, nodes.Neuron):
                    spikes, potentials = self._neuron(node, inputs, steps)
                    trace.spikes[node.id], trace.potentials[node.id] = spikes.cpu().numpy(), potentials.cpu().numpy()
                    wires[node.id] = spikes
                elif isinstance(node, nodes.Readout):
                    value = self._combine(node, inputs, steps) + self._parameter(node.bias[:steps], node)
                    # A value that is steady has one row, which counts T times.
                    total = value.sum(0) if len(value) == steps else value[0] * steps
                    trace.outputs[node.id] = total.to(torch.int64).cpu().numpy()
                elif node.sources:
                    wires[node.id] = self._layer(node, inputs, steps)
                for s in node.sources:
                    if last_reader[s] == node.id:
                        wires.pop(s, None)
        return trace

    def _tensor(self, values: Whole, node: Node) -> Tensor:
        return torch.from_numpy(values).to(self.device, self._formats[node.id])

    def _parameter(self, values: Integers, node: Node) -> Tensor:
        return self._tensor(per_channel(values, len(node.shape)), node)

    def _combine(self, node: nodes.Gained, inputs: list[Tensor], steps: int) -> Tensor:
        terms = [self._parameter(g[:steps], node) * x for g, x in zip(node.gains, inputs, strict=True)]
        return sum(terms[1:], terms[0])

    def _layer(self, node: Node, inputs: list[Tensor], steps: int) -> Tensor:
        if isinstance(node, nodes.Add):
            return self._combine(node, inputs, steps)
        x, *others = (i.to(self._formats[node.id]) for i in inputs)
        match node:
            case nodes.Reshape() | nodes.Concat() | nodes.Slice() | nodes.Upsample() | nodes.Pad() | nodes.Transpose():
                return _arranged(node, [x, *others])
            case nodes.CountMaxPool():
                largest = self._by_step(node, x.cumsum(0))
                return torch.diff(largest, dim=0, prepend=torch.zeros_like(largest[:1]))
            case nodes.Burst():
                total = x.sum(0, keepdim=True) if len(x) == steps else x * steps
                return torch.cat([total, total.new_zeros(steps - 1, *total.shape[1:])])
            case (
                nodes.Linear() | nodes.Convolution() | nodes.TransposedConvolution() | nodes.SumPool() | nodes.MaxPool()
            ):
                return self._by_step(node, x)
        # A kind that has no words here runs as it defines itself.
        defined = node.run([i.to(torch.int64).cpu().numpy() for i in inputs], steps)
        return self._tensor(np.ascontiguousarray(defined), node)

    def _by_step(self, node: nodes.Weighted | nodes.Pool, x: Tensor) -> Tensor:
        """Run a layer that sees every step by itself."""
        folded = x.flatten(0, 1)
        match node:
            case nodes.Linear():
                out = F.linear(folded, self._weights[node.id])
            case nodes.Convolution():
                convolve, weight = _CONVOLUTIONS[len(node.stride)], self._weights[node.id]
                out = convolve(folded, weight, None, node.stride, node.padding, node.dilation, node.groups)
            case nodes.TransposedConvolution():
                spread, weight = _TRANSPOSED[len(node.stride)], self._weights[node.id]
                # Computed without padding and then cut: p places on both sides, of which the end gets back o.
                whole = spread(folded, weight, None, node.stride, groups=node.groups, dilation=node.dilation)
                pairs = zip(node.padding, node.output_padding, strict=True)
                out = _pad(whole, [(-p, o - p) for p, o in pairs], 0.0)
            case nodes.SumPool():
                # The mean of integers times their number is off by a few units in the last place: rounding is exact.
                padded = _pad(folded.double(), _both(node.padding), 0.0)
                mean = _AVERAGES[len(node.kernel)](padded, node.kernel, node.stride)
                out = torch.round(mean * math.prod(node.kernel)).to(folded.dtype)
            case nodes.Pool():
                # A padded place is never the largest of a MaxPool; in a pool of counts it never fired.
                padded = _pad(folded, _both(node.padding), -math.inf if isinstance(node, nodes.MaxPool) else 0.0)
                out = _LARGEST[len(node.kernel)](padded, node.kernel, node.stride)
        return out.view(*x.shape[:2], *out.shape[1:])

    def _neuron(self, node: nodes.Neuron, inputs: list[Tensor], steps: int) -> tuple[Tensor, Tensor]:
        """Return spikes int8 and potentials before reset int64, [T, N, ...]."""
        current = self._combine(node, inputs, steps)
        if node.right_shift:
            # A right shift rounds down, and a quotient by a power of two is exact.
            current = torch.floor(current / 2**node.right_shift)
        current = current + self._parameter(node.bias[:steps], node)
        threshold = self._parameter(node.threshold[:steps], node)
        v_reset, retract = (self._parameter(p, node)[0] for p in (node.v_reset, node.retract))
        v = self._parameter(node.initial, node)[0].expand(current.shape[1:])
        emitted = torch.zeros_like(v) if node.signed else v
        leaks = node.leak.numerator != 1 or node.leak.shift != 0
        # Resolution 1 rounds the leak's product to whole numbers.
        decay, resolution = float(node.leak), 1.0 if leaks else None
        rule = Rule(
            fire=node.fire, reset=node.reset, leak=node.leak_order, resolution=resolution, rounding=node.rounding
        )
        spikes = torch.empty((steps, *v.shape), dtype=torch.int8, device=self.device)
        potentials = torch.empty((steps, *v.shape), dtype=torch.int64, device=self.device)
        for t in range(steps):
            h = integrate(v, current[min(t, len(current) - 1)], decay, rule)
            if node.floor is not None:
                h = h.clamp(min=node.floor)
            if node.width is not None:
                h = h.clamp(-(2 ** (node.width - 1)), 2 ** (node.width - 1) - 1)
            theta = threshold[min(t, len(threshold) - 1)]
            if node.signed:
                s, (v, emitted) = signed_fire_and_reset(h, emitted, theta, rule, retract)
            else:
                s, v = fire_and_reset(h, theta, rule)
                # The rule's own hard reset goes to 0; v_reset may differ from channel to channel.
                v = v + v_reset * s if node.reset == "hard" and bool(node.v_reset.any()) else v
            if isinstance(node, nodes.FewBitNeuron):
                # A node may have more bits than a membrane that is trained; the quotient is exact.
                codes = torch.floor((v + node.half) / 2**node.kept_shift).clamp(*node.codes)
                v = codes * 2**node.kept_shift
            spikes[t], potentials[t] = s, h
        return spikes, potentials


def _arranged(node: nodes.Move, inputs: list[Tensor]) -> Tensor:
    """Move integers and leave them as they are."""
    x = inputs[0]
    match node:
        case nodes.Reshape():
            return x.reshape(*x.shape[:2], *node.shape)
        case nodes.Concat():
            longest = max(len(i) for i in inputs)
            return torch.cat([i.expand(longest, *i.shape[1:]) for i in inputs], dim=2)
        case nodes.Slice():
            return x[:, :, node.start : node.stop]
        case nodes.Upsample():
            for axis, factor in enumerate(node.factors, start=3):
                x = x.repeat_interleave(factor, axis)
            return x
        case nodes.Pad():
            return _pad(x, zip(node.before, node.after, strict=True), 0.0)
        case nodes.Transpose():
            return x.permute(0, 1, *(axis + 2 for axis in node.axes))
    raise AssertionError(f"{type(node).__name__} was let through")


def _both(padding: Iterable[int]) -> list[tuple[int, int]]:
    return [(p, p) for p in padding]


def _pad(x: Tensor, sides: Iterable[tuple[int, int]], value: float) -> Tensor:
    """Put ``value`` before and after each of the last axes, or cut where a number is negative."""
    # torch's own padding of pools refuses some windows that fit, such as those of three axes on small inputs.
    sides = list(sides)
    if any(n > 0 for side in sides for n in side):
        x = F.pad(x, [max(0, n) for side in reversed(sides) for n in side], value=value)
    for axis, (before, after) in enumerate(sides, start=x.ndim - len(sides)):
        x = x.narrow(axis, max(0, -before), x.shape[axis] - max(0, -before) - max(0, -after))
    return x
