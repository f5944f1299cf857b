"""The Triton kernels against plain torch, over every option at small sizes; run by test_triton_interpreted.py.

With TRITON_INTERPRET=1 they run on the CPU, in Triton's interpreter; without it on a CUDA device. It has to be set
before Triton is imported, so this file is run by a pytest of its own. The reference is always plain torch on the CPU.

The interpreter cuts single precision off where it makes bfloat16 of it; compiled code rounds to nearest. There, values
that are no spikes are held against a unit in the last place, and to the bit in every other case.
"""

from __future__ import annotations

import itertools
import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitspike.kernels.norm import Norm
from bitspike.kernels.triton import activation as triton_activation
from bitspike.kernels.triton import launch as triton_launch
from bitspike.kernels.triton import neuron as triton_neuron
from bitspike.kernels.triton import support as triton_support
from bitspike.kernels.triton import trial as triton_trial
from bitspike.kernels.triton.activation import fused_quant_relu
from bitspike.kernels.triton.launch import Loop, run_backward, run_forward
from bitspike.kernels.triton.neuron import fused_neuron
from bitspike.nn import IF, LIF, PLIF, Neuron, QuantReLU, SignedIF
from bitspike.ops.activation import quant_relu
from bitspike.ops.surrogate import ArcTan, PiecewiseExponential, Rectangle, Sigmoid, Surrogate, Triangle

DEVICE = "cpu" if triton_support.interpreting() else "cuda"
SURROGATES = (Rectangle(0.8), Triangle(1.3, 0.3), ArcTan(3.0, center=-0.5), Sigmoid(), PiecewiseExponential())
SHORT, LONG = 3, triton_launch.UNROLLED + 2
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}


