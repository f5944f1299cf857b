"""How much every layer of neurons fires: rates by step, silent shares and saturated ones.

A :class:`Recorder` listens to the spikes of a model for the length of a ``with`` block and leaves no trace on it.
Legend: T time, N batch, F neurons of a layer (all axes after N, flattened).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from bitspike.errors import ConstraintError, DataError
from bitspike.nn.neurons.base import Neuron
from bitspike.nn.trace import listening

Spikes = Callable[[str, Tensor], None]


@dataclass(frozen=True)
class LayerActivity:
    """How one layer fired over everything it was shown.

    Args:
        rate: mean size of the spikes per neuron and time step; a share in [0, 1] where spikes are 0 or 1.
        silent: share of the neurons that never fired.
        saturated: share of the neurons that sent the same spike at every step of every image.
        neurons: how many neurons the layer has.
        by_step: the rate at each of the T steps.
    """

    rate: float
    silent: float
    saturated: float
    neurons: int
    by_step: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return what ``report.json`` keeps of the layer."""
        shares = {"rate": self.rate, "silent": self.silent, "saturated": self.saturated}
        return shares | {"by_step": list(self.by_step)}


@dataclass
class _Tally:
    """Spikes of one layer; where a batch has more steps than those before it, ``total_T`` and ``chances_T`` grow."""

    fired_F: Tensor
    balance_F: Tensor
    total_T: Tensor
    chances_T: Tensor

    @classmethod
    def empty(cls, spikes: Tensor) -> _Tally:
        """Return a tally for spikes [T, N, F]."""
        whole = [torch.zeros(spikes.shape[2], dtype=torch.int64, device=spikes.device) for _ in range(2)]
        return cls(*whole, *(torch.zeros(0, dtype=torch.float64, device=spikes.device) for _ in range(2)))

    def add(self, spikes_TNF: Tensor) -> None:
        """Take in the spikes of one call."""
        more = max(0, len(spikes_TNF) - len(self.total_T))
        self.total_T, self.chances_T = (pad(values, (0, more)) for values in (self.total_T, self.chances_T))
        self.fired_F += (spikes_TNF != 0).sum(dim=(0, 1))
        self.balance_F += spikes_TNF.sign().sum(dim=(0, 1), dtype=torch.int64)
        self.total_T[: len(spikes_TNF)] += spikes_TNF.abs().sum(dim=(1, 2), dtype=torch.float64)
        self.chances_T[: len(spikes_TNF)] += spikes_TNF.shape[1]

    @property
    def activity(self) -> LayerActivity:
        """What is known of the layer."""
        neurons, chances = len(self.fired_F), self.chances_T.sum()
        return LayerActivity(
            rate=float(self.total_T.sum() / (chances * neurons)),
            silent=float((self.fired_F == 0).double().mean()),
            saturated=float((self.balance_F.abs() == chances).double().mean()),
            neurons=neurons,
            by_step=tuple((self.total_T / (self.chances_T * neurons)).tolist()),
        )


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
        ...     _ = model(torch.tensor([[[0.0, 0.5, 1.0, 1.0]]] * 2))  # two steps, one image, four neurons
        >>> recorder.layers()["0"]
        LayerActivity(rate=0.625, silent=0.25, saturated=0.5, neurons=4, by_step=(0.5, 0.75))
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
        spikes_TNF = spikes.flatten(2) if spikes.dim() > 2 else spikes.unsqueeze(-1)
        if spikes.shape[2:] not in shapes:
            shapes[spikes.shape[2:]] = _Tally.empty(spikes_TNF)
        if spikes.shape[1]:
            shapes[spikes.shape[2:]].add(spikes_TNF)

    @property
    def heard(self) -> bool:
        """Whether a neuron was called with at least one sample."""
        return any(len(tally.total_T) for shapes in self._tallies.values() for tally in shapes.values())

    def layers(self) -> dict[str, LayerActivity]:
        """Return the activity of every layer heard so far, in the order of their first call.

        Raises:
            DataError: not one sample has been heard.
        """
        if not self.heard:
            raise DataError(
                "there is no activity to tell of: the network was shown no sample; an iterator may have been read to "
                "its end before",
                fix="pass the loader itself, not iter(loader)",
            )
        return {
            name if index == 0 else f"{name}#{index + 1}": tally.activity
            for name, shapes in self._tallies.items()
            for index, tally in enumerate(t for t in shapes.values() if len(t.total_T))
        }
