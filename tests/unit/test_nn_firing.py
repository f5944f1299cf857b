"""Firing activity: counted by hand, heard only inside the block, whatever the model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bitspike.errors import ConstraintError
from bitspike.nn import IF, LIF, RateReadout, Repeat, SignedIF, TimeDistributed
from bitspike.nn.firing import LayerActivity, Recorder
from bitspike.nn.trace import evaluation


def network() -> nn.Sequential:
    return nn.Sequential(
        Repeat(4),
        TimeDistributed(nn.Conv2d(1, 6, 3, padding=1)),
        LIF(decay=0.5, threshold=0.3),
        TimeDistributed(nn.Flatten(), nn.Linear(6 * 64, 10)),
        IF(threshold=0.3),
        RateReadout(),
    )


def measure(model: nn.Module, batches: list[torch.Tensor]) -> dict[str, LayerActivity]:
    with Recorder(model) as recorder, evaluation(model):
        for images in batches:
            model(images)
    return recorder.layers()


def test_rate_silent_and_saturated_agree_with_a_count_by_hand() -> None:
    # Four steps, two images, three neurons: one fires always, one never, one in every second step, the second first.
    currents_TNF = torch.tensor([1.0, 0.0, 0.5]).expand(4, 2, 3)
    model = nn.Sequential(IF(threshold=1.0))
    with Recorder(model) as recorder:
        model(currents_TNF)
    by_step = (1 / 3, 2 / 3, 1 / 3, 2 / 3)
    found = LayerActivity(rate=0.5, silent=1 / 3, saturated=1 / 3, neurons=3, by_step=by_step)
    assert recorder.layers() == {"0": found}


def test_batches_of_different_sizes_add_up_to_one_pass() -> None:
    model, images = network(), torch.rand(10, 1, 8, 8)
    assert measure(model, [images[:7], images[7:]]) == measure(model, [images])


def test_rates_are_means_of_the_spikes_themselves() -> None:
    model, images = network(), torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        spikes = model[2](model[1](model[0](images)))
    found = measure(model, [images])
    assert list(found) == ["2", "4"]
    assert found["2"].neurons == 6 * 64
    assert found["2"].rate == pytest.approx(float(spikes.double().mean()))
    assert found["2"].silent == float((spikes.sum(dim=(0, 1)) == 0).double().mean())


def test_negative_spikes_count_by_their_size() -> None:
    model = nn.Sequential(SignedIF(threshold=1.0))
    with Recorder(model) as recorder:
        spikes = model(torch.tensor([[[2.0]], [[-1.5]], [[-1.0]]]))
    assert (spikes < 0).any()
    assert recorder.layers()["0"].rate == float(spikes.double().abs().mean())


def test_a_signed_neuron_that_fires_at_every_step_with_both_signs_is_not_saturated() -> None:
    class Given(SignedIF):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with Recorder(model := nn.Sequential(Given())) as recorder:
        model(torch.tensor([[[1.0, -1.0]], [[-1.0, -1.0]]]))
    assert recorder.layers()["0"] == LayerActivity(rate=1.0, silent=0.0, saturated=0.5, neurons=2, by_step=(1.0, 1.0))


def test_rates_by_step_count_the_samples_that_had_the_step() -> None:
    model = nn.Sequential(IF(threshold=1.0))
    with Recorder(model) as recorder:
        model(torch.ones(3, 1, 2))
        model(torch.zeros(1, 3, 2))
        model(torch.zeros(2, 0, 2))
    assert recorder.layers()["0"].by_step == (0.25, 1.0, 1.0)
    assert recorder.layers()["0"].rate == 0.5


def test_a_model_keeps_no_trace_of_having_been_watched() -> None:
    model = network().train()
    model[1].eval()
    measure(model, [torch.rand(2, 1, 8, 8)])
    assert all(not module._forward_hooks for module in model.modules())
    assert [module.training for module in model] == [True, False, True, True, True, True]


def test_hooks_are_removed_when_the_model_fails() -> None:
    model = network()
    with pytest.raises(RuntimeError), Recorder(model):
        model(torch.rand(2, 5, 8, 8))
    assert all(not module._forward_hooks for module in model.modules())


def test_one_module_at_two_sizes_is_listed_twice() -> None:
    model = nn.Sequential(IF(threshold=1.0))
    with Recorder(model) as recorder:
        model(torch.ones(2, 1, 3))
        model(torch.zeros(2, 1, 5))
        model(torch.zeros(2, 1, 3))
    assert {name: layer.neurons for name, layer in recorder.layers().items()} == {"0": 3, "0#2": 5}
    assert recorder.layers()["0"].rate == 0.5


def test_a_lone_neuron_module_has_a_name() -> None:
    assert list(measure(IF(threshold=1.0), [torch.ones(2, 1, 3)])) == ["neuron"]


def test_wrong_use_names_the_way_out() -> None:
    with pytest.raises(ConstraintError, match="no spiking neurons"):
        measure(nn.Linear(2, 2), [torch.ones(1, 2)])
