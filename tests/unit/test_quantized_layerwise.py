"""Fine-tuning layer by layer: the step by hand, what is kept and what is taken back, and what is refused."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from quantized_networks import Residual, busy, images
from torch import Tensor, nn

import bitspike as bs
from bitspike.conversion.quantized.layerwise import tune_layers
from bitspike.conversion.quantized.over_time import spiking_twin
from bitspike.conversion.quantized.tuning import TunedEpoch, TunedLayer, Tuning
from bitspike.errors import ConstraintError, DataError
from bitspike.nn import QuantReLU

NEURONS = [bs.IF, bs.SignedIF]


def network(seed: int = 0) -> Residual:
    return busy(Residual().double(), seed=seed)


def data(count: int = 40, size: int = 16, *, labels: bool = True) -> list[Any]:
    """Return batches whose labels are what the untuned network says, with every fourth one wrong."""
    x = images(count).double()
    with torch.no_grad():
        y = network()(x).argmax(1)
    y[::4] = (y[::4] + 1) % 3
    return [pair if labels else pair[0] for pair in zip(x.split(size), y.split(size), strict=True)]


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def drifted(by: float = 0.2) -> tuple[Residual, Residual]:
    """Return a network whose second norm has drifted away, and the network as it was."""
    wanted, net = network(), network()
    with torch.no_grad():
        net.norm2.bias += by
    return net, wanted


@pytest.mark.parametrize("force", [False, True])
def test_qann_check_11_a_rate_of_zero_changes_nothing(force: bool) -> None:
    net = network()
    before = state(net)
    tuning = tune_layers(net, data(), learning_rate=0.0, force=force, epochs=2, ends=True)
    assert same(before, state(net))
    assert [layer.path for layer in tuning.layers] == ["act1", "act2", "act3", "output"]
    assert all(layer.loss_before == layer.loss_after for layer in tuning.layers)
    assert all(layer.accuracy_before == layer.accuracy_after for layer in tuning.layers)


@pytest.mark.parametrize("neuron", NEURONS)
def test_qann_check_11_the_error_of_a_layer_decreases_and_no_threshold_moves(neuron: type[bs.Neuron]) -> None:
    """The layer is asked for what it gave before it drifted.

    For a layer that has not drifted there is no such law: nearly all of its counts are right, any change takes some
    of them over the border of their level, and that may cost more than the few others gain.
    """
    net, wanted = drifted()
    before, x = state(net), images(24).double()
    tuning = tune_layers(net, x, target=wanted, neuron=neuron, force=True, epochs=30, include="act2", weight_decay=0.0)
    (layer,) = tuning.layers
    assert layer.loss_after < 0.8 * layer.loss_before
    assert layer.parameters == ("conv2.weight", "conv2.bias", "norm2.weight", "norm2.bias")
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == set(layer.parameters)


def test_qann_check_11_no_epoch_that_is_kept_lowers_the_accuracy() -> None:
    net, batches, heard = network(), data(), list[TunedEpoch]()
    tuning = tune_layers(net, batches, learning_rate=1.0, epochs=6, observe=heard.append)
    best = tuning.accuracy_before
    assert best is not None
    for epoch in heard:
        assert epoch.accuracy is not None
        assert epoch.kept == (epoch.accuracy >= best)
        best = max(best, epoch.accuracy)
    assert {epoch.kept for epoch in heard} == {True, False}
    assert tuning.accuracy_after == best
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    with torch.no_grad():
        assert float((spiking_twin(net)(x).argmax(1) == y).double().mean()) == best
    kept = [sum(e.kept for e in heard if e.path == layer.path) for layer in tuning.layers]
    assert kept == [layer.epochs_kept for layer in tuning.layers]
    assert [(e.layer, e.epoch) for e in heard] == [(n, e) for n in (1, 2) for e in range(1, 7)]
    assert {(e.layers, e.epochs) for e in heard} == {(2, 6)}


def test_forced_epochs_stay_without_labels() -> None:
    net, heard = network(), list[TunedEpoch]()
    tuning = tune_layers(
        net, data(labels=False), learning_rate=1.0, epochs=3, force=True, observe=heard.append, momentum=0.0
    )
    assert all(epoch.kept and epoch.accuracy is None for epoch in heard)
    assert [layer.epochs_kept for layer in tuning.layers] == [3, 3]
    assert (tuning.accuracy_before, tuning.accuracy_after, tuning.judged) == (None, None, 0)
    assert not same(state(network()), state(net))


@pytest.mark.parametrize("neuron", NEURONS)
def test_a_step_is_the_equation_of_the_paper(neuron: type[bs.Neuron]) -> None:
    """One step on one batch, of the unit that reads two neurons through a norm and a shortcut."""
    net, (x,) = network(), data(12, 12, labels=False)
    wanted, rate = copy.deepcopy(net), 0.05
    theta = [float(act.clip.detach()) for act in (net.act1, net.act2, net.act3)]

    def spikes(currents: Tensor, clip: float) -> Tensor:
        return clip * neuron(1.0, initial=0.5)(currents / clip)

    with torch.no_grad():
        first = spikes(net.norm1(net.conv1(x)).expand(3, -1, -1, -1, -1), theta[0])
        second = spikes(torch.stack([net.norm2(net.conv2(s)) for s in first]), theta[1])
        a, b = wanted.act1(wanted.norm1(wanted.conv1(x))), None
        b = wanted.act2(wanted.norm2(wanted.conv2(a)))
        target = wanted.act3(wanted.norm3(wanted.conv3(b)) + wanted.side(a))
        own = spikes(
            torch.stack([net.norm3(net.conv3(s)) + net.side(r) for s, r in zip(second, first, strict=True)]), theta[2]
        ).mean(0)
    y = net.act3(net.norm3(net.conv3(second.mean(0))) + net.side(first.mean(0)))
    loss = (y + (own - y).detach() - target).square().mean()
    names = ["conv3.weight", "conv3.bias", "norm3.weight", "norm3.bias", "side.weight", "side.bias"]
    parameters = [net.get_parameter(name) for name in names]
    grads = torch.autograd.grad(loss, parameters)
    by_hand = {name: p.detach() - rate * g for name, p, g in zip(names, parameters, grads, strict=True)}

    heard: list[TunedEpoch] = []
    tune_layers(
        net, [x], neuron=neuron, include="act3", learning_rate=rate, weight_decay=0.0, force=True, observe=heard.append
    )
    assert heard[0].loss == pytest.approx(float(loss.detach()), rel=1e-12)
    for name in names:
        torch.testing.assert_close(net.get_parameter(name).detach(), by_hand[name], rtol=0, atol=1e-14)
    assert all(p.grad is None for p in net.parameters())


def test_what_does_not_fit_into_memory_is_computed_again_with_the_same_result() -> None:
    nets, records = [network(), network()], []
    for net, memory in zip(nets, (2**31, 0), strict=True):
        record = tune_layers(net, data(), epochs=3, learning_rate=0.1, ends=True, memory=memory)
        assert record.kept_in_memory == (memory > 0)
        records.append(record.to_dict() | {"kept_in_memory": None})
    assert records[0] == records[1]
    assert same(state(nets[0]), state(nets[1]))
    assert not same(state(nets[0]), state(network()))


def test_the_seed_decides_the_order_and_nothing_else_is_random() -> None:
    def tuned(seed: int) -> dict[str, Tensor]:
        net = network()
        tune_layers(net, data(), force=True, epochs=2, learning_rate=0.1, seed=seed)
        torch.randn(3)  # the caller's generator plays no part
        return state(net)

    assert same(tuned(1), tuned(1))
    assert not same(tuned(1), tuned(2))


def test_a_run_goes_on_with_the_layers_that_are_left() -> None:
    whole, parts = network(), network()
    tune_layers(whole, data(), force=True, epochs=2, learning_rate=0.1)
    first = copy.deepcopy(parts)
    for layer in ("act2", "act3"):
        tune_layers(parts, data(), force=True, epochs=2, learning_rate=0.1, include=layer, target=first)
    assert same(state(whole), state(parts))


def test_an_interrupted_run_leaves_the_last_epoch_that_was_kept() -> None:
    def stop(epoch: TunedEpoch) -> None:
        if (epoch.path, epoch.epoch) == ("act2", 2):
            raise KeyboardInterrupt

    net, once = network(), network()
    with pytest.raises(KeyboardInterrupt):
        tune_layers(net, data(), force=True, epochs=3, learning_rate=0.1, observe=stop)
    tune_layers(once, data(), force=True, epochs=2, learning_rate=0.1, include="act2")
    assert same(state(net), state(once))
    assert not net.training
    assert all(p.grad is None for p in net.parameters())


def test_other_images_can_judge() -> None:
    net, x = network(), images(30, seed=5).double()
    with torch.no_grad():
        answers = spiking_twin(net)(x).argmax(1)
    judge = [(x[:20], answers[:20]), (x[20:], (answers[20:] + 1) % 3)]
    tuning = tune_layers(net, data(labels=False), judge=judge, learning_rate=0.5, epochs=3)
    assert tuning.accuracy_before == pytest.approx(20 / 30)
    assert (tuning.samples, tuning.judged) == (40, 30)
    with torch.no_grad():
        right = spiking_twin(net)(x).argmax(1) == torch.cat([y for _, y in judge])
    assert tuning.accuracy_after == pytest.approx(float(right.double().mean()))


def test_modes_and_what_is_frozen_stay() -> None:
    net = network().train()
    net.norm3.eval()
    net.conv3.weight.requires_grad_(False)
    before, modes = state(net), {name: m.training for name, m in net.named_modules()}
    tuning = tune_layers(net, data(), force=True, learning_rate=0.1)
    assert modes == {name: m.training for name, m in net.named_modules()}
    after = state(net)
    assert {name for name in after if not torch.equal(after[name], before[name])} == {
        name for layer in tuning.layers for name in layer.parameters
    }
    assert "conv3.weight" not in tuning.layers[1].parameters
    assert torch.equal(before["norm2.running_mean"], after["norm2.running_mean"])
    assert all(not m._forward_hooks for m in net.modules())


def test_weight_clips_train_and_codes_stay_codes() -> None:
    net = bs.quantize(nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Flatten(), nn.Linear(96, 3),
    ), images(1), bits=2, clip=1.0)  # fmt: skip
    net = busy(net)
    x, clip = images(32), "3.parametrizations.weight.0.quantize.clip"
    before = state(net)
    tuning = tune_layers(net, x.split(8), force=True, learning_rate=0.05)
    assert clip in tuning.layers[0].parameters
    assert not torch.equal(before[clip], net.state_dict()[clip])
    assert torch.equal(before["2.clip"], net.state_dict()["2.clip"])
    assert bs.codes(net)["3"].codes.unique().tolist() == [-1, 0, 1]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_float32_networks_of_one_layer_in_any_layout(layout: torch.memory_format) -> None:
    net = busy(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), QuantReLU(2, 1.0), nn.Flatten(), nn.Linear(144, 3)))
    net, x = net.to(memory_format=layout), images(10).to(memory_format=layout)
    with pytest.raises(
        ConstraintError, match=r"2 \(a first or last layer\), output \(a first or last layer\)"
    ) as caught:
        tune_layers(net, x, force=True)
    assert "ends=True" in str(caught.value)
    tuning = tune_layers(net, x.split(4), force=True, ends=True, skip="2")  # 4, 4 and 2 images
    assert [layer.path for layer in tuning.layers] == ["output"]
    alone = busy(nn.Sequential(nn.Conv2d(2, 4, 3), QuantReLU(2, 1.0)))
    assert [layer.path for layer in tune_layers(alone, x, force=True, ends=True).layers] == ["1"]


class TwoInputs(nn.Module):
    """A network of two inputs with two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.act, self.c = nn.Linear(3, 8), nn.Linear(2, 8), QuantReLU(2, 1.0), nn.Linear(8, 8)
        self.act2, self.read = QuantReLU(2, 1.0), nn.Linear(8, 2)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x = self.act2(self.c(self.act(self.a(x) + self.b(y))))
        return self.read(x), x


