"""Test images in a report: what is shown of them is what the network did."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import bitspike as bs
from bitspike.data import load
from bitspike.runs.pictures import images_shown


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        bs.Repeat(steps=5),
        bs.TimeDistributed(nn.Flatten(), nn.Linear(64, 300)),
        bs.SignedIF(threshold=0.5),
        bs.TimeDistributed(nn.Linear(300, 10)),
        bs.LIF(threshold=0.3),
        bs.RateReadout(),
    )


def test_spikes_potentials_and_answers_are_those_of_the_network() -> None:
    model, images = network(), load("digits", "test")
    entering = images.first(3).permute(0, 3, 1, 2) / 16
    with torch.no_grad():
        answers = model(entering).argmax(1).tolist()
        hidden = model[2](model[1](model[0](entering)))
    shown = images_shown(model, images, entering)
    assert [image.prediction for image in shown] == [images.classes[answer] for answer in answers]
    assert [image.label for image in shown] == [images.classes[int(label)] for label in images.labels[:3]]
    chosen = np.arange(256) * 300 // 256
    for n, image in enumerate(shown):
        assert list(image.spikes) == list(image.potentials) == ["2", "4"]
        assert (image.spikes["2"] == hidden[:, n].numpy()[:, chosen]).all()
        for path in image.potentials.values():
            assert ((path.potential >= path.threshold) == (path.spikes == 1)).all()
            assert len(path.potential) == 5
        assert image.pixels is not None
        assert (image.pixels == images.images[n, ..., 0].numpy().astype(int) * 255 // 16).all()


def test_a_network_without_neurons_has_answers_alone() -> None:
    images = load("digits", "test")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    (image,) = images_shown(model, images, images.first(1).permute(0, 3, 1, 2) / 16)
    assert image.prediction in images.classes
    assert not image.spikes
