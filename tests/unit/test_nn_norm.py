"""Batch norms: statistics and gains by hand, the grid of the shift, and the affine map that lowering reads."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from bitspike import Dyadic, Grid, Uniform, attach, convert, lower, verify
from bitspike.errors import ConstraintError, ConversionError, LoweringError
from bitspike.models import digits_net
from bitspike.nn import IF, AffineNorm, Repeat, ShiftBatchNorm, SumReadout, ThresholdBatchNorm, TimeDistributed, fuse


def per_channel(x_tnchw: Tensor) -> Tensor:
    return x_tnchw.transpose(0, 2).flatten(1)


def test_qat_check_04_tdbn_gives_the_spread_of_the_threshold() -> None:
    x = torch.randn(4, 8, 3, 6, 6) * torch.tensor([0.2, 3.0, 40.0]).view(3, 1, 1) + 5
    for threshold, alpha in ((0.4, 1.0), (1.0, 1.0), (0.5, 1 / math.sqrt(2))):
        y = per_channel(TimeDistributed(ThresholdBatchNorm(3, threshold, alpha))(x))
        assert y.mean(1).abs().max() < 1e-3
        torch.testing.assert_close(y.std(1), torch.full((3,), alpha * threshold), atol=1e-3, rtol=0)

    half = [TimeDistributed(ThresholdBatchNorm(3, 0.4, 1 / math.sqrt(2))) for _ in range(2)]
    both = half[0](torch.randn(4, 32, 3, 8, 8)) + half[1](torch.randn(4, 32, 3, 8, 8))
    torch.testing.assert_close(per_channel(both).std(1), torch.full((3,), 0.4), atol=0.01, rtol=0)


def test_qat_check_05_tdbn_folds_into_the_convolution_and_keeps_the_statistics_of_a_3d_norm() -> None:
    conv, norm = nn.Conv2d(2, 3, 3, bias=False), ThresholdBatchNorm(3, threshold=0.4, alpha=0.7)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    layers, reference = TimeDistributed(conv, norm), nn.BatchNorm3d(3)
    for _ in range(3):
        x = torch.randn(4, 5, 2, 7, 7) * 2 + 1
        layers(x)
        reference(TimeDistributed(conv)(x).permute(1, 2, 3, 4, 0))
    torch.testing.assert_close(norm.running_mean, reference.running_mean, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(norm.running_var, reference.running_var, atol=1e-6, rtol=1e-5)

    layers.eval()
    with torch.no_grad():
        scale = norm.weight * norm.alpha * norm.threshold / (norm.running_var + norm.eps).sqrt()
        folded = nn.Conv2d(2, 3, 3)
        folded.weight.copy_(conv.weight * scale.view(-1, 1, 1, 1))
        assert folded.bias is not None
        folded.bias.copy_(norm.bias - norm.running_mean * scale)
        torch.testing.assert_close(layers(x), TimeDistributed(folded)(x), atol=1e-5, rtol=1e-5)


def test_threshold_and_alpha_multiply_the_spread_and_not_the_shift() -> None:
    norm = ThresholdBatchNorm(1, threshold=0.5)
    nn.init.constant_(norm.bias, 3.0)
    assert norm(torch.tensor([[-1.0], [1.0]])).flatten().tolist() == pytest.approx([2.5, 3.5], abs=1e-4)


@pytest.mark.parametrize("norm", [ThresholdBatchNorm(3, 0.4, 0.7), ShiftBatchNorm(3)], ids=repr)
def test_affine_is_what_evaluation_does(norm: ThresholdBatchNorm | ShiftBatchNorm) -> None:
    nn.init.normal_(norm.bias)
    for _ in range(3):
        norm(torch.randn(16, 3, 4) * 3 + 1)
    norm.eval()
    gain, shift = norm.affine()
    assert gain.dtype == shift.dtype == torch.float64
    x = torch.randn(16, 3, 4)
    expected = x.double() * gain.view(3, 1) + shift.view(3, 1)
    torch.testing.assert_close(norm(x).double(), expected, atol=1e-6, rtol=1e-6)
    assert not gain.requires_grad
    assert not shift.requires_grad


def test_a_negative_gain_stays_negative() -> None:
    norm = ThresholdBatchNorm(2).eval()
    nn.init.constant_(norm.weight, -1.0)
    assert (norm.affine()[0] < 0).all()
    assert (norm(torch.ones(1, 2)) < 0).all()


def test_gains_are_powers_of_two_and_shifts_lie_on_the_grid() -> None:
    norm = ShiftBatchNorm(200, gain=0.7, grid=2**-6)
    nn.init.normal_(norm.bias)
    norm(torch.randn(64, 200) * torch.logspace(-2, 4, 200) + torch.randn(200) * 10)
    gain, shift = norm.affine()
    assert (torch.frexp(gain).mantissa == 0.5).all()
    assert torch.equal(shift * 2**6, (shift * 2**6).round())
    wanted = 0.7 / (norm.running_var.double() + norm.eps).sqrt()
    assert ((gain / wanted).log2().abs() <= 0.5 + 1e-9).all()
    assert gain.unique().numel() > 15


def test_a_shift_norm_by_hand() -> None:
    # mean 3, variance 16: 1/4 is the gain, and the shift is round((0.3 - 3/4) / 2**-2) * 2**-2 = -0.5
    norm = ShiftBatchNorm(1, grid=2**-2)
    nn.init.constant_(norm.bias, 0.3)
    x = torch.tensor([[-1.0], [7.0]])
    assert norm(x).flatten().tolist() == [-0.75, 1.25]
    assert (norm.running_mean.item(), norm.running_var.item(), int(norm.tracked)) == (3.0, 16.0, 1)
    assert norm.eval()(x).flatten().tolist() == [-0.75, 1.25]


def test_the_first_batch_is_taken_whole_and_later_ones_by_their_momentum() -> None:
    norm = ShiftBatchNorm(2, momentum=0.25)
    first, second = torch.randn(32, 2) * 7 + 3, torch.randn(32, 2)
    norm(first)
    torch.testing.assert_close(norm.running_mean, first.mean(0))
    torch.testing.assert_close(norm.running_var, first.var(0, correction=0))
    norm(second)
    torch.testing.assert_close(norm.running_mean, first.mean(0) * 0.75 + second.mean(0) * 0.25)
    expected = first.var(0, correction=0) * 0.75 + second.var(0, correction=0) * 0.25
    torch.testing.assert_close(norm.running_var, expected)


def test_training_and_evaluation_agree_once_the_statistics_have_settled() -> None:
    norm, x = ShiftBatchNorm(4), torch.randn(64, 4, 3, 3) * 5 + 2
    nn.init.normal_(norm.bias)
    assert torch.equal(norm(x), norm.eval()(x))  # one batch is enough: the first is taken whole


def test_outputs_behind_dyadic_inputs_are_exact() -> None:
    norm = ShiftBatchNorm(8, grid=2**-8)
    nn.init.normal_(norm.bias)
    norm(torch.randn(32, 8) * torch.logspace(-1, 2, 8))
    norm.eval()
    x = torch.randint(-200, 200, (500, 8)) * 2**-6
    gain, shift = norm.affine()
    y = norm(x).double()
    assert torch.equal(y, x.double() * gain + shift)  # double has room for the exact sum: single lost nothing
    step = torch.minimum(gain * 2**-6, torch.tensor(2.0**-8, dtype=torch.float64))
    assert torch.equal(y / step, (y / step).round())


def test_the_gradient_passes_the_rounding_and_the_mean() -> None:
    norm = ShiftBatchNorm(2)
    x = torch.randn(16, 2, 3, requires_grad=True)
    factor = torch.randn(16, 2, 3)
    (norm(x) * factor).sum().backward()
    assert x.grad is not None
    assert norm.bias.grad is not None
    gain = norm.affine()[0].float().view(2, 1)
    torch.testing.assert_close(norm.bias.grad, factor.sum((0, 2)))
    torch.testing.assert_close(x.grad, gain * (factor - factor.mean((0, 2)).view(2, 1)))


def test_statistics_do_not_lean_on_half_precision_nor_lose_double() -> None:
    wide = torch.randn(512, 2, dtype=torch.float64) + 100
    half = ShiftBatchNorm(2)
    assert half(wide.bfloat16()).dtype == torch.bfloat16
    torch.testing.assert_close(half.running_mean, wide.bfloat16().float().mean(0))
    double = ShiftBatchNorm(2).double()
    assert double(wide).dtype == torch.float64
    torch.testing.assert_close(double.running_mean, wide.mean(0), atol=1e-12, rtol=0)


@pytest.mark.parametrize("norm", [ThresholdBatchNorm(3), ShiftBatchNorm(3)], ids=repr)
def test_a_saved_norm_is_the_same_norm(norm: nn.Module) -> None:
    norm(torch.randn(9, 3) * 4 + 1)
    other = type(norm)(3)  # type: ignore[call-arg]
    other.load_state_dict(norm.state_dict(), strict=True)
    x = torch.randn(5, 3)
    assert torch.equal(norm.eval()(x), other.eval()(x))
    assert norm(torch.zeros(0, 3)).shape == (0, 3)


def test_a_repeated_image_counts_like_one_that_was_copied() -> None:
    x = torch.randn(6, 3, 5, 5)
    for kind in (lambda: ThresholdBatchNorm(3), lambda: ShiftBatchNorm(3), lambda: nn.BatchNorm2d(3)):
        lazy, copied = TimeDistributed(kind()), TimeDistributed(kind())
        repeated = Repeat(4)(x)
        torch.testing.assert_close(lazy(repeated), copied(repeated.contiguous()))
        for a, b in zip(lazy.buffers(), copied.buffers(), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ThresholdBatchNorm(3, threshold=0.0), "both must be above 0"),
        (lambda: ThresholdBatchNorm(3, alpha=-1.0), "both must be above 0"),
        (lambda: ShiftBatchNorm(3, gain=0.0), r"ShiftBatchNorm\(gain=0.0\): must be above 0"),
        (lambda: ShiftBatchNorm(3, grid=0.1), r"ShiftBatchNorm\(grid=0.1\): must be a power of two, such as"),
        (lambda: ShiftBatchNorm(3, grid=0.0), "must be a power of two"),
        (lambda: ShiftBatchNorm(3, grid=float("inf")), "must be a power of two"),
    ],
)
def test_a_wrong_value_fails_when_the_norm_is_built(build: object, message: str) -> None:
    with pytest.raises(ConstraintError, match=message):
        build()  # type: ignore[operator]


@pytest.mark.parametrize("shape", [(4, 1), (4, 2, 5), (3,)])
def test_other_channels_are_refused_instead_of_broadcast(shape: tuple[int, ...]) -> None:
    for norm in (ShiftBatchNorm(3), ShiftBatchNorm(3).eval()):
        with pytest.raises(ConstraintError, match=r"ShiftBatchNorm\(3\) got .*needed is \[N, C, ...\] with C = 3"):
            norm(torch.zeros(shape))


def test_an_empty_batch_must_not_spoil_the_statistics() -> None:
    norm = ShiftBatchNorm(3)
    with pytest.raises(ConstraintError, match="at least one sample in training"):
        norm(torch.zeros(0, 3))
    assert norm.running_mean.isfinite().all()


class Halve(AffineNorm):
    """A norm of a user: nothing in the package knows its name."""

    def forward(self, x: Tensor) -> Tensor:
        return x / 2 + 0.25

    def affine(self) -> tuple[Tensor, Tensor]:
        return torch.full((self.channels,), 0.5).double(), torch.full((self.channels,), 0.25).double()


def test_a_norm_of_ones_own_is_lowered_and_its_integers_equal_it() -> None:
    model = nn.Sequential(
        Repeat(4),
        TimeDistributed(nn.Conv2d(1, 4, 3, bias=False), Halve(4)),
        IF(),
        TimeDistributed(nn.Flatten()),
        SumReadout(),
    )
    attach(model, quantize=Uniform(bits=4, scale=Dyadic()))
    grid = Grid(2**-4, 0, 16)
    images = torch.randint(0, 17, (6, 1, 5, 5)) / 16
    net = lower(model, images[:1], grid=grid)
    assert not [note for note in net.notes if "rounded" in note]
    assert verify(net, images).equal


def test_the_models_let_a_norm_of_ones_own_read_the_neuron_after_it() -> None:
    class Close(Halve):
        @classmethod
        def before(cls, neuron: nn.Module, channels: int, branches: int = 1) -> Close:
            norm = cls(channels)
            norm.threshold, norm.branches = neuron.threshold, branches
            return norm

    norms = [m for m in digits_net(norm=Close, neuron=lambda: IF(0.5)).modules() if isinstance(m, Close)]
    assert [(norm.channels, norm.threshold, norm.branches) for norm in norms] == [(24, 0.5, 1), (48, 0.5, 1)]


@pytest.mark.parametrize("base", [ThresholdBatchNorm, nn.BatchNorm2d, Halve])
def test_a_subclass_that_changes_only_forward_is_not_lowered_by_the_law_of_its_base(base: type[nn.Module]) -> None:
    class Doubled(base):  # type: ignore[misc, valid-type]
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    model = nn.Sequential(Repeat(2), TimeDistributed(nn.Conv2d(1, 4, 3), Doubled(4)), IF(), SumReadout()).eval()
    with pytest.raises(
        LoweringError, match=r"1\.1: Doubled .*forward.*\n.*fix: class Doubled\(bitspike\.nn\.AffineNorm\)"
    ):
        lower(model, torch.zeros(1, 1, 4, 4))


class PerStep(AffineNorm):
    """A norm whose gain is the number of the step."""

    by_step = True

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.arange(1.0, 1 + len(x)).view(-1, *[1] * (x.dim() - 1))

    def affine(self) -> tuple[Tensor, Tensor]:
        gain = torch.arange(1, 3).double().view(-1, 1).expand(2, self.channels)
        return gain, torch.zeros_like(gain)


PerStep.forward.__module__ = "bitspike.nn.norms.per_step"  # trusted, as a norm of the package is


def test_a_norm_by_step_sees_the_steps_of_equal_and_of_different_inputs() -> None:
    layers = TimeDistributed(nn.Flatten(), PerStep(3), nn.Identity()).eval()
    x = torch.rand(2, 5, 3)
    assert torch.equal(layers(x), x * torch.tensor([1.0, 2.0]).view(2, 1, 1))
    assert torch.equal(layers(Repeat(2)(x[0])), torch.stack([x[0], 2 * x[0]]))
    chain = fuse(nn.Sequential(layers, IF())).eval()
    assert torch.equal(chain(x), IF()(layers(x)))


def test_a_norm_of_ones_own_with_a_gain_for_each_step_is_lowered_and_not_converted() -> None:
    model = nn.Sequential(
        Repeat(2), TimeDistributed(nn.Conv2d(1, 4, 3, bias=False), PerStep(4)), IF(), TimeDistributed(nn.Flatten()),
        SumReadout(),
    ).eval()  # fmt: skip
    attach(model, quantize=Uniform(bits=4, scale=Dyadic()))
    images = torch.randint(0, 17, (6, 1, 5, 5)) / 16
    net = lower(model, images[:1], grid=Grid(2**-4, 0, 16))
    assert net.neurons[0].gains[0][:, 0].tolist() == [g * int(net.neurons[0].gains[0][0, 0]) for g in (1, 2)]
    assert not net.notes
    assert verify(net, images).equal
    ann = nn.Sequential(nn.Conv2d(1, 4, 3), PerStep(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    with pytest.raises(ConversionError, match=r"it has a gain for each step, \[2, 4\]"):
        convert(ann, torch.rand(1, 1, 8, 8), calibrate=torch.rand(4, 1, 8, 8))


def test_a_law_of_another_shape_than_it_declares_is_refused_by_name() -> None:
    class Undeclared(PerStep):
        by_step = False

    model = nn.Sequential(Repeat(2), TimeDistributed(nn.Conv2d(1, 4, 3), Undeclared(4)), IF(), SumReadout())
    with pytest.raises(LoweringError, match=r"1\.1: Undeclared has gains \[2, 4\] .*\[C\](.|\n)*by_step = True"):
        lower(model, torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize("norm", [Halve, ShiftBatchNorm, ThresholdBatchNorm])
def test_a_network_with_any_norm_is_converted(norm: type[AffineNorm]) -> None:
    ann = nn.Sequential(nn.Conv2d(1, 4, 3), norm(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    images = torch.rand(64, 1, 8, 8)
    ann(images)
    ann.eval()
    snn = convert(ann, images[:1], calibrate=images, steps=32, bits=8, correct=None)
    assert (snn(images) - ann(images)).abs().mean() < 0.1 * ann(images).std()
    assert verify(lower(snn, images[:1]), images).equal


def test_a_norm_that_changes_only_forward_is_not_converted_by_the_law_of_its_base() -> None:
    class Doubled(Halve):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    ann = nn.Sequential(nn.Conv2d(1, 4, 3), Doubled(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    images = torch.rand(4, 1, 8, 8)
    with pytest.raises(ConversionError, match=r"Doubled gives forward\(\) and no affine\(\) that belongs to it"):
        convert(ann, images[:1], calibrate=images)