def test_networks_of_several_inputs_and_outputs() -> None:
    net, batch = TwoInputs(), ((torch.rand(9, 3), torch.rand(9, 2)), torch.zeros(9))
    assert [layer.path for layer in tune_layers(net, [batch[:1], batch], force=True).layers] == ["act2"]
    with pytest.raises(ConstraintError, match="returns a tuple") as caught:
        tune_layers(net, [batch[:1]], force=True, ends=True)
    assert 'skip="output"' in str(caught.value)


class Twice(nn.Module):
    """A network that calls one layer in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.read = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.acts = nn.ModuleList(QuantReLU(2, 1.0) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.acts[0](self.first(x))
        for act in self.acts[1:]:
            x = act(self.inner(x))
        result: Tensor = self.read(x)
        return result


def test_a_layer_that_is_called_twice_is_refused() -> None:
    x = torch.rand(8, 4)
    with pytest.raises(ConstraintError, match="'inner' is called 2 times") as caught:
        tune_layers(Twice(), x, force=True)
    assert "skip=['acts.1']" in str(caught.value)
    net = Twice()
    tuning = tune_layers(net, x, force=True, ends=True, skip="acts.1")
    assert [layer.path for layer in tuning.layers] == ["acts.0", "output"]


FOREIGN = [(images(2).double(), torch.zeros(2, 7, 7))]
"""Labels of no class."""


def test_labels_of_another_task_judge_nothing() -> None:
    tuning = tune_layers(network(), data(labels=False), judge=FOREIGN, force=True)
    assert (tuning.accuracy_before, tuning.accuracy_after, tuning.judged) == (None, None, 0)


@pytest.mark.parametrize(
    ("arguments", "error", "what", "way"),
    [
        ({"epochs": 0}, ConstraintError, "epochs=0", "epochs=1"),
        ({"learning_rate": -1.0}, ConstraintError, "learning_rate=-1.0", "learning_rate=1e-3"),
        ({"include": "conv2"}, ConstraintError, "no layer matches 'conv2'", "act"),
        ({"skip": ["act2", "act3"]}, ConstraintError, "no layer to tune", "ends=True"),
        ({"target": busy(Residual(3))}, ConstraintError, "3 activations of 3 bits", "copy.deepcopy"),
        ({"force": False}, DataError, "have no labels", "force=True"),
        ({"judge": []}, DataError, "there is no sample", "the loader itself"),
        ({"judge": FOREIGN, "force": False}, DataError, "not those of the task", "force=True"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    arguments: dict[str, Any], error: type[Exception], what: str, way: str
) -> None:
    net = network()
    before = state(net)
    with pytest.raises(error) as caught:
        tune_layers(net, data(labels=False), **{"force": True, **arguments})
    message, _, fix = str(caught.value).partition("fix: ")
    assert what in message
    assert way in fix
    assert same(before, state(net))


def test_half_precision_is_refused() -> None:
    net = busy(Residual()).bfloat16()
    with pytest.raises(ConstraintError, match="half precision") as caught:
        tune_layers(net, images(4).bfloat16(), force=True)
    assert "network.float()" in str(caught.value)
    tune_layers(net.float(), images(4), force=True)


def test_the_record_is_plain_values() -> None:
    record = tune_layers(network(), data(), seed=3).to_dict()
    assert {key: record[key] for key in ("neuron", "steps", "samples", "judged", "force", "seed")} == {
        "neuron": "SignedIF",
        "steps": 3,
        "samples": 40,
        "judged": 40,
        "force": False,
        "seed": 3,
    }
    assert record["layers"][0]["path"] == "act2"
    assert isinstance(record["layers"][0]["parameters"], list)


def test_the_record_is_printed_a_line_for_every_layer() -> None:
    layer = TunedLayer(
        path="layer1.0.relu", parameters=("a", "b"), epochs=2, epochs_kept=1, loss_before=0.12345678, loss_after=0.1,
        accuracy_before=0.5, accuracy_after=None,
    )  # fmt: skip
    tuning = Tuning(
        layers=(layer, replace(layer, path="relu")), neuron="IF", steps=3, samples=1438, judged=0, force=True, seed=0,
        kept_in_memory=True,
    )  # fmt: skip
    head, columns, *rows = str(tuning).splitlines()
    assert head == "tuned layer by layer: IF, T = 3, 1,438 samples"
    assert rows[0].split() == ["layer1.0.relu", "1", "of", "2", "0.1235", "0.1", "50.00%", "-"]
    assert {len(line) for line in (columns, *rows)} == {len(columns)}, "columns are below their heads"
    assert str(replace(tuning, layers=())).splitlines()[0] == head
