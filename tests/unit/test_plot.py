"""Figures of ``bs.plot``: what they show of networks, integers and traces, and what they refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import ConstraintError, RunError
from bitspike.integer.examples import one_convolution
from bitspike.nn.firing import Recorder

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def new_axes() -> Axes:
    from matplotlib.figure import Figure

    return Figure().subplots()


def small() -> nn.Sequential:
    return nn.Sequential(bs.Repeat(steps=4), bs.IF(threshold=1.0))


IMAGES = torch.tensor([[0.25, 0.5, 1.0], [0.0, 0.0, 0.0]])


@pytest.fixture(scope="module")
def converted() -> tuple[nn.Module, bs.IntegerNetwork, Tensor]:
    """Return a spiking network of signed neurons, its integers, and images."""
    torch.manual_seed(0)
    images = torch.rand(8, 1, 6, 6)
    ann = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    snn = bs.convert(ann, images[:1], calibrate=images, steps=8, bits=3, neuron=bs.SignedIF)
    return snn, bs.lower(snn, images[:1]), images


def picture(axes: Axes) -> np.ndarray[Any, Any]:
    (image,) = axes.images
    return np.asarray(image.get_array())


def test_a_network_its_integers_and_their_trace_have_the_same_raster(
    converted: tuple[nn.Module, bs.IntegerNetwork, Tensor],
) -> None:
    snn, net, images = converted
    codes = bs.encode(net, images)
    drawn = [
        bs.plot.raster(*what, sample=3)
        for what in ((snn, images), (net, images), (net, codes), (bs.simulate(net, codes),))
    ]
    first, *others = [picture(axes) for axes in drawn]
    assert (first[..., 3] > 0).any()
    assert all((first == other).all() for other in others)
    assert not (first == picture(bs.plot.raster(snn, images, sample=4))).all()


def test_signs_have_a_color_and_a_form_of_their_own(converted: tuple[nn.Module, bs.IntegerNetwork, Tensor]) -> None:
    trace = bs.simulate(one_convolution(threshold=8), np.full((1, 1, 1, 4, 4), 5))
    up, down = trace, type(trace)({"neuron": -trace.spikes["neuron"]}, trace.potentials, trace.outputs)
    of_up, of_down = picture(bs.plot.raster(up)), picture(bs.plot.raster(down))
    assert {tuple(p) for p in of_up[of_up[..., 3] > 0].tolist()} == {(0, 105, 166, 255)}
    assert {tuple(p) for p in of_down[of_down[..., 3] > 0].tolist()} == {(196, 79, 0, 255)}
    assert (of_up[..., 3] > 0).sum() == 3 * (of_down[..., 3] > 0).sum()
    assert bs.plot.raster(up).get_legend() is None
    legend = bs.plot.raster(down).get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["spike of +1", "spike of −1"]


def test_every_spike_of_a_neuron_is_drawn_at_its_step() -> None:
    drawn = picture(bs.plot.raster(small(), IMAGES))[..., 3] > 0
    # Three neurons of four rows, the last of them empty; four steps of six columns, the last of them empty.
    rows = drawn.reshape(3, 4, 4, 6)
    assert not rows[:, 3].any()
    assert not rows[..., 5].any()
    fired = rows[:, 0, :, 0]
    assert fired.tolist() == [[False, False, False, True], [False, True, False, True], [True, True, True, True]]
    assert (rows[:, :3, :, :5] == fired[:, None, :, None]).all()


def test_of_many_neurons_some_are_drawn_and_both_numbers_are_said() -> None:
    axes = bs.plot.raster(small(), torch.rand(1, 1000), neurons=10)
    assert axes.get_yticklabels()[0].get_text() == "1\n10 of 1,000 neurons"
    assert picture(axes).shape[0] == 40


def test_many_steps_and_one_step_are_drawn(converted: tuple[nn.Module, bs.IntegerNetwork, Tensor]) -> None:
    for steps in (1, 100):
        model = nn.Sequential(bs.Repeat(steps=steps), bs.IF(threshold=1.0))
        for draw in (bs.plot.raster, bs.plot.rates, bs.plot.membrane):
            assert draw(model, IMAGES).has_data()
        bs.plot.rates(model, IMAGES, by_step=True)


def test_the_membrane_of_integers_is_that_of_the_network_in_integers(
    converted: tuple[nn.Module, bs.IntegerNetwork, Tensor],
) -> None:
    snn, net, images = converted
    for layer in ("1", "3"):
        real, whole = (bs.plot.membrane(what, images, layer=layer, neuron=(1, 0, 1)) for what in (snn, net))
        ratio = np.asarray(whole.lines[0].get_ydata()) / np.asarray(real.lines[0].get_ydata())
        bars = np.asarray(whole.lines[1].get_ydata()) / np.asarray(real.lines[1].get_ydata())
        assert np.ptp(ratio) == 0, "a potential is its integer times a power of two"
        assert ratio[0] == bars[0]
        assert real.get_ylabel() == f"potential of {layer}[1, 0, 1]"
        assert whole.get_ylabel() == f"potential of {layer}[1, 0, 1], in integers"


def test_spikes_stand_where_the_potential_reaches_the_threshold() -> None:
    axes = bs.plot.membrane(small(), IMAGES, neuron=1)
    potential, bar, spikes = axes.lines
    assert np.asarray(potential.get_ydata()).tolist() == [0.5, 1.0, 0.5, 1.0]
    assert np.asarray(bar.get_ydata()).tolist() == [1.0] * 4
    assert np.asarray(spikes.get_xdata()).tolist() == [2, 4]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["potential", "threshold", "spike of +1"]


def test_without_a_neuron_the_membrane_of_one_that_starts_and_stops_is_drawn() -> None:
    assert bs.plot.membrane(small(), IMAGES).get_ylabel() == "potential of 1[1]"


def test_a_neuron_is_named_by_a_number_of_numpy_too() -> None:
    assert bs.plot.membrane(small(), IMAGES, neuron=np.argmax([0, 0, 1]), sample=np.int64(1)).has_data()  # type: ignore[arg-type]


def test_thresholds_by_channel_and_by_step_are_drawn() -> None:
    model = nn.Sequential(bs.Repeat(steps=2), bs.IF(threshold=torch.tensor([1.0, 2.0])))
    for channel in (0, 1):
        axes = bs.plot.membrane(model, torch.ones(1, 2, 3), neuron=(channel, 2))
        assert np.asarray(axes.lines[1].get_ydata()).tolist() == [channel + 1.0] * 2


def test_rates_are_those_of_the_recorder(converted: tuple[nn.Module, bs.IntegerNetwork, Tensor]) -> None:
    snn, net, images = converted
    with torch.no_grad(), Recorder(snn) as recorder:
        snn(images)
    layers = recorder.layers()
    for what in (snn, net):
        axes = bs.plot.rates(what, images)
        bars = np.array([bar.get_width() for bar in axes.patches]).reshape(2, -1)  # +1, then -1
        assert bars.sum(0) == pytest.approx([layer.rate for layer in layers.values()], abs=1e-9)
        assert bars[1].any()
        assert [label.get_text() for label in axes.get_yticklabels()] == list(layers)
        lines = bs.plot.rates(what, images, by_step=True).lines
        for line, layer in zip(lines, layers.values(), strict=True):
            assert np.asarray(line.get_ydata()) == pytest.approx(layer.by_step, abs=1e-9)


def test_a_layer_that_never_fires_is_said_to() -> None:
    axes = bs.plot.rates(small(), torch.zeros(1, 3))
    assert [text.get_text() for text in axes.texts] == ["never fires"]


def test_codes_are_counted_for_networks_and_integers(converted: tuple[nn.Module, bs.IntegerNetwork, Tensor]) -> None:
    snn, net, _ = converted
    for what in (snn, net):
        axes = bs.plot.codes(what, layers="2")
        _, counts = np.unique(net.weighted[1].weight.codes, return_counts=True)
        heights = [bar.get_height() for bar in axes.patches]
        assert heights == pytest.approx(0.8 * counts / counts.max())
        assert [label.get_text().split("\n")[0] for label in bs.plot.codes(what).get_yticklabels()] == ["0", "2", "5"]


def test_signs_of_codes_have_colors_of_their_own() -> None:
    model = bs.attach(nn.Sequential(nn.Linear(64, 4)), quantize=bs.Ternary())
    colors = [bar.get_facecolor() for bar in bs.plot.codes(model).patches]
    assert len(set(colors)) == 3


def test_a_module_that_is_called_twice_has_a_layer_for_each_call() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neuron = bs.IF(threshold=1.0)

        def forward(self, x: Tensor) -> Tensor:
            spikes: Tensor = self.neuron(self.neuron(x) + 0.5)
            return spikes

    x = torch.ones(3, 1, 2)
    labels = [label.get_text().split("\n")[0] for label in bs.plot.raster(Twice(), x).get_yticklabels()]
    assert labels == ["neuron", "neuron#2"]
    second = bs.plot.membrane(Twice(), x, layer="neuron#2", neuron=0)
    assert np.asarray(second.lines[0].get_ydata()).tolist() == [1.5, 2.0, 2.5]
    with pytest.raises(ConstraintError, match="no layer matches 'neuron#3'"):
        bs.plot.membrane(Twice(), x, layer="neuron#3")


def test_a_neuron_alone_and_a_wrapped_network_are_drawn() -> None:
    assert bs.plot.raster(bs.IF(), torch.ones(2, 1, 3)).get_yticklabels()[0].get_text().startswith("neuron\n")
    assert bs.plot.membrane(bs.IF(), torch.ones(2, 1)).get_ylabel() == "potential of neuron[0]"
    wrapped = bs.plot.raster(nn.DataParallel(small()), IMAGES)
    assert wrapped.get_yticklabels()[0].get_text().startswith("1\n")


def test_a_neuron_with_an_equation_of_its_own_has_a_raster_and_its_membrane_is_refused() -> None:
    class Own(bs.IF):
        def forward(self, x: Tensor) -> Tensor:
            return (x > 0.5).to(x.dtype)

    model = nn.Sequential(bs.Repeat(steps=2), Own())
    assert (picture(bs.plot.raster(model, IMAGES))[..., 3] > 0).any()
    with pytest.raises(ConstraintError, match="the potentials of 1 are not known"):
        bs.plot.membrane(model, IMAGES)


def test_drawing_leaves_no_trace_on_the_network() -> None:
    model = nn.Sequential(bs.Repeat(steps=2), bs.TimeDistributed(nn.BatchNorm1d(3)), nn.Dropout(), bs.LIF()).train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    for draw in (bs.plot.raster, bs.plot.membrane, bs.plot.rates):
        draw(model, IMAGES)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_axes_of_the_user_are_drawn_on_and_returned(converted: tuple[nn.Module, bs.IntegerNetwork, Tensor]) -> None:
    snn, _, images = converted
    draws: list[Callable[..., Axes]] = [bs.plot.raster, bs.plot.membrane, bs.plot.rates]
    for draw in draws:
        mine = new_axes()
        assert draw(snn, images, ax=mine) is mine
        with pytest.raises(ConstraintError, match="needed is one matplotlib Axes"):
            draw(snn, images, ax=np.array([mine]))
    mine = new_axes()
    assert bs.plot.codes(snn, ax=mine) is mine
    assert bs.plot.curve([{"epoch": 1, "train_loss": 1.0}], ax=mine) is mine


@pytest.mark.parametrize("draw", [bs.plot.raster, bs.plot.membrane, bs.plot.rates])
def test_what_cannot_be_looked_at_is_refused(draw: Callable[..., Axes]) -> None:
    with pytest.raises(ConstraintError, match="a list has no neurons to look at"):
        draw([1], IMAGES)
    with pytest.raises(ConstraintError, match="shows nothing without inputs"):
        draw(small())
    with pytest.raises(ConstraintError, match="Linear has no spiking neurons"):
        draw(nn.Linear(3, 1), IMAGES)
    with pytest.raises(ConstraintError, match="inputs are a int"):
        draw(small(), [1, 2])
    with pytest.raises(ConstraintError, match="inputs are a ndarray"):
        draw(small(), IMAGES.numpy())
    trace = bs.simulate(one_convolution(), np.zeros((1, 1, 1, 4, 4), np.int64))
    with pytest.raises(ConstraintError, match="a trace is a run already"):
        draw(trace, IMAGES)
    with pytest.raises(ConstraintError, match="hold no sample"):
        draw(small(), IMAGES[:0])


@pytest.mark.parametrize("sample", [2, -1, 0.5, True, None])
@pytest.mark.parametrize("draw", [bs.plot.raster, bs.plot.membrane])
def test_a_sample_that_is_not_there_is_refused(draw: Callable[..., Axes], sample: Any) -> None:
    with pytest.raises(ConstraintError, match=f"sample={sample}: the inputs hold the samples 0 to 1"):
        draw(small(), IMAGES, sample=sample)


@pytest.mark.parametrize("neuron", [3, -1, 1.0, True, (0, 0), "a", ()])
def test_a_neuron_that_is_not_there_is_refused(neuron: Any) -> None:
    with pytest.raises(ConstraintError, match="1 has the neurons 0 to 2"):
        bs.plot.membrane(small(), IMAGES, neuron=neuron)


@pytest.mark.parametrize("neurons", [0, -1, 1.5, True, "8"])
def test_a_number_of_neurons_that_is_none_is_refused(neurons: Any) -> None:
    with pytest.raises(ConstraintError, match="a whole number of at least 1 is needed"):
        bs.plot.raster(small(), IMAGES, neurons=neurons)


def test_a_layer_that_is_not_there_is_refused(converted: tuple[nn.Module, bs.IntegerNetwork, Tensor]) -> None:
    snn, net, images = converted
    for what in (snn, net):
        for draw in (bs.plot.raster, bs.plot.rates):
            with pytest.raises(ConstraintError, match="no layer matches 'conv'; there are '1', '3'"):
                draw(what, images, layers="conv")
            with pytest.raises(ConstraintError, match="'1' instead of 1"):
                draw(what, images, layers=1)
        with pytest.raises(ConstraintError, match="no layer matches 'conv'"):
            bs.plot.membrane(what, images, layer="conv")
        with pytest.raises(ConstraintError, match="no layer matches 'conv'; there are '0', '2', '5'"):
            bs.plot.codes(what, layers="conv")


def test_weights_without_codes_are_refused() -> None:
    with pytest.raises(ConstraintError, match="no weight of Linear has codes"):
        bs.plot.codes(nn.Linear(2, 2))
    with pytest.raises(ConstraintError, match="a dict has no weight codes"):
        bs.plot.codes({})  # type: ignore[arg-type]


EPOCHS = [{"epoch": n, "train_loss": 1 / n, "validation_loss": 2 / n, "train_accuracy": n / 4} for n in (1, 2, 3)]


def test_the_curve_of_a_run_folder_is_that_of_its_records(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in EPOCHS), "utf-8")
    for what in (EPOCHS, tmp_path, str(tmp_path)):
        accuracy, loss = bs.plot.curve(what), bs.plot.curve(what, "loss")
        assert accuracy.get_ylabel() == "accuracy in %"
        assert np.asarray(accuracy.lines[0].get_ydata()).tolist() == [25.0, 50.0, 75.0]
        assert [np.asarray(line.get_ydata()).tolist() for line in loss.lines] == [[1, 1 / 2, 1 / 3], [2, 1, 2 / 3]]


def test_the_curve_of_a_training_and_of_an_evaluation_over_its_steps() -> None:
    from bitspike.train.evaluate import evaluate

    model = nn.Sequential(
        bs.Repeat(steps=3), bs.TimeDistributed(nn.Linear(3, 2)), bs.LIF(threshold=0.01), bs.RateReadout()
    )
    data = [(torch.rand(4, 3), torch.tensor([0, 1, 0, 1]))]
    history = bs.fit(model, data, epochs=2, seed=0)
    losses = [epoch.train_loss for epoch in history.epochs]
    assert np.asarray(bs.plot.curve(history, "loss").lines[0].get_ydata()).tolist() == losses
    each = evaluate(model, data, each_step=True)
    assert np.asarray(bs.plot.curve(each).lines[0].get_ydata()).tolist() == [100 * v for v in each.by_step or []]
    with pytest.raises(ConstraintError, match="no metric after every step"):
        bs.plot.curve(evaluate(model, data))
    with pytest.raises(ConstraintError, match="an evaluation has no loss after every step"):
        bs.plot.curve(each, "loss")


def test_a_curve_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConstraintError, match="no epoch was recorded"):
        bs.plot.curve([])
    with pytest.raises(ConstraintError, match="'top5' was not recorded; there are 'loss', 'accuracy'"):
        bs.plot.curve(EPOCHS, "top5")
    with pytest.raises(ConstraintError, match="a int is no training"):
        bs.plot.curve(3)  # type: ignore[arg-type]
    with pytest.raises(RunError, match=r"metrics\.jsonl cannot be read"):
        bs.plot.curve(tmp_path / "none")
    (tmp_path / "metrics.jsonl").write_text("{", "utf-8")
    with pytest.raises(RunError, match=r"metrics\.jsonl cannot be read"):
        bs.plot.curve(tmp_path)
    for line in ("3", "null", "[1, 2]"):  # JSON, and no record of an epoch
        (tmp_path / "metrics.jsonl").write_text(f"{json.dumps(EPOCHS[0])}\n{line}\n", "utf-8")
        with pytest.raises(RunError, match=r"metrics\.jsonl cannot be read: a line of it is .*, and no record"):
            bs.plot.curve(tmp_path)


def test_the_figures_that_the_page_shows_are_those_that_its_code_saves() -> None:
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "tutorials" / "see-what-a-network-does.md").read_text("utf-8")
    shown, saved = (set(re.findall(rule, page)) for rule in (r"\.\./figures/(see-[\w-]+\.svg)", r'savefig\("(.+?)"\)'))
    assert shown == saved == {path.name for path in (docs / "figures").glob("see-*")}
