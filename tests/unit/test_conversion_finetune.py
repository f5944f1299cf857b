"""Networks prepared for fine-tuning: their codes, their clips, the steps that branches share."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitspike.conversion.calibrate.thresholds import MaxThreshold
from bitspike.conversion.construct.units import Weighted, shared_unit
from bitspike.conversion.finetune.prepare import prepare
from bitspike.conversion.finetune.prepared import Prepared
from bitspike.conversion.finetune.shared_step import Member, SharedStep, Within, default_scale
from bitspike.errors import ConstraintError
from bitspike.graph.rebuild import rebuild
from bitspike.nn.clip_floor_shift import ClipFloorShift
from bitspike.weights import Max, MeanAbs, Uniform, attach, weight_codes
from bitspike.weights.path import path_of

X = torch.rand(64, 2, 6, 6, generator=torch.Generator().manual_seed(0))
BITS = [1, 2, 3, 4, 8]


class Residual(nn.Module):
    """A stem, a block with a convolution in its shortcut, a block with none, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.down = nn.Conv2d(8, 8, 1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(self.conv1(x) + self.down(x))
        x = F.relu(self.conv2(x) + x)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Side(nn.Module):
    """Two branches that are put side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 1)
        self.c = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([F.relu(self.a(x)), F.relu(self.b(x)) * 1.0], 1)
        return F.relu(self.c(x)).mean((2, 3))


def residual() -> Residual:
    torch.manual_seed(0)
    model = Residual()
    model(torch.randn(64, 2, 6, 6))  # the norm has seen something
    return model.eval()


def train(module: nn.Module, steps: int = 5, lr: float = 1e-2) -> list[float]:
    target = X.mean((1, 2, 3), keepdim=False)[:, None] * torch.tensor([1.0, -1.0, 2.0])
    optimizer = torch.optim.Adam(module.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (module(X) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def evaluated(prepared: Prepared) -> dict[str, Tensor]:
    """Return the weights of the forward pass, by module path."""
    return {path: prepared.folded.modules[path].weight.detach() for path in prepared.codes()}


# ---- bits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_convert_check_10_codes_stay_in_range_and_are_the_weights_that_were_evaluated(
    bits: int, per_channel: bool
) -> None:
    prepared = prepare(
        residual(), X[:2], calibrate=X, bits=bits, first_bits=None, last_bits=None, steps=8, per_channel=per_channel
    )
    train(prepared)
    found = prepared.codes()
    assert set(found) == {"stem", "conv1", "down", "conv2", "head"}
    high = max(1, 2 ** (bits - 1) - 1)
    for path, weight in evaluated(prepared).items():
        codes = found[path]
        assert codes.bits == bits
        assert int(codes.codes.abs().max()) <= high
        assert (codes.low, codes.high) == (-high, high)
        assert bool((codes.scale > 0).all())
        if bits == 1:
            assert set(codes.codes.unique().tolist()) <= {-1, 1}
        assert torch.equal(codes.decode(), weight)
        assert torch.equal(prepared.graph().modules[path].weight, weight)


@pytest.mark.parametrize("bits", BITS)
def test_convert_check_10_weights_of_zero_divide_nothing_by_zero(bits: int) -> None:
    model = residual()
    with torch.no_grad():
        for layer in (model.conv1, model.down, model.conv2):
            layer.weight.zero_()
    prepared = prepare(model, X[:2], calibrate=X, bits=bits)
    assert torch.isfinite(prepared(X)).all()
    train(prepared, 2)
    assert torch.isfinite(prepared(X)).all()
    for codes in prepared.codes().values():
        assert bool((codes.scale > 0).all())
        assert bool(codes.scale.isfinite().all())


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_the_rule_of_the_integers_finds_the_same_codes_in_the_decoded_weights(bits: int, per_channel: bool) -> None:
    prepared = prepare(residual(), X[:2], calibrate=X, bits=bits, first_bits=None, per_channel=per_channel)
    train(prepared)
    graph, lambdas, found = prepared.graph(), prepared.lambdas(), prepared.codes()
    relus = [op.id for op in graph if op.kind == "relu"]
    groups = [["conv1", "down"], ["conv2"]]
    for group, source in zip(groups, relus, strict=False):
        value = float(lambdas[source])
        branches = [Weighted(graph.modules[p].weight.detach().double() * value, torch.zeros(8), bits) for p in group]
        unit = shared_unit(branches, [], per_channel=per_channel)
        for path, branch in zip(group, branches, strict=True):
            exact = branch.current / unit.reshape(-1, 1, 1, 1)
            codes = exact.round() if bits > 1 else exact.sign()
            assert torch.equal(codes.long(), found[path].codes)


def test_bits_by_layer() -> None:
    prepared = prepare(residual(), X[:2], calibrate=X, bits={"*": 3, "conv2": 2})
    assert {path: c.bits for path, c in prepared.codes().items()} == {
        "stem": 8, "conv1": 3, "down": 3, "conv2": 2, "head": 8,
    }  # fmt: skip
    for path, c in prepared.codes().items():
        assert prepared.settings.bits_of(path, first=False, last=False) == c.bits


# ---- a plain module ----------------------------------------------------------------------------------------------


def test_with_many_bits_and_steps_it_is_the_network() -> None:
    model = residual()
    prepared = prepare(model, X[:2], calibrate=X, bits=16, first_bits=16, last_bits=16, steps=4096, rule=MaxThreshold())
    torch.testing.assert_close(prepared(X), model(X), atol=5e-3, rtol=0)


def test_the_model_is_not_changed_and_its_mode_is_taken_over() -> None:
    model = residual()
    before = copy.deepcopy(model.state_dict())
    assert not prepare(model, X[:2], calibrate=X).training
    prepared = prepare(model.train(), X[:2], calibrate=X)
    assert prepared.training
    train(prepared, 2)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_it_trains_in_any_loop_clips_included() -> None:
    prepared = prepare(residual(), X[:2], calibrate=X, bits=2, steps=4)
    first = prepared.lambdas()
    losses = train(prepared, 60)
    assert losses[-1] < 0.5 * losses[0]
    after = prepared.lambdas()
    assert list(after) == [op.id for op in prepared.graph() if op.kind == "relu"]
    assert all(v.shape == (1,) and v.dtype == torch.float64 and v > 0 for v in after.values())
    assert any(not torch.equal(first[id], after[id]) for id in first)


def test_every_parameter_has_a_gradient() -> None:
    prepared = prepare(residual(), X[:2], calibrate=X, bits=4)
    prepared(X).square().sum().backward()
    for name, p in prepared.named_parameters():
        assert p.grad is not None, name
        assert bool(p.grad.isfinite().all()), name


def test_state_travels_through_a_state_dict() -> None:
    model = residual()
    a = prepare(model, X[:2], calibrate=X, bits=3)
    b = prepare(model, X[:2], calibrate=X * 0.5, bits=3)
    train(a, 3)
    assert not torch.equal(a(X), b(X))
    assert b.load_state_dict(a.state_dict()) == ([], [])
    assert torch.equal(a(X), b(X))
    assert len(a.state_dict()) == len(list(a.named_parameters()))


def test_a_deep_copy_goes_its_own_way() -> None:
    a = prepare(residual(), X[:2], calibrate=X, bits=3)
    b = copy.deepcopy(a)
    before = a(X).detach()
    assert torch.equal(before, b(X))
    train(b, 3)
    assert torch.equal(a(X), before)
    assert not torch.equal(b(X), before)
    assert any(not torch.equal(x.codes, y.codes) for x, y in zip(a.codes().values(), b.codes().values(), strict=True))


def test_the_graph_it_gives_holds_plain_copies() -> None:
    prepared = prepare(residual(), X[:2], calibrate=X, bits=3)
    graph = prepared.graph()
    for path, module in graph.modules.items():
        assert path_of(module) is None
        assert module is not prepared.folded.modules[path]
    activations = prepared.activations
    sums = {id: prepared.network.get_submodule(id) for id in ("add#1",)}
    again = rebuild(graph, replace={**{id: copy.deepcopy(a) for id, a in activations.items()}, **sums})
    assert torch.equal(again(X), prepared(X))
    with torch.no_grad():
        next(iter(graph.modules.values())).weight.zero_()
    assert not torch.equal(prepared(X), torch.zeros_like(prepared(X)))


def test_it_runs_in_half_precision() -> None:
    prepared = prepare(residual(), X[:2], calibrate=X, bits=4)
    with torch.autocast("cpu", torch.bfloat16):
        out = prepared(X)
    out.float().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in prepared.parameters())


# ---- regions and ties --------------------------------------------------------------------------------------------


def test_only_the_region_is_prepared() -> None:
    prepared = prepare(residual(), X[:2], calibrate=X, include=["conv2", "add#1", "relu#2"], bits=4)
    assert set(prepared.codes()) == {"conv2"}
    assert len(prepared.lambdas()) == 1


def test_what_is_concatenated_shares_one_clip() -> None:
    torch.manual_seed(0)
    prepared = prepare(Side(), X[:2], calibrate=X, bits=4)
    clips = [a.clip for a in prepared.activations.values()]
    assert clips[0] is clips[1]
    assert clips[2] is not clips[0]
    train(prepared, 3)
    values = list(prepared.lambdas().values())
    assert torch.equal(values[0], values[1])


def test_wrong_uses_are_refused() -> None:
    model = residual()
    with pytest.raises(ConstraintError, match="per channel"):
        prepare(model, X[:2], calibrate=X, rule=MaxThreshold(per_channel=True))
    with pytest.raises(ConstraintError, match="bits"):
        prepare(model, X[:2], calibrate=X, bits=0)
    with pytest.raises(ConstraintError, match="steps"):
        prepare(model, X[:2], calibrate=X, steps=0)


# ---- the step that branches share --------------------------------------------------------------------------------


def pair(bits: tuple[int, int], ratio: float = 1.0, **choices: bool) -> tuple[SharedStep, list[nn.Conv2d]]:
    torch.manual_seed(1)
    layers = [nn.Conv2d(4, 6, 3, bias=False), nn.Conv2d(4, 6, 1, bias=False)]
    with torch.no_grad():
        layers[1].weight *= ratio * 2 / 15  # the currents of both then reach equally far
    acts = [ClipFloorShift(8, 2.0), ClipFloorShift(8, 5.0)]
    branches = [Member(m, bits=b, sources=(a,)) for m, b, a in zip(layers, bits, acts, strict=True)]
    group = SharedStep(branches, **choices)
    group.attach()
    return group, layers


@pytest.mark.parametrize("bits", [(1, 1), (2, 2), (4, 4), (8, 8), (4, 8), (1, 4)])
@pytest.mark.parametrize("per_channel", [False, True])
def test_one_count_is_worth_the_same_in_every_branch(bits: tuple[int, int], per_channel: bool) -> None:
    group, layers = pair(bits, per_channel=per_channel)
    found = [weight_codes(layer) for layer in layers]
    counts = [c.scale * v for c, v in zip(found, (2.0, 5.0), strict=True) if c is not None]
    torch.testing.assert_close(counts[0], counts[1], rtol=1e-4, atol=0)
    torch.testing.assert_close(counts[0].float(), group.unit(), rtol=1e-4, atol=0)
    assert counts[0].shape == ((6,) if per_channel else (1,))
    for c, layer, b in zip(found, layers, bits, strict=True):
        assert c is not None
        assert c.bits == b
        assert torch.equal(c.decode(), layer.weight)
        assert int(c.codes.abs().max()) <= max(1, 2 ** (b - 1) - 1)
    if 1 not in bits:
        assert any(int(c.codes.abs().max()) == c.high for c in found if c is not None)


def test_the_unit_of_one_bit_has_the_least_squared_error() -> None:
    group, layers = pair((1, 1))
    currents = torch.cat([(b.latent().abs() * v).flatten() for b, v in zip(group.members, (2.0, 5.0), strict=True)])
    torch.testing.assert_close(group.unit(), currents.mean().reshape(1))
    assert all(set(c.codes.unique().tolist()) == {-1, 1} for c in map(weight_codes, layers) if c is not None)


def test_the_unit_follows_lambda_and_weights() -> None:
    group, layers = pair((4, 4))
    before = group.unit()
    with torch.no_grad():
        for branch in group.members:
            branch.sources[0].clip *= 3
    torch.testing.assert_close(group.unit(), 3 * before)
    with torch.no_grad():
        for layer in layers:
            layer.parametrizations.weight.original *= 2
    torch.testing.assert_close(group.unit(), 6 * before)


def test_gradients_pass_straight_through() -> None:
    _, layers = pair((2, 2))
    sum(layer.weight.sum() for layer in layers).backward()
    for layer in layers:
        grad = layer.parametrizations.weight.original.grad
        assert torch.equal(grad, torch.ones_like(grad))


def test_a_branch_that_uses_few_levels_is_noted() -> None:
    assert min(pair((4, 4))[0].reaches()) > 0.5
    assert min(pair((4, 4), ratio=0.02)[0].reaches()) < 0.5
    model = residual()
    with torch.no_grad():
        model.down.weight *= 0.05
    notes = prepare(model, X[:2], calibrate=X, bits=4, per_channel=False).notes()
    assert any(n.startswith("W203: down uses") for n in notes)


def test_a_skip_weighs_a_whole_number_of_counts() -> None:
    prepared = prepare(residual(), X[:2], calibrate=X, bits=2, per_channel=True)
    skip = prepared.network.get_submodule("add#1").skips["1"]
    value = float(prepared.lambdas()["relu#1"])
    counts = prepared.codes()["conv2"].scale * value
    x = torch.rand(3, 8, 2, 2)
    gains = skip(x)[:, :, 0, 0] / x[:, :, 0, 0] * value / counts
    torch.testing.assert_close(gains, gains.round(), rtol=0, atol=1e-4)
    torch.testing.assert_close(gains[0].round(), (value / counts).round())


def test_the_share_of_a_pool_enters_the_unit() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(3, 2, bias=False), nn.Linear(3, 2, bias=False)]
    group = SharedStep([Member(layers[0], bits=4, share=0.25), Member(layers[1], bits=4)])
    group.attach()
    a, b = (c for c in map(weight_codes, layers) if c is not None)
    torch.testing.assert_close(a.scale * 0.25, b.scale, rtol=1e-5, atol=0)


def test_a_shared_step_needs_branches() -> None:
    with pytest.raises(ConstraintError, match="no branches"):
        SharedStep([])


# ---- steps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_step_of_few_bits_has_nearly_the_least_error(bits: int) -> None:
    w = torch.randn(20_000, generator=torch.Generator().manual_seed(0))

    def error(scheme: Uniform) -> float:
        return float((scheme.quantize(w) - w).square().mean())

    best = min(error(Uniform(bits, scale=MeanAbs(f / 20))) for f in range(10, 120))
    assert error(Uniform(bits, scale=default_scale(bits))) < 1.02 * best
    assert error(Uniform(bits, scale=default_scale(bits))) < error(Uniform(bits, scale=Max()))


def test_a_limited_step_puts_the_largest_weight_on_the_outermost_level() -> None:
    for factor in (0.5, 2.0, 50.0):
        scheme = Uniform(4, scale=Within(MeanAbs(factor)))
        codes, _ = scheme.encode(torch.randn(500))
        assert int(codes.abs().max()) == 7
    layer = attach(nn.Linear(3, 2), quantize=Uniform(4, per_channel=True, scale=Within(MeanAbs(3.0))))
    found = weight_codes(layer)
    assert found is not None
    assert found.codes.abs().amax(1).tolist() == [7, 7]
