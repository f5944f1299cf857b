"""Networks as users bring them: in a wrapper, in half precision, quantized by torch itself."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import bitspike as bs
from bitspike.errors import ConversionError
from bitspike.graph.capture.from_module import capture
from bitspike.graph.capture.quantized import float_layers, torch_quantized
from bitspike.graph.rebuild import rebuild
from bitspike.ops.wrappers import unwrapped

X = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(16) % 3


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()


def spiking() -> nn.Sequential:
    torch.manual_seed(0)
    flat, time = nn.Flatten(), bs.TimeDistributed
    return nn.Sequential(
        bs.Repeat(2), time(flat, nn.Linear(64, 4)), bs.LIF(0.5), time(nn.Linear(4, 3)), bs.RateReadout()
    ).eval()


def averaged(model: nn.Module) -> nn.Module:
    return AveragedModel(model)


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # type: ignore[return-value]


WRAPPERS: list[Callable[[nn.Module], nn.Module]] = [
    compiled, nn.DataParallel, averaged, lambda model: nn.DataParallel(compiled(model)),
]  # fmt: skip


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_every_verb_takes_what_is_inside_a_wrapper(wrap: Callable[[nn.Module], nn.Module]) -> None:
    plain, wrapped = spiking(), wrap(spiking())
    net, inside = bs.lower(plain, X[:1]), bs.lower(wrapped, X[:1])
    assert bs.verify(inside, X).equal
    assert [n.id for n in inside.nodes] == [n.id for n in net.nodes]
    assert inside.source["around"].startswith(type(wrapped).__name__)
    assert bs.compare(wrapped, inside, [(X, Y)]).spikes == 1
    assert list(bs.codes(bs.attach(wrapped, quantize=bs.Uniform(bits=4)))) == ["1.1", "3.0"]

    snn = bs.convert(wrap(network()), X[:1], calibrate=X, steps=4)
    assert torch.equal(snn(X), bs.convert(network(), X[:1], calibrate=X, steps=4)(X))
    assert any(note.startswith("N303") for note in snn.conversion.notes)  # type: ignore[union-attr]

    tuned = wrap(bs.prepare(wrap(network()), X[:1], calibrate=X, steps=4))
    assert bs.over_time(tuned)(X).shape == (16, 3)  # type: ignore[arg-type]
    again = wrap(bs.finish(tuned, X[:1]))  # type: ignore[arg-type]
    assert bs.verify(bs.lower(again, X[:1]), X).equal
    assert bs.conversion_of(again).settings.steps == 4
    assert bs.spiking_part(again)(X).shape == (16, 3)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # of torch 2.6 while it compiles
@pytest.mark.parametrize("wrap", WRAPPERS)
def test_fit_trains_the_network_inside_a_wrapper(wrap: Callable[[nn.Module], nn.Module]) -> None:
    plain, wrapped = spiking(), wrap(spiking())  # averaging copies the network
    told: dict[str, Any] = {"epochs": 2, "device": "cpu", "precision": "fp32", "validation": [(X, Y)]}
    bs.fit(plain, [(X, Y)], **told)
    bs.fit(wrapped, [(X, Y)], **told)
    inside = unwrapped(wrapped)
    # A compiler takes the plain loop of a neuron, which adds up in another order than the kernel.
    for mine, theirs in zip(plain.parameters(), inside.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_a_network_of_any_precision_is_exact_and_the_note_says_what_was_read(kind: torch.dtype) -> None:
    net = network().to(kind)
    snn = bs.convert(net, X[:1].to(kind), calibrate=X.to(kind), steps=8)
    integers = bs.lower(snn, X[:1].to(kind))
    assert bs.verify(integers, X.to(kind)).equal
    assert bs.compare(snn, integers, [(X.to(kind), Y)]).spikes == 1
    assert integers.notes == ()
    noted = any(str(kind)[6:] in note for note in snn.conversion.notes)  # type: ignore[union-attr]
    assert noted == (kind != torch.float64)
    assert next(net.parameters()).dtype == kind  # the network itself is left alone


def test_half_precision_is_read_as_the_same_numbers_in_float32() -> None:
    half = network().bfloat16()
    widened = copy.deepcopy(half).float()
    snn = bs.convert(half, X[:1].bfloat16(), calibrate=X.bfloat16(), steps=8)
    other = bs.convert(widened, X[:1].bfloat16().float(), calibrate=X.bfloat16().float(), steps=8)
    assert torch.equal(snn(X.bfloat16()), other(X.bfloat16().float()))


def test_norms_in_float32_beside_weights_in_bfloat16_are_one_network() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.out = nn.Conv2d(1, 4, 3).bfloat16(), nn.BatchNorm2d(4), nn.Linear(144, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = F.relu(self.norm(self.conv(x.to(self.conv.weight.dtype)).float()))
            return self.out(y.flatten(1))  # type: ignore[no-any-return]

    snn = bs.convert(Mixed().eval(), X[:1], calibrate=X, steps=8)
    assert bs.compare(snn, bs.lower(snn, X[:1]), [(X, Y)]).spikes == 1


def test_a_real_part_and_the_rest_of_a_half_network_take_half_inputs() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.SiLU(), nn.Conv2d(2, 4, 3), nn.ReLU()).eval().half()
    snn = bs.convert(net, X[:1].half(), calibrate=X.half(), steps=4, include=["2", "3"])
    assert snn(X.half()).dtype == torch.float32
    tuned = bs.prepare(net, X[:1].half(), calibrate=X.half(), include=["2", "3"])
    assert tuned(X.half()).dtype == torch.float32  # type: ignore[union-attr]


def test_both_sides_of_the_host_and_corrections_take_half_inputs() -> None:
    net = nn.Sequential(network(), nn.Softmax(1)).bfloat16()
    half = X.bfloat16()
    for choices in ({}, {"correct": "advanced"}, {"frontend": "export"}, {"coding": "rate"}):
        snn: Any = bs.convert(net, half[:1], calibrate=half, steps=4, **choices)  # type: ignore[arg-type]
        integers, record = bs.lower(snn, half[:1]), snn.conversion
        assert bs.verify(integers, record.packed(half)).equal
        found = bs.simulate(integers, bs.encode(integers, record.packed(half))).outputs
        leaving = [bs.decode(output, found[output.id]) for output in integers.outputs]
        torch.testing.assert_close(record.results(leaving, half), snn(half))
    tuned = bs.prepare(net, half[:1], calibrate=half, steps=4)
    bs.fit(tuned, [(half, Y)], epochs=1, device="cpu", precision="fp32")
    bs.fit(bs.over_time(tuned), [(half, Y)], epochs=1, device="cpu", precision="fp32")
    done = bs.finish(tuned, half[:1], data=half)
    assert bs.verify(bs.lower(done, half[:1]), bs.conversion_of(done).packed(half)).equal


def test_a_cast_to_half_in_forward_is_named_with_the_way_out() -> None:
    class Cast(nn.Module):
        def __init__(self, follow: bool) -> None:
            super().__init__()
            self.fc, self.follow = nn.Linear(4, 4).bfloat16(), follow

        def forward(self, x: Tensor) -> Tensor:
            kind = self.fc.weight.dtype if self.follow else torch.bfloat16
            return F.relu(self.fc(x.to(kind)))

    x = torch.rand(8, 4)
    with pytest.raises(ConversionError, match=r"bfloat16 weights.*read as float32") as caught:
        bs.convert(Cast(follow=False), x[:1], calibrate=x)
    assert "weight.dtype" in str(caught.value)
    assert bs.convert(Cast(follow=True), x[:1], calibrate=x)(x).shape == (8, 4)


# torch's own quantization, as long as torch has it


class Quantized(nn.Module):
    """A residual block between stubs."""

    def __init__(self, ao: Any) -> None:
        super().__init__()
        self.quant, self.dequant = ao.quantization.QuantStub(), ao.quantization.DeQuantStub()
        self.conv, self.norm, self.act = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
        self.plus, self.out = ao.nn.quantized.FloatFunctional(), nn.Linear(144, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm(self.conv(self.quant(x))))
        return self.dequant(self.out(self.plus.add_relu(y, y).flatten(1)))  # type: ignore[no-any-return]


class Plain(nn.Module):
    """The same without stubs, for graph mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
        self.out = nn.Linear(144, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm(self.conv(x)))
        return self.out(torch.relu(y + y).flatten(1))  # type: ignore[no-any-return]


