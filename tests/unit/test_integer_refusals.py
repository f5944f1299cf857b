"""What the integer form cannot hold is refused by the name of the module, with what is wrong and a way out."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitspike.errors import LoweringError
from bitspike.integer.network import IntegerNetwork
from bitspike.lowering.fit_neuron import Precision
from bitspike.lowering.lower import lower
from bitspike.nn import IF, LIF, BernoulliCoder, RateReadout, Repeat, ShiftBatchNorm, SumReadout, TimeDistributed
from bitspike.ops.grids import Grid
from bitspike.weights import Uniform, attach

IMAGE = torch.zeros(1, 2, 6, 6)


def around(*layers: nn.Module) -> nn.Module:
    """Put layers into an otherwise sound network."""
    return nn.Sequential(Repeat(2), TimeDistributed(*layers), LIF(), RateReadout())


def layers_of(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


def nan(layer: nn.Module, name: str = "weight", value: float = math.nan) -> nn.Module:
    with torch.no_grad():
        getattr(layer, name).view(-1)[0] = value
    return layer


CASES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "relu": (
        lambda: around(nn.Conv2d(2, 2, 3), nn.ReLU()),
        r"1\.1: the integer form has no ReLU\n  fix: layers it holds",
    ),
    "gelu": (lambda: around(nn.GELU()), r"1\.0: the integer form has no GELU"),
    "group norm": (lambda: around(nn.GroupNorm(1, 2)), r"1\.0: the integer form has no GroupNorm"),
    "instance norm": (lambda: around(nn.InstanceNorm2d(2)), r"1\.0: the integer form has no InstanceNorm2d"),
    "adaptive max": (lambda: around(nn.AdaptiveMaxPool2d(1)), r"1\.0: the integer form has no AdaptiveMaxPool2d"),
    "upsample": (lambda: around(nn.Upsample(scale_factor=2)), r"1\.0: the integer form has no Upsample"),
    "neuron inside": (lambda: around(nn.Conv2d(2, 2, 3), LIF()), r"1\.1: the integer form has no LIF"),
    "gru": (lambda: layers_of(Repeat(2), nn.GRU(6, 6), RateReadout()), r"1: GRU gets a tensor with a time axis"),
    "bilinear upsample": (
        lambda: around(nn.Upsample(scale_factor=2, mode="bilinear")),
        r"1\.0: the integer form has no Upsample",
    ),
    "reflect": (
        lambda: around(nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")),
        r"1\.0: padding_mode='reflect'; the integer form pads with zeros",
    ),
    "uneven same": (
        lambda: around(nn.Conv2d(2, 2, 2, padding="same")),
        r"1\.0: padding='same' that is not symmetric\n  fix",
    ),
    "ceil mode": (lambda: around(nn.AvgPool2d(4, ceil_mode=True)), r"1\.0: ceil_mode .*\n  fix: ceil_mode=False"),
    "ceil mode, max": (lambda: around(nn.MaxPool2d(4, ceil_mode=True)), r"1\.0: ceil_mode"),
    "count_include_pad": (
        lambda: around(nn.AvgPool2d(2, padding=1, count_include_pad=False)),
        r"1\.0: count_include_pad=False .*\n  fix",
    ),
    "divisor": (lambda: around(nn.AvgPool2d(2, divisor_override=3)), r"1\.0: divisor_override .*\n  fix"),
    "dilated max": (lambda: around(nn.MaxPool2d(2, dilation=2)), r"1\.0: a dilated max pool .*\n  fix: dilation=1"),
    "adaptive": (lambda: around(nn.AdaptiveAvgPool2d(4)), r"1\.0: \[6, 6\] is no multiple .* \[4, 4\]"),
    "padded average of a bias": (
        lambda: around(nn.Conv2d(2, 2, 3), nn.AvgPool2d(2, padding=1)),
        r"1\.1: a padded pool of sums after a batch norm or bias",
    ),
    "flatten the batch": (lambda: around(nn.Flatten(0)), r"1\.0: Flatten\(0, -1\) mixes samples or leaves axes"),
    "linear of an image": (
        lambda: around(nn.Linear(6, 6)),
        r"1\.0: takes 6 features and gets \(2, 6, 6\).*\n  fix: nn.Flat",
    ),
    "channels": (lambda: around(nn.Conv2d(3, 2, 3)), r"1\.0: takes 3 channels and gets \(2, 6, 6\)"),
    "norm channels": (lambda: around(nn.BatchNorm2d(3)), r"1\.0: norms 3 channels and gets \[2, 6, 6\]"),
    "thresholds": (
        lambda: layers_of(Repeat(2), IF(torch.ones(3)), RateReadout()),
        r"1: has 3 thresholds and gets \[2, 6, 6\]",
    ),
    "no statistics": (
        lambda: around(nn.BatchNorm2d(2, track_running_stats=False)),
        r"1\.0: a batch norm without running statistics",
    ),
    "layer reads a bias": (
        lambda: around(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3)),
        r"1\.1 reads real values with an offset .*\n  fix: put a neuron",
    ),
    "layer reads uneven scales": (
        lambda: around(
            attach(nn.Conv2d(2, 2, 3, bias=False), quantize=Uniform(bits=4, per_channel=True)), nn.Conv2d(2, 2, 3)
        ),
        r"1\.1 reads channels, or terms of a sum, whose scales are no whole multiples.*\n  fix: put a neuron",
    ),
    "nan weight": (lambda: around(nan(nn.Conv2d(2, 2, 3))), r"1\.0: the weight holds NaN or infinity.*\n  fix"),
    "infinite weight": (lambda: around(nan(nn.Conv2d(2, 2, 3), value=math.inf)), r"1\.0: the weight holds NaN or inf"),
    "nan weight in a scheme": (lambda: around(nan_scheme()), r"1\.0: a weight is NaN or infinite.*\n  fix"),
    "nan bias": (lambda: around(nan(nn.Conv2d(2, 2, 3), "bias")), r"1\.0: the bias holds NaN"),
    "nan mean": (lambda: around(nan(nn.BatchNorm2d(2), "running_mean")), r"1\.0: the norm holds NaN"),
    "nan shift": (lambda: around(nan(ShiftBatchNorm(2), "bias")), r"1\.0: the norm holds NaN"),
    "no read-out": (
        lambda: layers_of(Repeat(2), TimeDistributed(nn.Conv2d(2, 2, 3)), LIF()),
        r"is no read-out: \[2, 4, 4\] per sample and step\n  fix: end it with bs\.RateReadout\(\)",
    ),
    "no time and no read-out": (
        lambda: layers_of(nn.Conv2d(2, 2, 3), nn.ReLU()),
        r"is an ordinary network: it has no neurons.*\n  fix: .*bs\.convert\(model, example, calibrate=images\)",
    ),
    "layer after the read-out": (
        lambda: layers_of(Repeat(2), LIF(), RateReadout(), nn.Conv2d(2, 2, 3)),
        r"3: Conv2d comes after the read-out.*\n  fix",
    ),
    "two encoders": (lambda: layers_of(Repeat(2), Repeat(3), LIF(), RateReadout()), r"the model has 2 encoders"),
    "coder after a layer": (
        lambda: layers_of(nn.Conv2d(2, 2, 3), BernoulliCoder(2), LIF(), RateReadout()),
        r"1: BernoulliCoder comes after other layers; only the model's input can be coded\n  fix",
    ),
    "layer over time": (
        lambda: layers_of(Repeat(2), nn.Conv2d(2, 2, 3), LIF(), RateReadout()),
        r"1: Conv2d gets a tensor with a time axis\n  fix: bs\.TimeDistributed\(Conv2d\(\.\.\.\)\)",
    ),
    "neuron before time": (
        lambda: layers_of(nn.Conv2d(2, 2, 3), LIF(), Repeat(2), RateReadout()),
        r"1: LIF gets a tensor without a time axis\n  fix",
    ),
    "read-out before time": (
        lambda: layers_of(RateReadout(), Repeat(2)),
        r"0: RateReadout gets a tensor without a time axis",
    ),
    "time distributed before time": (
        lambda: layers_of(TimeDistributed(nn.Conv2d(2, 2, 3)), Repeat(2), LIF(), RateReadout()),
        r"0: TimeDistributed gets a tensor without a time axis",
    ),
}


def nan_scheme() -> nn.Module:
    layer = attach(nn.Conv2d(2, 2, 3), quantize=Uniform(bits=4))
    nan(layer.parametrizations.weight, "original")  # type: ignore[arg-type]
    return layer


@pytest.mark.parametrize("name", CASES)
def test_an_unsupported_module_is_refused_by_name(name: str) -> None:
    make, message = CASES[name]
    model = make()
    with pytest.raises(LoweringError, match=message):
        lower(model, IMAGE)


class Written(nn.Module):
    """A network whose forward is written out; ``middle`` is the part under test."""

    def __init__(self, middle: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.repeat, self.conv, self.fire = Repeat(2), TimeDistributed(nn.Conv2d(2, 2, 3, padding=1)), LIF()
        self.readout, self.scale = RateReadout(), nn.Parameter(torch.ones(1))
        self.middle = middle

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.fire(self.middle(self, self.conv(self.repeat(x)))))


FUNCTIONS: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], str]] = {
    "relu": (lambda m, x: F.relu(x), "the integer form has no 'relu'\n  fix: a module of torch.nn"),
    "method": (lambda m, x: x.relu(), "the integer form has no 'relu'"),
    "cat of rows": (lambda m, x: torch.cat([x, x], 3), r"cat: joins .* along axis 3; channels, axis 2, can be joined"),
    "mean over time": (lambda m, x: x.mean(0), "the integer form has no 'mean'"),
    "view": (lambda m, x: x.view(2, 1, -1), "the integer form has no 'view'"),
    "product": (lambda m, x: x * x, r"the integer form has no 'mul'\n  fix: bs\.nn\.SpikeElementWise"),
    "difference": (lambda m, x: x - x, "the integer form has no 'sub'"),
    "a constant": (lambda m, x: x + 1.0, "the integer form has no 'add'"),
    "alpha": (lambda m, x: torch.add(x, x, alpha=2), "the integer form has no 'add'"),
    "a parameter": (lambda m, x: x * m.scale, "scale: a tensor of the model enters .*\n  fix: a layer that holds it"),
    "indexing": (lambda m, x: x[0], "the integer form has no 'getitem'"),
    "shape": (lambda m, x: x.reshape(x.shape), "the integer form has no 'getattr'"),
    "flatten of samples": (lambda m, x: torch.flatten(x, 1), "the integer form has no 'flatten'"),
    "branch": (lambda m, x: x if x.sum() > 0 else -x, r"Written cannot be followed: .*\n  fix: keep branches on"),
    "loop": (lambda m, x: torch.stack([s for s in x]), "Written cannot be followed"),  # noqa: C416
    "float": (lambda m, x: x + float(x.sum()), "Written cannot be followed"),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_in_forward_is_refused_by_name(name: str) -> None:
    middle, message = FUNCTIONS[name]
    with pytest.raises(LoweringError, match=message):
        lower(Written(middle), IMAGE)


def test_an_addition_of_two_shapes_is_refused() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = TimeDistributed(nn.Conv2d(2, 2, 3)), TimeDistributed(nn.Conv2d(2, 2, 1))
            self.repeat, self.readout = Repeat(2), RateReadout()

        def forward(self, x: Tensor) -> Tensor:
            x = self.repeat(x)
            return self.readout(self.a(x) + self.b(x))

    with pytest.raises(LoweringError, match=r"adds \(2, 4, 4\) to \(2, 6, 6\); equal shapes are needed"):
        lower(Sum(), IMAGE)


def test_two_inputs_and_a_module_with_two_arguments_are_refused() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.repeat, self.readout = Repeat(2), RateReadout()

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.readout(self.repeat(x) + self.repeat(y))

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.repeat, self.fire, self.readout = Repeat(2), LIF(), RateReadout()

        def forward(self, x: Tensor) -> Tensor:
            return self.readout(self.fire(x=self.repeat(x)))

    with pytest.raises(LoweringError, match="has 2 inputs, and 1 example came"):
        lower(Two(), IMAGE)
    with pytest.raises(LoweringError, match=r"fire: is called with .*\n  fix: module\(x\)"):
        lower(Named(), IMAGE)


@pytest.mark.parametrize("value", [-0.1, 1.5, math.nan])
def test_an_input_whose_grid_nobody_declared_is_refused(value: float) -> None:
    with pytest.raises(LoweringError, match=r"only 8-bit images in \[0, 1\].*\n  fix: bs.lower\(model, example, grid="):
        lower(around(nn.Conv2d(2, 2, 3)), torch.full((1, 2, 6, 6), value))


def sound(weight: float = 1.0, threshold: float = 1.0) -> nn.Module:
    model = nn.Sequential(Repeat(2), TimeDistributed(nn.Linear(1, 1, bias=False)), IF(threshold), SumReadout())
    with torch.no_grad():
        model[1][0].weight.fill_(weight)  # type: ignore[index, union-attr, operator]
    return model


def lowered(model: nn.Module, **choices: object) -> IntegerNetwork:
    return lower(model, torch.zeros(1, 1), grid=Grid(1.0, 0, 1), precision=Precision(**choices))  # type: ignore[arg-type]


def test_fraction_bits_that_nothing_holds_are_refused() -> None:
    with pytest.raises(LoweringError, match=r"2: an integer would be .*, more than 53 bits hold"):
        lowered(sound(), fraction_bits=50)
    assert lowered(sound(), fraction_bits=3).neurons[0].fraction_bits == 3


def test_a_threshold_far_above_or_below_every_input_is_held() -> None:
    assert int(lowered(sound(threshold=1e6)).neurons[0].threshold[0, 0]) == 32767 * 10**6
    tiny = lowered(sound(threshold=1e-6)).neurons[0]
    assert int(tiny.threshold[0, 0]) >= 1
    dead = lowered(sound(weight=1e-30))
    assert dead.neurons[0].gains[0].max() == 0
    assert dead.notes[-1] == "2: 1 channels whose gain is as good as 0 were switched off"
