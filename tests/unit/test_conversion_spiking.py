"""Networks of spikes from ordinary ones: what they compute, how they are named, what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bitspike as bs
from bitspike.conversion.construct.network import build
from bitspike.conversion.fold.fold import fold
from bitspike.conversion.result import conversion_of, spiking_part
from bitspike.errors import ConstraintError, ConversionError, LoweringError
from bitspike.graph.capture.from_module import capture
from bitspike.graph.rebuild import values
from bitspike.integer.nodes import Concat, CountMaxPool
from bitspike.nn import CountMaxPool as CountMaxPoolModule


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


class Residual(nn.Module):
    """A stem, an identity block, a block with a downsampling shortcut, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.one, self.two = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 8, 3, 2, 1)
        self.down, self.head = nn.Conv2d(6, 8, 1, 2), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.one(x) + x)
        x = F.relu(self.two(x) + self.down(x))
        return self.head(x.mean((2, 3)))


def converted(model: nn.Module, x: Tensor, **choices: Any) -> nn.Module:
    choices.setdefault("threshold", bs.MaxThreshold())
    return bs.convert(model.eval(), x[:1], calibrate=x, **choices)


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("choices", [{}, {"per_channel": False}, {"neuron": bs.SignedIF}, {"schedule": "layerwise"}])
def test_more_steps_come_closer_to_the_network(choices: dict[str, Any]) -> None:
    x, model = images(16, 2, 8, 8), Residual()
    with torch.no_grad():
        errors = [relative(converted(model, x, steps=t, **choices)(x), model(x)) for t in (4, 32, 256)]
    assert errors[2] < errors[0] / 4
    assert errors[2] < 0.03


def test_modules_keep_their_names_and_the_model_is_left_alone() -> None:
    x, model = images(8, 2, 8, 8), Residual()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    names = {name for name, _ in converted(model, x).named_modules()}
    assert {"stem", "one", "two", "down", "head"} <= names
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_lowering_rounds_nothing() -> None:
    x = images(8, 2, 8, 8)
    snn = converted(Residual(), x, steps=5, bits=3)
    net = bs.lower(snn, x[:1])
    assert net.notes == ()
    assert bs.verify(net, x).equal
    trace = bs.simulate(net, bs.encode(net, x))
    logits = trace.outputs[net.outputs[0].id] * net.outputs[0].scale
    torch.testing.assert_close(torch.from_numpy(logits).float(), snn(x), atol=1e-5, rtol=1e-5)


def test_convert_check_05_the_next_layer_reads_what_the_rounded_threshold_is_worth() -> None:
    x = images(8, 2, 8, 8)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    record = conversion_of(
        converted(model, x, bits=2, first_bits=2, per_channel=False, max_fraction_bits=2, correct=None)
    )
    first, second = record.layers["1"], record.layers["3"]
    assert float(first.value) != float(first.wanted)
    assert torch.equal(second.inputs["2"].reshape(-1), first.value)
    weight = record.graph.modules["2"].weight.detach().double()  # type: ignore[union-attr]
    for value, fits in ((first.value, True), (first.wanted, False)):
        unit = float((weight * value).abs().max())
        assert (float(second.unit) == pytest.approx(unit, rel=1e-6)) is fits


@pytest.mark.parametrize("steps", [1, 4, 16])
def test_convert_check_06_parted_input_gives_the_same_spikes(steps: int) -> None:
    x, model = images(8, 2, 8, 8), Residual()
    runs = []
    for coding in ("direct", "split"):
        net = bs.lower(converted(model, x, steps=steps, coding=coding), x[:1])
        assert not net.notes
        runs.append(bs.simulate(net, bs.encode(net, x)))
    assert runs[0].spikes.keys() == runs[1].spikes.keys()
    for id, spikes in runs[0].spikes.items():
        assert (spikes == runs[1].spikes[id]).all(), id


