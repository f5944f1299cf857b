"""The pictures of a report: some test images with the spikes and potentials that they cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bitspike.analysis.plot.observed import Layer, evenly, liveliest, observed, sample_of
from bitspike.analysis.report.facts import ImageShown, Trajectory
from bitspike.data.images.images import Images
from bitspike.data.picture import picture
from bitspike.nn import Neuron
from bitspike.tasks.task import Task

NEURONS = 256
"""At most so many neurons of a layer, at even distances."""
Seen = list[tuple[NDArray[np.int8], Trajectory | None]]


def images_shown(model: nn.Module, images: Images, entering: Tensor) -> tuple[ImageShown, ...]:
    """Return the first images of a set with what a spiking network answers and does.

    Args:
        model: the network; one without neurons has answers alone.
        images: the set.
        entering: its first images as the network takes them, [N, ...]; so many are shown.
    """
    labels = images.labels[: len(entering)]
    shown = samples_shown(model, entering, labels, images.classes, images.task)
    return tuple(replace(one, pixels=picture(images.subset([n]))) for n, one in enumerate(shown))


def samples_shown(
    model: nn.Module, entering: Tensor, labels: Any, names: Sequence[str], task: Task
) -> tuple[ImageShown, ...]:
    """Return what a network answers to samples, and does; the samples themselves are left out.

    Args:
        model: the network; one without neurons has answers alone.
        entering: samples as the network takes them.
        labels: what is right for them.
        names: of the classes.
        task: says what outputs and labels mean.
    """
    with torch.no_grad():
        outputs = model.eval()(entering)
    answers, truth = task.named(task.answers(outputs), names), task.named(task.truth(outputs, labels), names)
    spiking = any(isinstance(module, Neuron) for module in model.modules())
    layers = observed(model, entering, _seen, potentials=True) if spiking else {}
    return tuple(
        ImageShown(
            label=right,
            prediction=answer,
            spikes={name: seen[n][0] for name, seen in layers.items()},
            potentials={name: path for name, seen in layers.items() if (path := seen[n][1]) is not None},
        )
        for n, (answer, right) in enumerate(zip(answers, truth, strict=True))
    )


def _seen(layer: Layer) -> Seen:
    """Return of every sample the spikes of some neurons, [T, n], and the potential of one."""
    samples = range(layer.spikes.shape[1])
    return [(evenly(sample_of(layer.spikes, n), NEURONS).astype(np.int8), _trajectory(layer, n)) for n in samples]


def _trajectory(layer: Layer, sample: int) -> Trajectory | None:
    threshold = layer.thresholds_of(sample)
    if layer.potentials is None or threshold is None:
        return None
    spikes = sample_of(layer.spikes, sample)
    place = liveliest(spikes)
    return Trajectory(sample_of(layer.potentials, sample)[:, place], threshold[:, place], spikes[:, place])
