"""The record of a layer-wise fine-tuning: what became of each layer, and what an observer hears."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TunedEpoch:
    """One finished epoch of one layer, for an observer.

    Args:
        path: of the layer's quantized ReLU, or ``output``.
        layer, layers: its number from 1, and how many are tuned.
        epoch, epochs: its number from 1, and how many there are of this layer.
        loss: mean over the batches, while the weights moved.
        accuracy: of the whole spiking network after the epoch; None where it was not judged.
        kept: whether the weights stay; if not, they are again as they were before it.
    """

    path: str
    layer: int
    layers: int
    epoch: int
    epochs: int
    loss: float
    accuracy: float | None
    kept: bool


@dataclass(frozen=True, kw_only=True)
class TunedLayer:
    """What became of one layer.

    Args:
        path: of its quantized ReLU, or ``output``.
        parameters: names of what was tuned.
        epochs, epochs_kept: how many there were, and how many stayed.
        loss_before, loss_after: mean squared error of its time-mean to the quantized activation, over all batches.
        accuracy_before, accuracy_after: of the whole spiking network on the batches that judge; None without labels.
    """

    path: str
    parameters: tuple[str, ...]
    epochs: int
    epochs_kept: int
    loss_before: float
    loss_after: float
    accuracy_before: float | None
    accuracy_after: float | None


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What ``tune_layers`` did.

    Args:
        layers: in the order of data flow.
        neuron: class name of the neurons.
        steps: T.
        samples: of the batches that trained.
        judged: samples on which epochs were judged; 0 without labels.
        force: whether every epoch was kept.
        seed: of the order of the batches.
        kept_in_memory: whether spikes were kept, or computed again for every batch.
    """

    layers: tuple[TunedLayer, ...]
    neuron: str
    steps: int
    samples: int
    judged: int
    force: bool
    seed: int
    kept_in_memory: bool

    def __str__(self) -> str:
        """Return a line for every layer: epochs kept, loss and accuracy before and after."""
        wide = max([len("layer"), *(len(layer.path) for layer in self.layers)])
        head = f"tuned layer by layer: {self.neuron}, T = {self.steps}, {self.samples:,} samples"
        lines = [f"  {'layer':<{wide}}  epochs kept  loss before    after  accuracy before   after"]
        for layer in self.layers:
            before, after = (
                "-" if value is None else f"{value:.2%}" for value in (layer.accuracy_before, layer.accuracy_after)
            )
            kept, loss = f"{layer.epochs_kept} of {layer.epochs}", layer.loss_before
            lines.append(
                f"  {layer.path:<{wide}}  {kept:>11}  {loss:>11.4g}  {layer.loss_after:>7.4g}  {before:>15}  {after:>6}"
            )
        return "\n".join([head, *lines])

    @property
    def accuracy_before(self) -> float | None:
        """Accuracy of the spiking network before the first layer was tuned."""
        return self.layers[0].accuracy_before

    @property
    def accuracy_after(self) -> float | None:
        """Accuracy of the spiking network after the last layer was tuned."""
        return self.layers[-1].accuracy_after

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values.

        Example:
            >>> tuning = Tuning(layers=(), neuron="IF", steps=3, samples=8, judged=0, force=True, seed=0,
            ...     kept_in_memory=True)
            >>> tuning.to_dict()["steps"]
            3
        """
        layers = [{**asdict(layer), "parameters": list(layer.parameters)} for layer in self.layers]
        return {**asdict(self), "layers": layers}