@pytest.fixture(autouse=True)
def _triton_works(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A case that gives Triton up does so for itself; one that is not meant to must not pass on plain torch."""
    monkeypatch.setattr(triton_support, "_broken", None)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def fused(neuron: Neuron, x: Tensor, **more: Any) -> Tensor:
    """Run a neuron of the CPU on the device under test."""
    threshold = neuron.threshold.to(DEVICE) if isinstance(neuron.threshold, Tensor) else neuron.threshold
    arguments: dict[str, Any] = {"decay": None, "initial": neuron.initial}
    if isinstance(neuron, LIF):
        arguments["decay"] = neuron.decay
    if isinstance(neuron, PLIF):
        arguments["decay"] = 1 - neuron.w.to(DEVICE).sigmoid()
    if isinstance(neuron, SignedIF):
        arguments |= {"retract": neuron.retract}
        if neuron.half_threshold:
            arguments["initial"] = threshold / 2
    out = fused_neuron(x.to(DEVICE), threshold=threshold, rule=neuron.rule, **(arguments | more))
    assert out is not None, triton_support.status()
    assert out.dtype == x.dtype
    return out


def assert_same(neuron: Neuron, x: Tensor) -> None:
    x = x.detach().requires_grad_()
    mine, plain = fused(neuron, x), neuron.scan(x)[0]
    assert torch.equal(mine.cpu(), plain)
    assert 0.02 < plain.abs().float().mean() < 0.98
    grad = random(*x.shape, seed=9).to(x.dtype)
    inputs = [x, *neuron.parameters()]
    for a, b in zip(
        torch.autograd.grad(mine, inputs, grad.to(DEVICE)), torch.autograd.grad(plain, inputs, grad), strict=True
    ):
        share = TOLERANCE[x.dtype] if a.dim() else 10 * TOLERANCE[x.dtype]
        assert (a.cpu() - b).abs().max() <= share * b.abs().max()


CHOICES = list(itertools.product(("soft", "hard"), ("ge", "gt"), ("before", "after"), *[(False, True)] * 3))


@pytest.mark.parametrize(("number", "choice"), list(enumerate(CHOICES)))
def test_every_choice_of_a_leaky_neuron(number: int, choice: tuple[Any, ...]) -> None:
    reset, fire, leak, scaled, detach, rounded = choice
    neuron = LIF(
        0.3,
        0.4,
        surrogate=SURROGATES[number % 5],
        reset=reset,
        fire=fire,
        leak=leak,
        decay_input=scaled,
        detach_reset=detach,
        v_reset=-0.15 if reset == "hard" else 0.0,
        initial=0.1,
        resolution=2**-5 if rounded else None,
    )
    assert_same(neuron, random(SHORT if number % 2 else LONG, 2, 3, 50, seed=number) * 1.2 + 0.3)


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
@pytest.mark.parametrize("steps", [1, triton_launch.UNROLLED, LONG])
def test_every_surrogate_and_number_of_steps(surrogate: Surrogate, steps: int) -> None:
    assert_same(IF(0.7, surrogate=surrogate, detach_reset=steps == 1), random(steps, 2, 70, seed=steps) + 0.2)


@pytest.mark.parametrize("steps", [SHORT, LONG])
def test_spikes_on_the_very_threshold(steps: int) -> None:
    quarters = torch.randint(-4, 5, (steps, 2, 60), generator=torch.Generator().manual_seed(1)) / 4
    for fire, reset in itertools.product(("ge", "gt"), ("soft", "hard")):
        neuron = LIF(0.5, 0.5, fire=fire, reset=reset)  # type: ignore[arg-type]
        assert torch.equal(fused(neuron, quarters).cpu(), neuron.scan(quarters)[0])
        signed = SignedIF(0.5, fire=fire, retract=0.25)  # type: ignore[arg-type]
        assert torch.equal(fused(signed, quarters).cpu(), signed.scan(quarters)[0])


@pytest.mark.parametrize("steps", [SHORT, LONG])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("leak", ["before", "after"])
@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_a_learned_leak_gets_its_gradient(steps: int, scaled: bool, leak: Any, reset: Any) -> None:
    neuron = PLIF(2.5, 0.5, decay_input=scaled, leak=leak, reset=reset, detach_reset=scaled)
    assert_same(neuron, random(steps, 3, 2, 110, seed=3) + 0.4)


@pytest.mark.parametrize("steps", [SHORT, LONG, 40])
@pytest.mark.parametrize("fire", ["ge", "gt"])
@pytest.mark.parametrize("detach", [False, True])
def test_the_signed_neuron(steps: int, fire: Any, detach: bool) -> None:
    neuron = SignedIF(0.6, fire=fire, detach_reset=detach, surrogate=SURROGATES[steps % 5])
    assert (neuron.scan(random(steps, 2, 80, seed=4))[0] < 0).any()
    assert_same(neuron, random(steps, 2, 80, seed=4))


@pytest.mark.parametrize("steps", [SHORT, LONG])
def test_thresholds_per_channel_in_either_layout(steps: int) -> None:
    x = random(steps, 2, 3, 4, 5, seed=5) + 0.2
    last = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    for neuron in (LIF(0.5, torch.tensor([0.3, 0.6, 0.9])), SignedIF(torch.tensor([0.2, 0.5, 0.8])), IF(torch.ones(1))):
        for laid in (x, last):
            assert_same(neuron, laid)
    assert_same(IF(torch.tensor([0.4])), random(steps, 70))
    assert_same(IF(torch.tensor([0.4, 0.8], dtype=torch.float64)), random(steps, 30, 2))


def test_layouts_of_memory() -> None:
    x = random(4, 3, 5, 6, 7, seed=6) + 0.2
    last = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    neuron = LIF(0.5, 0.6)
    assert fused(neuron, last).stride() == last.stride()
    for other in (last, x.transpose(3, 4), x[..., ::2], x[::2], x[:, 1:], x.transpose(0, 1)):
        assert_same(neuron, other)
    steps_apart = x[::2]
    assert triton_launch.dense(steps_apart) is steps_apart
    once = random(3, 40, seed=7).requires_grad_()
    mine, plain = (run(once.expand(4, 3, 40)) for run in (lambda x: fused(neuron, x), lambda x: neuron.scan(x)[0]))
    # A mean over time hands back a gradient whose steps share memory.
    a, b = (torch.autograd.grad(out.mean(0).square().sum(), once)[0] for out in (mine, plain))
    torch.testing.assert_close(a.cpu(), b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("steps", [SHORT, LONG])
def test_half_precision_keeps_a_single_precision_membrane(dtype: torch.dtype, steps: int) -> None:
    x = (random(steps, 2, 300, seed=8) + 0.3).to(dtype)
    for neuron in (LIF(0.3, 0.4), PLIF(2.0, 0.5), SignedIF(0.7)):
        assert_same(neuron, x)
        assert torch.equal(fused(neuron, x).float(), fused(neuron, x.float()))


def test_many_programs_and_rounds_give_the_same_bits_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    neuron = PLIF(2.0, 0.5)
    for steps, scratch in ((SHORT, triton_launch.SCRATCH), (LONG, 1)):  # no scratch: each program takes several blocks
        monkeypatch.setattr(triton_launch, "SCRATCH", scratch)
        x = random(steps, 3, 2, 700, seed=10) + 0.3
        assert_same(neuron, x)
        first, second = (
            torch.autograd.grad(fused(neuron, x).square().sum(), list(neuron.parameters()))[0] for _ in range(2)
        )
        assert torch.equal(first, second)


def norm_of(channels: int, *, training: bool, gain: bool = True) -> Norm:
    numbers = [random(channels, seed=s).abs() + 0.5 for s in range(4)]
    return Norm(
        numbers[0].to(DEVICE).requires_grad_() if gain else None,
        (numbers[1] - 1).to(DEVICE).requires_grad_() if gain else None,
        (numbers[2] - 1).to(DEVICE),
        numbers[3].to(DEVICE),
        training,
        0.1,
        1e-5,
    )


def copied(norm: Norm) -> Norm:
    return Norm(
        *(t.detach().cpu().clone().requires_grad_(t.requires_grad) if isinstance(t, Tensor) else t for t in norm)
    )


def plain_norm(x: Tensor, norm: Norm) -> Tensor:
    return F.batch_norm(
        x, norm.running_mean, norm.running_var, norm.gain, norm.shift, norm.training, norm.momentum, norm.eps
    )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("gain", "steps"), [(True, SHORT), (True, LONG), (False, SHORT)])
def test_norm_residual_and_neuron(training: bool, last: bool, gain: bool, steps: int) -> None:
    x = random(steps, 4, 3, 5, 6, seed=11) * 2 + 1
    if last:
        x = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    x, more = x.requires_grad_(), random(*x.shape, seed=12).requires_grad_()
    norm = norm_of(3, training=training, gain=gain)
    other = copied(norm)
    neuron = PLIF(2.0, 0.4, surrogate=ArcTan(), detach_reset=False)
    mine = fused(neuron, x, norm=norm, residual=more.to(DEVICE))
    plain = neuron.scan(plain_norm(x.flatten(0, 1), other).view(x.shape) + more)[0]
    assert (mine.cpu() != plain).float().mean() < 1e-3  # rounding may decide where the potential is at the threshold
    for a, b in ((norm.running_mean, other.running_mean), (norm.running_var, other.running_var)):
        assert a is not None
        torch.testing.assert_close(a.cpu(), b)
    grad = random(*x.shape, seed=13)
    learned = [norm.gain, norm.shift] if gain else []
    mine_grads = torch.autograd.grad(mine, [x, more, neuron.w, *learned], grad.to(DEVICE))
    plain_grads = torch.autograd.grad(plain, [x, more, neuron.w, *([other.gain, other.shift] if gain else [])], grad)
    for a, b in zip(mine_grads, plain_grads, strict=True):
        assert (a.cpu() - b).norm() <= 2e-3 * b.norm()


def test_statistics_of_a_large_mean_and_a_small_spread() -> None:
    x = random(3, 8, 2, 40, seed=14) * 0.1 + 1000
    norm = Norm(None, None, torch.zeros(2).to(DEVICE), torch.ones(2).to(DEVICE), True, 1.0, 1e-5)
    assert fused(IF(0.5), x, norm=norm) is not None
    exact = x.double().transpose(0, 2).flatten(1)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean.cpu().double(), exact.mean(1), rtol=1e-6, atol=0)
    torch.testing.assert_close(norm.running_var.cpu().double(), exact.var(1), rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("levels", [1, 3, 15, 255])
def test_quantized_relu(dtype: torch.dtype, levels: int) -> None:
    for shape in ((3, 2, 20, 21), (7, 11), (1500,)):
        x = (random(*shape, seed=levels) * 2).to(dtype).requires_grad_()
        clip = torch.tensor(1.7, requires_grad=True)
        mine = fused_quant_relu(x.to(DEVICE), clip.to(DEVICE), levels)
        assert mine is not None
        plain = quant_relu(x, clip, levels)
        unit = 2**-7 if DEVICE == "cpu" and dtype == torch.bfloat16 else 0.0
        torch.testing.assert_close(mine.cpu(), plain, rtol=unit, atol=0)
        grad = random(*shape, seed=15).to(dtype)
        (dx, dclip), (plain_dx, plain_dclip) = (
            torch.autograd.grad(out, [x, clip], grad.to(out.device)) for out in (mine, plain)
        )
        assert torch.equal(dx, plain_dx)
        torch.testing.assert_close(dclip, plain_dclip, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_norm_residual_and_quantized_relu(training: bool, last: bool) -> None:
    x = random(6, 3, 7, 9, seed=16) * 2 + 1
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    x, more, clip = x.requires_grad_(), random(*x.shape, seed=17).requires_grad_(), torch.tensor(1.3).requires_grad_()
    norm = norm_of(3, training=training)
    other = copied(norm)
    mine = fused_quant_relu(x.to(DEVICE), clip.to(DEVICE), 7, norm=norm, residual=more.to(DEVICE))
    assert mine is not None
    assert mine.stride() == x.stride()
    plain = quant_relu(plain_norm(x, other) + more, clip, 7)
    assert ((mine.cpu() - plain).abs() > 1e-5).float().mean() < 1e-3
    grad = random(*x.shape, seed=18)
    mine_grads = torch.autograd.grad(mine, [x, more, clip, norm.gain, norm.shift], grad.to(DEVICE))  # type: ignore[list-item]
    plain_grads = torch.autograd.grad(plain, [x, more, clip, other.gain, other.shift], grad)  # type: ignore[list-item]
    for a, b in zip(mine_grads, plain_grads, strict=True):
        assert (a.cpu() - b).norm() <= 2e-3 * b.norm()
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_var.cpu(), other.running_var)


def test_nan_shows() -> None:
    x = torch.tensor([[[float("nan"), 2.0]], [[0.1, 0.1]]], device=DEVICE)
    out = fused_quant_relu(x, torch.tensor(1.0, device=DEVICE), 3)
    assert out is not None
    assert out.isnan().tolist() == x.isnan().tolist()


class Bent(ArcTan):
    def _shape(self, x: Tensor) -> Tensor:
        return super()._shape(x) * 2


def test_what_the_kernels_do_not_know_takes_plain_torch() -> None:
    x = random(3, 2, 4).to(DEVICE)
    rule = LIF(0.5).rule
    assert fused_neuron(x, threshold=1.0, decay=0.5, rule=rule, initial=0.0) is not None
    for changes in (
        {"x": x.double()},
        {"x": x[:, :0]},
        {"x": x.to("meta")},
        {"x": x[0, 0]},
        {"rule": LIF(0.5, surrogate=Bent()).rule},
        {"rule": LIF(0.5, resolution=0.3).rule},  # torch divides by it in two ways on two devices
        {"threshold": torch.ones(4, device=DEVICE, requires_grad=True)},
        {"threshold": torch.ones(3, device=DEVICE)},
        {"decay": torch.ones(2, device=DEVICE)},
        {"decay": torch.tensor(0.5, device=DEVICE, dtype=torch.float64)},
        {"residual": x[0]},
        {"norm": norm_of(3, training=False)},
    ):
        arguments: dict[str, Any] = {"x": x, "threshold": 1.0, "decay": 0.5, "rule": rule, "initial": 0.0, **changes}
        assert fused_neuron(arguments.pop("x"), **arguments) is None
    clip = torch.tensor(1.0, device=DEVICE)
    assert fused_quant_relu(x, clip, 3) is not None
    for y, c, levels in ((x.double(), clip, 3), (x, clip.double(), 3), (x, clip, 2**20), (x[:0], clip, 3)):
        assert fused_quant_relu(y, c, levels) is None
    assert triton_support._broken is None


def test_modules_are_run_by_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(triton_neuron, "run_forward", lambda x, loop: calls.append(loop) or run_forward(x, loop))
    x = random(3, 2, 3, 20, seed=20).to(DEVICE)
    for neuron in (IF(), LIF(), PLIF(), SignedIF()):
        assert torch.equal(neuron.to(DEVICE)(x), neuron.scan(x)[0])
    assert len(calls) == 4
    forward = triton_activation._forward
    monkeypatch.setattr(triton_activation, "_forward", lambda x, call: calls.append(call) or forward(x, call))
    activation = QuantReLU(3, 1.0).to(DEVICE)
    assert torch.allclose(activation(x), quant_relu(x, activation.clip, 7))
    assert len(calls) >= 5


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_first_use_without_gradients(mode: Any) -> None:
    triton_trial._passed.clear()
    with mode():
        x = random(3, 2, 2, 20, seed=26).to(DEVICE)
        norm = norm_of(2, training=True)
        assert fused_neuron(x, threshold=1.0, decay=0.5, rule=LIF().rule, initial=0.0, norm=norm) is not None
        assert fused_quant_relu(x, torch.tensor(1.0, device=DEVICE), 3, norm=norm_of(2, training=False)) is not None


class Wrong(nn.Module):
    """Stands for a compiler that makes something else of the kernels."""

    def __call__(self, *arguments: Any) -> Any:
        out = run_forward(*arguments)
        out.flatten()[0] = 0.5
        return out


def test_another_result_than_plain_torch_is_found_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(triton_trial, "run_forward", Wrong())
    monkeypatch.setattr(triton_trial, "_passed", set())
    x = random(3, 2, 20, seed=21).to(DEVICE)
    with caplog.at_level(logging.WARNING, "bitspike.kernels"):
        for _ in range(2):
            assert torch.equal(LIF()(x), LIF().scan(x)[0])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "other spikes than plain torch" in caplog.text
    assert "other spikes than plain torch" in triton_support.status()
    assert not triton_support.available(x.device)


def test_a_kernel_that_fails_is_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Any:
        raise RuntimeError("no code for this device")

    monkeypatch.setattr(triton_launch, "_code", broken)
    monkeypatch.setattr(triton_activation, "_code", broken)
    triton_trial._passed.clear()
    x = random(3, 2, 20, seed=22).to(DEVICE)
    with caplog.at_level(logging.WARNING, "bitspike.kernels"):
        for _ in range(2):
            assert torch.equal(LIF()(x), LIF().scan(x)[0])
            assert QuantReLU(2).to(DEVICE)(x).shape == x.shape
    assert len(caplog.records) == 1
    assert "no code for this device" in caplog.text


def test_a_kernel_that_fails_in_the_backward_pass_still_gives_the_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("gone")

    x = (random(3, 2, 2, 20, seed=23) + 0.3).to(DEVICE)
    for neuron, more in (
        (PLIF(2.0, 0.5), {"residual": random(*x.shape).to(DEVICE), "norm": norm_of(2, training=True)}),
        (SignedIF(0.5), {}),
        (LIF(0.3, 0.4), {}),
    ):
        grads = []
        for run in (run_backward, broken):
            monkeypatch.setattr(triton_support, "_broken", None)
            leaf = x.detach().requires_grad_()
            out = fused(neuron, leaf, **more)  # type: ignore[arg-type]
            monkeypatch.setattr(triton_neuron, "run_backward", run)
            grads.append(torch.autograd.grad(out.square().sum(), [leaf, *neuron.parameters()]))
        for a, b in zip(*grads, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_memory_that_runs_out_is_no_fault_of_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    x = random(3, 2, 20, seed=24).to(DEVICE)
    assert fused(LIF(), x) is not None
    monkeypatch.setattr(triton_neuron, "run_forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        LIF()(x)
    assert triton_support.available(x.device)


def test_a_failed_run_leaves_the_running_statistics_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("gone")

    norm = norm_of(3, training=True)
    before = copied(norm)
    x = random(3, 2, 3, 5).to(DEVICE)
    assert fused(IF(), x, norm=norm._replace(running_mean=None, running_var=None)) is not None  # tried and found good
    monkeypatch.setattr(triton_neuron, "run_forward", broken)
    rule = IF().rule
    assert fused_neuron(x, threshold=1.0, decay=None, rule=rule, initial=0.0, norm=norm) is None
    assert norm.running_mean is not None
    assert torch.equal(norm.running_mean.cpu(), before.running_mean)  # type: ignore[arg-type]


def test_the_loop_of_the_trial_is_the_loop_of_the_modules() -> None:
    neuron = LIF(0.3, torch.tensor([0.4, 0.5]), reset="hard", v_reset=0.1)
    x = random(4, 3, 2, 5, seed=25)
    loop = Loop(neuron.rule, torch.tensor([0.4, 0.5]), 0.0, 0.3)
    assert torch.equal(triton_trial.plain_spikes(x, loop), neuron.scan(x)[0])
