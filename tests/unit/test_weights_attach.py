"""attach, detach and codes on plain layers: patterns, slots, refusals, life with torch."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from bitspike.errors import ConstraintError
from bitspike.weights import (
    Binary,
    FixedPoint,
    Lognormal,
    Stage,
    Ternary,
    Uniform,
    WeightCodes,
    WeightPath,
    after_epoch,
    after_step,
    attach,
    bias_codes,
    codes,
    detach,
    penalties,
    weight_codes,
)


def _model() -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


def _forward(model: nn.Module) -> Tensor:
    x = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    result = model(x)
    assert isinstance(result, Tensor)
    return result


class Add:
    """A stage that adds a number and keeps a diary."""

    def __init__(self, amount: float, diary: list[str] | None = None) -> None:
        self.amount, self.diary = amount, [] if diary is None else diary

    def __call__(self, w: Tensor) -> Tensor:
        return w + self.amount

    def __deepcopy__(self, memo: object) -> Add:
        return Add(self.amount, self.diary)

    def penalty(self, latent: Tensor) -> Tensor:
        return self.amount * latent.square().sum()

    def after_step(self, latent: Tensor) -> None:
        self.diary.append(f"step {latent.numel()}")

    def after_epoch(self, latent: Tensor) -> None:
        self.diary.append(f"epoch {latent.numel()}")


@dataclass(frozen=True)
class Half:
    """A prune stage that knows what it does to the codes: it removes the first half of the rows."""

    def __call__(self, w: Tensor) -> Tensor:
        mask = torch.arange(len(w), device=w.device) >= len(w) // 2
        return w * mask.reshape(-1, *[1] * (w.dim() - 1))

    def recode(self, codes: WeightCodes) -> WeightCodes:
        return replace(codes, codes=self(codes.codes))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(2, 4, 3),
        nn.Conv2d(2, 4, 3),
        nn.Conv3d(2, 4, 3),
        nn.ConvTranspose1d(2, 4, 3),
        nn.ConvTranspose2d(2, 4, 3),
        nn.ConvTranspose3d(2, 4, 3),
        nn.Linear(3, 4),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_every_kind_of_layer_and_its_channel_axis(layer: nn.Module) -> None:
    attach(layer, quantize=Uniform(4, per_channel=True))
    found = weight_codes(layer)
    assert found is not None
    assert found.axis == ("Transpose" in type(layer).__name__)
    assert found.scale.shape == (4,)
    assert torch.equal(found.decode(), layer.weight)


def test_subclasses_are_reached_and_other_modules_are_not() -> None:
    class MyConv(nn.Conv2d):
        pass

    model = nn.ModuleDict({"mine": MyConv(1, 2, 3), "norm": nn.BatchNorm2d(2), "table": nn.Embedding(3, 3)})
    attach(model, quantize=Ternary())
    assert list(codes(model)) == ["mine"]
    assert isinstance(model["mine"], MyConv)


def test_include_and_skip_are_patterns() -> None:
    assert list(codes(attach(_model(), quantize=Ternary()))) == ["0.0", "1.0", "3"]
    assert list(codes(attach(_model(), quantize=Ternary(), include="*.0"))) == ["0.0", "1.0"]
    assert list(codes(attach(_model(), quantize=Ternary(), include=["0.*", "3"]))) == ["0.0", "3"]
    assert list(codes(attach(_model(), quantize=Ternary(), skip=["3"]))) == ["0.0", "1.0"]


def test_patterns_that_match_nothing_are_errors_that_list_the_layers() -> None:
    for argument in ({"include": "layer1.*"}, {"skip": ["fc"]}, {"include": ["*", "5"]}):
        with pytest.raises(ConstraintError, match=r"no layer matches .*; there are '0.0', '1.0', '3'"):
            attach(_model(), quantize=Ternary(), **argument)
    with pytest.raises(ConstraintError, match=r"fix: '0\.\*' instead of '0'"):
        attach(_model(), quantize=Ternary(), skip="0")
    with pytest.raises(ConstraintError, match="no layer is left"):
        attach(_model(), quantize=Ternary(), skip="*")
    with pytest.raises(ConstraintError, match="no convolution or linear layers at all"):
        attach(nn.ReLU(), quantize=Ternary())


def test_calls_compose_by_slot_and_by_layer() -> None:
    model = attach(_model(), quantize=Uniform(8), include=["0.*", "3"])
    attach(model, quantize=Binary(), skip=["0.*", "3"])
    attach(model, vary=Lognormal(0.1))
    path = model[0][0].parametrizations.weight
    assert len(path) == 1
    assert [slot for slot, _ in path[0].stages()] == ["quantize", "vary"]
    assert {name: c.bits for name, c in codes(model).items()} == {"0.0": 8, "1.0": 1, "3": 8}


def test_slots_always_run_in_the_same_order() -> None:
    layer = nn.Linear(2, 2, bias=False)
    layer.weight = nn.Parameter(torch.tensor([[0.6, -0.2], [0.3, 1.0]]))
    attach(layer, prune=Half())
    attach(layer, recover=lambda w: w * 10)
    attach(layer, vary=lambda w: w + 1)
    attach(layer, quantize=FixedPoint(0.5))
    # quantize: [0.5, 0], [0.5, 1]; vary: +1; recover: *10; prune: first row to zero
    assert layer.weight.tolist() == [[0.0, 0.0], [15.0, 20.0]]


def test_a_filled_slot_is_an_error_and_nothing_is_changed() -> None:
    model = attach(_model(), quantize=Uniform(4), include="3")
    with pytest.raises(ConstraintError, match=r"3.weight: the quantize slot holds Uniform\(.*\) already; detach"):
        attach(model, quantize=Ternary())
    assert list(codes(model)) == ["3"]
    detach(model[3])
    assert list(codes(attach(model, quantize=Ternary()))) == ["0.0", "1.0", "3"]


def test_weights_with_another_parametrization_or_without_shape_are_refused() -> None:
    with pytest.raises(ConstraintError, match=r"1.weight: carries another parametrization \(_WeightNorm\)"):
        attach(nn.Sequential(nn.ReLU(), parametrizations.weight_norm(nn.Linear(2, 2))), quantize=Ternary())
    with pytest.raises(ConstraintError, match="run the lazy model once first"):
        attach(nn.LazyLinear(3), quantize=Ternary())
    with pytest.raises(ConstraintError, match="groups=2"):
        attach(nn.ConvTranspose2d(4, 4, 2, groups=2), quantize=Uniform(4, per_channel=True))
    attach(nn.ConvTranspose2d(4, 4, 2, groups=2), quantize=Uniform(4))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ConstraintError, match="no stage is given"):
        attach(_model())
    with pytest.raises(ConstraintError, match=r"fix: quantize=Uniform\(...\)"):
        attach(_model(), quantize=Uniform)
    with pytest.raises(ConstraintError, match=r"vary=Ternary.*: a stage is needed"):
        attach(_model(), vary=Ternary())
    with pytest.raises(ConstraintError, match=r"quantize=4.*: a scheme or a stage is needed"):
        attach(_model(), quantize=4)  # type: ignore[arg-type]
    with pytest.raises(ConstraintError, match="a scheme is needed"):
        attach(_model(), bias=Lognormal(0.1))  # type: ignore[arg-type]
    with pytest.raises(ConstraintError, match="none of the layers '0' has a bias"):
        attach(nn.Sequential(nn.Conv1d(1, 1, 1, bias=False)), bias=FixedPoint(0.5))
    with pytest.raises(ConstraintError, match=r"3.bias: one scale per channel"):
        attach(_model(), bias=Uniform(4, per_channel=True))


def test_biases_have_a_path_of_their_own() -> None:
    model = attach(_model(), quantize=Uniform(4), bias=FixedPoint(2.0**-6, bits=8))
    assert bias_codes(model[0][0]) is None
    for layer in (model[1][0], model[3]):
        found = bias_codes(layer)
        assert found is not None
        assert torch.equal(found.decode(), layer.bias)
        assert found.scale.tolist() == [2.0**-6]
    assert list(codes(model)) == ["0.0", "1.0", "3"]
    with pytest.raises(ConstraintError, match=r"3.bias: the quantize slot holds FixedPoint"):
        attach(model, bias=FixedPoint(0.5), include="3")
    detach(model)
    assert not parametrize.is_parametrized(model[3])


def test_qat_check_07_sub_step_updates_add_up_in_the_master_and_flip_a_code() -> None:
    """Forward weights lie on the grid, masters do not; steps of a tenth of the grid's add up until a code moves."""
    model = attach(_model(), quantize=Uniform(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(5):
        optimizer.zero_grad()
        _forward(model).square().sum().backward()
        optimizer.step()
    for name, found in codes(model).items():
        layer = model.get_submodule(name)
        master = layer.parametrizations.weight.original
        assert torch.equal(layer.weight, found.decode())
        assert not torch.equal(master, found.decode())
    layer = model[3]
    before = weight_codes(layer)
    assert before is not None
    step = before.scale.item()
    master = layer.parametrizations.weight.original
    with torch.no_grad():
        row, column = divmod(int(master.abs().argmin()), master.shape[1])
        master[row, column] = 0.0
    nudge = torch.optim.SGD([master], lr=0.1 * step)
    moved = []
    for _ in range(12):
        nudge.zero_grad()
        (-layer.weight[row, column]).backward()
        nudge.step()
        found = weight_codes(layer)
        assert found is not None
        moved.append(int(found.codes[row, column]))
    assert moved == sorted(moved)
    assert (moved[0], moved[3], moved[5], moved[-1]) == (0, 0, 1, 1)
    assert master[row, column].item() == pytest.approx(1.2 * step)


def test_qat_check_14_a_round_trip_restores_codes_scales_masters_and_outputs() -> None:
    model = attach(_model(), quantize=Uniform(3, per_channel=True), vary=Lognormal(0.1), bias=FixedPoint(0.01)).eval()
    state = model.state_dict()
    assert "3.parametrizations.weight.original" in state
    assert "3.weight" not in state
    other = attach(_model(), quantize=Uniform(3, per_channel=True), vary=Lognormal(0.1), bias=FixedPoint(0.01)).eval()
    assert not torch.equal(_forward(other), _forward(model))
    other.load_state_dict({k: v.clone() for k, v in state.items()}, strict=True)
    assert torch.equal(_forward(other), _forward(model))
    for key, value in other.state_dict().items():
        assert torch.equal(value, state[key])
    for name, found in codes(other).items():
        assert torch.equal(found.codes, codes(model)[name].codes)
        assert torch.equal(found.scale, codes(model)[name].scale)


def test_copies_are_independent_and_keep_their_codes() -> None:
    model = attach(_model(), quantize=Ternary(), vary=Lognormal(0.1, generator=torch.Generator())).eval()
    twin = copy.deepcopy(model)
    assert torch.equal(_forward(twin), _forward(model))
    with torch.no_grad():
        twin[3].parametrizations.weight.original.mul_(2)
    assert not torch.equal(_forward(twin), _forward(model))
    assert codes(model.double())["3"].codes.equal(codes(twin)["3"].codes)
    assert model[3].weight.dtype == torch.float64


def test_changing_a_copy_leaves_the_original_whole() -> None:
    model = attach(_model(), quantize=Ternary()).eval()
    expected = _forward(model)
    attach(copy.deepcopy(model), bias=FixedPoint(0.5))
    assert torch.equal(_forward(model), expected)
    detach(copy.deepcopy(model))
    assert torch.equal(_forward(model), expected)
    assert list(codes(model)) == ["0.0", "1.0", "3"]


def test_each_layer_has_stages_of_its_own() -> None:
    model = attach(_model(), recover=nn.Conv2d(1, 1, 1))
    stages = [m.parametrizations.weight[0].recover for m in (model[0][0], model[1][0])]
    assert stages[0] is not stages[1]
    assert stages[0].weight is not stages[1].weight


def test_the_master_is_the_parameter_that_was_there() -> None:
    layer = nn.Linear(3, 2)
    weight = layer.weight
    attach(layer, quantize=Uniform(4))
    assert layer.parametrizations.weight.original is weight
    layer.weight = torch.full((2, 3), 0.25)
    assert weight.tolist() == [[0.25] * 3] * 2
    detach(layer)
    assert layer.weight is weight


def test_detach_keeps_the_decoded_or_the_latent_weight() -> None:
    for keep in ("decoded", "latent"):
        model = attach(_model(), quantize=Uniform(2), vary=Lognormal(0.3))
        wanted = {
            name: found.decode() if keep == "decoded" else model.get_submodule(name).parametrizations.weight.original
            for name, found in codes(model).items()
        }
        wanted = {name: w.detach().clone() for name, w in wanted.items()}
        assert detach(model, keep=keep) is model  # type: ignore[arg-type]
        assert set(model.state_dict()) == set(_model().state_dict())
        for name, w in wanted.items():
            layer = model.get_submodule(name)
            assert isinstance(layer.weight, nn.Parameter)
            assert layer.weight.requires_grad
            assert torch.equal(layer.weight, w)
    with pytest.raises(ConstraintError, match="has no weight path"):
        detach(_model())
    with pytest.raises(ConstraintError, match="'decoded' or 'latent'"):
        detach(attach(_model(), quantize=Ternary()), keep="both")  # type: ignore[arg-type]


def test_hooks_reach_every_stage_by_protocol() -> None:
    diary: list[str] = []
    model = attach(_model(), quantize=Ternary(), recover=Add(0.5, diary), include=["0.*", "3"])
    attach(model, prune=Add(0.25, diary), include="3")
    masters = [model[0][0].parametrizations.weight.original, model[3].parametrizations.weight.original]
    expected = 0.5 * masters[0].square().sum() + 0.75 * masters[1].square().sum()
    penalty = penalties(model)
    assert penalty.item() == pytest.approx(expected.item())
    penalty.backward()
    assert torch.allclose(masters[1].grad, 1.5 * masters[1])
    after_step(model)
    after_epoch(model)
    assert diary == ["step 72", "step 192", "step 192", "epoch 72", "epoch 192", "epoch 192"]
    assert penalties(_model()).item() == 0
    assert penalties(nn.ReLU()).item() == 0


def test_codes_account_for_stages_behind_the_quantizer() -> None:
    model = attach(_model(), quantize=Uniform(4), prune=Half(), include="3").eval()
    found = codes(model)["3"]
    assert not found.codes[0].any()
    assert torch.equal(found.decode(), model[3].weight)
    attach(model, recover=Add(1.0), include="3")
    with pytest.raises(ConstraintError, match="3: the recover stage Add changes the weight but not its codes"):
        codes(model)
    with pytest.raises(ConstraintError, match="quantize stage Add lacks encode"):
        codes(attach(_model(), quantize=Add(1.0)))


def test_layers_without_a_scheme_have_no_codes() -> None:
    model = attach(_model(), vary=Lognormal(0.1))
    assert codes(model) == {}
    assert weight_codes(model[3]) is None
    assert bias_codes(model[3]) is None
    assert weight_codes(nn.ReLU()) is None


def test_the_path_shows_what_it_does() -> None:
    layer = attach(nn.Linear(2, 2), quantize=Ternary(), vary=Lognormal(0.1))
    assert "quantize=Ternary(" in repr(layer)
    assert "sigma=0.1" in repr(layer)
    assert isinstance(Add(1.0), Stage)
    assert isinstance(layer.parametrizations.weight[0], WeightPath)
