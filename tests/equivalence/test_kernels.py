"""The fused time loop against the plain one: equal spikes, equal gradients, and the plain loop where it cannot be used.

Where the package was installed without a compiler, both sides are the plain loop, and `status` says so.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bitspike.kernels import native
from bitspike.kernels.neuron import fused_neuron
from bitspike.nn import IF, LIF, PLIF, Neuron, SignedIF
from bitspike.ops.surrogate import ArcTan, PiecewiseExponential, Rectangle, Sigmoid, Surrogate, Triangle

SURROGATES = [Rectangle(0.8), Triangle(1.3, 0.3), Triangle(0.7), ArcTan(2.0), ArcTan(3.0, center=-0.5)]


def both(neuron: Neuron, x: Tensor) -> tuple[tuple[Tensor, list[Tensor]], tuple[Tensor, list[Tensor]]]:
    """Run forward and backward through the fused and through the plain loop; spikes and all gradients of each."""
    results = []
    for run in (neuron.forward, lambda x: neuron.scan(x)[0]):
        leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        out = run(leaf)
        weight = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape).to(out.dtype)
        grads = torch.autograd.grad((out * weight).float().sum(), [leaf, *neuron.parameters()])
        results.append((out.detach(), [g.double() for g in grads]))
    return results[0], results[1]


def assert_same(neuron: Neuron, x: Tensor, tolerance: float = 1e-5) -> None:
    (spikes, grads), (plain_spikes, plain_grads) = both(neuron, x)
    assert torch.equal(spikes, plain_spikes)
    for grad, plain in zip(grads, plain_grads, strict=True):
        assert (grad - plain).abs().max() <= tolerance * plain.abs().max().clamp(min=1e-6)


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
@pytest.mark.parametrize(("reset", "fire"), list(itertools.product(("soft", "hard"), ("ge", "gt"))))
def test_lif_equals_the_plain_loop(surrogate: Surrogate, reset: str, fire: str) -> None:
    x = torch.randn(5, 3, 173, generator=torch.Generator().manual_seed(1)) * 1.2
    for detach, leak, scaled, resolution in itertools.product(
        (False, True), ("before", "after"), (False, True), (None, 2**-5)
    ):
        neuron = LIF(
            0.3,
            0.4,
            surrogate=surrogate,
            reset=reset,  # type: ignore[arg-type]
            fire=fire,  # type: ignore[arg-type]
            leak=leak,  # type: ignore[arg-type]
            decay_input=scaled,
            detach_reset=detach,
            v_reset=-0.15 if reset == "hard" else 0.0,
            initial=0.1,
            resolution=resolution,
        )
        assert_same(neuron, x)


@pytest.mark.parametrize("steps", [1, 2, 7, 64, 300])
def test_any_number_of_steps(steps: int) -> None:
    x = torch.randn(steps, 2, 601, generator=torch.Generator().manual_seed(2))
    assert_same(LIF(0.9, 1.0), x, 1e-4)
    assert_same(IF(0.7, reset="hard"), x, 1e-4)


def test_a_learned_leak_gets_its_gradient() -> None:
    x = torch.randn(6, 4, 50, generator=torch.Generator().manual_seed(3)) + 0.5
    for scaled, leak, detach in itertools.product((False, True), ("before", "after"), (False, True)):
        assert_same(PLIF(2.5, 0.8, decay_input=scaled, leak=leak, detach_reset=detach), x, 1e-4)  # type: ignore[arg-type]


def test_layouts_of_memory() -> None:
    x = torch.randn(4, 3, 5, 6, 7, generator=torch.Generator().manual_seed(4))
    last = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    neuron = LIF(0.5, 0.6)
    assert neuron(last).stride() == last.stride()
    for other in (last, x.transpose(3, 4), x[..., ::2], x[::2], x[:, 1:]):
        assert_same(neuron, other)
    once = torch.randn(3, 40, generator=torch.Generator().manual_seed(5)).requires_grad_()
    repeated = once.expand(4, 3, 40)
    (fused,) = torch.autograd.grad(neuron(repeated).sum(), once)
    (plain,) = torch.autograd.grad(neuron.scan(repeated)[0].sum(), once)
    torch.testing.assert_close(fused, plain)


def test_bfloat16_keeps_a_single_precision_membrane() -> None:
    x = torch.randn(6, 4, 333, generator=torch.Generator().manual_seed(6)).bfloat16()
    assert_same(LIF(0.3, 0.4), x, 2e-2)
    assert torch.equal(LIF(0.3, 0.4)(x).float(), LIF(0.3, 0.4)(x.float()))


def test_threads_do_not_change_the_result() -> None:
    x = torch.randn(4, 8, 1000, generator=torch.Generator().manual_seed(7))
    one = both(PLIF(2.0, 0.8), x)[0]
    torch.set_num_threads(3)
    try:
        three = both(PLIF(2.0, 0.8), x)[0]
    finally:
        torch.set_num_threads(1)
    assert torch.equal(one[0], three[0])
    assert torch.equal(one[1][0], three[1][0])
    torch.testing.assert_close(one[1][1], three[1][1])


def test_status_says_which_loop_runs() -> None:
    word = native.status().split(":")[0]
    assert word == ("plain torch" if native.library() is None else "native")


def test_what_the_kernel_does_not_know_takes_the_plain_loop() -> None:
    x = torch.randn(3, 2, 4)
    rule = LIF(0.5).rule
    for surrogate in (Sigmoid(), PiecewiseExponential()):
        other = LIF(0.5, surrogate=surrogate)
        assert fused_neuron(x, threshold=1.0, decay=0.5, rule=other.rule, initial=0.0) is None
        assert other(x).shape == x.shape
    assert fused_neuron(x.double(), threshold=1.0, decay=0.5, rule=rule, initial=0.0) is None
    assert fused_neuron(x, threshold=torch.ones(4), decay=0.5, rule=rule, initial=0.0) is None
    assert fused_neuron(x.to("meta"), threshold=1.0, decay=0.5, rule=rule, initial=0.0) is None
    assert SignedIF()(x).shape == x.shape


def test_a_missing_foreign_or_stale_library_means_plain_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Stale:
        class bitspike_abi:
            restype = None

            def __new__(cls) -> int:  # type: ignore[misc]
                return 0

    monkeypatch.delenv(native.SWITCH, raising=False)

    def found(text: str, *, built: bool, load: object = None) -> None:
        native._find.cache_clear()
        monkeypatch.setattr(native, "__file__", str(tmp_path / "native.py"))
        if built:
            (tmp_path / "neuron.native").write_bytes(b"no library")
        if load is not None:
            monkeypatch.setattr(ctypes, "CDLL", load)
        assert native.library() is None
        assert text in native.status()
        assert LIF(0.5)(torch.ones(2, 1, 3)).shape == (2, 1, 3)

    try:
        found("was not built", built=False)
        found("cannot be loaded", built=True)
        found("of another version (0, needed is 1)", built=True, load=lambda _: Stale)
    finally:
        native._find.cache_clear()


def test_the_switch_leaves_the_library_unused() -> None:
    code = "from bitspike.kernels import status; print(status())"
    environment = {**os.environ, native.SWITCH: "plain"}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "plain torch: BITSPIKE_KERNELS=plain is set"
