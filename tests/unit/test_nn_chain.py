"""Sequences that fuse a norm with its neuron: the same results, and nobody can tell, unless by the clock."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

import bitspike as bs
from bitspike.models import resnet20, vgg9
from bitspike.nn import (
    IF,
    LIF,
    PLIF,
    Chain,
    Neuron,
    QuantReLU,
    Repeat,
    ShiftBatchNorm,
    SignedIF,
    ThresholdBatchNorm,
    TimeDistributed,
    fire,
    fuse,
)
from bitspike.nn import chain as chains
from bitspike.nn.trace import trace

Make = Callable[[], nn.Module]


def timed(neuron: nn.Module, norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(TimeDistributed(nn.Conv2d(3, 8, 3, padding=1, bias=False), norm), neuron)


def flat(activation: nn.Module, norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), norm, activation)


def nested(activation: nn.Module, norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), norm), activation)


NORMS: dict[str, Make] = {
    "batch": lambda: nn.BatchNorm2d(8),
    "plain": lambda: nn.BatchNorm2d(8, affine=False, momentum=0.3),
    "threshold": lambda: ThresholdBatchNorm(8, 0.7),
    "untracked": lambda: nn.BatchNorm2d(8, track_running_stats=False),
    "mean of all": lambda: nn.BatchNorm2d(8, momentum=None),
    "shift": lambda: ShiftBatchNorm(8),
}
CASES: dict[str, tuple[Callable[..., nn.Sequential], Make]] = {
    "IF": (timed, IF),
    "LIF": (timed, LIF),
    "PLIF": (timed, PLIF),
    "SignedIF": (timed, SignedIF),
    "thresholds": (timed, lambda: IF(torch.linspace(0.5, 1.5, 8))),
    "QuantReLU": (flat, lambda: QuantReLU(4, 2.0)),
    "QuantReLU, nested": (nested, lambda: QuantReLU(2, 2.0)),
    "QuantReLU over time": (timed, lambda: QuantReLU(3, 2.0)),
    "ReLU": (flat, nn.ReLU),
}


def settled(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | ThresholdBatchNorm):
            for values in (module.weight, module.bias):
                if values is not None:
                    nn.init.uniform_(values, 0.5, 1.5)
            if module.running_var is not None:
                nn.init.uniform_(module.running_mean, -0.3, 0.3)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


def both_ways(model: nn.Sequential) -> tuple[nn.Module, nn.Module]:
    """Return the plain model and a fused copy of it."""
    return model, fuse(copy.deepcopy(model))


def images(model: nn.Sequential, *, repeat: bool = False) -> Tensor:
    x = torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(1)) * 3
    if not any(isinstance(m, TimeDistributed) for m in model):
        return x.to(memory_format=torch.channels_last)
    return Repeat(4)(x) if repeat else torch.stack([x, x * 0.5, -x, x.flip(0)])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("repeat", [False, True])
def test_in_evaluation_every_value_is_that_of_the_modules(case: str, norm: str, repeat: bool) -> None:
    build, neuron = CASES[case]
    plain, fused = both_ways(settled(build(neuron(), NORMS[norm]())).eval())
    x = images(plain, repeat=repeat)
    # A value that lies on a threshold to the last bit may fall on either side; these do not.
    torch.testing.assert_close(fused(x), plain(x), atol=1e-6, rtol=0)
    assert fused(x).unique().numel() > 1


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("case", CASES)
def test_training_moves_the_same_statistics_and_gives_the_same_gradients(case: str, norm: str) -> None:
    build, neuron = CASES[case]
    plain, fused = both_ways(settled(build(neuron(), NORMS[norm]())).train())
    x = images(plain)
    weight = None
    results = []
    for model in (plain, fused):
        inputs = x.clone().requires_grad_()
        y = model(inputs)
        weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)) if weight is None else weight
        (y * weight).sum().backward()
        results.append((y.detach(), inputs.grad))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1], atol=2e-4, rtol=1e-3)
    for (name, one), other in zip(plain.named_parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-3, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
    for (name, one), other in zip(plain.named_buffers(), fused.buffers(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("training", [False, True])
def test_a_residual_is_added_between_norm_and_neuron(training: bool) -> None:
    for neuron, layer, shape in (
        (LIF(), TimeDistributed(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), (4, 5, 3, 6, 6)),
        (QuantReLU(3, 2.0), nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), (5, 3, 6, 6)),
    ):
        settled(layer).train(training)
        x = torch.randn(shape)
        residual = torch.rand(*shape[:-3], 8, 4, 4)
        expected = neuron(copy.deepcopy(layer)(x) + residual)
        torch.testing.assert_close(fire(layer, neuron, x, residual), expected, atol=1e-6, rtol=0)
        # Of another type or shape it is added as torch adds it.
        wide = fire(layer.eval(), neuron, x, residual.double())
        assert wide.dtype == torch.float64
        row = torch.rand(8, 1, 1)
        torch.testing.assert_close(fire(layer, neuron, x, row), neuron(layer(x) + row), atol=1e-6, rtol=0)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect which norms are handed to a kernel, whether or not there is one on this machine."""
    calls: list[str] = []

    def watch(cls: type[nn.Module]) -> None:
        original = cls.fused

        def fused(self: nn.Module, x: Tensor, **more: object) -> Tensor | None:
            if more.get("norm") is not None:
                calls.append(type(self).__name__)
            return original(self, x, **more)

        monkeypatch.setattr(cls, "fused", fused)

    watch(Neuron)
    watch(QuantReLU)
    return calls


