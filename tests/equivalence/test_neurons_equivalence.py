"""Neurons against independent computations: scalar loops, hand-written backward passes, integers, quantized ReLUs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from bitspike.nn import IF, LIF, PLIF, Neuron, QuantReLU, RateReadout, Repeat, SignedIF, SumReadout, TimeDistributed
from bitspike.ops.surrogate import ArcTan, PiecewiseExponential, Rectangle, Sigmoid, Surrogate, Triangle

F64 = torch.float64


def slope(surrogate: Surrogate, x: float) -> float:
    """Return the derivative of a surrogate from its formula, in plain Python."""
    x -= surrogate.center
    match surrogate:
        case Rectangle(width=w):
            return 1 / w if abs(x) < w / 2 else 0.0
        case Triangle(width=w, height=height):
            return (1 / w if height is None else height) * max(0.0, 1 - abs(x) / w)
        case ArcTan(alpha=a):
            return a / 2 / (1 + (math.pi / 2 * a * x) ** 2)
        case Sigmoid(alpha=a):
            s = 1 / (1 + math.exp(-a * x))
            return a * s * (1 - s)
        case PiecewiseExponential(alpha=a):
            return a / 2 * math.exp(-a * abs(x))
    raise AssertionError(surrogate)


@dataclass
class Unrolled:
    """One neuron over T steps in plain Python numbers: forward, then backward through time by the chain rule."""

    neuron: Neuron
    decay: float = 1.0

    def forward(self, x: list[float]) -> list[float]:
        rule, self.x, self.h, self.v, self.s, self.retractable = self.neuron.rule, x, [], [], [], []
        theta = self.theta = float(self.neuron.threshold)
        signed = isinstance(self.neuron, SignedIF)
        v, emitted = (theta / 2 if signed else self.neuron.initial), 0.0
        gain = 1 - self.decay if rule.decay_input else 1.0
        for x_t in x:
            self.v.append(v)
            h = self.decay * (v + gain * x_t) if rule.leak == "after" else self.decay * v + gain * x_t
            s = float(h >= theta if rule.fire == "ge" else h > theta)
            self.retractable.append(signed and emitted > 0)
            if isinstance(self.neuron, SignedIF) and emitted > 0 and h <= -self.neuron.retract:
                s = -1.0
            emitted += s
            v = h - theta * s if rule.reset == "soft" else (rule.v_reset if s else h)
            self.h.append(h)
            self.s.append(s)
        return self.s

    def backward(self, grads: list[float]) -> tuple[list[float], float]:
        """Return the gradients of the currents, and of the decay."""
        rule, theta, decay = self.neuron.rule, self.theta, self.decay
        gain = 1 - decay if rule.decay_input else 1.0
        g_v, g_decay, g_x = 0.0, 0.0, [0.0] * len(grads)
        for t in reversed(range(len(grads))):
            h, s = self.h[t], self.s[t]
            g_s = grads[t]
            if not rule.detach_reset:
                g_s += g_v * (-theta if rule.reset == "soft" else rule.v_reset - h)
            ds_dh = slope(rule.surrogate, h - theta)
            if self.retractable[t]:
                assert isinstance(self.neuron, SignedIF)
                ds_dh += slope(rule.surrogate, -h - self.neuron.retract)
            g_h = g_s * ds_dh + g_v * (1.0 if rule.reset == "soft" else 1 - s)
            leaked = self.v[t] + gain * self.x[t] if rule.leak == "after" else self.v[t]
            g_decay += g_h * leaked
            g_in = g_h * decay if rule.leak == "after" else g_h
            if rule.decay_input:
                g_decay -= g_in * self.x[t]
            g_x[t] = g_in * gain
            g_v = g_h * decay
        return g_x, g_decay


def assert_same_as_unrolled(neuron: Neuron, decay: float = 1.0) -> float:
    """Compare spikes and gradients with the plain loop; return the gradient of the decay."""
    x = torch.randn(8, 5, dtype=F64) * 2 + 0.5
    factor = torch.randn(8, 5, dtype=F64)
    x.requires_grad_()
    spikes = neuron(x)
    (spikes * factor).sum().backward()
    assert x.grad is not None
    g_decay = 0.0
    for n in range(x.shape[1]):
        loop = Unrolled(neuron, decay)
        assert spikes[:, n].tolist() == loop.forward(x[:, n].tolist())
        g_x, g = loop.backward(factor[:, n].tolist())
        torch.testing.assert_close(x.grad[:, n], torch.tensor(g_x, dtype=F64), rtol=1e-10, atol=1e-12)
        g_decay += g
    assert spikes.any()
    return g_decay


RESETS = [{"reset": "soft"}, {"reset": "hard"}, {"reset": "hard", "v_reset": -0.3}]
SLOPES = [
    Rectangle(width=1.5),
    Rectangle(width=1.5, center=-0.8),
    Triangle(width=1.5, height=0.3),
    ArcTan(),
    Sigmoid(),
    PiecewiseExponential(),
]


@pytest.mark.parametrize("detach", [False, True], ids=["attached", "detached"])
@pytest.mark.parametrize("reset", RESETS, ids=["soft", "hard", "hard to -0.3"])
@pytest.mark.parametrize("surrogate", SLOPES, ids=repr)
def test_gradients_equal_an_unrolled_reference(surrogate: Surrogate, reset: dict[str, object], detach: bool) -> None:
    for fire, leak, decay_input in itertools.product(("ge", "gt"), ("before", "after"), (False, True)):
        neuron = LIF(
            0.6,
            0.8,
            surrogate=surrogate,
            fire=fire,  # type: ignore[arg-type]
            leak=leak,  # type: ignore[arg-type]
            decay_input=decay_input,
            detach_reset=detach,
            initial=0.2,
            **reset,  # type: ignore[arg-type]
        )
        assert_same_as_unrolled(neuron, neuron.decay)
    assert_same_as_unrolled(IF(0.8, surrogate=surrogate, detach_reset=detach, **reset))  # type: ignore[arg-type]
    assert_same_as_unrolled(SignedIF(0.8, surrogate=surrogate, detach_reset=detach))


@pytest.mark.parametrize("leak", ["before", "after"])
@pytest.mark.parametrize("decay_input", [False, True])
@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_the_learned_leak_has_the_gradient_of_the_chain_rule(leak: str, decay_input: bool, reset: str) -> None:
    neuron = PLIF(3.0, 0.7, leak=leak, decay_input=decay_input, reset=reset, detach_reset=False)  # type: ignore[arg-type]
    neuron.double()
    sigmoid = 1 / (1 + math.exp(-neuron.w.item()))
    g_decay = assert_same_as_unrolled(neuron, 1 - sigmoid)
    assert neuron.w.grad is not None
    assert neuron.w.grad.item() == pytest.approx(-g_decay * sigmoid * (1 - sigmoid), rel=1e-9)


def test_cbp_check_08_stbp_learns_only_near_the_threshold_and_restarts_after_a_spike() -> None:
    threshold, lens = 0.5, 0.5
    neuron = LIF(0.25, threshold, fire="gt", reset="hard", surrogate=Rectangle(width=2 * lens))
    x = torch.randn(8, 400, dtype=F64) * torch.logspace(-1, 1.5, 400, dtype=F64)
    x.requires_grad_()
    potentials: list[Tensor] = []
    spikes, _ = neuron.scan(x, observe=lambda h, s: potentials.append(h.detach()))
    u = torch.stack(potentials)
    RateReadout()(spikes).sum().backward()
    assert x.grad is not None

    learns = (x.grad != 0).any(0)
    near = ((u - threshold).abs() < lens).any(0)
    assert torch.equal(learns, near)
    assert near.any()
    assert not near.all()

    after_a_spike = spikes[:-1].bool()
    assert after_a_spike.any()
    assert torch.equal(u[1:][after_a_spike], x.detach()[1:][after_a_spike])


def quantized_relu(z: Tensor, theta: float, levels: int) -> Tensor:
    """Return the code, 0 to ``levels``, of a clipped ReLU of range theta: ties to even, as ANNs round."""
    return torch.round((z.relu() / theta).clamp(max=1) * levels)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("theta", [0.4, 1.0, 3.7])
@pytest.mark.parametrize("kind", ["unsigned", "signed"])
def test_qann_check_01_a_quantized_relu_is_an_if_neuron_with_a_constant_input(
    bits: int, theta: float, kind: str
) -> None:
    steps = 2**bits - 1
    z = torch.empty(20_000, dtype=F64).uniform_(-1.5 * theta, 3 * theta)
    tie = ((steps * z / theta) % 1 - 0.5).abs() < 1e-6
    z = z[~tie]
    neuron = SignedIF(theta) if kind == "signed" else IF(theta, initial=theta / 2)
    counts = SumReadout()(neuron(Repeat(steps)(z[None])))[0]
    assert torch.equal(counts, quantized_relu(z, theta, steps))
    assert counts.unique().numel() == steps + 1


def test_qann_check_04_a_network_of_one_quantized_layer_is_its_spiking_network() -> None:
    bits, theta = 3, 0.9
    steps = 2**bits - 1
    first, last = nn.Linear(20, 30, dtype=F64), nn.Linear(30, 10, dtype=F64)
    x = torch.randn(50, 20, dtype=F64)
    codes = quantized_relu(first(x), theta, steps)
    logits = nn.Sequential(first, QuantReLU(bits, theta).double(), last)(x)

    hidden = nn.Sequential(Repeat(steps), TimeDistributed(first), SignedIF(theta))
    assert torch.equal(SumReadout()(hidden(x)), codes)  # as counts, the time means are equal exactly

    with torch.no_grad():
        last.weight.mul_(theta)  # a spike is 1 here, and carries theta there
    snn = nn.Sequential(*hidden, TimeDistributed(last), RateReadout())
    torch.testing.assert_close(snn(x), logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("half", [False, True], ids=["from 0", "from half the threshold"])
def test_convert_check_04_constant_integer_current_gives_the_count_of_the_formula(half: bool) -> None:
    cases = 10_000
    generator = torch.Generator().manual_seed(4)
    for steps in (1, 2, 3, 7, 16, 31, 64):
        theta = 2 * torch.randint(1, 500, (cases,), generator=generator)
        current = (torch.rand(cases, generator=generator) * 6 * theta - 3 * theta).round().long()
        v0 = theta // 2 if half else torch.zeros_like(theta)
        expected = ((steps * current + v0) // theta).clamp(0, steps)  # // rounds down, below zero too
        neuron = IF(theta.double())
        x = Repeat(steps)(current.double()[None])
        spikes, left = neuron.scan(x, v0.double()[None])
        assert torch.equal(spikes.sum(0)[0].long(), expected)
        assert isinstance(left, Tensor)
        assert torch.equal(left[0].long(), v0 + steps * current - theta * expected)


@pytest.mark.parametrize("leak", ["before", "after"])
@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("fire", ["ge", "gt"])
def test_a_membrane_with_a_resolution_is_integer_arithmetic(leak: str, reset: str, fire: str) -> None:
    fires: Callable[[Tensor, int], Tensor] = torch.ge if fire == "ge" else torch.gt
    fraction_bits = 5
    for numerator, shift in ((1, 1), (3, 2), (15, 4), (29, 5), (0, 0), (1, 0)):
        x = torch.randint(-60, 60, (30, 200))
        theta, after = 37, -9
        neuron = LIF(
            numerator / 2**shift,
            theta / 2**fraction_bits,
            leak=leak,  # type: ignore[arg-type]
            reset=reset,  # type: ignore[arg-type]
            fire=fire,  # type: ignore[arg-type]
            v_reset=after / 2**fraction_bits if reset == "hard" else 0.0,
            resolution=2**-fraction_bits,
        )
        spikes, left = neuron.scan(x / 2**fraction_bits)
        v = torch.zeros(200, dtype=torch.int64)
        for x_t, s_t in zip(x, spikes, strict=True):
            v = ((v + x_t) * numerator) >> shift if leak == "after" else ((v * numerator) >> shift) + x_t
            s = fires(v, theta).long()
            assert torch.equal(s_t.long(), s)
            v = v - theta * s if reset == "soft" else torch.where(s.bool(), after, v)
        assert isinstance(left, Tensor)
        assert torch.equal(left, v / 2**fraction_bits)


def test_double_precision_equals_plain_python() -> None:
    """Python's floats are doubles: not one spike nor one bit of a potential may differ."""
    x = torch.randn(40, 30, dtype=F64) * 0.4
    spikes, left = LIF(0.9, 0.7).scan(x)
    assert isinstance(left, Tensor)
    for n in range(30):
        v = 0.0
        for x_t, s_t in zip(x[:, n].tolist(), spikes[:, n].tolist(), strict=True):
            h = 0.9 * v + x_t
            assert s_t == float(h >= 0.7)
            v = h - 0.7 * s_t
        assert left[n].item() == v


def test_a_static_image_through_a_whole_network_equals_its_copies() -> None:
    net = nn.Sequential(
        TimeDistributed(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.3)),
        LIF(0.5, 0.3),
        TimeDistributed(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 5)),
        RateReadout(),
    )
    x = torch.randn(6, 1, 8, 8)
    for training in (True, False):
        net.train(training)
        start = {name: value.clone() for name, value in net.state_dict().items()}
        results = []
        for repeated in (Repeat(4)(x), Repeat(4)(x).contiguous()):
            net.load_state_dict(start)
            torch.manual_seed(3)
            y = net(repeated)
            (grad,) = torch.autograd.grad(y.square().sum(), [net[0][0].weight])
            results.append((y.detach(), grad, {k: v.clone() for k, v in net.state_dict().items()}))
        torch.testing.assert_close(*results, atol=1e-5, rtol=1e-4)
