"""The spiking network of a quantized one: real neurons for T = 2**b - 1 steps in the place of its quantized ReLUs.

    s = neuron(x[1..T] / clip; threshold 1, initial 1/2),   y[t] = clip s[t],   result = mean over t

Weights, weight schemes, norms and clips are those of the quantized network itself. The input is presented unchanged at
every step (direct coding), so everything before the first neurons is computed once.

Source: Hu et al. 2023 (Fast-SNN), arXiv 2305.19868; trained with surrogate gradients, Neftci et al. 2019,
doi 10.1109/MSP.2019.2931595.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map

from bitspike.arguments import checked
from bitspike.conversion.quantized.flow import Flow, flow_of
from bitspike.conversion.quantized.run import Run, part_of
from bitspike.conversion.timed import by_step, need_counting, spikes_worth
from bitspike.errors import ConstraintError
from bitspike.graph.shown import ShownNetwork
from bitspike.nn import Neuron, QuantReLU, SignedIF
from bitspike.nn.activation import FLOOR, clip_in_use
from bitspike.ops.surrogate import ArcTan, Surrogate
from bitspike.ops.wrappers import unwrapped

RETRACT = 2.0**-16
"""How far below zero a signed neuron takes a spike back, as a share of the threshold: beyond the rounding of single
precision, and no more, because the integers of a converted network take it back from one count below zero on."""


class QuantNeuron(nn.Module):
    """The neuron that a quantized ReLU stands for: its clip is the threshold, half of it the first potential.

    It has the clip of the :class:`~bitspike.nn.QuantReLU` itself. How far below zero a signed neuron's potential must
    lie to take a spike back is meant in units of the clip.

    Shape: [T N, C, ...] currents, all samples of the first step first, to as many values of 0, clip or, from a signed
        neuron, -clip. With ``steady`` one current [N, C, ...] for all steps, to [T N, C, ...].

    Example:
        >>> import torch
        >>> neuron = QuantNeuron(QuantReLU(2, clip=3.0), neuron=SignedIF, surrogate=ArcTan())
        >>> neuron(torch.tensor([[0.4], [1.2]]), steady=True).view(3, 2).sum(0).tolist()
        [0.0, 3.0]
    """

    def __init__(self, activation: QuantReLU, *, neuron: type[Neuron], surrogate: Surrogate) -> None:
        super().__init__()
        self.bits, self.steps = activation.bits, activation.levels
        self.clip = activation.clip
        more: dict[str, Any] = {"retract": RETRACT} if neuron.signed else {}
        self.neuron = neuron(1.0, initial=0.5, surrogate=surrogate, **more)

    def forward(self, x: Tensor, *, steady: bool = False) -> Tensor:
        clip = clip_in_use(self.clip, FLOOR)
        return spikes_worth(x, clip, self.neuron, self.steps, steady=steady)


class SpikingTwin(ShownNetwork, nn.Module):
    """A quantized network that is run step by step; :func:`spiking_twin` makes it.

    It takes what the quantized network takes and returns the mean of its outputs over T steps. Its ``state_dict`` has
    the same names, and every parameter is the quantized network's own: what is trained or loaded in one is so in the
    other. Norms always use the statistics that they have learned, in training too; their gain and shift train.

    Attributes:
        steps: T = 2**b - 1.
    """

    def __init__(self, network: nn.Module, *, neuron: type[Neuron] = SignedIF, surrogate: Surrogate = ArcTan()) -> None:
        need_counting(neuron, "spiking_twin")
        if isinstance(network, SpikingTwin):
            raise ConstraintError("spiking_twin: this is a twin already", fix="the quantized network it was made of")
        network = unwrapped(network)
        flow = flow_of(network, "spiking_twin")
        super().__init__()
        self.training = network.training
        self._flow = flow
        # In a tuple it is no part of the twin; the twin's state is its state.
        self._network = (network,)
        memo: dict[int, nn.Module] = {id(network): self}
        for module in network.modules():
            if isinstance(module, QuantReLU):
                memo[id(module)] = QuantNeuron(module, neuron=neuron, surrogate=surrogate)
        _fill(self, network, memo)

    @property
    def steps(self) -> int:
        return self._flow.steps

    @property
    def flow(self) -> Flow:
        """The calls of the network, in the order of data flow."""
        return self._flow

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self._network[0].state_dict(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any) -> None:
        # What the network refuses, such as the state of other bits, its twin refuses.
        self._network[0]._load_from_state_dict(*args)

    def forward(self, *inputs: Tensor) -> Any:
        return Run(self._flow, partial(part_of, self), self.steps).whole(inputs)

    def by_step(self, *inputs: Tensor) -> Any:
        """Return for every t from 1 to T what the network answers after t steps, [T, N, ...]: the mean of t outputs.

        Where the network ends in an operation that is not linear, such as a softmax, that is done with the mean.
        """
        answers = Run(self._flow, partial(part_of, self), self.steps, running=True).whole(inputs)
        return tree_map(lambda x: by_step(x, self.steps) if isinstance(x, Tensor) else x, answers)


def _fill(shell: nn.Module, module: nn.Module, memo: dict[int, nn.Module]) -> None:
    """Give an empty module the parts of another, with neurons in the place of quantized ReLUs."""
    shell._parameters = dict(module._parameters)
    shell._buffers = dict(module._buffers)
    shell._non_persistent_buffers_set = set(module._non_persistent_buffers_set)
    for name, child in module._modules.items():
        shell._modules[name] = None if child is None else _twin_of(child, memo)


def _twin_of(module: nn.Module, memo: dict[int, nn.Module]) -> nn.Module:
    """Return the module itself, or a shell of the same parts if a quantized ReLU is among them."""
    if id(module) not in memo:
        if any(isinstance(part, QuantReLU) for part in module.modules()):
            memo[id(module)] = shell = nn.Module()
            shell.training = module.training
            _fill(shell, module, memo)
        else:
            memo[id(module)] = module
    return memo[id(module)]


@checked
def spiking_twin(
    network: nn.Module, *, neuron: type[Neuron] = SignedIF, surrogate: Surrogate = ArcTan()
) -> SpikingTwin:
    """Return a quantized network that runs over time, T = 2**b - 1 steps, and shares every parameter with it.

    For steady currents the count of every neuron is the level of its quantized ReLU; what differs in a deeper network
    is when spikes come (:func:`bitspike.conversion.quantized.mismatch.mismatch` counts it). Differentiable: ``bs.fit``
    trains the twin, and with it the network, end to end. T copies of the batch are in memory.

    Args:
        network: its activations are ``bs.QuantReLU`` of one number of bits, each called once, with nothing but linear
            operations on the way from one to the next; ``bs.quantize`` makes such a network of any other.
        neuron: ``bs.SignedIF``, which takes back spikes that came too early, or ``bs.IF``.
        surrogate: stands in for the derivative of a spike.

    Raises:
        ConstraintError: another kind of neuron; no ``QuantReLU``, one that is called twice, or different bits.
        ConversionError: the network cannot be followed, or an operation that is not linear lies between neurons.

    Example:
        >>> import torch
        >>> ann = nn.Sequential(nn.Linear(2, 3), QuantReLU(2), nn.Linear(3, 2)).eval()
        >>> twin, x = spiking_twin(ann), torch.rand(4, 2)
        >>> twin.steps, torch.allclose(twin(x), ann(x), atol=1e-6), list(twin.state_dict()) == list(ann.state_dict())
        (3, True, True)
    """
    return SpikingTwin(network, neuron=neuron, surrogate=surrogate)
