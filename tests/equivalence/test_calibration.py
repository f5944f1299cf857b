"""SNN calibration and constrained backpropagation on it: thresholds, corrections, threshold 1, training over time."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.conversion.calibrate.statistics import Reservoir, Sample
from bitspike.data import Batches, PixelGrid, load
from bitspike.models.digits_ann import digits_ann
from bitspike.train import SGD, ClipValue
from bitspike.train import Constant as ConstantRate
from bitspike.weights import Constrained

STEPS = 32
GRID = bs.MSEThreshold(candidates=95, smallest=0.06, initial=0.0)
"""The candidates of the code of SNN calibration: max * (1 - k / 100), k = 0 ... 94."""


def batches(split: str, size: int = 128) -> Batches:
    return Batches(load("digits", split), size, pixel_grid=PixelGrid(1 / 16))


def tensors(split: str) -> tuple[Tensor, Tensor]:
    x, y = zip(*batches(split), strict=True)
    return torch.cat(x), torch.cat(y)


@pytest.fixture(scope="module")
def ann() -> nn.Module:
    torch.manual_seed(0)
    model = digits_ann(width=0.5)
    bs.fit(model, batches("train", 128), epochs=5, optimizer=SGD(lr=0.1), device="cpu", precision="fp32")
    return model.eval()


def activations(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return what every ReLU gives."""
    seen: dict[str, Tensor] = {}
    hooks = [
        m.register_forward_hook(lambda _m, _i, out, name=name: seen.__setitem__(name, out))
        for name, m in model.named_modules()
        if isinstance(m, nn.ReLU)
    ]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return seen


def spikes_of(y: Tensor, theta: float, steps: int) -> Tensor:
    """Return what y becomes in T steps without an initial potential: whole spikes, rounded down and clipped."""
    return theta / steps * torch.clamp(steps * y / theta, 0, steps).floor()


def sample_of(y: Tensor) -> Sample:
    whole = Reservoir(capacity=y.numel())
    whole.add(y)
    return whole.sample()


def test_cbp_check_10_the_threshold_of_least_error_beats_the_largest_activation(ann: nn.Module) -> None:
    for y in activations(ann, tensors("train")[0][:256]).values():
        theta, top = float(GRID.threshold(sample_of(y), STEPS)), float(y.max())
        candidates = [top * (1 - k / 100) for k in range(95)]
        errors = [float((y - spikes_of(y, c, STEPS)).square().mean()) for c in candidates]
        assert theta == pytest.approx(candidates[errors.index(min(errors))], rel=1e-5)
        assert theta <= top
        assert min(errors) <= errors[0]


