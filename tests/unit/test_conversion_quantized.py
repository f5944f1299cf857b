"""Quantized networks as spiking ones: thresholds, steps and weight codes are those that were trained."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.conversion.construct.common_unit import COARSE, Summand, common_unit, for_all
from bitspike.conversion.construct.network import build
from bitspike.conversion.construct.units import kept_steps
from bitspike.conversion.fold.kept import Kept, fit
from bitspike.conversion.quantized.over_time import QuantNeuron, spiking_twin
from bitspike.errors import ConstraintError, ConversionError
from bitspike.models.resnet_cifar import resnet_cifar
from bitspike.models.spiking.resnet import resnet
from bitspike.models.vgg_ann import vgg11_ann
from bitspike.nn import QuantReLU
from bitspike.ops.grids import Grid

F64 = torch.float64


def images(samples: int, channels: int = 3, size: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (samples, channels, size, size), generator=generator) / 255


def cnn(channels: int = 3) -> nn.Module:
    layers: list[nn.Module] = []
    for width in (6, 8):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8 * 16, 12), nn.ReLU(), nn.Linear(12, 4))


def trained(model: nn.Module, x: Tensor, *, bits: int, **choices: object) -> nn.Module:
    """Return a quantized network whose norms and clips have seen data; some gains are negative, as in training."""
    torch.manual_seed(bits)
    quantized = bs.quantize(model, x[:1], bits=bits, **choices)
    hooks = []
    with torch.no_grad():
        for m in quantized.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.weight.uniform_(0.4, 1.2)
                m.weight[::3] *= -1
                m.bias.uniform_(-0.2, 0.4)
                m.momentum = 1.0
            if isinstance(m, QuantReLU):

                def see(m: QuantReLU, args: tuple[Tensor, ...]) -> None:
                    m.clip.fill_(max(0.25, float(args[0].relu().flatten().quantile(0.97))))

                hooks.append(m.register_forward_pre_hook(see))
        quantized.train()(x)
    for hook in hooks:
        hook.remove()
    return quantized.eval()


def spikes_apart(quantized: nn.Module, snn: nn.Module, x: Tensor, neuron: type[bs.Neuron]) -> list[float]:
    """Return by layer the share of spikes in which a converted network differs from the twin of the quantized one."""
    twin, theirs, mine = spiking_twin(quantized, neuron=neuron).eval(), {}, {}

    def keep(into: dict[str, Tensor], name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: object, result: Tensor) -> None:
            into[name] = (result / module.clip).round() if isinstance(module, QuantNeuron) else result

        return hook

    for name, module in twin.named_modules():
        if isinstance(module, QuantNeuron):
            module.register_forward_hook(keep(theirs, name.replace("#", "_")))
    for name, module in snn.named_modules():
        if isinstance(module, bs.Neuron):
            module.register_forward_hook(keep(mine, name))
    with torch.no_grad():
        twin(x), snn(x)
    assert set(theirs) == set(mine)
    assert float(torch.cat([s.abs().flatten() for s in theirs.values()]).mean()) > 0.02  # neurons do fire
    return [float((theirs[n].unflatten(0, (twin.steps, -1)) != mine[n]).float().mean()) for n in mine]


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_thresholds_are_the_clips_and_steps_the_levels(bits: int) -> None:
    x = images(8)
    quantized = trained(cnn(), x, bits=bits)
    snn = bs.convert(quantized, x[:1], calibrate=x)
    record = bs.conversion_of(snn)
    clips = {n: m.clip for n, m in quantized.named_modules() if isinstance(m, QuantReLU)}
    assert {id: value.float() for id, value in record.lambdas.items()} == {n: c.detach() for n, c in clips.items()}
    assert record.settings.steps == 2**bits - 1
    assert record.settings.neuron is bs.SignedIF
    assert record.calibration["statistic"] == "learned clip"
    assert record.correction["kinds"] == []
    assert "trained with" in record.correction["why"]
    for report in record.layers.values():
        if report.kind == "neuron":
            off = report.threshold * report.unit / 2.0**report.fraction_bits / report.wanted - 1
            assert float(off.abs().max()) < 1e-3


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_weights_keep_the_codes_that_were_trained_in_their_true_width(bits: int) -> None:
    x = images(4)
    quantized = trained(cnn(), x, bits=bits)
    before = bs.codes(quantized)
    net = bs.lower(bs.convert(quantized, x[:1], calibrate=x), x[:1])
    layers = {node.id: node.weight for node in net.nodes if hasattr(node, "weight")}
    assert len(layers) == len(before) == 4
    for (path, own), weight in zip(before.items(), layers.values(), strict=True):
        codes, mine = torch.as_tensor(weight.codes), own.codes
        flipped = torch.where((codes * mine).flatten(1).sum(1) < 0, -1, 1).reshape(-1, *[1] * (codes.dim() - 1))
        assert torch.equal(codes * flipped, mine), path
        assert weight.bits == own.bits == (8 if path in ("0", "10") else bits)
        assert int(codes.abs().max()) <= own.high
    assert (2**bits - 1) == len(before["3"].levels or range(-1, 2))
    assert net.weight_bits() == {path: c.bits for path, c in before.items()}


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "plain": cnn,
    "option A": lambda: resnet_cifar(depth=8, width=4),
    "1x1 shortcuts": lambda: resnet(depth=8, steps=None, width=0.25, image_size=8),
    "vgg11": lambda: vgg11_ann(width=0.0625),
}


@pytest.mark.parametrize(
    ("bits", "neuron"), [(2, bs.SignedIF), (3, bs.SignedIF), (4, bs.SignedIF), (3, bs.IF)], ids=str
)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_integers_send_the_spikes_of_the_spiking_twin(name: str, bits: int, neuron: type[bs.Neuron]) -> None:
    x = images(6, size=32 if name == "vgg11" else 8)
    torch.manual_seed(7)
    quantized = trained(NETWORKS[name](), x, bits=bits)
    snn = bs.convert(quantized, x[:1], calibrate=x, neuron=neuron)
    record = bs.conversion_of(snn)
    assert set(record.kept) == set(bs.codes(quantized))
    # Finer than by default, and the first layers: a spike that rounding moves in time moves several in the next layer.
    # Even the twin in single precision and the twin in double precision differ more from layer to layer.
    apart = spikes_apart(quantized, record.build(tolerance=2.0**-16), x, neuron)
    assert max(apart[:3]) < 5e-4
    assert max(apart) < 0.1
    net = bs.lower(snn, x[:1])
    assert bs.verify(net, x[:2]).equal
    with torch.no_grad():
        trace = bs.simulate(net, bs.encode(net, x[:2]))
        values = [bs.decode(output, trace.outputs[output.id]) for output in net.outputs]
        np.testing.assert_allclose(values[0], snn(x[:2]).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["option A", "1x1 shortcuts"])
def test_what_meets_in_a_neuron_is_a_whole_multiple_of_one_unit(name: str) -> None:
    x = images(6)
    quantized = trained(NETWORKS[name](), x, bits=2)
    record = bs.conversion_of(bs.convert(quantized, x[:1], calibrate=x))
    charges = build(record.core, record.lambdas, record.grids, record.settings, record.shifts, record.kept).charges
    several = [c for c in charges.values() if len(c.weighted) + len(c.skips) > 1]
    assert several
    for charge in several:
        unit, steps = kept_steps(charge, record.settings)
        for mine, branch in zip(steps, charge.weighted, strict=True):
            assert branch.kept is not None
            codes = branch.kept.codes.double().square().flatten(1).sum(1).sqrt()
            assert float(((mine - branch.kept.step) * codes / charge.wanted).abs().max()) < 1e-3
        for skip in charge.skips:
            rounded = (skip / unit).round() * unit
            assert float(((rounded - skip) / charge.wanted).abs().max()) < 1e-3


def test_a_common_unit_is_exact_for_one_summand_and_coarse_where_nothing_flows() -> None:
    def row(*values: float) -> Tensor:
        return torch.tensor(values, dtype=F64)

    alone = common_unit([Summand(row(0.3, 0.7), row(4.0, 4.0))], row(1.0), allowed=1e-9)
    assert alone.tolist() == [0.3, 0.7]
    two = [Summand(row(0.3, 1e-12), row(4.0, 4.0)), Summand(row(1.0, 1.0), row(1.0))]
    unit = common_unit(two, row(9.0), allowed=1e-4)
    assert unit.tolist() == pytest.approx([0.1, 1 / 8])
    assert common_unit([Summand(row(0.0), row(1.0))], row(2.0), allowed=1e-4).tolist() == [2 * COARSE]
    assert for_all([Summand(row(0.5), row(1.0))], row(1.0)).tolist() == [0.5]


def test_codes_are_found_through_gains_of_either_sign_and_through_none() -> None:
    codes = torch.randint(-7, 8, (5, 6))
    gain = torch.tensor([0.3, -0.2, 1e-6, 0.0, 5.0], dtype=F64)
    folded = (codes * gain[:, None]).float().double()
    found = fit(folded, codes, 0, by_channel=True)
    assert found is not None
    assert torch.equal(found[0], codes * torch.tensor([1, -1, 1, 1, 1])[:, None])
    torch.testing.assert_close(found[1], gain.abs(), rtol=1e-6, atol=0)
    assert fit(folded * torch.tensor([1.0, 1, 1, 1, 1, 2], dtype=F64), codes, 0, by_channel=True) is None
    mirrored = Kept(codes, torch.ones(1, dtype=F64), 2, (-2, -1, 0, 1), 0).times(-1.0)
    assert mirrored.levels == (-1, 0, 1, 2)


def test_any_attached_scheme_keeps_its_codes() -> None:
    x = images(4)
    model = bs.attach(cnn(), quantize=bs.Uniform(5, per_channel=True)).eval()
    before = bs.codes(model)
    snn = bs.convert(model, x[:1], calibrate=x, steps=4, bits=3)
    net = bs.lower(snn, x[:1])
    weights = [node.weight for node in net.nodes if hasattr(node, "weight")]
    assert [w.bits for w in weights] == [5, 5, 5, 5]
    assert all(np.array_equal(w.codes, c.codes) for w, c in zip(weights, before.values(), strict=True))
    assert any(note.startswith("N306") for note in snn.conversion.notes)


def test_a_network_that_is_quantized_in_part_is_calibrated_in_part() -> None:
    x = images(8)
    quantized = trained(cnn(), x, bits=2, skip=("2",))
    snn = bs.convert(quantized, x[:1], calibrate=x, threshold=bs.MaxThreshold())
    record = bs.conversion_of(snn)
    assert record.settings.steps == 3
    with torch.no_grad():
        largest = nn.Sequential(*(quantized.get_submodule(n) for n in ("0", "1", "2")))(x).max()
    assert float(record.lambdas["2"]) == pytest.approx(float(largest), rel=1e-5)
    assert any(note.startswith("N307: 2: not quantized") for note in record.notes)
    assert record.calibration["learned clips"] == ["5", "9"]


def test_codes_after_a_norm_are_rounded_again_and_that_is_said() -> None:
    x = images(4)
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    model[0].running_var.copy_(torch.tensor([0.5, 1.0, 2.0]))
    quantized = bs.quantize(model.eval(), x[:1], bits=2)
    snn = bs.convert(quantized, x[:1], calibrate=x)
    assert set(snn.conversion.kept) == {"4"}
    assert any(note.startswith("W211: the weights of 1 are rounded again") for note in snn.conversion.notes)


class Twice(nn.Module):
    """Two neurons whose spikes are concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 3), nn.Linear(4, 2), nn.Linear(5, 2)
        self.first, self.second = QuantReLU(2, 1.0), QuantReLU(2, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c(torch.cat([self.first(self.a(x)), self.second(self.b(x))], 1))
        return out


def test_concatenated_neurons_need_one_clip() -> None:
    x = torch.rand(8, 4)
    with pytest.raises(ConstraintError, match=r"learned clips differ: first: 1, second: 2") as caught:
        bs.convert(Twice(), x[:1], calibrate=x)
    assert "bs.quantize" in str(caught.value.fix)
    assert bs.convert(Twice(), x[:1], calibrate=x, concat="fold")(x).shape == (8, 2)
    shared = bs.quantize(Twice(), x[:1], bits=2)
    assert shared.first.clip is shared.second.clip
    snn = bs.convert(shared, x[:1], calibrate=x)
    assert {float(v) for v in snn.conversion.lambdas.values()} == {2.0}
    assert set(snn.conversion.kept) == {"a", "b", "c"}


def test_other_steps_other_bits_and_other_grids_are_refused() -> None:
    x = images(2)
    quantized = trained(cnn(), x, bits=2)
    with pytest.raises(ConstraintError, match=r"steps=7.*2 bits.*T = 3") as caught:
        bs.convert(quantized, x[:1], calibrate=x, steps=7)
    assert "bits=3" in str(caught.value.fix)
    for steps in ("3", True, 3.0):
        with pytest.raises(ConstraintError, match="a whole number of at least 1") as caught:
            bs.convert(quantized, x[:1], calibrate=x, steps=steps)  # type: ignore[arg-type]
        assert "leave steps out for a network of bs.quantize" in str(caught.value.fix)
    with pytest.raises(ConstraintError, match="learned clips"):
        bs.convert(quantized, x[:1], calibrate=x, threshold=bs.MaxThreshold())
    mixed = nn.Sequential(nn.Linear(4, 4), QuantReLU(2), nn.Linear(4, 4), QuantReLU(4), nn.Linear(4, 2))
    with pytest.raises(ConstraintError, match=r"2 bits at 1; 4 bits at 3") as caught:
        bs.convert(mixed, torch.rand(1, 4), calibrate=torch.rand(4, 4))
    assert "bs.quantize" in str(caught.value.fix)

    class Uneven(QuantReLU):
        """Levels of its own."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).square()

    uneven = nn.Sequential(nn.Linear(4, 4), Uneven(2), nn.Linear(4, 2))
    with pytest.raises(ConversionError, match=r"E101.*levels of its own"):
        bs.convert(uneven, torch.rand(1, 4), calibrate=torch.rand(4, 4))


def test_a_quantized_network_goes_to_c_and_onnx(tmp_path: Path) -> None:
    x = images(3)
    quantized = trained(resnet(depth=8, steps=None, width=0.125, image_size=8), x, bits=2)
    net = bs.lower(bs.convert(quantized, x[:1], calibrate=x), x[:1])
    certificate = bs.verify(net, x)
    assert certificate.equal
    assert bs.write_c(net, tmp_path / "c")
    assert bs.write_onnx(net, tmp_path / "net.onnx")


def test_a_wide_input_keeps_its_precision() -> None:
    x = images(4)
    model = cnn().eval()
    grid = Grid(1 / 255 / 256, 0, 255 * 256)
    narrow, wide = (
        bs.convert(model, x[:1], calibrate=x, steps=4, correct=None, input_grid=g)(x)
        for g in (Grid(1 / 255, 0, 255), grid)
    )
    torch.testing.assert_close(narrow, wide, rtol=0.02, atol=0.02)


def test_a_copy_has_the_name_of_the_network_and_so_has_what_is_made_of_it() -> None:
    class Net(nn.Sequential):
        pass

    images = torch.rand(8, 4)
    first = bs.quantize(Net(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)), images, bits=4)
    second = bs.quantize(copy.deepcopy(first), images, bits=2)
    assert [type(network).__name__ for network in (copy.deepcopy(first), second)] == ["Net", "Net"]
    snn = bs.convert(second, images, calibrate=images)
    assert "network: Net, T = 3, SignedIF" in repr(snn.conversion)
    assert "weights: 3 layers with the codes of their training; else 8 bits" in repr(snn.conversion)
    assert bs.lower(snn, images).source["model"] == "SpikingNet"


def test_the_record_says_that_first_and_last_layers_keep_their_bits() -> None:
    images = torch.rand(16, 4)
    ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    snn = bs.convert(ann, images, calibrate=images, bits=4)
    assert "weights: 4 bits; first layers 8 (first_bits), last layers 8 (last_bits)\n" in repr(snn.conversion)
    assert bs.lower(snn, images).weight_bits() == {"0": 8, "2": 4, "4": 8}
    alike = bs.convert(ann, images, calibrate=images, bits={"*": 4, "2": 3}, first_bits=None, last_bits=None)
    assert "weights: 4 bits in *, 3 bits in 2\n" in repr(alike.conversion)


def test_the_record_names_what_else_there_is_of_this_network() -> None:
    images = torch.rand(16, 4)
    ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    quantized = bs.quantize(ann, images, bits=2)

    def others(network: nn.Module, neuron: type[bs.Neuron]) -> str:
        return str(bs.convert(network, images, calibrate=images, neuron=neuron).conversion.correction["others"])

    for network in (ann, quantized):
        assert "neuron=bs.SignedIF" in others(network, bs.IF)
        assert "SignedIF" not in others(network, bs.SignedIF), "it is there already"
    assert "bs.tune_layers" in others(quantized, bs.SignedIF)
    assert "correct=" not in others(quantized, bs.SignedIF), "a correction moves what was trained"
    assert "correct=" in others(ann, bs.SignedIF)
