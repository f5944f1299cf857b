"""Run layers one after the other, a norm and the neuron or activation after it in one pass over memory.

    neuron(norm(layer(x)) + residual)

costs three passes and two tensors that nothing else reads. Where there is a kernel for it, one pass of the neuron
normalizes too, with the numbers of the norm. Modules, their names and state, and what a tracer sees stay the same.
Modules are called one by one wherever the difference could be observed: while tracing or compiling, and where one of
them has a hook.
"""

from __future__ import annotations

import functools
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.calls import refusing
from bitspike.errors import ConstraintError
from bitspike.nn.activation import QuantReLU
from bitspike.nn.layers import bare, call, plain
from bitspike.nn.neurons.base import Neuron
from bitspike.nn.norms.base import channels_of, has_kernel, kernel_of
from bitspike.nn.recompute import recomputed, spikes_as_bits
from bitspike.nn.time import TimeDistributed

M = TypeVar("M", bound=nn.Module)
Keeps = Literal["all", "bits", "inputs"]


class Chain(nn.Sequential):
    """An ``nn.Sequential`` that runs a norm and the neuron, or :class:`QuantReLU`, after it in one pass.

    The norm may be a layer of the chain, or the last one inside a ``TimeDistributed`` or ``nn.Sequential`` of it.
    Values equal those of ``nn.Sequential`` up to the rounding of the norm. Names, state and hooks are as they were.

    Shape: as the layers'.

    Example:
        >>> from bitspike.nn import LIF
        >>> chain = Chain(TimeDistributed(nn.Linear(4, 3), nn.BatchNorm1d(3)), LIF())
        >>> chain(torch.zeros(2, 5, 4)).shape, list(chain.state_dict())[:2]
        (torch.Size([2, 5, 3]), ['0.0.weight', '0.0.bias'])
    """

    keeps: Keeps = "all"
    """What is kept for the backward pass; see :func:`bitspike.nn.checkpoint_layers`."""

    def forward(self, input: Tensor) -> Tensor:
        if self.keeps == "all" or not torch.is_grad_enabled() or not plain(input):
            return self._run(input, again=False)
        with spikes_as_bits():
            return self._run(input, again=self.keeps == "inputs")

    def _run(self, x: Tensor, *, again: bool) -> Tensor:
        layers = list(self)
        while layers:
            layer, *layers = layers
            parts, unit = [layer], functools.partial(call, layer)
            if layers and isinstance(layers[0], Neuron | QuantReLU):
                parts.append(layers.pop(0))
                unit = functools.partial(fire, layer, parts[1])
            x = recomputed(unit, x, parts) if again and _can_run_again(parts) else unit(x)
        return x


@checked
def fuse(model: M) -> M:
    """Turn every plain ``nn.Sequential`` of a model into a :class:`Chain`, in place, and return the model.

    Nothing else changes: modules, names, parameters and ``state_dict`` stay. The models of bitspike are fused already.
    In a forward of your own, ``bs.fire(layer, neuron, x, residual)`` does the same for one neuron.

    Args:
        model: any module.

    Example:
        >>> model = fuse(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), QuantReLU(bits=4)))
        >>> type(model).__name__, list(model.state_dict())[-1]
        ('Chain', '2.clip')
    """
    timed = [module for module in model.modules() if isinstance(module, TimeDistributed)]
    inside = {part for module in timed for part in module.modules()}
    for module in model.modules():
        # A subclass may have a forward of its own. What is carried over time has no neuron to fuse with.
        if type(module) is nn.Sequential and module not in inside:
            module.__class__ = Chain
    return model


@checked
def checkpoint_layers(model: M, *, recompute: bool = True, on: bool = True) -> M:
    """Let a model keep less for its backward pass, from now on; return the model.

    What training keeps grows with T: of every neuron its current and its spikes at every step. Spikes are then kept as
    bits, a sixteenth of bfloat16. With ``recompute`` a layer and its neuron keep nothing but their input, and the
    backward pass runs them again, which costs about a third of the time of a step. It saves most in deep networks of
    layers of one size, less where one layer is the largest by far. Results are the same: batch norms take their
    statistics over batch and time and update the running ones once, and torch draws the same random numbers again. A
    layer whose weights vary at random is not run again.

    Reaches the chains of a model: those of bitspike's models, and any ``nn.Sequential`` after :func:`bitspike.nn.fuse`.

    Args:
        model: it is changed, but not its parameters, names or ``state_dict``.
        recompute: run layers again; without it only spikes take less.
        on: False takes everything back.

    Raises:
        ConstraintError: the model has no chain with a neuron.

    Example:
        >>> from bitspike.nn import LIF
        >>> model = Chain(TimeDistributed(nn.Linear(3, 2)), LIF())
        >>> checkpoint_layers(model).keeps
        'inputs'
    """
    kinds = (Neuron, QuantReLU)
    chains = [m for m in model.modules() if isinstance(m, Chain) and any(isinstance(p, kinds) for p in m.modules())]
    if not chains:
        raise ConstraintError(
            f"checkpoint_layers: {type(model).__name__} has no bs.Chain with a neuron",
            fix="bs.checkpoint_layers(bs.fuse(model)) makes chains of every nn.Sequential",
        )
    for chain in chains:
        chain.keeps = ("inputs" if recompute else "bits") if on else "all"
    return model


