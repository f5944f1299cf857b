"""Norm, residual and neuron or activation in one pass, against the same written out in torch.

The map itself has one agreed order, ``(x - mean) * gain' + shift``: given its four rows, spikes and codes are equal
bit for bit. Statistics and gradients are compared with double precision.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import BUILT, LAYOUTS, assert_close, gradients, noise
from torch import Tensor, nn
from torch.nn import functional as F

from bitspike.kernels import norm as norms
from bitspike.kernels.activation import fused_quant_relu
from bitspike.kernels.cpp.memory import dense, layer
from bitspike.kernels.norm import Norm
from bitspike.nn import IF, LIF, PLIF, Neuron, SignedIF
from bitspike.ops.activation import quant_relu
from bitspike.ops.rounding import straight_through
from bitspike.ops.surrogate import Sigmoid


def make_norm(channels: int, *, training: bool, seed: int = 0, bare: bool = False) -> Norm:
    values = torch.rand(4, channels, generator=torch.Generator().manual_seed(seed))
    gain, shift = (None, None) if bare else ((values[0] + 0.4).requires_grad_(), (values[1] - 0.3).requires_grad_())
    return Norm(gain, shift, values[2] - 0.5, values[3] + 0.5, training, 0.1, 1e-5)


def shaped(values: Tensor, x: Tensor, axis: int) -> Tensor:
    return values.view(-1, *[1] * (x.dim() - axis - 1))


def normalized(x: Tensor, norm: Norm, axis: int, residual: Tensor | None = None) -> Tensor:
    """Return what is read: the value in the agreed order in single precision, the gradient through double precision."""
    wide, axes = x.double(), [i for i in range(x.dim()) if i != axis]
    if norm.training:
        mean = wide.mean(axes)
        var = (wide - shaped(mean, x, axis)).square().mean(axes)
    else:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, var = norm.running_mean.double(), norm.running_var.double()
    inverse = (var + norm.eps).rsqrt()
    gain = inverse if norm.gain is None else norm.gain.double() * inverse
    shift = torch.zeros_like(mean) if norm.shift is None else norm.shift.double()
    latent = (wide - shaped(mean, x, axis)) * shaped(gain, x, axis) + shaped(shift, x, axis)
    value = (x.float() - shaped(mean.float(), x, axis)) * shaped(gain.float(), x, axis)
    value = value + shaped(shift.float(), x, axis)
    if residual is not None:
        latent, value = latent + residual.double(), value + residual.float()
    return straight_through(value, latent.float())


def compare(
    fused: Callable[..., Tensor | None],
    plain: Callable[[Tensor], Tensor],
    x: Tensor,
    norm: Norm,
    *,
    axis: int,
    residual: Tensor | None = None,
    more: tuple[Tensor, ...] = (),
    tolerance: float = 1e-4,
) -> None:
    leaves = [x.detach().requires_grad_(), *([] if residual is None else [residual.detach().requires_grad_()])]
    beside = leaves[1] if residual is not None else None
    running = [None if values is None else values.clone() for values in (norm.running_mean, norm.running_var)]
    out = fused(leaves[0], norm=norm, residual=beside)
    if out is None:
        assert not BUILT
        return
    reference = norm._replace(running_mean=running[0], running_var=running[1])
    expected = plain(normalized(leaves[0], reference, axis, beside)).to(x.dtype)
    assert out.dtype == x.dtype
    assert torch.equal(out, expected)
    learned = [values for values in (norm.gain, norm.shift) if values is not None]
    both = [gradients(result, [*leaves, *learned, *more]) for result in (out, expected)]
    for found, wanted in zip(*both, strict=True):
        # The gradient through statistics is what is left of terms of size 1; a learned number sums those of all.
        assert_close(found, wanted, tolerance, least=1e-2 if found.dim() else 1.0)
    if norm.training and running[0] is not None:
        F.batch_norm(x.movedim(axis, 1).float(), *running, training=True, momentum=norm.momentum, eps=norm.eps)
    for found_running, wanted_running in zip((norm.running_mean, norm.running_var), running, strict=True):
        if wanted_running is not None:
            torch.testing.assert_close(found_running, wanted_running, rtol=1e-5, atol=1e-6)


def neurons() -> list[Neuron]:
    return [
        LIF(0.5, 0.7, reset="hard"),
        LIF(0.5, 0.7, leak="after", surrogate=Sigmoid()),
        IF(0.6),
        PLIF(2.2, 0.8),
        PLIF(2.2, 0.8, leak="after", reset="soft"),
        SignedIF(0.8),
    ]


def compare_neuron(
    neuron: Neuron, x: Tensor, norm: Norm, residual: Tensor | None = None, tolerance: float = 1e-4
) -> None:
    compare(
        neuron.fused,
        lambda y: neuron.scan(y)[0],
        x,
        norm,
        axis=2,
        residual=residual,
        more=tuple(neuron.parameters()),
        tolerance=tolerance,
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("added", [True, False])
def test_norm_and_neuron(training: bool, added: bool, dtype: torch.dtype, layout: str) -> None:
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    for which, (neuron, shape) in enumerate(
        (neuron, shape) for neuron in neurons() for shape in ((16, 6, 6), (5, 3, 4), (67, 2, 2), (130,))
    ):
        x = noise(4, 3, *shape, seed=which, layout=layout, dtype=dtype)
        residual = noise(4, 3, *shape, seed=which + 99, layout=layout, dtype=dtype) if added else None
        compare_neuron(neuron, x, make_norm(shape[0], training=training, seed=which), residual, tolerance)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("added", [True, False])
def test_norm_and_quantized_relu(training: bool, added: bool, dtype: torch.dtype, layout: str) -> None:
    for which, shape in enumerate(((16, 6, 6), (5, 3, 4), (67, 2, 2), (600, 1, 1), (130,))):
        x = noise(1, 7, *shape, seed=which, layout=layout, dtype=dtype)[0]
        residual = noise(1, 7, *shape, seed=which + 99, layout=layout, dtype=dtype)[0] if added else None
        for levels in (1, 3, 15):
            clip = torch.tensor(1.3, requires_grad=True)
            compare(
                lambda x, clip=clip, levels=levels, **more: fused_quant_relu(x, clip, levels, **more),
                lambda y, clip=clip, levels=levels: quant_relu(y, clip, levels),
                x,
                make_norm(shape[0], training=training, seed=which),
                axis=1,
                residual=residual,
                more=(clip,),
                tolerance=1e-4 if dtype == torch.float32 else 2e-2,
            )


@given(
    steps=st.integers(1, 6),
    samples=st.integers(2, 4),
    shape=st.one_of(st.tuples(st.integers(1, 40)), st.tuples(st.integers(1, 20), st.integers(1, 6), st.integers(1, 6))),
    layout=st.sampled_from(LAYOUTS),
    training=st.booleans(),
    added=st.booleans(),
    bare=st.booleans(),
    which=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_any_shape(
    steps: int,
    samples: int,
    shape: tuple[int, ...],
    layout: str,
    training: bool,
    added: bool,
    bare: bool,
    which: int,
    seed: int,
) -> None:
    x = noise(steps, samples, *shape, seed=seed, layout=layout)
    residual = noise(steps, samples, *shape, seed=seed + 100, layout=layout) if added else None
    compare_neuron(neurons()[which], x, make_norm(shape[0], training=training, seed=seed, bare=bare), residual, 1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threads", [1, 2])
def test_statistics_do_not_cancel(threads: int, dtype: torch.dtype, layout: str) -> None:
    """Mean 1000 and deviation 0.1: the sum of squares alone would leave nothing of the variance in single precision."""
    if norms.library() is None:
        assert not BUILT
        return
    for channels, size in ((32, 40), (5, 33), (300, 6)):
        x = (noise(3, 4, channels, size, size, seed=channels).double() * 0.1 + 1000).to(dtype)
        x = x.movedim(2, -1).contiguous().movedim(-1, 2) if layout == "channels last" else x
        norm = make_norm(channels, training=True)
        torch.set_num_threads(threads)
        try:
            rows = norms.begin(norm, x, layer(dense(x), channel_axis=2))
        finally:
            torch.set_num_threads(1)
        wide = x.double().movedim(2, 0).flatten(1)
        torch.testing.assert_close(rows[0], wide.mean(1).float(), rtol=1e-6, atol=0)
        inverse = (wide.var(1, correction=0) + norm.eps).rsqrt()
        torch.testing.assert_close(rows[1], inverse.float(), rtol=1e-5, atol=0)


def test_an_outlier_where_samples_are_taken_does_no_harm() -> None:
    if norms.library() is None:
        assert not BUILT
        return
    x = noise(1, 8, 4, 64, 64, seed=3)
    x[0, 0, :, 0, 0] = 1e4
    rows = norms.begin(make_norm(4, training=True), x, layer(x, channel_axis=2))
    wide = x.double().movedim(2, 0).flatten(1)
    torch.testing.assert_close(rows[0], wide.mean(1).float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(rows[1], (wide.var(1, correction=0) + 1e-5).rsqrt().float(), rtol=1e-5, atol=0)


def test_threads_change_statistics_by_rounding_only() -> None:
    x, neuron = noise(4, 6, 24, 9, 9, seed=5, layout="channels last"), LIF(0.5, 0.7)
    results = []
    for threads in (1, 2, 2):
        norm, leaf = make_norm(24, training=True), x.detach().requires_grad_()
        torch.set_num_threads(threads)
        try:
            out = neuron.fused(leaf, norm=norm)
            if out is None:
                assert not BUILT
                return
            results.append(gradients(out, [leaf, norm.gain, norm.shift]))  # type: ignore[list-item]
        finally:
            torch.set_num_threads(1)
    for one, two, again in zip(*results, strict=True):
        assert_close(two, one, 1e-5)
        assert torch.equal(two, again)


def test_what_is_constant_in_time_counts_every_step() -> None:
    """Statistics of repeated steps are those of one; the unbiased variance divides by all of them."""
    once = noise(1, 3, 5, 4, 4, seed=6)[0]
    x = once.expand(4, *once.shape)
    neuron, norm, full = LIF(0.5, 0.7), make_norm(5, training=True), make_norm(5, training=True)
    out, repeated = neuron.fused(x, norm=norm), neuron.fused(x.contiguous(), norm=full)
    if out is None or repeated is None:
        assert not BUILT
        return
    assert torch.equal(out, repeated)
    torch.testing.assert_close(norm.running_var, full.running_var)
    compare_neuron(neuron, x, make_norm(5, training=True), once.expand(4, *once.shape) * 0.5)
    compare_neuron(neuron, x.contiguous(), make_norm(5, training=True), (once * 0.5).expand(4, *once.shape))


@pytest.mark.parametrize("training", [True, False])
def test_agrees_with_torch_batch_norm_and_a_neuron(training: bool) -> None:
    """As a user would write it: the same spikes but for potentials within rounding of the threshold."""
    x, neuron = noise(4, 8, 16, 8, 8, seed=7, layout="channels last"), LIF(0.5, 1.0, reset="hard")
    module = nn.BatchNorm2d(16).train(training)
    with torch.no_grad():
        module.weight.uniform_(0.5, 1.5)
        module.running_mean += 0.1  # type: ignore[operator]
    state = {name: value.clone() for name, value in module.state_dict().items()}
    norm = Norm(module.weight, module.bias, state["running_mean"], state["running_var"], training, 0.1, module.eps)
    out = neuron.fused(x, norm=norm)
    if out is None:
        assert not BUILT
        return
    plain = neuron(module(x.flatten(0, 1)).unflatten(0, (4, 8)))
    assert (out != plain).float().mean() < 1e-4
    torch.testing.assert_close(norm.running_mean, module.running_mean)
    torch.testing.assert_close(norm.running_var, module.running_var)


def test_layouts_of_a_residual() -> None:
    x = noise(3, 2, 6, 5, 5, seed=8, layout="channels last")
    for residual in (
        noise(3, 2, 6, 5, 5, seed=9),
        noise(3, 2, 6, 5, 5, seed=9).double(),
        noise(3, 2, 6, 5, 10)[..., ::2],
    ):
        compare_neuron(LIF(0.5, 0.7), x, make_norm(6, training=True), residual.to(residual.dtype))


def test_a_norm_without_running_statistics_uses_those_of_the_batch() -> None:
    x = noise(3, 2, 6, 5, 5, seed=10)
    bare = make_norm(6, training=True)._replace(running_mean=None, running_var=None)
    out, always = (LIF(0.5).fused(x, norm=bare._replace(training=training)) for training in (True, False))
    assert (out is None and not BUILT) or torch.equal(out, always)  # type: ignore[arg-type]
    compare_neuron(LIF(0.5, 0.7), x, bare)


def test_running_statistics_are_marked_as_changed() -> None:
    norm = make_norm(6, training=True)
    assert norm.running_mean is not None
    before = norm.running_mean._version
    if LIF(0.5).fused(noise(3, 2, 6), norm=norm) is None:
        assert not BUILT
        return
    assert norm.running_mean._version > before


def test_what_the_kernels_do_not_know_moves_no_statistics() -> None:
    norm = make_norm(4, training=True)
    assert norm.running_mean is not None
    before = norm.running_mean.clone()
    neuron, x = LIF(0.5), noise(3, 2, 4)
    cases = [
        (x[:1, :1], norm),  # one value per channel has no variance
        (noise(3, 2, 5), norm),
        (x.double(), norm),
        (x[0], norm),
        (x, norm._replace(gain=torch.ones(4).double())),
        (x, norm._replace(running_var=None)),
    ]
    for other, asked in cases:
        assert neuron.fused(other, norm=asked) is None
    assert neuron.fused(x, norm=norm, residual=x[:1]) is None
    assert neuron.fused(x, residual=x) is None
    assert torch.equal(norm.running_mean, before)
