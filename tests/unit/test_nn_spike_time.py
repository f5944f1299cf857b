"""The neuron that learns by spike times, the synapse after it, and dropout over time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.nn import LIF, SpikeTimeLIF, SteadyDropout, Synapse
from bitspike.ops.surrogate import Triangle

STEPS = 5


def brute_force(x: list[float], wanted: list[float], *, tau_m: float, tau_s: float, threshold: float) -> list[float]:
    """Return dL/dx of one neuron and its synapse, pair by pair of steps; ``wanted`` is dL/da after the synapse.

    A step t reaches a later step m along one path: the potential at t moves the one at t + 1, and so on to m, whose
    spike moves in time and with it the synapse's current at m and after.
    """
    u, d, v, o, a = 0.0, [], [], [], []
    for current in x:
        d.append(current - u / tau_m)
        v.append(u + d[-1])
        o.append(float(v[-1] > threshold))
        u = v[-1] * (1 - o[-1])
        a.append((1 - 1 / tau_s) * (a[-1] if a else 0.0) + o[-1] / tau_s)
    steps = range(len(x))
    arrives = [sum((1 - 1 / tau_s) ** (k - t) / tau_s * wanted[k] for k in steps if k >= t) for t in steps]
    rho = [min(1 / d[t], 8.0) if o[t] else 0.0 for t in steps]
    gradient = []
    for t in steps:
        if a[t] >= 1 / (4 * tau_s):
            paths = [
                math.prod(rho[j] * v[j] / tau_m + (1 - 1 / tau_m) * (1 - o[j]) for j in range(t, m))
                for m in steps
                if m >= t
            ]
            gradient.append(sum(path * rho[m] * arrives[m] for path, m in zip(paths, steps[t:], strict=True)))
        else:
            z = max(-8.0, min(8.0, (threshold - v[t]) / 0.2))
            gradient.append(math.exp(z) / (1 + math.exp(z)) ** 2 / 0.2 * arrives[t])
    return gradient


@pytest.mark.parametrize("steps", [1, 2, STEPS, 12])
@pytest.mark.parametrize(("tau_m", "tau_s", "threshold"), [(5.0, 3.0, 1.0), (2.0, 4.0, 0.5), (8.0, 1.0, 1.5)])
def test_cbp_check_07_the_backward_equals_brute_force_over_pairs_of_steps(
    steps: int, tau_m: float, tau_s: float, threshold: float
) -> None:
    generator = torch.Generator().manual_seed(steps)
    x = (torch.randn(steps, 40, generator=generator, dtype=torch.float64) + 0.5).requires_grad_()
    wanted = torch.randn(steps, 40, generator=generator, dtype=torch.float64)
    synapse_decay = 1 - 1 / tau_s
    net = nn.Sequential(SpikeTimeLIF(1 - 1 / tau_m, threshold, synapse_decay=synapse_decay), Synapse(synapse_decay))
    net(x).backward(wanted)
    assert x.grad is not None
    for n in range(40):
        expected = brute_force(x[:, n].tolist(), wanted[:, n].tolist(), tau_m=tau_m, tau_s=tau_s, threshold=threshold)
        assert x.grad[:, n].tolist() == pytest.approx(expected, abs=1e-5)
    # In single precision too, where training happens.
    single = x.detach().float().requires_grad_()
    net(single).backward(wanted.float())
    assert single.grad is not None
    same = (net[0](single) == net[0](x).float()).all(0)
    torch.testing.assert_close(single.grad[:, same], x.grad[:, same].float(), atol=1e-4, rtol=1e-4)


def test_cbp_check_07_a_neuron_without_spikes_gets_the_surrogate_alone() -> None:
    x = torch.linspace(-4, 0.19, 30).expand(STEPS, 30).clone().requires_grad_()
    net = nn.Sequential(SpikeTimeLIF(), Synapse())
    out = net(x)
    assert not out.any()
    wanted = torch.randn(STEPS, 30, generator=torch.Generator().manual_seed(0))
    out.backward(wanted)
    assert x.grad is not None
    seen: list[Tensor] = []
    net[0].scan(x.detach(), observe=lambda h, s: seen.append(h))
    arrives, carry = [], torch.zeros(30)
    for w in wanted.flip(0):
        carry = w / 3 + carry * 2 / 3
        arrives.append(carry)
    z = ((1 - torch.stack(seen)) / 0.2).clamp(-8, 8)
    surrogate = z.sigmoid() * (1 - z.sigmoid()) / 0.2
    torch.testing.assert_close(x.grad, surrogate * torch.stack(arrives[::-1]))


def test_a_sweep_worked_out_by_hand() -> None:
    # h = 0.75, 1.125: a spike at the second step. rho = 1 / (1.125 - 0.75); the first step is silent.
    x = torch.tensor([[0.75], [0.75], [0.75]], requires_grad=True)
    SpikeTimeLIF(decay=0.5)(x)[1].sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == pytest.approx([0.0, 1 / 0.375, 0.0])


def test_spikes_are_those_of_the_plain_neuron_with_and_without_a_gradient() -> None:
    x = torch.randn(7, 3, 4, generator=torch.Generator().manual_seed(0)) + 0.5
    plain = LIF(0.75, 1.0, reset="hard", fire="gt")(x)
    assert plain.any()
    assert torch.equal(SpikeTimeLIF(0.75)(x), plain)
    with torch.no_grad():
        assert torch.equal(SpikeTimeLIF(0.75)(x), plain)
    assert torch.equal(SpikeTimeLIF(0.75)(x.requires_grad_()), plain)


def test_a_first_potential_above_the_threshold_does_not_turn_a_gradient_round() -> None:
    x = torch.full((2, 1), -0.5, requires_grad=True)
    spikes = SpikeTimeLIF(0.5, initial=4.0)(x)
    assert spikes.flatten().tolist() == [1, 0]
    spikes[0].sum().backward()
    assert x.grad is not None
    assert x.grad[0].item() == 8.0  # the potential fell, so the steepest is taken


def test_half_precision_trains_with_a_potential_in_single() -> None:
    x = (torch.randn(STEPS, 50, generator=torch.Generator().manual_seed(0)) + 0.5).bfloat16().requires_grad_()
    out = nn.Sequential(SpikeTimeLIF(), Synapse())(x)
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.any()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"decay": 1.5}, r"decay=1.5(.|\n)*decay=0.8 for tau_m = 5"),
        ({"synapse_decay": 1.0}, r"synapse_decay=1.0: must lie in \[0, 1\)(.|\n)*2 / 3"),
        ({"steepest": 0.0}, r"steepest=0.0: must be finite and above 0(.|\n)*steepest=8.0"),
        ({"reach": -1.0}, r"reach=-1.0(.|\n)*reach=1.6"),
    ],
)
def test_wrong_numbers_say_what_is_allowed(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ConstraintError, match=said):
        SpikeTimeLIF(**wrong)


def test_the_surrogate_of_silent_neurons_can_be_another() -> None:
    x = torch.full((1, 1), 0.5, requires_grad=True)
    SpikeTimeLIF(surrogate=Triangle(width=1.0))(x).sum().backward()
    assert x.grad is not None
    assert x.grad.item() == 0.5


def test_a_synapse_is_the_sum_of_what_is_left_of_every_spike() -> None:
    x = torch.rand(STEPS, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left = torch.tensor([[0.75 ** (t - k) if k <= t else 0.0 for k in range(STEPS)] for t in range(STEPS)])
    expected = torch.einsum("tk,knc->tnc", left.double(), x) * 0.25
    torch.testing.assert_close(Synapse(0.75)(x), expected)
    torch.testing.assert_close(Synapse(0.75, gain=2.0)(x), expected * 8)
    assert torch.equal(Synapse(0.0)(x), x)
    assert Synapse()(torch.zeros(2, 0, 3)).shape == (2, 0, 3)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Synapse(1.5), r"decay=1.5(.|\n)*2 / 3 for tau = 3"),
        (lambda: Synapse(1.0), r"gain=0.0\): a spike adds a finite amount above 0(.|\n)*gain=1.0"),
        (lambda: Synapse()(torch.zeros(0, 3)), r"needed is \[T, N, ...\]"),
        (lambda: Synapse()(torch.ones(3, 2, dtype=torch.long)), r"got torch.int64: floating(.|\n)*x.float\(\)"),
        (lambda: Synapse()(torch.ones(3, 2, dtype=torch.bool)), r"got torch.bool: floating(.|\n)*x.float\(\)"),
        (lambda: SteadyDropout("0.5"), r"p='0.5'\): a number is needed"),
        (lambda: SteadyDropout(None), r"p=None\): a number is needed"),
        (lambda: SteadyDropout(1.0), r"p=1.0\): a probability in \[0, 1\)"),
    ],
)
def test_wrong_numbers_of_synapses_and_dropout_say_what_is_allowed(call, said: str) -> None:
    with pytest.raises(ConstraintError, match=said):
        call()


def test_dropout_over_time_leaves_out_the_same_at_all_steps_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    layer, x = SteadyDropout(0.2), torch.ones(4, 50, 40)
    out = layer(x)
    assert torch.equal(out, out[:1].expand_as(out))
    assert sorted(out.unique().tolist()) == [0.0, 1.25]
    assert abs(out.mean().item() - 1) < 0.05
    assert not torch.equal(out[0, 0], out[0, 1])
    assert layer.eval()(x) is x
    assert SteadyDropout(0.0)(x) is x
