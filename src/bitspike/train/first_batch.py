"""What the first batch of a training shows: samples that neurons would take for time steps, inputs that do not fit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError, DataError
from bitspike.nn import Encoder
from bitspike.nn.aside import aside
from bitspike.nn.neurons.base import Neuron
from bitspike.ops.wrappers import unwrapped

_TIME = "bs.Repeat(steps=4) before the first layer, bs.TimeDistributed around layers, and bs.RateReadout() at the end"


def refuse_samples_as_steps(model: nn.Module, x: Any, labels: Any) -> None:
    """Refuse a network whose neurons get [N, ...]: they would take the samples of a batch for time steps.

    A network with an encoder has a time axis. One without is run on the side, up to its first neurons, with all samples
    and, where their first axis is as long, with all but one: an axis that follows is that of the samples. What cannot
    run on the side, or has labels for every step, [T, N, ...], is left alone.

    Raises:
        ConstraintError: it follows.
    """
    network = unwrapped(model)
    if not isinstance(x, Tensor) or not isinstance(labels, Tensor) or x.dim() < 2 or labels.dim() == 0:
        return
    count = labels.shape[0]
    if count < 2 or x.shape[0] != count or x.shape[1] == count:  # recordings [T, N, ...] may have as many steps
        return
    if labels.dim() > 1 and labels.shape[1] == x.shape[1]:  # labels of every step
        return
    if any(isinstance(module, Encoder) for module in network.modules()):
        return
    seen = _first_input(network, x)
    if seen is None or seen[1][:1] != (count,):
        return
    fewer = _first_input(network, x[:-1])
    if fewer is None or fewer[1][:1] != (count - 1,):
        return
    name, shape = seen
    recording = (
        f"one recording with a label for every step has inputs {[count, 1, x.shape[-1]]} and labels {[count, 1]}"
    )
    raise ConstraintError(
        f"{name} gets {list(shape)}: its first axis is the {count} samples, which it would take for time steps, "
        "so that one sample leaks into the next; needed is [T, N, ...]",
        fix=_TIME if x[0].numel() > x.shape[-1] else f"{_TIME}; {recording}",
    )


class _Reached(Exception):
    """The first neurons are reached: what follows them is not computed."""


def _first_input(network: nn.Module, x: Tensor) -> tuple[str, torch.Size] | None:
    """Return the neurons that are called first, and the shape of what they get; None where none are reached.

    A network may refuse what it is not made for, such as a batch of another size.
    """
    calls: list[tuple[str, torch.Size]] = []

    def hears(name: str, neuron: nn.Module) -> Any:
        def hear(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            calls.extend((f"{name} ({type(neuron).__name__})", value.shape) for value in (*inputs, *named.values())[:1])
            raise _Reached

        return neuron.register_forward_pre_hook(hear, with_kwargs=True)

    neurons = [(name, module) for name, module in network.named_modules() if isinstance(module, Neuron)]
    if not neurons:
        return None
    with ExitStack() as hooks:
        for name, module in neurons:
            hooks.callback(hears(name, module).remove)
        with aside(network), suppress(Exception):  # an error of the network is told by its training
            network(x)
    return calls[0] if calls else None


@contextmanager
def explained(x: Any) -> Iterator[None]:
    """Say of the errors of torch that a first batch meets most often what to do about them.

    Raises:
        DataError: the inputs are bytes or other whole numbers. ConstraintError: a layer gets a time axis.
    """
    try:
        yield
    except RuntimeError as error:
        said = str(error)
        if isinstance(x, Tensor) and not x.is_floating_point() and "type" in said:
            raise DataError(
                f"the inputs are {x.dtype} {list(x.shape)}, and a layer does not take them: {said.splitlines()[0]}",
                fix="x.float() / 255 in the loader, or bs.data.Batches(..., pixel_grid=bs.data.PixelGrid(scale=2**-8))",
            ) from error
        if re.search(r"to conv\dd, but got input of size: \[\d+, \d+, \d+, \d+, \d+\]", said):
            raise ConstraintError(
                f"a convolution gets a time axis: {said.splitlines()[0]}",
                fix="bs.TimeDistributed(nn.Conv2d(...), ...) carries layers over [T, N, ...]",
            ) from error
        raise