def test_convert_check_06_normalization_goes_into_a_padded_convolution() -> None:
    torch.manual_seed(0)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    behind = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 5))

    class Normalized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.behind = behind

        def forward(self, x: Tensor) -> Tensor:
            return self.behind((x - mean.view(3, 1, 1)) / std.view(3, 1, 1))  # type: ignore[no-any-return]

    pixels = torch.randint(0, 256, (16, 3, 8, 8))
    pixels[0, 0, 0, 0] = 255
    x, model = pixels / 255, Normalized().eval()
    graph = fold(capture(model, x))
    assert [op.kind for op in graph][:3] == ["input", "pad", "convolution"]
    current = values(graph, x, wanted=["behind.0"])["behind.0"]
    on_host = behind[0]((x - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    torch.testing.assert_close(current, on_host, atol=1e-5, rtol=1e-5)

    snn = converted(model, x, steps=64)
    net = bs.lower(snn, x[:1])
    assert net.notes == ()
    assert net.input.grid == bs.Grid(1 / 255, 0, 255)
    assert conversion_of(snn).reads_input
    (entered,) = conversion_of(snn).entries(x)
    codes = bs.encode(net, entered)
    assert (codes[0, :, :, 1:-1, 1:-1] == pixels.numpy()).all()
    assert codes[0, 0, :, 0, 0].tolist() == [124, 116, 104]  # the codes next to the means: black is no zero here
    assert bs.verify(net, entered).equal
    with torch.no_grad():
        assert float((snn(x) - model(x)).abs().max()) < 0.05 * float(model(x).abs().max())


def test_the_threshold_of_parted_input_on_whole_input_saturates() -> None:
    """The mode of the input and the threshold are one setting, because either alone gives another network."""
    x, model = images(8, 2, 8, 8), nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    snn = converted(model, x, steps=16, coding="split")
    wrong = nn.Sequential(snn.get_submodule("input_codes"), snn.get_submodule("input_repeat"), snn.get_submodule("0"))
    right = nn.Sequential(*wrong[:2], snn.get_submodule("input_split"), wrong[2])
    neuron = snn.get_submodule("1")
    with torch.no_grad():
        assert neuron(wrong(x)).mean() > 1.5 * neuron(right(x)).mean()


@pytest.mark.parametrize("concat", ["tie", "fold"])
def test_convert_check_08_concatenated_sources_of_different_ranges(concat: str) -> None:
    torch.manual_seed(0)

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(2, 4, 3), nn.Conv2d(2, 4, 3)
            self.c, self.head = nn.Conv2d(8, 4, 3), nn.Linear(64, 3)
            with torch.no_grad():
                self.b.weight.mul_(5)

        def forward(self, x: Tensor) -> Tensor:
            both = torch.cat([F.relu(self.a(x)), F.relu(self.b(x))], 1)
            return self.head(F.relu(self.c(both)).flatten(1))

    x, model = images(16, 2, 8, 8), Two().eval()
    snn = converted(model, x, steps=256, concat=concat, schedule="layerwise")
    record = conversion_of(snn)
    a, b = (float(record.layers[id].wanted) for id in ("relu", "relu#1"))
    assert (a == b) is (concat == "tie")
    assert any(isinstance(n, Concat) for n in bs.lower(snn, x[:1]).nodes)
    with torch.no_grad():
        assert relative(snn(x), model(x)) < 0.02
        # Were the first source's value taken for both, the decoded values would be far off.
        if concat == "fold":
            wrong = dict(record.lambdas) | {"relu#1": record.lambdas["relu#1"] * 0 + a}
            other = build(record.core, wrong, record.grids, record.settings).network
            assert relative(other(x), model(x)) > 0.05


def test_max_pools_count() -> None:
    x = images(8, 2, 8, 8)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.Linear(36, 2))
    snn = converted(model, x, steps=64)
    assert any(isinstance(m, CountMaxPoolModule) for m in snn.modules())
    assert any(isinstance(n, CountMaxPool) for n in bs.lower(snn, x[:1]).nodes)
    with torch.no_grad():
        assert relative(snn(x), model(x)) < 0.02


def test_convert_check_12_the_middle_of_a_network_and_the_rest_once() -> None:
    calls = {"before": 0, "behind": 0}

    class Counted(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, x: Tensor) -> Tensor:
            calls[self.name] += len(x)
            return torch.tanh(x)

    torch.manual_seed(1)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), Counted("before"))
            self.layer2 = nn.Sequential(nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU())
            self.behind = nn.Sequential(nn.Flatten(), Counted("behind"), nn.Linear(64, 3))

        def forward(self, x: Tensor) -> dict[str, Any]:
            middle = self.layer2(self.before(x))
            return {"logits": self.behind(middle), "features": (middle, x)}

    x, model = images(5, 2, 8, 8), Net().eval()
    snn = bs.convert(
        model, x[:1], calibrate=x, steps=512, include=["layer2.*"], keep_real=["before.1", "behind.1"],
        threshold=bs.MaxThreshold(),
    )  # fmt: skip
    calls.update(before=0, behind=0)
    with torch.no_grad():
        found, wanted = snn(x), model(x)
    assert calls == {"before": 10, "behind": 10}, "once per sample in each of the two networks"
    assert set(found) == {"logits", "features"}
    assert found["logits"].shape == wanted["logits"].shape
    assert torch.equal(found["features"][1], x)
    assert relative(found["features"][0], wanted["features"][0]) < 0.05
    net = bs.lower(snn, x[:1])
    assert not net.notes
    record = conversion_of(snn)
    assert bs.verify(net, record.entries(x)[0]).equal
    assert spiking_part(snn) is not snn
    outputs = bs.simulate(net, bs.encode(net, record.entries(x)[0])).outputs
    leaving = bs.decode(net.outputs[0], outputs[net.outputs[0].id])
    calls.update(before=0, behind=0)
    carried = record.results(leaving, x)
    assert calls == {"before": 0, "behind": 5}, "only what stands behind the spikes, once per sample"
    assert torch.equal(carried["features"][1], x)
    torch.testing.assert_close(carried["logits"], found["logits"], rtol=1e-5, atol=1e-6)
    with pytest.raises(ConstraintError, match=r"per sample \[4, 4, 5\]; what leaves the spiking part is \[4, 4, 4\]"):
        record.results(torch.zeros(5, 4, 4, 5), x)
    with pytest.raises(ConstraintError, match="per sample nothing"):
        record.results([], x)


