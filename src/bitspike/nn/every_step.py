"""What a network answers after 1, 2, ..., T steps, from one run of all T.

A step depends on earlier steps only, so what reaches the read-out in the first t of T steps is what reaches it in a run
that is stopped there. The read-out is asked for every t, and the samples of all t go side by side through what follows
it. Legend: T time, N batch.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from bitspike.errors import ConstraintError
from bitspike.nn.aside import aside
from bitspike.nn.encoders import Encoder
from bitspike.nn.neurons.base import Neuron
from bitspike.nn.readouts import RateReadout, SumReadout
from bitspike.nn.time import TimeDistributed
from bitspike.nn.timed_layer import OverTime
from bitspike.ops.wrappers import unwrapped

_READOUT = "end the network with bs.RateReadout() or bs.SumReadout(), or a subclass with a forward of your own"


def after_every_step(model: nn.Module, x: Tensor) -> list[Any]:
    """Return the outputs of a model after 1, 2, ..., T steps; the last one is what the model gives for ``x``.

    Every output equals, bit for bit, the read-out of those first steps; no step is computed twice.

    Args:
        model: in evaluation mode, with a read-out (:class:`~bitspike.nn.RateReadout`,
            :class:`~bitspike.nn.SumReadout`, or a subclass of one), after which every sample goes its own way.
        x: as the model takes it.

    Returns:
        T outputs, each as the model gives it: [N, ...], or tuples and dictionaries of these.

    Raises:
        ConstraintError: no read-out was called, read-outs saw different numbers of steps, or what follows the read-out
            does not take samples one by one.

    Example:
        >>> from bitspike.nn import Repeat
        >>> model = nn.Sequential(Repeat(3), SumReadout())
        >>> [y.tolist() for y in after_every_step(model, torch.tensor([[0.5]]))]
        [[[0.5]], [[1.0]], [[1.5]]]
    """
    network = unwrapped(model)
    sizes: list[tuple[int, int]] = []

    def expand(module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> Tensor:
        x_TN = inputs[0]
        sizes.append((x_TN.shape[0], x_TN.shape[1]))
        return torch.cat([module.forward(x_TN[:t]) for t in range(1, x_TN.shape[0] + 1)])

    with ExitStack() as hooks:
        for module in network.modules():
            if isinstance(module, RateReadout | SumReadout):
                hooks.callback(module.register_forward_hook(expand).remove)
        outputs = network(x)
    name = type(network).__name__
    if not sizes:
        raise ConstraintError(
            f"{name} calls no read-out, so nothing tells what it answers after each step", fix=_READOUT
        )
    if len(set(sizes)) > 1:
        raise ConstraintError(
            f"the read-outs of {name} see {' and '.join(f'{t} steps of {n} samples' for t, n in sorted(set(sizes)))}",
            fix="one number of steps for all, or one read-out",
        )
    steps, samples = sizes[0]
    leaves, form = tree_flatten(outputs)
    if wrong := [leaf for leaf in leaves if not isinstance(leaf, Tensor) or leaf.shape[:1] != (steps * samples,)]:
        shape = list(wrong[0].shape) if isinstance(wrong[0], Tensor) else type(wrong[0]).__name__
        raise ConstraintError(
            f"what follows the read-out of {name} gives {shape} for {steps * samples} samples: it does not take "
            "samples one by one",
            fix="bs.set_steps(model, t) runs the first t steps alone",
        )
    split = [leaf.view(steps, samples, *leaf.shape[1:]).unbind(0) for leaf in leaves]
    return [tree_unflatten([parts[t] for parts in split], form) for t in range(steps)]


def reads_ahead(model: nn.Module, x: Tensor) -> bool:
    """Tell whether what a model computes at a step depends on later steps, so that one run does not show all others.

    The second half of the steps is changed where they begin, and in the first half everything that a module gives has
    to stay the same to the last bit. ``x`` is run twice for it; of large batches the first two samples. Of a network
    that calls no read-out the answer is yes: its outputs after every step are not known.

    Example:
        >>> from bitspike.nn import Repeat
        >>> class Centered(nn.Module):
        ...     def forward(self, x):
        ...         return x - x.mean(0)
        >>> x = torch.rand(2, 3)
        >>> [reads_ahead(nn.Sequential(Repeat(4), *layers, SumReadout()), x) for layers in ([], [Centered()])]
        [False, True]
    """
    network = unwrapped(model)
    if any(isinstance(module, Encoder) for module in network.modules()):
        x = x[:2]
    first, second = (_Heard(change) for change in (False, True))
    for heard in (first, second):
        heard.run(network, x)
    return not first.read_out or any(not _alike(a, b) for a, b in zip(first.early, second.early, strict=True))


def _alike(a: Tensor, b: Tensor) -> bool:
    """Tell whether two tensors are equal; what is NaN in both differs in neither."""
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())


class _Heard:
    """What the modules of a network give in the first half of the steps; with ``change`` the second begins otherwise.

    Spikes alone would not do: a threshold hides small differences before it.
    """

    def __init__(self, change: bool) -> None:
        self.change = change
        self.begun: torch.Size | None = None
        self.early: list[Tensor] = []
        self.read_out = False

    def run(self, network: nn.Module, x: Tensor) -> None:
        with aside(network), ExitStack() as hooks:
            for module in network.modules():
                if isinstance(module, Neuron | TimeDistributed | OverTime):
                    hooks.callback(module.register_forward_pre_hook(self._entering).remove)
                # What leaves the network has no time axis any more, though its shape may look as if it had.
                if isinstance(module, RateReadout | SumReadout) or not _reads_out(module):
                    hooks.callback(module.register_forward_hook(self._leaving).remove)
            network(x)

    def _begin(self, x_TN: Tensor) -> Tensor:
        self.begun, half = x_TN.shape[:2], (len(x_TN) + 1) // 2
        # Written out in both runs: an input repeated without a copy is computed another way.
        x_TN = x_TN.clone(memory_format=torch.contiguous_format)
        if self.change:
            x_TN[half:] += 1
        return x_TN

    def _entering(self, _module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        return None if self.begun is not None else (self._begin(inputs[0]), *inputs[1:])

    def _leaving(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor | None:
        if isinstance(module, Encoder) and self.begun is None:
            return self._begin(output)
        if isinstance(module, RateReadout | SumReadout):
            self.read_out, output = True, inputs[0]
        if isinstance(output, Tensor) and self.begun is not None and output.shape[:2] == self.begun:
            self.early.append(output[: (len(output) + 1) // 2])
        return None


def _reads_out(module: nn.Module) -> bool:
    return any(isinstance(part, RateReadout | SumReadout) for part in module.modules())
