"""The same network in a peer's own modules, written the way its documentation recommends, with the same weights.

A sequential model of ours is read as a list of layers, and each is answered by the peer's counterpart.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

import bitspike as bs

Make = Callable[[], nn.Module]


def outline(model: nn.Module) -> list[nn.Module]:
    """Return the layers of a sequential model in order, time folding, encoder and read-out left out.

    Norms are plain batch norms of the same numbers.

    Example:
        >>> from bitspike.models import vgg9
        >>> [type(layer).__name__ for layer in outline(vgg9(width=1 / 16))][:4]
        ['Conv2d', 'BatchNorm2d', 'LIF', 'Conv2d']
    """
    layers: list[nn.Module] = []
    for layer in _leaves(model):
        if isinstance(layer, bs.Repeat | bs.RateReadout):
            continue
        if isinstance(layer, bs.ThresholdBatchNorm):
            flat = bool(layers) and isinstance(layers[-1], nn.Linear)
            norm = (nn.BatchNorm1d if flat else nn.BatchNorm2d)(layer.channels, layer.eps, layer.momentum)
            with torch.no_grad():
                norm.weight.copy_(layer.gain())
                norm.bias.copy_(layer.bias)
            layer = norm
        layers.append(layer)
    return layers


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, nn.Sequential):
        for child in module:
            yield from _leaves(child)
    else:
        yield module


class SpikingJellyNet(nn.Module):
    """A multi-step SpikingJelly network: the image repeated over time, the rate of the output as logits.

    Args:
        layers: of :func:`outline`.
        steps: T.
        neuron: makes its neuron.
    """

    def __init__(self, layers: list[nn.Module], steps: int, neuron: Make) -> None:
        super().__init__()
        from spikingjelly.activation_based import functional, layer

        parts: list[nn.Module] = []
        for mine in layers:
            if isinstance(mine, bs.Neuron):
                parts.append(neuron())
                continue
            part = _counterpart(mine, layer)
            part.load_state_dict(mine.state_dict())
            parts.append(part)
        self.steps, self.net = steps, nn.Sequential(*parts)
        functional.set_step_mode(self.net, "m")  # hands the whole [T, N, ...] from layer to layer

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.unsqueeze(0).repeat(self.steps, 1, 1, 1, 1)).mean(0)

    def reset(self) -> None:
        """Forget the potentials, as its documentation asks for after every batch."""
        from spikingjelly.activation_based import functional

        functional.reset_net(self.net)


def _counterpart(mine: nn.Module, library: object) -> nn.Module:
    """Return the module of the same name in SpikingJelly's library of layers, with the same arguments."""
    make = getattr(library, type(mine).__name__)
    match mine:
        case nn.Conv2d():
            bias = mine.bias is not None
            sizes = (mine.in_channels, mine.out_channels, mine.kernel_size, mine.stride, mine.padding)
            return make(*sizes, bias=bias)
        case nn.Linear():
            return make(mine.in_features, mine.out_features, bias=mine.bias is not None)
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return make(mine.num_features, mine.eps, mine.momentum)
        case nn.AvgPool2d() | nn.MaxPool2d():
            return make(mine.kernel_size, mine.stride, mine.padding)
        case nn.AdaptiveAvgPool2d():
            return make(mine.output_size)
        case nn.Flatten():
            return make()
    raise NotImplementedError(f"no counterpart of {type(mine).__name__} in the benchmarks")


class SnnTorchNet(nn.Module):
    """A snnTorch network: plain torch layers and a loop over time that hands the potentials on.

    Args:
        layers: of :func:`outline`.
        steps: T.
        neuron: makes its neuron.
    """

    def __init__(self, layers: list[nn.Module], steps: int, neuron: Make) -> None:
        super().__init__()
        self.steps = steps
        self.layers = nn.ModuleList(neuron() if isinstance(m, bs.Neuron) else copy.deepcopy(m) for m in layers)

    def forward(self, x: Tensor) -> Tensor:
        import snntorch

        potentials: dict[int, Tensor | None] = {}
        logits = []
        for _ in range(self.steps):
            value = x
            for index, layer in enumerate(self.layers):
                if isinstance(layer, snntorch.Leaky):
                    before = potentials.get(index)
                    value, potentials[index] = layer(value, torch.zeros_like(value) if before is None else before)
                else:
                    value = layer(value)
            logits.append(value)
        return torch.stack(logits).mean(0)

    def reset(self) -> None:
        """Do nothing: the potentials live in one call."""


def spikingjelly_lif(decay: float) -> nn.Module:
    """Return SpikingJelly's LIF neuron with a hard reset to zero and the arctan surrogate."""
    from spikingjelly.activation_based import neuron, surrogate

    return neuron.LIFNode(
        tau=1 / (1 - decay), decay_input=False, v_reset=0.0, surrogate_function=surrogate.ATan(), step_mode="m"
    )


def snntorch_leaky(decay: float) -> nn.Module:
    """Return snnTorch's neuron that resets to zero at once; it fires above its threshold, not at it."""
    import snntorch

    return snntorch.Leaky(beta=decay, reset_mechanism="zero", reset_delay=False, spike_grad=snntorch.surrogate.atan())
