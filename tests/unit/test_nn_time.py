"""Time as an axis: encoders, layers folded over time, read-outs, and another number of steps for a block."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.nn import (
    LIF,
    BernoulliCoder,
    Encoder,
    RateCoder,
    RateReadout,
    Repeat,
    ShiftBatchNorm,
    SumReadout,
    ThresholdBatchNorm,
    TimeDistributed,
    set_steps,
)


def test_qat_check_01_a_loop_over_time_equals_the_fold() -> None:
    layers = nn.Sequential(nn.Conv2d(2, 5, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(5 * 9, 4))
    folded = TimeDistributed(*layers)
    for steps in (1, 2, 7):
        x = torch.randn(steps, 3, 2, 8, 8)
        y = folded(x)
        assert y.shape == (steps, 3, 4)
        torch.testing.assert_close(y, torch.stack([layers(x_t) for x_t in x]), atol=1e-6, rtol=0)


def test_each_layer_runs_once_however_many_steps_there_are() -> None:
    shapes: list[torch.Size] = []
    linear = nn.Linear(3, 2)
    linear.register_forward_hook(lambda module, inputs, output: shapes.append(inputs[0].shape))
    TimeDistributed(linear)(torch.zeros(5, 4, 3))
    assert shapes == [(20, 3)]


def test_repeat_copies_nothing() -> None:
    x = torch.randn(2, 3)
    y = Repeat(4)(x)
    assert y.shape == (4, 2, 3)
    assert y.data_ptr() == x.data_ptr()
    assert y.stride(0) == 0


def small_net() -> TimeDistributed:
    return TimeDistributed(
        nn.Conv2d(2, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.Conv2d(4, 4, 3),
        ThresholdBatchNorm(4),
        ShiftBatchNorm(4),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


@pytest.mark.parametrize("training", [True, False])
def test_a_repeated_image_gives_what_a_copied_one_gives(training: bool) -> None:
    x = torch.randn(5, 2, 8, 8)
    lazy = small_net()
    lazy(torch.randn(3, 5, 2, 8, 8))  # statistics that are not the ones of the start
    lazy.train(training)
    copied = copy.deepcopy(lazy)
    results = []
    for net, repeated in ((lazy, Repeat(3)(x)), (copied, Repeat(3)(x).contiguous())):
        torch.manual_seed(7)
        y = net(repeated)
        y.square().sum().backward()
        results.append((y, [p.grad for p in net.parameters()], list(net.buffers())))
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-4)
    if training:
        assert not torch.equal(results[0][0][0], results[0][0][1])  # dropout is drawn for every step


def test_a_repeated_image_is_seen_once_by_the_layers_in_front() -> None:
    seen: dict[str, int] = {}
    net = small_net()
    for name, layer in net.named_children():
        layer.register_forward_hook(lambda module, i, o, name=name: seen.update({name: len(i[0])}))  # type: ignore[misc]
    net(Repeat(3)(torch.randn(5, 2, 8, 8)))
    assert list(seen.values()) == [5, 15, 15, 15, 15, 15, 15, 15]
    net.eval()(Repeat(3)(torch.randn(5, 2, 8, 8)))
    assert list(seen.values()) == [5, 5, 15, 15, 15, 15, 15, 15]


class NoisyLinear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + torch.randn(len(input), self.out_features)


def test_a_layer_with_a_forward_of_its_own_is_not_trusted_to_repeat_itself() -> None:
    y = TimeDistributed(NoisyLinear(3, 2))(Repeat(4)(torch.zeros(5, 3)))
    assert not torch.equal(y[0], y[1])


def test_nothing_changes_the_input() -> None:
    x = torch.randn(3, 4, 2)
    before = x.clone()
    TimeDistributed(nn.Linear(2, 2), nn.ReLU(inplace=True))(x)
    repeated = Repeat(3)(x)
    TimeDistributed(nn.ReLU(inplace=True))(repeated)
    assert torch.equal(x, before)


@pytest.mark.parametrize("samples", [0, 1])
@pytest.mark.parametrize("repeated", [True, False])
def test_small_batches(samples: int, repeated: bool) -> None:
    x = torch.zeros(samples, 1, 6, 6)
    x = Repeat(2)(x) if repeated else torch.stack([x, x])
    net = TimeDistributed(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(48, 2)).eval()
    assert net(x).shape == (2, samples, 2)


def test_one_step_needs_no_special_case() -> None:
    x = torch.randn(4, 2, 8, 8)
    net = small_net().eval()
    torch.testing.assert_close(net(Repeat(1)(x))[0], nn.Sequential(*net)(x))


def test_no_layers_is_the_identity() -> None:
    x = torch.randn(3, 2, 4)
    assert torch.equal(TimeDistributed()(x), x)
    assert torch.equal(TimeDistributed()(Repeat(3)(x[0])), Repeat(3)(x[0]))


def test_coders_put_time_in_front() -> None:
    x = torch.rand(2, 3)
    for coder in (Repeat(5), RateCoder(5), BernoulliCoder(5)):
        assert coder(x).shape == (5, 2, 3)
        assert repr(coder).endswith("(steps=5)")
    assert torch.equal(RateCoder(5)(x).sum(0), torch.round(x * 5))


def test_a_coder_with_a_generator_is_repeatable_and_can_be_copied() -> None:
    x = torch.rand(50)
    coder = BernoulliCoder(4, generator=torch.Generator().manual_seed(5))
    twin = copy.deepcopy(coder)
    first = coder(x)
    assert torch.equal(first, twin(x))
    assert not torch.equal(first, coder(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_readouts_count_in_single_precision(dtype: torch.dtype) -> None:
    x = torch.ones(1000, 2, 3, dtype=dtype)
    assert SumReadout()(x).tolist() == [[1000.0] * 3] * 2
    assert RateReadout()(x).tolist() == [[1.0] * 3] * 2
    assert SumReadout()(x).dtype == RateReadout()(x).dtype == torch.float32


def test_readouts_keep_double() -> None:
    x = torch.rand(3, 2, dtype=torch.float64)
    assert torch.equal(RateReadout()(x), x.mean(0))
    assert torch.equal(SumReadout()(x), x.sum(0))


@pytest.mark.parametrize("steps", [0, -1, 2.0, "4", None])
def test_steps_are_a_whole_number_of_at_least_one(steps: object) -> None:
    for build in (Repeat, RateCoder, BernoulliCoder):
        with pytest.raises(ConstraintError, match=rf"{build.__name__}\(steps=.*a whole number of at least 1 is needed"):
            build(steps)  # type: ignore[arg-type]
    model = nn.Sequential(Repeat(2))
    with pytest.raises(ConstraintError, match="a whole number of at least 1"), set_steps(model, steps):  # type: ignore[arg-type]
        pass
    assert model[0].steps == 2


def test_a_divisor_must_be_positive() -> None:
    with pytest.raises(ConstraintError, match=r"BernoulliCoder\(divisor=0\): must be above 0"):
        BernoulliCoder(2, divisor=0)


def test_other_steps_for_a_block_reach_every_encoder_and_are_put_back() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = Repeat(4), nn.Sequential(RateCoder(3))

    model = Two()

    def steps() -> list[int]:
        return [m.steps for m in model.modules() if isinstance(m, Encoder)]

    with set_steps(model, 7):
        assert steps() == [7, 7]
        with set_steps(model, 1):
            assert steps() == [1, 1]
        assert steps() == [7, 7]
    assert steps() == [4, 3]

    class Stop(Exception):
        pass

    with pytest.raises(Stop), set_steps(model, 2):
        raise Stop
    assert steps() == [4, 3]


def test_a_model_without_an_encoder_has_no_steps_to_set() -> None:
    with (
        pytest.raises(ConstraintError, match=r"no bs.Repeat or coder .*\n  fix: put bs.Repeat"),
        set_steps(nn.Sequential(LIF()), 2),
    ):
        pass


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_gradient_of_a_repeated_image_is_the_sum_over_the_steps(dtype: torch.dtype, steps: int) -> None:
    layer, x = TimeDistributed(nn.Linear(3, 4)).to(dtype), torch.randn(5, 3).to(dtype)
    g = torch.randn(steps, 5, 4).to(dtype)
    y = layer(Repeat(steps)(x))
    assert y.stride(0) == 0 or steps == 1
    y.backward(g)
    total = g.double().sum(0)
    narrow = 2e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(layer[0].bias.grad.double(), total.sum(0), atol=narrow, rtol=narrow)
    torch.testing.assert_close(layer[0].weight.grad.double(), total.T @ x.double(), atol=2 * narrow, rtol=2 * narrow)


def test_a_repeated_image_can_be_differentiated_twice() -> None:
    layer, x = TimeDistributed(nn.Linear(3, 1)), torch.randn(2, 3, requires_grad=True)
    (first,) = torch.autograd.grad(layer(Repeat(3)(x)).square().sum(), x, create_graph=True)
    first.sum().backward()
    assert x.grad is not None
    assert torch.autograd.gradcheck(
        lambda x: TimeDistributed(nn.Tanh())(Repeat(3)(x)), torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    )
