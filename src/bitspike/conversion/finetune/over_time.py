"""Fine-tuning over time: a prepared network whose activations are the neurons that they will be, step by step.

A clip-floor-shift activation knows how many spikes a neuron sends for a steady current, not when they come. Spikes that
come early or late are what a synchronous network loses to its own fine-tuning, most of all with few steps. Here every
current flows for T steps into a real neuron, and surrogate gradients flow back through time into the same weights,
codes and clips:

    s = neuron(x[1..T] / clip; threshold 1, initial shift),   y[t] = clip s[t],   result = mean over t

Source: backpropagation through time with surrogate gradients, Neftci et al. 2019, doi 10.1109/MSP.2019.2931595; started
from a converted network, Rathi et al., ICLR 2020, arXiv 2005.01807.
"""

from __future__ import annotations

from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.conversion.finetune.prepared import Prepared, prepared_of
from bitspike.conversion.finetune.sums import on_operations
from bitspike.conversion.region.cut import core_of, covers, replaced
from bitspike.conversion.timed import MaxPoolOfCounts, by_step, need_counting, spikes_worth
from bitspike.graph.flow import spikes
from bitspike.graph.rebuild import rebuild
from bitspike.nn import IF, CountMaxPool, Neuron
from bitspike.nn.clip_floor_shift import ClipFloorShift
from bitspike.ops.precision import single
from bitspike.ops.surrogate import ArcTan, Surrogate


class PreparedOverTime(nn.Module):
    """A prepared network that is run step by step; takes what the original takes, returns what it returned.

    It shares every parameter with the network it was made of, which is the one to hand to ``bs.finish``. A step of
    training costs about as much as T of the prepared network itself.

    Args:
        prepared: from :func:`bitspike.conversion.finetune.prepare.prepare`, trained for some epochs already.
        neuron: ``bs.IF`` or ``bs.SignedIF``, the one that ``bs.finish`` will be told.
        surrogate: stands in for the derivative of a spike.

    Raises:
        ConstraintError: another kind of neuron.

    Example:
        >>> import torch, bitspike as bs
        >>> from bitspike.train import AdamW
        >>> ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> images, labels = torch.rand(32, 4), torch.randint(0, 2, (32,))
        >>> tuned = bs.prepare(ann, images[:1], calibrate=images, bits=4, steps=4)
        >>> _ = bs.fit(tuned, [(images, labels)], epochs=2, optimizer=AdamW(lr=1e-3))
        >>> _ = bs.fit(bs.over_time(tuned), [(images, labels)], epochs=2, optimizer=AdamW(lr=1e-4))
        >>> bs.finish(tuned, images[:1])(images).shape
        torch.Size([32, 2])
    """

    def __init__(self, prepared: Prepared, *, neuron: type[Neuron] = IF, surrogate: Surrogate = ArcTan()) -> None:
        need_counting(neuron, "over_time")
        super().__init__()
        self.network = _over_time(prepared, neuron, surrogate)

    def forward(self, *inputs: Tensor) -> object:
        return self.network(*map(single, inputs))


class ClipNeuron(nn.Module):
    """The neuron that a clip-floor-shift activation stands for, with the activation's own clip, shift and T.

    Shape: [T N, C, ...] currents, all samples of the first step first, to as many values of 0, clip or, from a signed
        neuron, -clip.

    Example:
        >>> import torch
        >>> ClipNeuron(ClipFloorShift(steps=4, clip=2.0))(torch.tensor([[1.0], [0.0], [3.0], [1.0]])).flatten().tolist()
        [2.0, 0.0, 2.0, 2.0]
    """

    def __init__(
        self, activation: ClipFloorShift, *, neuron: type[Neuron] = IF, surrogate: Surrogate = ArcTan()
    ) -> None:
        super().__init__()
        self.activation = activation
        # Currents come divided by the clip, so the threshold is 1 and the clip still gets its gradient.
        self.neuron = neuron(1.0, initial=activation.shift, surrogate=surrogate)

    def forward(self, x: Tensor) -> Tensor:
        clip = self.activation.threshold()
        clip = clip.reshape(-1, *[1] * (x.dim() - 2)) if clip.numel() > 1 else clip.reshape(())
        return spikes_worth(x, clip, self.neuron, self.activation.steps)


class _InSteps(nn.Module):
    """Give a network T copies of its inputs, side by side in the batch, and return the mean of its results."""

    def __init__(self, network: nn.Module, steps: int) -> None:
        super().__init__()
        self.network, self.steps = network, steps

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        # `repeat` puts all samples of step 1 first, then those of step 2: the order of unflatten(0, (T, -1)).
        results = self.network(*(x.repeat(self.steps, *[1] * (x.dim() - 1)) for x in inputs))
        return self._mean(results) if isinstance(results, Tensor) else tuple(self._mean(r) for r in results)

    def _mean(self, x: Tensor) -> Tensor:
        return by_step(x, self.steps).mean(0)


@checked
def over_time(prepared: Prepared, *, neuron: type[Neuron] = IF, surrogate: Surrogate = ArcTan()) -> PreparedOverTime:
    """Return a prepared network that runs over time and shares its parameters; see :class:`PreparedOverTime`."""
    prepared = prepared_of(prepared, "over_time")
    modes = {module: module.training for module in prepared.modules()}
    network = PreparedOverTime(prepared, neuron=neuron, surrogate=surrogate).train(prepared.training)
    for module, training in modes.items():  # what both share, such as a norm that is frozen, stays in its mode
        module.training = training
    return network


def _over_time(prepared: Prepared, neuron: type[Neuron], surrogate: Surrogate) -> nn.Module:
    graph, chosen, steps = prepared.folded, prepared.region, prepared.settings.steps
    core = core_of(graph, chosen)
    neurons = {id: ClipNeuron(a, neuron=neuron, surrogate=surrogate) for id, a in prepared.activations.items()}
    counted = spikes(core)
    pools = {
        op.id: MaxPoolOfCounts(CountMaxPool(op.attrs["kernel"], op.attrs["stride"], op.attrs["padding"]), steps)
        for op in core
        if op.kind == "max_pool" and op.id in counted
    }
    inside = _InSteps(rebuild(core, {**on_operations(graph, neurons), **pools, **prepared.sums}), steps)
    # The host's part knows no steps: only the region runs T times, and hands on its mean.
    return inside if covers(graph, chosen) else rebuild(replaced(graph, chosen, inside))
