"""The fused time loop against the plain one: equal spikes and equal gradients over every option.

Where the package was installed without a compiler, both sides are the plain loop, and `status` says so.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import BUILT, LAYOUTS, assert_close, assert_same, both, gradients, noise

from bitspike.conversion.timed import spikes_worth
from bitspike.kernels.neuron import fused_neuron
from bitspike.nn import IF, LIF, PLIF, Neuron, SignedIF
from bitspike.ops.surrogate import ArcTan, PiecewiseExponential, Rectangle, Sigmoid, Surrogate, Triangle

SURROGATES = [
    Rectangle(0.8),
    Triangle(1.3, 0.3),
    Triangle(0.7),
    ArcTan(2.0),
    ArcTan(3.0, center=-0.5),
    Sigmoid(4.0),
    Sigmoid(1.5, center=0.1),
    PiecewiseExponential(2.0),
    PiecewiseExponential(60.0),
]


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
@pytest.mark.parametrize(("reset", "fire"), list(itertools.product(("soft", "hard"), ("ge", "gt"))))
def test_lif_equals_the_plain_loop(surrogate: Surrogate, reset: str, fire: str) -> None:
    x = noise(5, 3, 173, seed=1) * 1.2
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


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
@pytest.mark.parametrize("fire", ["ge", "gt"])
def test_signed_if_equals_the_plain_loop(surrogate: Surrogate, fire: str) -> None:
    x = noise(7, 3, 173, seed=8) * 0.9
    for detach, initial, retract in itertools.product((False, True), (None, 0.2), (0.0, 0.25)):
        neuron = SignedIF(
            0.6,
            surrogate=surrogate,
            fire=fire,  # type: ignore[arg-type]
            detach_reset=detach,
            initial=initial,
            retract=retract,
        )
        assert_same(neuron, x)
        assert neuron(x).unique().tolist() == [-1, 0, 1]


def test_ties_at_the_threshold_and_at_zero() -> None:
    """On a grid, potentials meet their thresholds exactly, and either comparison shows."""
    x = torch.randint(-4, 5, (9, 4, 100), generator=torch.Generator().manual_seed(9)) / 4
    for fire in ("ge", "gt"):
        assert_same(IF(1.0, fire=fire), x)  # type: ignore[arg-type]
        assert_same(SignedIF(1.0, fire=fire, retract=0.0), x)  # type: ignore[arg-type]
    assert not torch.equal(IF(1.0, fire="ge")(x), IF(1.0, fire="gt")(x))


def neurons(threshold: float | torch.Tensor) -> list[Neuron]:
    return [
        IF(threshold, initial=0.1),
        LIF(0.6, threshold, reset="hard"),
        LIF(0.6, threshold, leak="after"),
        PLIF(2.5, threshold),
        SignedIF(threshold),
        SignedIF(threshold, initial=0.2, surrogate=Sigmoid()),
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "shape", [(6,), (1,), (33,), (16, 3, 3), (5, 7, 3), (64, 2, 2), (3, 20, 31), (700, 1, 1)], ids=str
)
def test_thresholds_per_channel(shape: tuple[int, ...], layout: str, dtype: torch.dtype) -> None:
    x = noise(4, 3, *shape, seed=10, layout=layout, dtype=dtype)
    thresholds = torch.rand(shape[0], generator=torch.Generator().manual_seed(11)) + 0.3
    for neuron in neurons(thresholds):
        assert_same(neuron, x, 2e-2 if dtype == torch.bfloat16 else 1e-4)


@given(
    steps=st.integers(1, 9),
    samples=st.integers(1, 3),
    shape=st.one_of(
        st.tuples(st.integers(1, 40)),
        st.tuples(st.integers(1, 20), st.integers(1, 6), st.integers(1, 6)),
    ),
    layout=st.sampled_from(LAYOUTS),
    bf16=st.booleans(),
    which=st.integers(0, 5),
    per_channel=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_shape(
    steps: int,
    samples: int,
    shape: tuple[int, ...],
    layout: str,
    bf16: bool,
    which: int,
    per_channel: bool,
    seed: int,
) -> None:
    x = noise(steps, samples, *shape, seed=seed, layout=layout, dtype=torch.bfloat16 if bf16 else torch.float32)
    neuron = neurons(torch.linspace(0.3, 1, shape[0]) if per_channel else 0.5)[which]
    assert_same(neuron, x, 2e-2 if bf16 else 1e-4)


@pytest.mark.parametrize("size", [1, 3, 15, 16, 17, 511, 513, 1025])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ragged_sizes(size: int, dtype: torch.dtype) -> None:
    x = noise(3, 1, size, seed=12, dtype=dtype)
    for neuron in neurons(0.5):
        assert_same(neuron, x, 2e-2 if dtype == torch.bfloat16 else 1e-4)


@pytest.mark.parametrize("steps", [1, 2, 7, 64, 300])
def test_any_number_of_steps(steps: int) -> None:
    x = noise(steps, 2, 601, seed=2)
    assert_same(LIF(0.9, 1.0), x, 1e-4)
    assert_same(IF(0.7, reset="hard"), x, 1e-4)
    assert_same(SignedIF(0.7), x, 1e-4)


def test_a_learned_leak_gets_its_gradient() -> None:
    x = noise(6, 4, 50, seed=3) + 0.5
    for scaled, leak, detach, reset in itertools.product(
        (False, True), ("before", "after"), (False, True), ("soft", "hard")
    ):
        neuron = PLIF(2.5, 0.8, decay_input=scaled, leak=leak, detach_reset=detach, reset=reset)  # type: ignore[arg-type]
        assert_same(neuron, x, 1e-4)


def test_layouts_of_memory() -> None:
    x = noise(4, 3, 5, 6, 7, seed=4)
    last = noise(4, 3, 5, 6, 7, seed=4, layout="channels last")
    for neuron in neurons(torch.linspace(0.3, 0.9, 5)):
        assert neuron(last).stride() == last.stride()
        for other in (
            last,
            x.transpose(3, 4),
            x[..., ::2],
            x[::2],
            x[:, 1:],
            x.transpose(0, 1).contiguous().transpose(0, 1),
        ):
            assert_same(neuron, other, 1e-4)


@pytest.mark.parametrize("spread", ["input", "gradient"])
def test_what_is_constant_in_time_is_read_once(spread: str) -> None:
    once = noise(1, 3, 40, seed=5)[0].requires_grad_()
    x = once.expand(4, 3, 40) if spread == "input" else once * torch.linspace(0.5, 1, 4).view(4, 1, 1)
    for neuron in neurons(0.5):
        grads = []
        for spikes in (neuron(x), neuron.scan(x)[0]):
            out = spikes.mean(0) if spread == "gradient" else spikes * torch.linspace(-1, 1, 4).view(4, 1, 1)
            grads.append(torch.autograd.grad((out * torch.linspace(0, 1, 40)).sum(), once, retain_graph=True)[0])
        torch.testing.assert_close(grads[0], grads[1])


def test_bfloat16_keeps_a_single_precision_membrane() -> None:
    x = noise(6, 4, 333, seed=6, dtype=torch.bfloat16)
    assert_same(LIF(0.3, 0.4), x, 2e-2)
    assert torch.equal(LIF(0.3, 0.4)(x).float(), LIF(0.3, 0.4)(x.float()))


def test_threads_do_not_change_the_result() -> None:
    x = noise(4, 8, 1000, seed=7)
    one = both(PLIF(2.0, 0.8), x)[0]
    for threads in (2, 3):
        torch.set_num_threads(threads)
        try:
            many = both(PLIF(2.0, 0.8), x)[0]
        finally:
            torch.set_num_threads(1)
        assert torch.equal(one[0], many[0])
        assert torch.equal(one[1][0], many[1][0])
        torch.testing.assert_close(one[1][1], many[1][1])


def test_results_larger_than_the_cache_are_written_around_it() -> None:
    x = noise(2, 1, 9 * 2**19, seed=13)  # 36 MiB, and so is every result
    (spikes, (grad,)), (plain_spikes, (plain_grad,)) = both(LIF(0.5, 0.6, reset="hard"), x)
    assert torch.equal(spikes, plain_spikes)
    assert_close(grad, plain_grad, 1e-5)


def test_what_the_kernel_does_not_know_takes_the_plain_loop() -> None:
    class Flat(ArcTan):
        """A subclass may have any derivative."""

    x = torch.randn(3, 2, 4)
    rule = LIF(0.5).rule

    def fused(
        x: torch.Tensor, threshold: float | torch.Tensor = 1.0, neuron: Neuron | None = None
    ) -> torch.Tensor | None:
        return fused_neuron(x, threshold=threshold, decay=0.5, rule=neuron.rule if neuron else rule, initial=0.0)

    assert (fused(x) is not None) == BUILT
    assert fused(x, neuron=LIF(0.5, surrogate=Flat())) is None
    assert fused(x.double()) is None
    assert fused(x.half()) is None
    assert fused(x, torch.ones(5)) is None
    assert fused(x, torch.ones(4, requires_grad=True)) is None
    assert fused(x.to("meta")) is None
    assert fused(x[:, :0]) is None
    assert fused_neuron(x, threshold=1.0, decay=torch.ones(4), rule=rule, initial=0.0) is None
    assert LIF(0.5)(x[:, :0]).shape == (3, 0, 4)
    assert SignedIF(0.5)(x.double()).dtype == torch.float64


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", [IF, SignedIF])
@pytest.mark.parametrize("steady", [False, True])
def test_spikes_that_are_worth_something(
    kind: type[Neuron], layout: str, dtype: torch.dtype, steady: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Currents divided by a learned clip, and spikes times it: equal values, gradients to rounding."""
    for steps, shape, worth in ((1, (3, 5, 7), 0.7), (4, (16, 6, 6), 1.9), (7, (33,), 2.0**-10), (15, (64, 3, 3), 3.1)):
        x = noise(1 if steady else steps, 3, *shape, seed=steps, layout=layout, dtype=dtype).flatten(0, 1) * worth
        results = []
        for surrogate in (ArcTan(), Sigmoid()):
            neuron = kind(1.0, initial=0.5, surrogate=surrogate)
            for fused in (True, False):
                with monkeypatch.context() as patch:
                    if not fused:
                        patch.setattr(kind, "fused", lambda *_, **__: None)
                    leaf, clip = x.clone().requires_grad_(), torch.tensor(worth, requires_grad=True)
                    out = spikes_worth(leaf, clip, neuron, steps, steady=steady)
                    results.append((out.detach(), gradients(out, [leaf, clip])))
            (found, grads), (wanted, plain) = results[-2:]
            assert found.dtype == dtype
            assert torch.equal(found, wanted)
            assert_close(grads[0], plain[0], 2e-2 if dtype == torch.bfloat16 else 1e-5)
            # A sum of terms of either sign: its rounding is measured by the terms.
            terms = (leaf.abs().float() * plain[0].abs().float()).sum() / worth + found.abs().float().sum() / worth
            assert (grads[1] - plain[1]).abs() <= (1e-2 if dtype == torch.bfloat16 else 1e-5) * terms


def test_worth_of_one_number_alone() -> None:
    x = noise(4, 3, 8)
    numbers = {"threshold": 1.0, "decay": None, "rule": IF().rule, "initial": 0.5}
    assert fused_neuron(x, **numbers, worth=torch.ones(8)) is None  # type: ignore[arg-type]
    assert fused_neuron(x, **numbers, worth=torch.tensor(1.0, dtype=torch.float64)) is None  # type: ignore[arg-type]
    assert (fused_neuron(x, **numbers, worth=torch.tensor(2.0)) is not None) == BUILT  # type: ignore[arg-type]