def agreement(model: nn.Module, ann: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return float((model(x).argmax(1) == ann(x).argmax(1)).float().mean())


def converted(ann: nn.Module, steps: int, **choices: object) -> nn.Module:
    more = {"neuron": bs.IF, "bits": 16, "first_bits": None, "last_bits": None, "average_pool": "neuron"}
    return bs.convert(ann, tensors("train")[0][:1], calibrate=batches("train"), steps=steps, **{**more, **choices})


@pytest.mark.parametrize("steps", [8, STEPS])
def test_cbp_check_10_light_agrees_with_the_ann_at_least_as_often_as_the_largest_activation(
    ann: nn.Module, steps: int
) -> None:
    # Two digits in one image: where the ANN is not sure, agreement is hard.
    digits = tensors("test")[0]
    x = torch.cat([(digits + digits.roll(shift, 0)) / 2 for shift in (1, 2, 3)])
    none = agreement(converted(ann, steps, threshold=bs.MaxThreshold(), correct=None), ann, x)
    light = agreement(converted(ann, steps, threshold=GRID, correct="light"), ann, x)
    assert light >= none
    assert light > 0.85


def test_cbp_check_10_the_correction_of_biases_brings_mean_values_nearer(ann: nn.Module) -> None:
    x = tensors("train")[0][:256]
    wanted = activations(ann, x)
    gaps = {}
    for correct in (None, "light"):
        snn = converted(ann, 8, threshold=GRID, correct=correct, samples=256)
        means = sent_by(snn, x)
        assert means.keys() == wanted.keys()
        gaps[correct] = sum(float((wanted[n].double().mean((0, 2, 3)) - means[n]).abs().mean()) for n in wanted)
    assert gaps["light"] < gaps[None]


def sent_by(snn: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return by ReLU the mean over samples, places and steps of what its neurons send, per channel."""
    lambdas, sent = snn.conversion.lambdas, dict[str, Tensor]()
    for name in lambdas:
        snn.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: sent.__setitem__(name, out))
    with torch.no_grad():
        snn(x)
    return {name: lambdas[name].reshape(-1) * out.double().mean((0, 1, 3, 4)) for name, out in sent.items()}


def unscaled(layers: list[nn.Module], thetas: list[float], x: Tensor) -> tuple[list[Tensor], Tensor]:
    """Run a chain of layers as the papers write it, spikes worth theta, in double precision.

        v[t] = u[t-1] + W in[t] + b;   s[t] = theta * [v[t] >= theta];   u[t] = v[t] - s[t];   u[-1] = theta / 2

    Returns:
        which neurons fire, a [T, N, ...] for each layer of them, and the mean of the outputs.
    """
    potentials: list[Tensor | float] = [theta / 2 for theta in thetas]
    fired: list[list[Tensor]] = [[] for _ in thetas]
    total: Tensor | float = 0.0
    for _ in range(STEPS):
        value, number = x.double(), 0
        for layer in layers:
            if isinstance(layer, nn.ReLU):
                v = potentials[number] + value
                spike = (v >= thetas[number]).double()
                potentials[number] = v - thetas[number] * spike
                fired[number].append(spike)
                value, number = thetas[number] * spike, number + 1
            else:
                value = layer(value)
        total = total + value
    assert isinstance(total, Tensor)
    return [torch.stack(one) for one in fired], total / STEPS


def test_cbp_check_10_threshold_1_gives_the_spikes_and_the_logits_of_the_network_before_it() -> None:
    """Weights of the layer are divided by theta, those of the next one take it up, and so does the classifier."""
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(1, 6, 3),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 5, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(20, 3),
    ]
    model = bs.attach(nn.Sequential(*layers), quantize=Constrained((-2, -1, 0, 1, 2)), include=["3"])
    # The bias of a read-out is rounded to codes of its weights: with 16 bits that is nothing.
    bs.attach(model, quantize=bs.Uniform(8, scale=bs.Dyadic()), include="0")
    bs.attach(model, quantize=bs.Uniform(16, scale=bs.Dyadic()), include="6")
    x = torch.randint(0, 17, (40, 1, 8, 8)) / 16
    thetas = {"1": 0.6171, "4": 0.1913}
    values = {name: torch.tensor([theta], dtype=torch.float64) for name, theta in thetas.items()}
    grid = {"input_grid": bs.Grid(1 / 16, 0, 16), "max_fraction_bits": 24}
    snn = bs.convert(model, x[:1], calibrate=values, steps=STEPS, correct=None, tolerance=1e-7, **grid)
    spikes: dict[str, Tensor] = {}
    for name in thetas:
        snn.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: spikes.__setitem__(name, out))
    logits = snn(x)
    plain = [copy.deepcopy(layer).double() for layer in bs.weights.detach(copy.deepcopy(model))]
    fired, expected = unscaled(plain, list(thetas.values()), x)
    for name, own in zip(thetas, fired, strict=True):
        assert own.any()
        assert torch.equal(spikes[name].double(), own)
    torch.testing.assert_close(logits.double(), expected, rtol=0, atol=1e-4)
    assert bs.verify(bs.lower(snn, x[:1]), x).equal


@pytest.mark.parametrize("levels", [(-1, 1), (-1, 0, 1)])
def test_constrained_training_of_the_spiking_network_itself(ann: nn.Module, levels: tuple[int, ...]) -> None:
    x, y = tensors("test")
    plan = Constrained(levels, multiplier_lr=0.01, patience=1, late_lr=0.3)
    # Few levels in the middle, floats at both ends; the clips are thresholds of least error.
    qnn = bs.quantize(
        ann, x[:1], bits=3, weights=plan, first_bits=32, last_bits=32, calibrate=batches("train"), samples=512
    )
    start = bs.constraint_failure(qnn)
    twin = bs.spiking_twin(qnn, neuron=bs.IF)
    choices = {"optimizer": SGD(lr=0.02), "schedule": ConstantRate(), "clip_gradient": ClipValue(1.0), "keep": "last"}
    bs.fit(twin, batches("train", 250), epochs=11, device="cpu", precision="fp32", **choices)
    end = bs.constraint_failure(qnn)
    assert end.window >= 20
    assert end.score < start.score / 2
    snn = bs.convert(qnn.eval(), x[:1], calibrate=batches("train"))
    net = bs.lower(snn, x[:1])
    middle = next(node for node in net.weighted if node.path == "conv2")
    assert set(middle.weight.codes.ravel().tolist()) <= set(levels)
    assert middle.weight.bits == len(levels) - 1
    assert bs.verify(net, x[:20]).equal
    with torch.no_grad():
        assert float((snn(x).argmax(1) == y).float().mean()) > 0.85