def test_convert_check_12_a_region_with_a_hole_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.ReLU())
    x = images(2, 1, 10, 10)
    with pytest.raises(ConversionError, match="E107"):
        bs.convert(model, x[:1], calibrate=x, include=["0", "1", "4", "5"])


CORRECTIONS = ("bias", "potential", "weights", "least_squares", "light", "advanced", ("bias", "weights"))


@pytest.mark.parametrize(
    ("correct", "choices"),
    [
        *((correct, {}) for correct in CORRECTIONS),
        ("advanced", {"coding": "split"}),
        (("weights", "bias"), {"schedule": "layerwise", "bits": 3}),
        ("advanced", {"multiplier_bits": 2, "per_channel": False}),
    ],
)
def test_corrections_bring_the_network_closer(correct: Any, choices: dict[str, Any]) -> None:
    x, model = images(64, 2, 8, 8), Residual().eval()
    errors = []
    for how in (None, correct):
        snn = bs.convert(model, x[:1], calibrate=x, **{"steps": 4, "bits": 4, "correct": how, **choices})
        net = bs.lower(snn, x[:1])
        assert net.notes == ()
        assert bs.verify(net, x[:4]).equal
        with torch.no_grad():
            errors.append(relative(snn(x), model(x)))
    assert errors[1] < errors[0]


def test_the_light_pipeline_takes_thresholds_of_least_squared_error() -> None:
    x, model = images(16, 2, 8, 8), Residual().eval()
    light = bs.convert(model, x[:1], calibrate=x, steps=64, correct="light")
    same = bs.convert(model, x[:1], calibrate=x, steps=64, correct="bias", threshold=bs.MSEThreshold())
    assert conversion_of(light).calibration == conversion_of(same).calibration
    with torch.no_grad():
        assert torch.equal(light(x), same(x))


def test_weights_are_calibrated_where_it_brings_the_layer_closer() -> None:
    x, model = images(64, 2, 8, 8), Residual().eval()
    plain = bs.convert(model, x[:1], calibrate=x, steps=8, bits=2, first_bits=2, correct=None)
    better = bs.convert(model, x[:1], calibrate=x, steps=8, bits=2, first_bits=2, correct="weights")
    record = conversion_of(better)
    assert record.shifts.weights
    assert record.shifts.weights.keys() <= {"stem", "one", "two", "down"}  # a read-out has no levels to round to
    with torch.no_grad():
        wanted = values(record.graph, x)
        for id in record.layers:
            if record.layers[id].kind != "neuron":
                continue
            off = [relative(decoded(network, x, id), wanted[id]) for network in (plain, better)]
            assert off[1] < off[0], id
    again = record.build()
    with torch.no_grad():
        assert torch.equal(again(x), better(x))


def decoded(network: nn.Module, x: Tensor, id: str) -> Tensor:
    """Return what a neuron's spikes stand for."""
    spikes: list[Tensor] = []
    handle = network.get_submodule(id.replace("#", "_")).register_forward_hook(lambda m, args, out: spikes.append(out))
    network(x)
    handle.remove()
    return spikes[0].mean(0) * conversion_of(network).layers[id].value.to(x).view(-1, 1, 1)


