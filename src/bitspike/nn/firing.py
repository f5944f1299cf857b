"""How much every layer of neurons fires: rates, silent and saturated shares, and the spikes of one image.

A :class:`Recorder` listens to the spikes of a model for the length of a ``with`` block and leaves no trace on it.
Legend: T time, N batch, F neurons of a layer (all axes after N, flattened).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bitspike.errors import ConstraintError, DataError
from bitspike.nn.neurons.base import Neuron
from bitspike.nn.trace import evaluation, listening

Spikes = Callable[[str, Tensor], None]


@dataclass(frozen=True)
class LayerActivity:
    """How one layer fired over everything it was shown.

    Args:
        rate: mean size of the spikes per neuron and time step; a share in [0, 1] where spikes are 0 or 1.
        silent: share of the neurons that never fired.
        saturated: share of the neurons that fired at every step of every image.
        neurons: how many neurons the layer has.
    """

    rate: float
    silent: float
    saturated: float
    neurons: int

    def to_dict(self) -> dict[str, float]:
        """Return what ``report.json`` keeps of the layer."""
        return {"rate": self.rate, "silent": self.silent, "saturated": self.saturated}


@dataclass
class _Tally:
    fired_F: Tensor
    total: Tensor
    chances: int = 0


@contextmanager
def listen(model: nn.Module, hear: Spikes) -> Iterator[None]:
    """Call ``hear(layer name, spikes [T, N, ...])`` after every call of a neuron module, inside this block only.

    Raises:
        ConstraintError: the model has no spiking neurons.
    """
    if not any(isinstance(module, Neuron) for module in model.modules()):
        raise ConstraintError(
            f"{type(model).__name__} has no spiking neurons to listen to",
            fix="give a model with bs.LIF or bs.IF layers",
        )
    with listening(model, lambda path, spikes: hear(path or "neuron", spikes.detach())):
        yield


class Recorder:
    """Count the spikes of every neuron of a model while the block runs.

    A module that is used for feature maps of several sizes gets one entry per size: ``name``, ``name#2``, ...

    Example:
        >>> from bitspike.nn import IF
        >>> model = nn.Sequential(IF(threshold=1.0))
        >>> with Recorder(model) as recorder:
        ...     _ = model(torch.tensor([[[0.0, 0.5, 1.0]], [[0.0, 0.5, 1.0]]]))  # two steps, one image, three neurons
        >>> recorder.layers()["0"]
        LayerActivity(rate=0.5, silent=0.3333333333333333, saturated=0.3333333333333333, neurons=3)
    """

    def __init__(self, model: nn.Module) -> None:
        self._tallies: dict[str, dict[torch.Size, _Tally]] = {}
        self._listening = listen(model, self._hear)

    def __enter__(self) -> Recorder:
        self._listening.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._listening.__exit__(None, None, None)

    def _hear(self, name: str, spikes: Tensor) -> None:
        shapes = self._tallies.setdefault(name, {})
        size_TNF = spikes.abs().flatten(2) if spikes.dim() > 2 else spikes.abs().unsqueeze(-1)
        if (tally := shapes.get(spikes.shape[2:])) is None:
            fired = torch.zeros(size_TNF.shape[2], dtype=torch.int64, device=spikes.device)
            total = torch.zeros((), dtype=torch.float64, device=spikes.device)
            tally = shapes[spikes.shape[2:]] = _Tally(fired, total)
        tally.fired_F += (size_TNF != 0).sum(dim=(0, 1))
        tally.total += size_TNF.sum(dtype=torch.float64)
        tally.chances += size_TNF.shape[0] * size_TNF.shape[1]

    def layers(self) -> dict[str, LayerActivity]:
        """Return the activity of every layer heard so far, in the order of their first call.

        Raises:
            DataError: not one sample has been heard.
        """
        if not any(tally.chances for shapes in self._tallies.values() for tally in shapes.values()):
            raise DataError(
                "there is no activity to tell of: the network was shown no sample; an iterator may have been read to "
                "its end before",
                fix="pass the loader itself, not iter(loader)",
            )
        return {
            name if index == 0 else f"{name}#{index + 1}": LayerActivity(
                rate=float(tally.total) / (tally.chances * len(tally.fired_F)),
                silent=float((tally.fired_F == 0).double().mean()),
                saturated=float((tally.fired_F == tally.chances).double().mean()),
                neurons=len(tally.fired_F),
            )
            for name, shapes in self._tallies.items()
            for index, tally in enumerate(t for t in shapes.values() if t.chances)
        }


def raster(model: nn.Module, image: Tensor, *, neurons: int = 256) -> dict[str, NDArray[np.bool_]]:
    """Return the spikes that one image causes, layer by layer.

    Args:
        image: [C, H, W] or [1, C, H, W], as the model takes it.
        neurons: at most so many neurons per layer, chosen at even distances.

    Returns:
        layer name -> [T, neurons], True where a neuron fired (with either sign).

    Raises:
        ConstraintError: several images, fewer than one neuron, or a model without spiking neurons.
    """
    if neurons < 1:
        raise ConstraintError(f"neurons={neurons}: at least 1 must be shown", fix="neurons=256")
    batch = image.unsqueeze(0) if image.dim() == 3 else image
    if batch.shape[0] != 1:
        raise ConstraintError(
            f"a raster shows one image, got a batch of {batch.shape[0]}", fix="raster(model, images[0])"
        )
    rows: dict[str, list[NDArray[np.bool_]]] = {}

    def hear(name: str, spikes: Tensor) -> None:
        fired_TF = (spikes != 0).reshape(spikes.shape[0], -1)
        count = min(neurons, fired_TF.shape[1])
        chosen = torch.arange(count, device=spikes.device) * fired_TF.shape[1] // count
        rows.setdefault(name, []).append(fired_TF[:, chosen].cpu().numpy())

    with torch.no_grad(), listen(model, hear), evaluation(model):
        model(batch.to(next((parameter.device for parameter in model.parameters()), None)))
    return {
        name if index == 0 else f"{name}#{index + 1}": fired
        for name, calls in rows.items()
        for index, fired in enumerate(calls)
    }