def _can_run_again(parts: list[nn.Module]) -> bool:
    """Tell whether a unit of a chain is worth running again, and does the same then."""
    inside = [m for part in parts for m in part.modules()]
    fires = any(isinstance(m, Neuron | QuantReLU) for m in inside)
    # A chain inside runs its own units again. A weight that varies (a stage of its path) draws from its own source.
    return fires and not any(isinstance(m, Chain) or getattr(m, "vary", None) is not None for m in inside)


@refusing
def fire(layer: nn.Module, neuron: nn.Module, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """Return ``neuron(layer(x) + residual)``, in one pass with the norm at the end of the layer where that is possible.

    Args:
        layer: a norm, or a ``TimeDistributed`` or ``nn.Sequential``, best with a norm at its end; any other works too.
        neuron: a neuron or activation.
        x: what the layer takes.
        residual: of the shape of what the layer returns; None adds nothing.

    Example:
        >>> from bitspike.nn import IF
        >>> layer = TimeDistributed(nn.Linear(2, 3), nn.BatchNorm1d(3)).eval()
        >>> x, shortcut = torch.randn(4, 5, 2), torch.ones(4, 5, 3)
        >>> torch.equal(fire(layer, IF(), x, shortcut), IF()(layer(x) + shortcut))
        True
    """
    norm = _norm_to_fuse(layer, neuron, x)
    if norm is None:
        return _by_module(call(layer, x), neuron, residual)
    raw = _run(layer, x, slice(None, -1)) if layer is not norm else x
    fused = _fused(layer, norm, neuron, raw, residual)
    if fused is None:
        return _by_module(_run(layer, raw, slice(-1, None)) if layer is not norm else norm(raw), neuron, residual)
    return fused


def _by_module(y: Tensor, neuron: nn.Module, residual: Tensor | None) -> Tensor:
    result: Tensor = neuron(y if residual is None else y + residual)
    return result


def _run(layer: nn.Module, x: Tensor, part: slice) -> Tensor:
    """Run a part of a sequence of layers, over time where the whole runs over time."""
    assert isinstance(layer, nn.Sequential)
    layers = list(layer)[part]
    if isinstance(layer, TimeDistributed):
        return layer.run(x, layers)
    for each in layers:
        x = call(each, x)
    return x


def _norm_to_fuse(layer: nn.Module, neuron: nn.Module, x: Tensor) -> nn.Module | None:
    """Return the norm at the end of a layer if norm, layer and neuron may be passed over as modules; else None."""
    if not plain(x):
        return None
    whole = type(layer) in (nn.Sequential, Chain, TimeDistributed) and len(layer) > 0  # type: ignore[arg-type]
    norm = layer[-1] if whole else layer  # type: ignore[index]
    # A neuron reads [T, N, C, ...], so only a layer that carries T can leave its norm to it.
    suits = isinstance(layer, TimeDistributed) if isinstance(neuron, Neuron) else isinstance(neuron, QuantReLU)
    # A neuron with a forward of its own is not passed over.
    known = type(neuron).forward in (Neuron.forward, QuantReLU.forward) and has_kernel(norm)
    return norm if suits and known and bare(layer, norm, neuron) else None


def _fused(layer: nn.Module, norm: nn.Module, neuron: nn.Module, raw: Tensor, residual: Tensor | None) -> Tensor | None:
    """Ask the kernel; None leaves the rest to the modules, their complaints about shapes included."""
    timed = isinstance(layer, TimeDistributed)
    numbers, axis, channels = kernel_of(norm), 1 + timed, channels_of(norm)
    alike = residual is None or (residual.shape, residual.dtype) == (raw.shape, raw.dtype)
    if numbers is None or not alike or raw.shape[axis : axis + 1] != (channels,) or raw.numel() <= channels:
        return None
    if isinstance(norm, nn.modules.batchnorm._BatchNorm):
        norm._check_input_dim(raw[0] if timed else raw)  # type: ignore[no-untyped-call]
    if isinstance(neuron, Neuron):
        out = neuron.fused(raw, norm=numbers, residual=residual)
    else:
        assert isinstance(neuron, QuantReLU)
        flat, more = (t.flatten(0, 1) if timed and t is not None else t for t in (raw, residual))
        assert flat is not None
        out = neuron.fused(flat, norm=numbers, residual=more)
        out = out.view(raw.shape) if out is not None and timed else out
    counted = getattr(norm, "num_batches_tracked", None)
    if out is not None and numbers.training and counted is not None:
        counted.add_(1)
    return out