class TwoSensors(nn.Module):
    """An image and a vector, each with layers of its own, that meet in one layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image, self.vector, self.both = nn.Conv2d(2, 4, 3), nn.Linear(5, 6), nn.Linear(150, 3)

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        seen = torch.cat([F.relu(self.image(image)).flatten(1), F.relu(self.vector(vector))], 1)
        return self.both(seen)


def test_several_inputs_are_read_side_by_side() -> None:
    image, vector = images(8, 2, 8, 8), images(8, 5, seed=1) * 4 - 2  # on grids of their own
    apart = TwoSensors().eval()
    snn = bs.convert(apart, (image[:1], vector[:1]), calibrate=[(image, vector)], steps=32)
    record = conversion_of(snn)
    with torch.no_grad():
        found = snn(image, vector)
        assert relative(found, apart(image, vector)) < 0.1
    net = bs.lower(snn, (image[:1], vector[:1]))
    assert net.notes == ()
    packed = record.packed(image, vector)
    assert packed.shape == (8, *net.input.shape) == (8, 133)
    assert torch.equal(packed[:, :128].view(8, 2, 8, 8), (image * 255).round())
    certificate = bs.verify(net, packed)
    assert certificate.equal
    assert bs.verify(net, packed, engine=True).equal
    outputs = bs.simulate(net, bs.encode(net, packed)).outputs
    leaving = [bs.decode(o, outputs[o.id]) for o in net.outputs]
    torch.testing.assert_close(record.results(leaving, image, vector), found, rtol=1e-5, atol=1e-6)
    with pytest.raises(LoweringError, match=r"has 2 encoders.*\n  fix: .*example=\(a, b\)"):
        bs.lower(snn, image[:1])


@pytest.mark.parametrize("coding", ["rate", "bernoulli", "events"])
def test_several_inputs_of_spikes_are_not_lowered(coding: str) -> None:
    image, vector = images(8, 2, 8, 8), images(8, 5, seed=1)
    snn = bs.convert(
        TwoSensors().eval(), (image[:1], vector[:1]), calibrate=[(image, vector)], steps=4, coding=coding
    )  # fmt: skip
    timed = coding == "events"
    example = tuple(torch.zeros(4, *x[:1].shape) if timed else x[:1] for x in (image, vector))
    with pytest.raises(LoweringError, match=r"has 2 (encoders|inputs).*\n  fix:.*direct"):
        bs.lower(snn, example)


def test_several_inputs_may_be_one_that_is_cut_inside() -> None:
    image, vector = images(8, 2, 8, 8), images(8, 5, seed=1)
    apart = TwoSensors().eval()
    snn = bs.convert(apart, (image[:1], vector[:1]), calibrate=[(image, vector)], steps=32)

    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sensors = apart

        def forward(self, x: Tensor) -> Tensor:
            return self.sensors(x[:, :128].view(-1, 2, 8, 8), x[:, 128:])  # type: ignore[no-any-return]

    x = torch.cat([image.flatten(1), vector], 1)
    one = bs.convert(Joined().eval(), x[:1], calibrate=x, steps=32)
    net = bs.lower(one, x[:1])
    assert net.notes == ()
    assert net.input.shape == (133,)
    assert bs.verify(net, x).equal
    with torch.no_grad():
        torch.testing.assert_close(one(x), snn(image, vector))


def test_unknown_corrections_are_refused() -> None:
    x, model = images(4, 2, 8, 8), Residual().eval()
    with pytest.raises(ConstraintError, match=r"(?s)'heavy' is no correction.*'weights', .*'light', 'advanced'"):
        bs.convert(model, x[:1], calibrate=x, correct="heavy")


def test_fine_tuned_networks_are_finished() -> None:
    x, model = images(32, 2, 8, 8), Residual().eval()
    tuned = bs.prepare(model, x[:1], calibrate=x, bits=4, steps=8)
    optimizer = torch.optim.SGD(tuned.parameters(), lr=1e-3)
    tuned.train()
    tuned(x).square().sum().backward()
    optimizer.step()
    snn = bs.finish(tuned, x[:1], schedule="layerwise", data=x)
    tuned.eval()
    with torch.no_grad():
        assert relative(snn(x), tuned(x)) < 0.03
    assert not bs.lower(snn, x[:1]).notes


def test_a_reset_to_zero_runs_and_never_converges() -> None:
    x, model = images(16, 2, 8, 8), Residual().eval()
    with torch.no_grad():
        soft, hard = (relative(converted(model, x, steps=256, reset=r)(x), model(x)) for r in ("soft", "hard"))
    assert hard > 3 * soft


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"neuron": bs.LIF}, "without a leak"),
        ({"steps": 0}, "at least 1"),
        ({"bits": 0}, "1 to 16 bits"),
        ({"bits": {"one": 4}}, "no pattern matches"),
        ({"reset": "soft "}, "allowed are"),
        ({"initial": 1.0}, "share of the threshold"),
        ({"neuron": bs.SignedIF, "reset": "hard"}, "resets by subtraction"),
        ({"input_bits": 1}, "2 to 16 bits"),
        ({"calibrate": {"relu": torch.ones(1)}}, "no value is given"),
    ],
)
def test_wrong_choices_say_what_is_allowed(choices: dict[str, Any], message: str) -> None:
    x = images(4, 2, 8, 8)
    with pytest.raises(ConstraintError, match=message):
        bs.convert(Residual().eval(), x[:1], **{"calibrate": x, "first_bits": None, **choices})


def test_bits_by_pattern() -> None:
    x = images(4, 2, 8, 8)
    net = bs.lower(converted(Residual(), x, bits={"*": 4, "two": 2}, first_bits=8, last_bits=6), x[:1])
    assert net.weight_bits() == {"stem": 8, "one": 4, "two": 2, "down": 4, "head": 6}


def test_an_average_pool_as_a_neuron_sends_single_spikes() -> None:
    x = images(8, 2, 8, 8)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU())
    model.extend([nn.Flatten(), nn.Linear(16, 2)])
    net = bs.lower(converted(model, x, average_pool="neuron", steps=8), x[:1])
    assert len(net.neurons) == 3
    pool = next(n for n in net.neurons if n.path == "2")
    assert pool.threshold.tolist() == [[4]]
    assert math.prod(pool.initial.shape) == 1


def test_what_a_layer_decodes_to_is_what_it_stands_for() -> None:
    x, model = images(8, 2, 8, 8), Residual().eval()
    snn = converted(model, x, steps=512)
    record = conversion_of(snn)
    with torch.no_grad():
        real = values(record.graph, (x,))
    for id, report in record.layers.items():
        if report.kind == "neuron":
            assert float(report.value.max()) == pytest.approx(float(real[id].max()), rel=0.02)


def test_a_relu_in_front_of_the_first_weights_stays_real() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    x = images(8, 2, 8, 8)
    snn = bs.convert(model.eval(), x[:1], calibrate=x, steps=256, exclude=["0"], threshold=bs.MaxThreshold())
    assert len(bs.lower(snn, x[:1]).neurons) == 1
    with torch.no_grad():
        assert relative(snn(x), model(x)) < 0.05


def test_the_first_layer_is_the_first_behind_a_flatten_too() -> None:
    x = images(8, 2, 4, 4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    net = bs.lower(bs.convert(model, x[:1], calibrate=x, bits=4, last_bits=6), x[:1])
    assert net.weight_bits() == {"1": 8, "3": 4, "5": 6}


def test_padded_shortcuts_run_natively() -> None:
    class Shortcut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.two = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 8, 3, 2, 1)
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.stem(x))
            skip = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
            return self.head(F.relu(self.two(x) + skip).mean((2, 3)))

    torch.manual_seed(0)
    x, model = images(8, 2, 8, 8), Shortcut().eval()
    snn = converted(model, x, steps=128)
    net = bs.lower(snn, x[:1])
    engine = bs.Engine(net)
    assert not engine.reason or "library" in engine.reason
    assert bs.verify(net, x, engine=True).equal
    with torch.no_grad():
        assert relative(snn(x), model(x)) < 0.05


def test_the_way_out_of_values_that_differ_from_place_to_place_works() -> None:
    torch.manual_seed(0)
    x = torch.rand(32, 6)
    model = nn.Sequential(
        nn.Linear(6, 4 * 16), nn.Unflatten(1, (4, 4, 4)), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.Flatten()
    ).eval()  # fmt: skip
    with pytest.raises(ConversionError, match="per_channel=False"):
        bs.convert(model, x[:1], calibrate=x, steps=32)
    snn = bs.convert(model, x[:1], calibrate=x, steps=32, per_channel=False)
    with torch.no_grad():
        assert float((snn(x) - model(x)).norm() / model(x).norm()) < 0.05


class Turned(nn.Module):
    """A layer whose channels the next one reads as rows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.first(x)).permute(0, 2, 3, 1)))


def test_spikes_of_several_values_that_meet_are_refused_and_one_value_per_layer_is_the_way_out() -> None:
    x = images(4, 2, 8, 8)
    model = Turned().eval()
    for choices in ({}, {"per_channel": False, "threshold": bs.MSEThreshold(per_channel=True)}):
        with pytest.raises(ConversionError, match=r"(?s)differs from place to place.*per_channel=False"):
            bs.convert(model, x[:1], calibrate=x, **choices)
    assert bs.convert(model, x[:1], calibrate=x, per_channel=False)(x).shape == model(x).shape
