"""Two ways to the same spikes: a float network in torch, and the integers that are lowered from it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bitspike.errors import LoweringError
from bitspike.integer.codes import encode
from bitspike.integer.engine import Engine, Method, TorchEngine
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Convolution, Neuron
from bitspike.integer.simulate import simulate
from bitspike.integer.verify import verify
from bitspike.lowering.agreement import compare
from bitspike.lowering.fit_neuron import Precision
from bitspike.lowering.lower import lower
from bitspike.models import resnet20, vgg9, vgg11
from bitspike.nn import (
    IF,
    LIF,
    PLIF,
    BernoulliCoder,
    RateCoder,
    RateReadout,
    Repeat,
    ShiftBatchNorm,
    SignedIF,
    SumReadout,
    ThresholdBatchNorm,
    TimeDistributed,
)
from bitspike.nn import Neuron as Spiking
from bitspike.ops.grids import Grid
from bitspike.weights import Binary, Dyadic, FixedPoint, Lognormal, Max, MeanAbs, Ternary, Uniform, attach, codes

PIXELS = Grid(1 / 16, 0, 16)  # images of 17 gray levels that floats hold exactly
TD = TimeDistributed
THREE_BITS = Uniform(bits=3, scale=Dyadic(Max()))
Make = Callable[[], nn.Module]
MakeNorm = Callable[[int], nn.Module]


def images(samples: int = 3, channels: int = 2, side: int = 6, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 17, (samples, channels, side, side), generator=generator) / 16


def settle(model: nn.Module, x: Tensor) -> nn.Module:
    """Give batch norms real statistics, in half of the channels a negative or zero gain too, and stop training."""
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(x)
        for m in model.modules():
            if isinstance(m, nn.BatchNorm2d | ThresholdBatchNorm):
                m.weight.copy_(torch.randn_like(m.weight))
                m.weight[0] = 0.0
                m.bias.copy_(torch.randn_like(m.bias) * 0.3)
            if isinstance(m, ShiftBatchNorm):
                m.bias.copy_(torch.randn_like(m.bias) * 0.3)
    return model.eval()


def agreement(model: nn.Module, net: IntegerNetwork, x: Tensor) -> float:
    labels = torch.zeros(len(x), dtype=torch.int64)
    found = compare(model, net, [(x[:2], labels[:2]), (x[2:], labels[2:])])
    assert found.samples == len(x)
    return found.spikes


def assert_same(model: nn.Module, net: IntegerNetwork, x: Tensor) -> None:
    """No note, every spike equal, every output equal, and torch and NumPy agree on the integers.

    A bound on potentials is of all inputs, so what these inputs do in float32 is exact beyond it too.
    """
    assert [note for note in net.notes if "float32 holds whole numbers up to 2**24" not in note] == []
    found = compare(model, net, [(x, torch.zeros(len(x), dtype=torch.int64))])
    assert found.spikes == 1.0
    assert found.predictions == 1.0
    assert found.accuracy_difference == 0
    assert verify(net, x).equal


# ---- networks whose weights, norms and leaks lie on a grid --------------------------------------------------------


def dyadic_net(neuron: Make, *, steps: int = 4, norm: MakeNorm = ShiftBatchNorm) -> nn.Module:
    return nn.Sequential(
        Repeat(steps),
        TD(nn.Conv2d(2, 4, 3, padding=1, bias=False), norm(4)),
        neuron(),
        TD(nn.AvgPool2d(2), nn.Conv2d(4, 6, 3, bias=False), norm(6)),
        neuron(),
        TD(nn.Flatten(), nn.Linear(6, 5)),
        RateReadout(),
    )


def one_layer(coder: nn.Module, neuron: nn.Module) -> nn.Module:
    head = TD(nn.Flatten(), nn.Linear(48, 2, bias=False))
    model = nn.Sequential(coder, TD(nn.Conv2d(2, 3, 3, bias=False)), neuron, head, RateReadout())
    return attach(model, quantize=THREE_BITS).eval()


SCHEMES = [
    Uniform(bits=2, scale=Dyadic(Max())),
    Uniform(bits=4, scale=Dyadic(Max()), per_channel=True),
    Uniform(bits=8, scale=Dyadic(Max())),
    Ternary(scale=Dyadic(MeanAbs())),
    Binary(scale=Dyadic(MeanAbs())),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_a_network_trained_on_a_grid_lowers_without_any_difference(scheme) -> None:
    x = images(5)
    model = attach(dyadic_net(LIF), quantize=scheme, bias=FixedPoint(2**-6))
    net = lower(settle(model, x), x[:1], grid=PIXELS)
    assert_same(model, net, x)


NEURONS: dict[str, Make] = {
    "if": lambda: IF(threshold=0.5),
    "if gt, hard": lambda: IF(threshold=0.5, fire="gt", reset="hard"),
    "if, start at half": lambda: IF(threshold=0.5, initial=0.25),
    "1/2": lambda: LIF(0.5),
    "1/4, hard, gt": lambda: LIF(0.25, 0.375, reset="hard", fire="gt"),
    "3/4": lambda: LIF(0.75),
    "1/2, after": lambda: LIF(0.5, leak="after"),
    "1/2, start": lambda: LIF(0.5, initial=0.5),
    "1/2, input too": lambda: LIF(0.5, 0.25, decay_input=True),
    "1/2, v_reset": lambda: LIF(0.5, reset="hard", v_reset=-0.25),
    "15/16 on a grid": lambda: LIF(15 / 16, resolution=2**-12),
    "3/4 on a grid, after": lambda: LIF(0.75, leak="after", resolution=2**-10),
    "signed": lambda: SignedIF(0.5, retract=2**-10),
    "signed, at zero": lambda: SignedIF(0.5, retract=0.0),
}


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_every_neuron_with_dyadic_numbers_lowers_without_any_difference(name: str, steps: int) -> None:
    x = images(4)
    model = attach(
        dyadic_net(NEURONS[name], steps=steps), quantize=Uniform(bits=3, scale=Dyadic(Max())), bias=FixedPoint(2**-4)
    )
    settle(model, x)
    assert_same(model, lower(model, x[:1], grid=PIXELS), x)


@pytest.mark.parametrize("decay", [0.5, 0.25, 0.75, 15 / 16])
def test_a_long_run_needs_a_resolution_to_stay_exact(decay: float) -> None:
    x, steps = images(3), 24
    exact = attach(
        dyadic_net(lambda: LIF(decay, resolution=2**-12), steps=steps), quantize=Uniform(bits=3, scale=Dyadic(Max()))
    )
    assert_same_but_bias(exact, x)
    free = attach(dyadic_net(lambda: LIF(decay), steps=steps), quantize=Uniform(bits=3, scale=Dyadic(Max())))
    net = lower(settle(free, x), x[:1], grid=PIXELS)
    assert any("rounded within" in note for note in net.notes)
    assert agreement(free, net, x) >= 0.999


def assert_same_but_bias(model: nn.Module, x: Tensor) -> None:
    """Take the last bias, which is a float, off the network, and compare."""
    with torch.no_grad():
        model[5][1].bias.zero_()  # type: ignore[index, union-attr]
    assert_same(model, lower(settle(model, x), x[:1], grid=PIXELS), x)


def test_a_bias_finer_than_the_leak_can_carry_is_noted_and_not_called_exact() -> None:
    # One count is 1/16 * 1/2; a bias of 3/64 needs one bit below it, and each of two leaks one more.
    model = nn.Sequential(Repeat(3), TD(nn.Linear(1, 1)), LIF(0.5, 1.0), RateReadout())
    with torch.no_grad():
        model[1][0].weight.fill_(0.5)  # type: ignore[index, union-attr, operator]
        model[1][0].bias.fill_(3 / 64)  # type: ignore[index, union-attr, operator]
    attach(model, quantize=Uniform(bits=2, scale=Dyadic(Max())))
    x = torch.arange(17)[:, None] / 16
    net = lower(model, x, grid=PIXELS)
    (neuron,) = net.neurons
    assert net.notes == ()
    assert neuron.fraction_bits == 1 + 2
    short = lower(model, x, grid=PIXELS, precision=Precision(fraction_bits=2))
    assert any("rounded within" in note for note in short.notes)


class Residual(nn.Module):
    """A block with a shortcut; ``down`` puts a convolution of its own scale into it."""

    def __init__(self, channels: int, norm: MakeNorm, neuron: Make, *, down: bool) -> None:
        super().__init__()
        self.first = TD(nn.Conv2d(channels, channels, 3, padding=1, bias=False), norm(channels))
        self.spike1 = neuron()
        self.second = TD(nn.Conv2d(channels, channels, 3, padding=1, bias=False), norm(channels))
        self.short = TD(nn.Conv2d(channels, channels, 1, bias=False), norm(channels)) if down else nn.Identity()
        self.spike2 = neuron()

    def forward(self, x: Tensor) -> Tensor:
        return self.spike2(self.second(self.spike1(self.first(x))) + self.short(x))


def residual_net(norm: MakeNorm, neuron: Make, steps: int = 4) -> nn.Module:
    return nn.Sequential(
        Repeat(steps),
        TD(nn.Conv2d(2, 4, 3, padding=1, bias=False), norm(4)),
        neuron(),
        Residual(4, norm, neuron, down=False),
        Residual(4, norm, neuron, down=True),
        TD(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5, bias=False)),
        SumReadout(),
    )


def test_residual_sums_on_a_grid_lower_without_any_difference() -> None:
    x = images(4)
    model = attach(residual_net(ShiftBatchNorm, LIF), quantize=Uniform(bits=4, scale=Dyadic(Max())))
    assert_same(model, lower(settle(model, x), x[:1], grid=PIXELS), x)


def test_spikes_that_are_added_and_read_by_a_layer_lower_without_any_difference() -> None:
    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.repeat, self.a, self.b = Repeat(3), TD(nn.Conv2d(2, 3, 1)), TD(nn.Conv2d(2, 3, 1))
            self.fire_a, self.fire_b, self.fire_c = LIF(), IF(0.25), LIF()
            self.after, self.head, self.out = TD(nn.Conv2d(3, 4, 2)), TD(nn.Flatten(), nn.Linear(100, 5)), RateReadout()

        def forward(self, x: Tensor) -> Tensor:
            x = self.repeat(x)
            s = torch.add(self.fire_a(self.a(x)), self.fire_b(self.b(x)))
            return self.out(self.head(self.fire_c(self.after(s))))

    x = images(3)
    model = attach(Added(), quantize=Uniform(bits=4, scale=Dyadic(Max())), bias=FixedPoint(2**-5)).eval()
    net = lower(model, x[:1], grid=PIXELS)
    assert [type(n).__name__ for n in net.nodes].count("Add") == 1
    assert_same(model, net, x)


def random_graph(random: np.random.Generator) -> tuple[nn.Module, Tensor]:
    """Return a small dyadic network with a random shape, and inputs for it."""
    steps, channels, side = int(random.integers(1, 6)), int(random.integers(1, 4)), int(random.integers(4, 8))
    quantize = SCHEMES[int(random.integers(len(SCHEMES)))]

    def neuron() -> nn.Module:
        return list(NEURONS.values())[int(random.integers(len(NEURONS)))]()

    layers: list[nn.Module] = [Repeat(steps)]
    width = channels
    for _ in range(int(random.integers(1, 3))):
        out = int(random.integers(1, 5))
        inner: list[nn.Module] = [
            nn.Conv2d(width, out, int(random.choice([1, 3])), padding=1, bias=bool(random.random() < 0.5))
        ]
        if random.random() < 0.6:
            inner.append(ShiftBatchNorm(out, grid=2**-4))
        pool = random.choice(["none", "average", "largest"])
        if pool != "none":
            inner.append(nn.AvgPool2d(2) if pool == "average" else nn.MaxPool2d(2))
        layers += [TD(*inner), neuron()]
        width = out
        if random.random() < 0.3:
            layers.append(
                Residual(width, lambda c: ShiftBatchNorm(c, grid=2**-4), neuron, down=bool(random.random() < 0.5))
            )
    layers += [TD(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3)), RateReadout()]
    model = attach(nn.Sequential(*layers), quantize=quantize)
    if any(isinstance(m, nn.Linear | nn.Conv2d) and m.bias is not None for m in model.modules()):
        attach(model, bias=FixedPoint(2**-5))
    x = images(3, channels, side, seed=int(random.integers(1000)))
    return settle(model, x), x


@pytest.mark.parametrize("block", range(4))
def test_random_dyadic_graphs_agree_in_every_spike(block: int) -> None:
    for seed in range(block * 50, block * 50 + 50):
        model, x = random_graph(np.random.default_rng(seed))
        net = lower(model, x[:1], grid=PIXELS)
        assert agreement(model, net, x) == 1.0, (seed, net.notes)
        certificate = verify(net, x)
        assert certificate.equal, (seed, str(certificate))


# ---- networks of floats --------------------------------------------------------------------------------------------


def float_net(norm: MakeNorm, neuron: Make, *, bias: bool = True) -> nn.Module:
    return nn.Sequential(
        Repeat(4),
        TD(nn.Conv2d(2, 8, 3, padding=1, bias=bias), norm(8), nn.MaxPool2d(2)),
        neuron(),
        TD(nn.Conv2d(8, 8, 3, padding=1, bias=bias, groups=2), nn.Dropout(0.5), norm(8), nn.AvgPool2d(3)),
        neuron(),
        nn.Dropout(0.2),
        TD(nn.Flatten(), nn.Linear(8, 5)),
        RateReadout(),
    )


FLOAT_NEURONS: dict[str, Make] = {
    "lif": LIF,
    "decay 0.3": lambda: LIF(0.3, 0.7, reset="hard"),
    "plif": lambda: PLIF(2.3),
    "threshold 0.4, gt": lambda: LIF(0.25, 0.4, reset="hard", fire="gt"),
    "if": lambda: IF(0.6),
    "signed": lambda: SignedIF(0.6),
}


@pytest.mark.parametrize("name", FLOAT_NEURONS)
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, ThresholdBatchNorm])
def test_float_networks_agree_in_nearly_every_spike(name: str, norm: MakeNorm) -> None:
    x = images(48)
    model = settle(float_net(norm, FLOAT_NEURONS[name]), x)
    net = lower(model, x[:1], grid=PIXELS)
    assert agreement(model, net, x) >= 0.999
    assert verify(net, x[:3]).equal
    assert {note.split(":")[0] for note in net.notes} == {"1.0", "2", "3.0", "4", "6.1", "7"}


@pytest.mark.parametrize("scheme", [None, Uniform(bits=4, per_channel=True), Uniform(bits=2)], ids=repr)
def test_residual_branches_of_different_scales_agree(scheme) -> None:
    x = images(32)
    model = residual_net(nn.BatchNorm2d, LIF)
    model = settle(model if scheme is None else attach(model, quantize=scheme), x)
    net = lower(model, x[:1], grid=PIXELS)
    assert agreement(model, net, x) >= 0.999
    assert verify(net, x[:3]).equal


def test_a_tighter_tolerance_agrees_more() -> None:
    x = images(64)
    model = settle(residual_net(nn.BatchNorm2d, lambda: LIF(0.3, 0.7)), x)
    shares = []
    for tolerance, bits in ((0.25, 4), (2**-6, 8), (2**-14, 16)):
        precision = Precision(tolerance=tolerance, float_bits=bits, leak_bits=bits)
        shares.append(agreement(model, lower(model, x[:1], grid=PIXELS, precision=precision), x))
    assert shares == sorted(shares)
    assert shares[0] < 0.999 < shares[-1]


def test_notes_name_the_layer_and_what_became_of_its_numbers() -> None:
    model = nn.Sequential(
        Repeat(2), TD(nn.Linear(4, 3)), LIF(0.3), TD(nn.Linear(3, 2, bias=False)), RateReadout()
    ).eval()
    notes = lower(model, torch.zeros(1, 4)).notes
    assert "2: decay 0.3 became 77/2**8" in notes
    assert "1.0: weights without a scheme became codes of 16 bits" in notes
    assert any(note.startswith("2: rounded within ") and note.endswith("fraction bits") for note in notes)
    assert any(note.startswith("4: rounded within ") for note in notes)


def test_device_variation_is_left_out_and_noted() -> None:
    model = nn.Sequential(Repeat(2), TD(nn.Linear(4, 3, bias=False)), LIF(), RateReadout()).eval()
    attach(model, quantize=Uniform(bits=2, scale=Dyadic(Max())), vary=Lognormal(sigma=0.1))
    assert lower(model, torch.zeros(1, 4)).notes == ("1.0: the variation of its devices was left out",)


# ---- laws -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fire", ["ge", "gt"])
@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_a_threshold_of_a_hard_reset_needs_no_rounding(fire: str, decay: float) -> None:
    """A threshold between two counts is rounded up for >= and down for >, and no spike moves."""
    x = images(16)
    for threshold in (0.1, 0.3137, 1 / 3, 0.7, 1.234567):
        neuron = LIF(decay, threshold, reset="hard", fire=fire)  # type: ignore[arg-type]
        model = one_layer(Repeat(4), neuron)
        net = lower(model, x[:1], grid=PIXELS)
        assert_same(model, net, x)
        (node,) = net.neurons
        exact = threshold / float(node.unit[0])
        assert int(node.threshold[0, 0]) == (np.ceil(exact) if fire == "ge" else np.floor(exact))


def test_negative_gains_are_folded_into_codes() -> None:
    x = images(16)
    model = nn.Sequential(
        Repeat(3), TD(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6)), LIF(), TD(nn.Flatten(), nn.Linear(96, 2)), RateReadout()
    )
    attach(model, quantize=Uniform(bits=4))
    settle(model, x)
    net = lower(model, x[:1], grid=PIXELS)
    gamma = model[1][1].weight.detach().numpy()  # type: ignore[index, union-attr, operator]
    assert (gamma < 0).any()
    assert (gamma > 0).any()
    (neuron,) = net.neurons
    assert (neuron.gains[0] >= 0).all()
    layer = net.weighted[0]
    codes = model[1][0].weight.detach().numpy()  # type: ignore[index, union-attr, operator]
    flipped = np.sign(codes) != np.sign(layer.weight.codes)
    assert flipped[gamma < 0].any()
    assert not flipped[gamma > 0].any()
    assert agreement(model, net, x) >= 0.999


def test_a_channel_that_training_has_switched_off_stays_harmless() -> None:
    """Weight decay drives gammas to 1e-30 and less; as a unit such a number would overflow every threshold."""
    x = images(16)
    model = settle(float_net(nn.BatchNorm2d, LIF), x)
    with torch.no_grad():
        for norm in (model[1][1], model[3][2]):  # type: ignore[index]
            norm.weight[:3] = torch.tensor([1e-30, -1e-38, 0.0])
            norm.bias[:3] = torch.tensor([0.6, -0.2, 1.5])
    net = lower(model, x[:1], grid=PIXELS)
    assert agreement(model, net, x) >= 0.999
    assert verify(net, x[:2]).equal
    assert any("switched off" in note for note in net.notes)


def test_a_channel_whose_norm_divides_by_nearly_nothing_is_held_or_refused() -> None:
    x = images(4)
    model = settle(float_net(nn.BatchNorm2d, LIF), x)
    with torch.no_grad():
        model[1][1].running_var.fill_(0.0)  # type: ignore[index, union-attr, operator]
    assert agreement(model, lower(model, x[:1], grid=PIXELS), x) >= 0.99


def test_the_largest_of_a_window_commutes_with_a_norm_of_any_sign() -> None:
    x = images(32)
    model = nn.Sequential(
        Repeat(2), TD(nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.MaxPool2d(2)), LIF(),
        TD(nn.Flatten(), nn.Linear(54, 2)), RateReadout(),
    )  # fmt: skip
    settle(model, x)
    assert agreement(model, lower(model, x[:1], grid=PIXELS), x) >= 0.999


@pytest.mark.parametrize("before", ["norm", "neuron"])
def test_a_padded_maximum_sees_no_place_outside_the_image(before: str) -> None:
    x = images(6)
    first = TD(nn.Conv2d(2, 4, 3, padding=1, bias=False), ShiftBatchNorm(4))
    layers = (
        [first, TD(nn.MaxPool2d(3, 2, 1)), LIF()] if before == "norm" else [first, LIF(), TD(nn.MaxPool2d(3, 2, 1))]
    )
    model = nn.Sequential(Repeat(4), *layers, TD(nn.Flatten(), nn.Linear(36, 5, bias=False)), RateReadout())
    settle(attach(model, quantize=THREE_BITS), x)
    with torch.no_grad():
        model[1][1].bias.sub_(0.5)  # sums of both signs: outside is less than all of them, not 0
    net = lower(model, x[:1], grid=PIXELS)
    assert_same(model, net, x)
    codes, readout = encode(net, x), net.outputs[0].id
    wanted = simulate(net, codes).outputs[readout]
    for method in Method:
        assert np.array_equal(Engine(net, method=method).predict(codes)[readout], wanted), method


# ---- shapes, calls, encoders ----------------------------------------------------------------------------------------


class Twice(nn.Module):
    """One layer and one neuron that are used twice, and two read-outs."""

    def __init__(self) -> None:
        super().__init__()
        self.repeat, self.mix, self.fire = Repeat(3), TD(nn.Linear(4, 4, bias=False)), LIF()
        self.head, self.scores, self.counts = TD(nn.Linear(4, 2, bias=False)), RateReadout(), SumReadout()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        s = self.fire(self.mix(self.fire(self.mix(self.repeat(x)))))
        return self.scores(self.head(s)), self.counts(s)


def test_a_module_used_twice_and_several_read_outs() -> None:
    model = attach(Twice(), quantize=Uniform(bits=4, scale=Dyadic(Max()))).eval()
    x = torch.randint(0, 17, (5, 4)) / 16
    net = lower(model, x[:1], grid=PIXELS)
    assert [(n.path, n.call) for n in net.neurons] == [("fire", 0), ("fire", 1)]
    assert [(n.path, n.call) for n in net.weighted] == [("mix.0", 0), ("mix.0", 1), ("head.0", 0)]
    assert len({n.id for n in net.nodes}) == len(net.nodes)
    from bitspike.integer.codes import encode
    from bitspike.integer.simulate import simulate
    from bitspike.integer.values import decode

    trace = simulate(net, encode(net, x))
    for output, expected in zip(net.outputs, model(x), strict=True):
        assert np.array_equal(decode(output, trace.outputs[output.id]), expected.detach().double().numpy())
    assert verify(net, x).equal
    with pytest.raises(ValueError, match="2 read-outs; class scores come from one"):
        compare(model, net, [])


def test_events_without_an_encoder_have_their_own_time() -> None:
    model = one_layer(nn.Identity(), LIF())
    events = torch.randint(0, 3, (4, 5, 2, 6, 6)).float()  # [T, N, ...] counts
    net = lower(model, events[:, :1], grid=Grid(1.0, 0, 2))
    assert (net.steps, net.input.constant, net.input.coding) == (4, False, "direct")
    found = compare(model, net, [(events, torch.zeros(5, dtype=torch.int64))])
    assert (found.spikes, found.predictions) == (1.0, 1.0)
    assert verify(net, events, batch_size=2).samples == 5


def test_a_batch_whose_potentials_would_not_fit_into_memory_is_compared_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = one_layer(nn.Identity(), LIF())
    events = torch.randint(0, 3, (4, 5, 2, 6, 6)).float()
    net, labels = lower(model, events[:, :1], grid=Grid(1.0, 0, 2)), torch.arange(5) % 2
    shifted = copy.deepcopy(model)  # another network, so that some spikes differ
    with torch.no_grad():
        for p in shifted.parameters():
            p.add_(0.1)
    whole = compare(shifted, net, [(events, labels)])
    assert 0 < whole.spikes < 1
    sizes, run = [], TorchEngine.run
    monkeypatch.setattr(TorchEngine, "run", lambda own, codes: sizes.append(codes.shape[1]) or run(own, codes))
    monkeypatch.setattr("bitspike.integer.verify._MEMORY", 9 * net.steps * 2 * 36 * 2)
    assert compare(shifted, net, [(events, labels)]) == whole
    assert max(sizes) < 5
    assert sum(sizes) == 5


@pytest.mark.parametrize(("coder", "coding"), [(BernoulliCoder(4, divisor=2.0), "bernoulli"), (RateCoder(4), "rate")])
def test_spike_coders_stay_with_the_host(coder: nn.Module, coding: str) -> None:
    model = one_layer(coder, LIF())
    x = images(5) - (0.5 if coding == "bernoulli" else 0.0)
    net = lower(model, x[:1])
    assert (net.input.coding, net.input.constant) == (coding, False)
    assert (net.input_grid.low, net.input_grid.high) == ((-1, 1) if coding == "bernoulli" else (0, 1))
    assert_same(model, net, x)


def test_a_coders_own_generator_comes_back_after_a_comparison() -> None:
    generator = torch.Generator()
    coder = BernoulliCoder(2, generator=generator)
    model = nn.Sequential(coder, TD(nn.Linear(3, 2)), RateReadout()).eval()
    compare(model, lower(model, torch.zeros(1, 3)), [(torch.ones(2, 3), torch.zeros(2))])
    assert coder.generator is generator


def test_nested_layers_and_layers_before_the_encoder() -> None:
    x = images(4)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), Repeat(3), LIF(),
        TD(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.Identity())), nn.AvgPool2d(2)), LIF(),
        nn.Flatten(2), TD(nn.Linear(4, 2)), RateReadout(),
    )  # fmt: skip
    settle(model, x)
    net = lower(model, x[:1], grid=PIXELS)
    assert net.weighted[1].path == "4.0.0"
    assert agreement(model, net, x) >= 0.99
    assert verify(net, x).equal


@pytest.mark.parametrize("dims", [1, 3])
def test_convolutions_of_one_and_three_axes(dims: int) -> None:
    kinds = (nn.Conv1d, nn.AvgPool1d, nn.BatchNorm1d) if dims == 1 else (nn.Conv3d, nn.AvgPool3d, nn.BatchNorm3d)
    conv, pool, norm = kinds
    x = torch.randint(0, 17, (6, 2, *[6] * dims)) / 16
    model = nn.Sequential(
        Repeat(3), TD(conv(2, 4, 3, padding="same", groups=2), norm(4), pool(2)), LIF(),
        TD(nn.Flatten(), nn.Linear(4 * 3**dims, 3)), RateReadout(),
    )  # fmt: skip
    settle(model, x)
    net = lower(model, x[:1], grid=PIXELS)
    assert agreement(model, net, x) >= 0.999
    assert verify(net, x).equal


def test_thresholds_by_channel() -> None:
    x = images(8)
    threshold = torch.tensor([0.25, 0.5, 1.0])
    model = one_layer(Repeat(3), IF(threshold))
    net = lower(model, x[:1], grid=PIXELS)
    assert len(set(net.neurons[0].threshold[0].tolist())) == 3
    assert_same(model, net, x)


def test_the_default_grid_is_that_of_8_bit_images() -> None:
    layer, neuron = TD(nn.Flatten(), nn.Linear(4, 2, bias=False)), IF(0.3, reset="hard")
    model = attach(nn.Sequential(Repeat(2), layer, neuron, RateReadout()), quantize=Ternary()).eval()
    net = lower(model, torch.zeros(1, 1, 2, 2))
    assert net.input_grid == Grid(1 / 255, 0, 255)
    assert verify(net, torch.randint(0, 256, (9, 1, 2, 2)) / 255).equal


def test_convert_check_11_a_small_vgg_proves_itself_and_finds_a_flipped_code(tmp_path) -> None:
    from safetensors.numpy import load_file

    from bitspike.integer.saved.folder import save, tensor_bytes

    model = attach(vgg9(steps=2, num_classes=10, width=1 / 16), quantize=Uniform(bits=4))
    x = torch.randint(0, 256, (4, 3, 32, 32)) / 255
    settle(model, x)
    net = lower(model, x[:1])
    assert verify(net, x).equal
    folder = save(net, tmp_path / "network")
    assert verify(folder).equal
    tensors = load_file(folder / "weights.safetensors")
    name = f"{net.weighted[2].id}.weight"
    codes = tensors[name] = tensors[name].copy()
    codes.reshape(-1)[17] = -codes.reshape(-1)[17] if codes.reshape(-1)[17] else 3
    (folder / "weights.safetensors").write_bytes(tensor_bytes(tensors))
    certificate = verify(folder)
    assert not certificate.equal
    assert certificate.first_difference is not None
    assert certificate.first_difference.layer


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_convert_check_10_codes_lie_in_their_range_and_are_the_weights(bits: int) -> None:
    model = nn.Sequential(Repeat(2), TD(nn.Linear(16, 8, bias=False)), LIF(), RateReadout()).eval()
    attach(model, quantize=Uniform(bits=bits))
    (layer,) = lower(model, torch.zeros(1, 16)).weighted
    codes = layer.weight.codes
    largest = max(1, 2 ** (bits - 1) - 1)
    assert (layer.weight.bits, layer.weight.low, layer.weight.high) == (bits, -largest, largest)
    assert np.abs(codes).max() <= largest
    assert bits > 1 or set(np.unique(codes)) == {-1, 1}
    weight = model[1][0].weight.detach().numpy()  # type: ignore[index, union-attr, operator]
    assert np.array_equal((codes * layer.weight.step).astype(np.float32), weight)


def test_lowering_changes_nothing_in_the_model() -> None:
    x = images(4)
    model = settle(attach(float_net(nn.BatchNorm2d, LIF), quantize=Uniform(bits=4)), x).train()
    model[1][1].eval()  # type: ignore[index, union-attr, operator]  # a frozen norm in a network that trains
    flags = [m.training for m in model.modules()]
    state = copy.deepcopy(model.state_dict())
    net = lower(model, x[:1], grid=PIXELS)
    compare(model, net, [(x, torch.zeros(4))])
    assert [m.training for m in model.modules()] == flags
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_a_refusal_changes_nothing_in_the_model_either() -> None:
    model = nn.Sequential(Repeat(2), TD(nn.Linear(4, 2)), LIF()).train()
    with pytest.raises(LoweringError):
        lower(model, torch.zeros(1, 4))
    assert all(m.training for m in model.modules())


def test_convolution_nodes_keep_stride_dilation_and_groups() -> None:
    x = images(3, 4, 9)
    layer = nn.Conv2d(4, 6, 3, stride=2, dilation=2, padding=(2, 1), groups=2)
    model = nn.Sequential(Repeat(2), TD(layer), IF(0.5), TD(nn.Flatten(), nn.LazyLinear(2)), RateReadout())
    model(x)
    net = lower(model.eval(), x[:1], grid=PIXELS)
    node = net.weighted[0]
    assert isinstance(node, Convolution)
    assert (node.stride, node.dilation, node.padding, node.groups) == ((2, 2), (2, 2), (2, 1), 2)
    assert isinstance(net.neurons[0], Neuron)
    assert agreement(model, net, x) >= 0.99


def test_numbers_that_are_not_whole_are_never_called_exact() -> None:
    """With 16-bit codes and 20 fraction bits everything is nearly whole; the tolerance decides, not that."""
    for seed in range(20):
        torch.manual_seed(seed)
        model = nn.Sequential(Repeat(2), TD(nn.Linear(9, 4), nn.BatchNorm1d(4)), IF(0.6), RateReadout())
        settle_1d(model, torch.rand(8, 9))
        net = lower(model, torch.zeros(1, 9))
        assert net.neurons[0].fraction_bits == 0
        assert any(note.startswith("2: rounded within") for note in net.notes)


def settle_1d(model: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        model(x)
    model.eval()


def busy(model: nn.Module, x: Tensor) -> nn.Module:
    """Settle a deep network so that its neurons go on firing to the last layer."""
    model.train()
    with torch.no_grad():
        for m in model.modules():
            if isinstance(m, nn.modules.batchnorm._BatchNorm):
                m.momentum = 1.0
                m.bias.fill_(0.4)
        model(x)
    return model.eval()


@pytest.mark.parametrize("make", [resnet20, vgg11])
@pytest.mark.parametrize("neuron", [lambda: IF(1.0, initial=0.5), SignedIF], ids=["IF", "SignedIF"])
def test_models_for_conversion_lower_with_four_bits_and_prove_themselves(make, neuron) -> None:
    x = images(4, 3, 16)
    model = make(steps=3, image_size=16, width=1 / 8, neuron=neuron)
    attach(model, quantize=Uniform(bits=4))
    busy(model, x)
    with torch.no_grad():
        rates = [float(m(model[:i](x)).float().mean()) for i, m in enumerate(model) if isinstance(m, Spiking)]
    assert min(rates) > 0.01
    net = lower(model, x[:1], grid=PIXELS, precision=Precision(tolerance=2.0**-18))
    assert {c.bits for c in codes(model).values()} == {4}
    if make is resnet20:
        summed = [n for n in net.nodes if isinstance(n, Neuron) and len(n.sources) == 2]
        assert len(summed) == 9
    certificate = verify(net, x)
    assert certificate.equal
    assert certificate.samples == 4
    assert agreement(model, net, x) > 0.99
