"""What neurons did, layer by layer: those of a spiking network, of an integer network, or of the trace of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from numbers import Integral
from typing import Any, TypeGuard, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bitspike.errors import ConstraintError, tensor_of
from bitspike.integer.codes import encode
from bitspike.integer.engine import TorchEngine
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import per_channel
from bitspike.integer.simulate import Trace
from bitspike.nn.aside import aside
from bitspike.nn.declared import still_holds
from bitspike.nn.neurons.base import Neuron
from bitspike.nn.trace import fires, listening
from bitspike.ops.wrappers import unwrapped
from bitspike.patterns import Patterns, listed, matching

T = TypeVar("T")
Array = NDArray[Any]
_EQUATIONS = ("law", "_rest", "_step", "scan", "forward")


@dataclass(frozen=True, eq=False)
class Layer:
    """What one layer did in one call.

    Args:
        spikes: [T, N, ...]; -1, 0 or 1.
        potentials: [T, N, ...], before the reset; None where they are not known, or were not asked for.
        thresholds: what the potentials are compared with, broadcastable to them; None where it is not known.
    """

    spikes: Array
    potentials: Array | None = None
    thresholds: Array | None = None

    def thresholds_of(self, sample: int) -> Array | None:
        """Return the thresholds of one sample, as :func:`sample_of` returns its spikes, [T, F]."""
        return (
            None if self.thresholds is None else sample_of(np.broadcast_to(self.thresholds, self.spikes.shape), sample)
        )


Keep = Callable[[Layer], T]


def observed(
    what: nn.Module | IntegerNetwork | Trace,
    inputs: Any,
    keep: Keep[T],
    *,
    layers: Patterns = "*",
    potentials: bool = False,
) -> dict[str, T]:
    """Run a network and return, by layer in the order of their calls, what ``keep`` makes of it.

    A module that is called several times has an entry for each call: ``name``, ``name#2``, ...

    Args:
        what: a spiking network, run in evaluation mode and without a trace on it; an integer network; or a trace, whose
            layers are called as its nodes.
        inputs: what the network takes, one tensor or a tuple of several; of an integer network real inputs or codes; of
            a trace None.
        keep: gets one layer after the other, so that not all of them have to be in memory.
        layers: glob patterns of the layers that are wanted.
        potentials: whether ``keep`` needs them.

    Raises:
        ConstraintError: it is none of the three, there are no inputs, no neurons, or a pattern matches nothing.
    """
    if isinstance(what, Trace):
        if inputs is not None:
            raise ConstraintError("a trace is a run already: it takes no inputs", fix="leave the inputs out")
        return _of_trace(what, keep, layers)
    if not isinstance(what, nn.Module | IntegerNetwork):
        raise ConstraintError(
            f"a {type(what).__name__} has no neurons to look at; needed is a spiking network, an integer network or "
            "the trace of a run",
            fix="the network that bs.convert or bs.lower returned, or bs.simulate(net, codes)",
        )
    if inputs is None:
        raise ConstraintError("a network shows nothing without inputs", fix="the images as the second argument")
    if isinstance(what, IntegerNetwork):
        return _of_integers(what, inputs, keep, layers)
    return _of_model(unwrapped(what), inputs, keep, layers, potentials)


def _of_trace(trace: Trace, keep: Keep[T], layers: Patterns) -> dict[str, T]:
    return {
        id: keep(Layer(trace.spikes[id], trace.potentials.get(id)))
        for id in matching(layers, list(trace.spikes), argument="layers")
    }


def _of_integers(net: IntegerNetwork, inputs: Any, keep: Keep[T], layers: Patterns) -> dict[str, T]:
    names = dict(zip(counted_calls(node.path for node in net.neurons), net.neurons, strict=True))
    wanted = matching(layers, list(names), argument="layers")
    trace = TorchEngine(net).run(encode(net, inputs) if isinstance(inputs, Tensor) else inputs)
    return {
        name: keep(
            Layer(
                trace.spikes[names[name].id],
                trace.potentials[names[name].id],
                per_channel(names[name].threshold[: net.steps], len(names[name].shape)),
            )
        )
        for name in wanted
    }


def _of_model(model: nn.Module, inputs: Any, keep: Keep[T], layers: Patterns, potentials: bool) -> dict[str, T]:
    neurons = {path or "neuron": m for path, m in model.named_modules() if isinstance(m, Neuron)}
    if not neurons:
        raise ConstraintError(
            f"{type(model).__name__} has no spiking neurons to look at",
            fix="give a model with bs.LIF or bs.IF layers, or bs.convert(model, example, ...) of this one",
        )
    modules = [pattern.partition("#")[0] for pattern in listed(layers, argument="layers")]
    matching(modules, [path or "neuron" for path, m in model.named_modules() if fires(m)], argument="layers")
    entered: dict[str, list[Tensor]] = {path: [] for path in neurons}
    kept: list[tuple[str, T]] = []

    def enter(path: str) -> Callable[[nn.Module, tuple[Tensor, ...], dict[str, Tensor]], None]:
        return lambda _module, inputs, named: entered[path].append([*inputs, *named.values()][0])

    def hear(path: str, spikes: Tensor) -> None:
        path = path or "neuron"
        if not any(fnmatchcase(path, pattern) for pattern in modules):
            return
        sent = np.atleast_3d(spikes.to(torch.int8).cpu().numpy())
        kept.append((path, keep(Layer(sent, *_potentials(neurons.get(path), entered.get(path))))))

    with aside(model), ExitStack() as hooks:
        for path, neuron in neurons.items() if potentials else ():
            if any(fnmatchcase(path, pattern) for pattern in modules):
                hooks.callback(neuron.register_forward_pre_hook(enter(path), with_kwargs=True).remove)
        hooks.enter_context(listening(model, hear))
        model(*entering(model, inputs))
    by_name = dict(zip(counted_calls(path for path, _ in kept), (value for _, value in kept), strict=True))
    return {name: by_name[name] for name in matching(layers, list(by_name or neurons), argument="layers")}


def _potentials(neuron: Neuron | None, entered: list[Tensor] | None) -> tuple[Array | None, Array | None]:
    """Return the potentials and thresholds of the last call of a neuron, where its law is that of its class."""
    if neuron is None or not entered or not still_holds(type(neuron), *_EQUATIONS):
        return None, None
    currents, potentials = entered.pop(), []
    neuron.scan(currents, observe=lambda potential, _spikes: potentials.append(potential.cpu()))
    channels = [-1, *[1] * (currents.dim() - 3)]
    thresholds = torch.as_tensor(neuron.law().threshold).detach().cpu().view(1, 1, *channels)
    return np.atleast_3d(torch.stack(potentials).numpy()), thresholds.numpy()


def entering(model: nn.Module, inputs: Any) -> list[Tensor]:
    """Return the inputs of a model, one tensor or several, where its parameters are."""
    parts = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
    for part in parts:
        if not isinstance(part, Tensor):
            raise ConstraintError(f"inputs are a {type(part).__name__}, needed is a tensor", fix=tensor_of(part))
    device = next((parameter.device for parameter in model.parameters()), None)
    return [part.to(device) for part in parts]


def counted_calls(names: Iterable[str]) -> list[str]:
    """Return names, those that come again with the number of their call.

    Example:
        >>> counted_calls(["relu", "relu", "fc"])
        ['relu', 'relu#2', 'fc']
    """
    calls: Counter[str] = Counter()
    counted = []
    for name in names:
        calls[name] += 1
        counted.append(name if calls[name] == 1 else f"{name}#{calls[name]}")
    return counted


def sample_of(values: Array, sample: int) -> Array:
    """Return one sample of [T, N, ...] with its neurons in a row, [T, F].

    Raises:
        ConstraintError: there is no such sample.
    """
    if not is_place(sample, values.shape[1]):
        raise ConstraintError(
            f"sample={sample!r}: the inputs hold the samples 0 to {values.shape[1] - 1}"
            if values.shape[1]
            else "the inputs hold no sample",
            fix="sample=0" if values.shape[1] else "inputs of at least one sample",
        )
    return values[:, sample].reshape(len(values), -1)


def evenly(spikes: Array, most: int) -> Array:
    """Return at most so many neurons of [T, F], at even distances.

    Example:
        >>> evenly(np.arange(6)[None], 3).tolist()
        [[0, 2, 4]]
    """
    whole = spikes.shape[1]
    count = min(most, whole)
    return spikes[:, np.arange(count) * whole // max(count, 1)]


def liveliest(spikes: Array) -> int:
    """Return which neuron of [T, F] starts and stops firing most often, of several the one with most spikes.

    Example:
        >>> liveliest(np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0]]))
        1
    """
    changes = (np.diff(spikes, axis=0) != 0).sum(0)
    return int((changes * (len(spikes) + 1) + np.abs(spikes).sum(0)).argmax())


def is_place(value: object, size: int) -> bool:
    """Tell whether a value is a whole number from 0 to ``size - 1``.

    Example:
        >>> is_place(2, 3), is_place(np.int64(2), 3), is_place(True, 3), is_place(3, 3)
        (True, True, False, False)
    """
    return is_whole(value) and 0 <= int(value) < size


def is_whole(value: object) -> TypeGuard[int]:
    """Tell whether a value is a whole number of Python or NumPy, and no truth value."""
    return not isinstance(value, bool) and isinstance(value, Integral)