def quantized(how: str) -> tuple[nn.Module, Tensor]:
    """Return a network that torch has quantized, and what it computes on X in real numbers, from its own weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is deprecated
        import torch.ao.quantization as tq
        from torch.ao.quantization import quantize_fx

        eager, aware = how.startswith("eager"), "qat" in how or "aware" in how
        torch.manual_seed(3)
        model: nn.Module = (Quantized(torch.ao) if eager else Plain()).train(aware)
        mapping = tq.get_default_qat_qconfig_mapping("fbgemm") if aware else tq.get_default_qconfig_mapping("fbgemm")
        if not eager:
            prepare = quantize_fx.prepare_qat_fx if aware else quantize_fx.prepare_fx
            model = prepare(model, mapping, (X,))
        else:
            model.qconfig = tq.get_default_qat_qconfig("fbgemm") if aware else tq.get_default_qconfig("fbgemm")
            fuse = tq.fuse_modules_qat if aware else tq.fuse_modules
            model = (tq.prepare_qat if aware else tq.prepare)(fuse(model, [["conv", "norm", "act"]]))
        for _ in range(3):
            model(X)
        model.eval()
        conv: Any = model.get_submodule("conv")
        if "int8" in how:
            model = tq.convert(model) if eager else quantize_fx.convert_fx(model)
            conv, out = model.get_submodule("conv"), model.get_submodule("out")
            first, last = ((m.weight().dequantize(), m.bias()) for m in (conv, out))
            return model, real(first, last)
        out = model.get_submodule("out")
        if not aware:
            return model, real((conv[0].weight, conv[0].bias), (out.weight, out.bias))
        norm = conv.bn
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        weight, bias = conv.weight * gain.reshape(-1, 1, 1, 1), norm.bias - norm.running_mean * gain
        bias = bias if conv.bias is None else bias + conv.bias * gain
        return model, real((weight, bias), (out.weight, out.bias))


def real(conv: tuple[Any, Any], out: tuple[Any, Any]) -> Tensor:
    with torch.no_grad():
        y = F.relu(F.conv2d(X, *conv))
        return F.linear(F.relu(y + y).flatten(1), *out)


HOW = ["eager observed", "eager qat", "eager int8", "eager aware int8", "graph observed", "graph qat", "graph int8"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")  # of torch.ao
def test_a_network_that_torch_quantizes_is_read_with_its_own_weights(how: str) -> None:
    model, expected = quantized(how)
    with torch.no_grad():
        torch.testing.assert_close(rebuild(capture(model, X[:1]))(X), expected, rtol=1e-4, atol=1e-5)
    snn = bs.convert(model, X[:1], calibrate=X, steps=64, bits=8)
    assert torch_quantized(model) == () or any(n.startswith("N304") for n in snn.conversion.notes)  # type: ignore[union-attr]
    assert (snn(X) - expected).norm() < 0.2 * expected.norm()
    assert bs.verify(bs.lower(snn, X[:1]), X).equal
    assert bs.prepare(model, X[:1], calibrate=X)(X).shape == (16, 3)  # type: ignore[union-attr]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_frozen_layers_of_quantization_aware_training_stay_frozen() -> None:
    model, _ = quantized("eager qat")
    model.requires_grad_(False)
    assert not any(p.requires_grad for p in float_layers(copy.deepcopy(model)).parameters())


def test_a_quantized_layer_without_a_float_form_is_refused_by_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = torch.ao.nn.quantized.Softmax()
    model = nn.Sequential(network(), layer)
    with pytest.raises(ConversionError, match=r"1: Softmax is a quantized layer"):
        bs.convert(model, X[:1], calibrate=X)


def test_a_weight_of_torchao_is_refused_by_name_with_the_way_out() -> None:
    class Int8Tensor(nn.Parameter):
        __module__ = "torchao.quantization"

    model = network()
    model[4]._parameters["weight"] = Int8Tensor(model[4].weight.detach())
    with pytest.raises(ConversionError, match=r"4\.weight is a Int8Tensor of torchao") as caught:
        bs.convert(model, X[:1], calibrate=X)
    assert "dequantize()" in str(caught.value)
