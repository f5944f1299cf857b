"""An integer network as a network of torch layers and floats: what runs where there is no integer engine.

The neurons are given, so the same walk makes the network of a peer and that of plain torch. Norms are folded into
weights and biases, which favours the float network.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Convolution, Input, Linear, Neuron, Readout, Reshape, SumPool

MakeNeuron = Callable[[float, Tensor], nn.Module]
"""Makes an IF neuron with soft reset over [T, N, ...] from its threshold and its start, a tensor [C, 1, 1] or [C]."""


class FloatNet(nn.Module):
    """Run the graph of an integer network in floats.

    Args:
        net: IF neurons with soft reset, constant input.
        neuron: makes its neurons.
        repeat: present the image at every step, as the peers do; else layers before the first neuron run once.
        exact: divide every channel by its own integer threshold, in double precision, half a count above every tie:
            spikes are then those of the integers. Otherwise values are real ones in single precision, one threshold
            per layer, and the sum with a shortcut is a plain addition, as in the network that was trained.
    """

    def __init__(self, net: IntegerNetwork, neuron: MakeNeuron, *, repeat: bool, exact: bool = False) -> None:
        super().__init__()
        self.net, self.repeat, self.exact = net, repeat, exact
        dtype = torch.float64 if exact else torch.float32
        self.layers = nn.ModuleDict()
        self.factors: dict[tuple[str, str], Tensor | None] = {}
        folded = {}
        for node in net.nodes:
            if isinstance(node, Neuron | Readout):
                # The first source carries the bias; whatever a weighted source is multiplied by goes into its weights.
                unit = 1 / node.threshold[0] if exact and isinstance(node, Neuron) else _unit(node)
                for place, (source, gain) in enumerate(zip(node.sources, node.gains, strict=True)):
                    factor = np.broadcast_to(gain[0] * unit, _channels(node))
                    bias = np.broadcast_to(node.bias[0] * unit, _channels(node)) if place == 0 else None
                    if isinstance(net[source], Convolution | Linear):
                        folded[source] = factor, bias
                        self.factors[node.id, source] = None
                    else:
                        assert bias is None or not bias.any(), f"{node.id}: its first source has no weights"
                        same = not exact and np.abs(factor - 1).max() < 2**-8
                        self.factors[node.id, source] = None if same else _along(node, factor).to(dtype)
                if isinstance(node, Neuron):
                    start = np.broadcast_to((node.initial + (0.5 if exact else 0.0)) * unit, _channels(node))
                    threshold = 1.0 if exact else float((node.threshold[0] * unit).mean())
                    self.layers[node.id] = neuron(threshold, _along(node, start).to(dtype))
        for node in net.nodes:
            if isinstance(node, Convolution | Linear):
                self.layers[node.id] = _weighted(node, *folded[node.id]).to(dtype)
            elif isinstance(node, SumPool):
                self.layers[node.id] = nn.AvgPool2d(node.kernel, node.stride, node.padding, divisor_override=1)

    def forward(self, x: Tensor, steps: int) -> Tensor:
        """Return the sum of the outputs over time.

        Args:
            x: [N, C, H, W] input codes as floats.
            steps: T.
        """
        wires: dict[str, Tensor] = {}
        for node in self.net.nodes:
            if isinstance(node, Input):
                wires[node.id] = x.unsqueeze(0).repeat(steps, 1, 1, 1, 1) if self.repeat else x[None]
                continue
            if isinstance(node, Neuron | Readout):
                value = self._current(node.id, node.sources, wires)
                if isinstance(node, Readout):
                    return value.sum(0) if len(value) == steps else value[0] * steps
                if len(value) != steps:
                    value = value.expand(steps, *value.shape[1:])
                wires[node.id] = self.layers[node.id](value)
                continue
            value = wires[node.sources[0]]
            folded = value.flatten(0, 1)
            out = folded.flatten(1) if isinstance(node, Reshape) else self.layers[node.id](folded)
            wires[node.id] = out.view(*value.shape[:2], *out.shape[1:])
        raise ValueError("the network has no read-out")

    def _current(self, id: str, sources: tuple[str, ...], wires: dict[str, Tensor]) -> Tensor:
        total: Tensor | None = None
        for source in sources:
            factor = self.factors[id, source]
            term = wires[source] if factor is None else wires[source] * factor
            total = term if total is None else total + term
        assert total is not None
        return total


class PlainIF(nn.Module):
    """An integrate-and-fire neuron as one writes it in torch for inference."""

    def __init__(self, threshold: float, start: Tensor) -> None:
        super().__init__()
        self.threshold, self.start = threshold, start

    def forward(self, x: Tensor) -> Tensor:
        v, spikes = self.start, []
        for x_t in x:
            h = v + x_t
            spike = (h >= self.threshold).to(h.dtype)
            v = h - self.threshold * spike
            spikes.append(spike)
        return torch.stack(spikes)


def spikingjelly_if(threshold: float, start: Tensor) -> nn.Module:
    """Return SpikingJelly's IF neuron with a soft reset, started anew in every call."""
    from spikingjelly.activation_based import neuron

    node = neuron.IFNode(v_threshold=threshold, v_reset=None, step_mode="m")

    def begin(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        module.v = start.expand(inputs[0].shape[1:])  # type: ignore[assignment]

    node.register_forward_pre_hook(begin)
    made: nn.Module = node
    return made


def _unit(node: Neuron | Readout) -> np.ndarray:
    return np.asarray(node.unit if isinstance(node, Neuron) else 1.0)


def _channels(node: Neuron | Readout) -> tuple[int]:
    return (node.shape[0],)


def _along(node: Neuron | Readout, values: np.ndarray) -> Tensor:
    """Return values [C] in a shape that broadcasts over [T, N, C, ...]."""
    return torch.tensor(values).view(-1, *[1] * (len(node.shape) - 1))


def _weighted(node: Convolution | Linear, factor: np.ndarray, bias: np.ndarray | None) -> nn.Module:
    weight = torch.from_numpy(node.weight.codes * factor.reshape(-1, *[1] * (node.weight.codes.ndim - 1)))
    outs, ins = weight.shape[:2]
    layer: nn.Conv2d | nn.Linear
    if isinstance(node, Linear):
        layer = nn.Linear(ins, outs, bias=bias is not None)
    else:
        sizes = (weight.shape[2:], node.stride, node.padding, node.dilation, node.groups)
        layer = nn.Conv2d(ins * node.groups, outs, *sizes, bias=bias is not None)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(torch.tensor(bias), requires_grad=False)
    return layer