def test_models_of_the_package_hand_their_norms_to_the_kernels(asked: list[str]) -> None:
    vgg9(width=1 / 16)(torch.randn(2, 3, 32, 32))
    assert asked == ["LIF"] * 8
    asked.clear()
    resnet20(width=1 / 8, steps=None, neuron=lambda: QuantReLU(4))(torch.randn(2, 3, 8, 8).repeat(1, 1, 4, 4))
    assert asked == ["QuantReLU"] * 19


def test_where_somebody_listens_the_modules_are_called(asked: list[str]) -> None:
    model = fuse(timed(LIF(), nn.BatchNorm2d(8)))
    x = images(model)
    model(x)
    assert asked == ["LIF"]
    layer, neuron, seen = model[0], model[1], []
    for module in (layer, layer[1], neuron):
        handle = module.register_forward_hook(lambda m, i, o: seen.append(type(m)))
        model(x)
        handle.remove()
    assert seen == [TimeDistributed, nn.BatchNorm2d, LIF]
    handle = nn.modules.module.register_module_forward_hook(lambda m, i, o: seen.append(type(m)))
    model(x)
    handle.remove()
    assert set(seen) == {Chain, TimeDistributed, nn.Conv2d, nn.BatchNorm2d, LIF}
    assert asked == ["LIF"]
    layer[0].register_forward_hook(lambda m, i, o: None)  # the convolution is called in any case
    model(x)
    assert asked == ["LIF"] * 2


def test_a_forward_of_the_users_own_is_called(asked: list[str]) -> None:
    class Loud(nn.BatchNorm2d):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) + 100

    class Late(LIF):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * 2

    assert fuse(timed(LIF(), Loud(8)))(images(timed(LIF(), Loud(8)))).all()
    assert fuse(timed(Late(), nn.BatchNorm2d(8)))(images(timed(LIF(), Loud(8)))).max() == 2
    patched = fuse(timed(LIF(), nn.BatchNorm2d(8)))
    patched[0][1].forward = lambda x: x + 100
    assert patched(images(patched)).all()
    assert asked == []


def test_a_tracer_sees_every_module(asked: list[str]) -> None:
    model = fuse(nested(QuantReLU(3, 2.0), nn.BatchNorm2d(8))).eval()
    graph = fx.GraphModule(model, trace(model))
    assert [str(n.target) for n in graph.graph.nodes if n.op == "call_module"] == ["0.0", "0.1", "1"]
    x = images(model)
    torch.testing.assert_close(graph(x), model(x))
    lowered = bs.lower(
        fuse(nn.Sequential(bs.Repeat(3), *timed(IF(), nn.BatchNorm2d(8)), bs.SumReadout())).eval(),
        torch.rand(1, 3, 6, 6),
    )
    assert [type(n).__name__ for n in lowered.nodes] == ["Input", "Convolution", "Neuron", "Readout"]


def test_fusing_changes_neither_names_nor_what_belongs_to_the_user() -> None:
    class Mine(nn.Sequential):
        pass

    model = nn.ModuleDict(
        {
            "a": nested(QuantReLU(2), nn.BatchNorm2d(8)),
            "b": Mine(nn.ReLU()),
            "c": TimeDistributed(nn.Sequential(nn.ReLU())),
        }
    )
    names, keys = [n for n, _ in model.named_modules()], list(model.state_dict())
    assert fuse(model) is model
    assert [n for n, _ in model.named_modules()] == names
    assert list(model.state_dict()) == keys
    assert (type(model["a"]), type(model["a"][0]), type(model["b"])) == (Chain, Chain, Mine)
    assert type(model["c"][0]) is nn.Sequential
    assert isinstance(copy.deepcopy(model)["a"], Chain)
    assert isinstance(model["a"][:1], Chain)


def test_double_precision_and_one_value_per_channel_are_left_to_torch() -> None:
    plain, fused = both_ways(timed(LIF(), nn.BatchNorm2d(8)).double())
    x = images(plain).double()
    assert torch.equal(fused(x), plain(x))
    for model in both_ways(nn.Sequential(TimeDistributed(nn.Linear(3, 8), nn.BatchNorm1d(8)), LIF())):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            model(torch.zeros(1, 1, 3))


def test_a_norm_of_other_dimensions_or_channels_complains_as_ever() -> None:
    for norm, error in ((nn.BatchNorm1d(8), ValueError), (nn.BatchNorm2d(9), RuntimeError)):
        for model in both_ways(timed(LIF(), norm)):
            with pytest.raises(error):
                model(images(model))


def test_autocast_gives_what_it_gives_the_modules() -> None:
    plain, fused = both_ways(settled(timed(LIF(), nn.BatchNorm2d(8))).eval())
    x = images(plain)
    with torch.autocast("cpu", torch.bfloat16):
        one, other = plain(x), fused(x)
    assert one.dtype == other.dtype == torch.bfloat16
    assert (one != other).float().mean() < 0.02  # the modules round the norm's output to bfloat16, the kernel does not


def test_without_kernels_the_modules_run(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, fused = both_ways(settled(timed(LIF(), nn.BatchNorm2d(8))))
    monkeypatch.setattr(chains, "_fused", lambda *_: None)
    x = images(plain)
    assert torch.equal(fused(x), plain(x))
    assert all(torch.equal(a, b) for a, b in zip(fused.buffers(), plain.buffers(), strict=True))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # of torch 2.6 about itself
@pytest.mark.parametrize("case", ["LIF", "QuantReLU"])
def test_a_compiler_follows_the_modules_without_a_word(case: str) -> None:
    build, neuron = CASES[case]
    model = fuse(settled(build(neuron(), nn.BatchNorm2d(8)))).eval()
    x = images(model)
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(x), model(x), atol=1e-6, rtol=0)
