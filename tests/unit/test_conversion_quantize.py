"""Ordinary networks as quantized ones: what is quantized, what stays, how training goes on with fewer bits."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bitspike as bs
from bitspike.errors import ConstraintError, ConversionError
from bitspike.models.resnet_cifar import resnet_cifar
from bitspike.models.spiking.resnet import resnet20
from bitspike.models.vgg_ann import vgg11_ann
from bitspike.nn import QuantReLU
from bitspike.ops.activation import quant_relu
from bitspike.train.optimizers import SGD
from bitspike.weights.path import path_of
from bitspike.weights.schemes.learned import ClippedWeight

X = torch.rand(4, 3, 8, 8)


class Net(nn.Module):
    """A module that is called twice, a function, dropout, a norm, a sum with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv3 = nn.Conv2d(4, 4, 1)
        self.bn3 = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.fc1 = nn.Linear(64, 16)
        self.fc2 = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv1(x)))
        y = self.act(self.conv2(x))
        x = F.relu(self.bn3(self.conv3(y)) + x)
        x = self.drop(F.max_pool2d(x, 2).flatten(1))
        x = F.relu(self.fc1(x))
        return self.fc2(F.dropout(x, 0.5, self.training))


def net() -> Net:
    torch.manual_seed(3)
    model = Net()
    for norm in (model.bn1, model.bn3):
        norm.running_var.uniform_(0.5, 1.5)
        norm.running_mean.uniform_(-0.2, 0.2)
    return model


def activations(network: nn.Module) -> dict[str, QuantReLU]:
    return {name: m for name, m in network.named_modules() if isinstance(m, QuantReLU)}


def stage(network: nn.Module, path: str) -> ClippedWeight:
    own = path_of(network.get_submodule(path))
    assert own is not None
    assert isinstance(own[0].quantize, ClippedWeight)
    return own[0].quantize


def test_every_relu_gets_one_of_its_own_under_the_name_of_its_operation() -> None:
    quantized = bs.quantize(net(), X[:1], bits=3)
    assert set(activations(quantized)) == {"act", "act#1", "relu", "relu#1"}
    assert {a.bits for a in activations(quantized).values()} == {3}
    assert {a.clip.item() for a in activations(quantized).values()} == {6.0}


def test_parameters_keep_their_names_and_values_and_the_model_is_not_touched() -> None:
    model = net()
    before = copy.deepcopy(model.state_dict())
    quantized = bs.quantize(model, X[:1], bits=4)
    state = {k.replace("parametrizations.weight.original", "weight"): v for k, v in quantized.state_dict().items()}
    assert set(before) <= set(state)
    assert all(torch.equal(state[k], v) for k, v in before.items())
    quantized(X).sum().backward()
    assert all(p.grad is not None for p in quantized.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(a.data_ptr() == b.data_ptr() for a in quantized.parameters() for b in model.parameters())


def test_it_computes_what_its_modules_say() -> None:
    quantized = bs.quantize(net().eval(), X[:1], bits=2)
    a = activations(quantized)

    def act(name: str, x: Tensor) -> Tensor:
        return quant_relu(x, a[name].clip, 3)

    q = quantized
    x = act("act", q.bn1(q.conv1(X)))
    y = act("act#1", q.conv2(x))
    x = act("relu", q.bn3(q.conv3(y)) + x)
    x = act("relu#1", q.fc1(F.max_pool2d(x, 2).flatten(1)))
    torch.testing.assert_close(quantized(X), q.fc2(x))


def test_norms_learn_and_dropout_drops_in_training_alone() -> None:
    quantized = bs.quantize(net(), X[:1], bits=4)
    assert quantized.training
    assert not torch.equal(quantized(X), quantized(X))
    assert int(quantized.bn1.num_batches_tracked) == 2
    quantized.eval()
    assert torch.equal(quantized(X), quantized(X))
    assert int(quantized.bn1.num_batches_tracked) == 2
    assert [type(m).__name__ for m in quantized.modules() if "Dropout" in type(m).__name__] == ["Dropout", "Dropout"]


def test_it_takes_the_modes_of_the_model() -> None:
    model = net()
    model.bn1.eval()
    quantized = bs.quantize(model, X[:1])
    assert (quantized.training, quantized.bn1.training, quantized.bn3.training) == (True, False, True)
    assert not bs.quantize(model.eval(), X[:1]).training


def test_thirty_two_bits_are_the_network_itself() -> None:
    model = net().eval()
    plain = bs.quantize(model, X[:1], bits=32)
    torch.testing.assert_close(plain(X), model(X), rtol=0, atol=0)
    assert plain.state_dict().keys() == model.state_dict().keys()
    assert not activations(plain)
    assert set(activations(bs.quantize(plain, X[:1], bits=2))) == set(activations(bs.quantize(model, X[:1], bits=2)))


def test_first_and_last_layers_have_eight_bits_and_the_others_a_learned_clip() -> None:
    found = bs.codes(bs.quantize(net(), X[:1], bits=2))
    assert {path: c.bits for path, c in found.items()} == {"conv1": 8, "conv2": 2, "conv3": 2, "fc1": 2, "fc2": 8}
    assert found["conv1"].scheme == repr(bs.Uniform(8))
    assert found["conv2"].scheme == repr(bs.LearnedClip(2))


@pytest.mark.parametrize(
    ("choices", "bits"),
    [
        ({"weights": "float"}, {"conv1": 8, "fc2": 8}),
        ({"weights": "float", "first_bits": 32, "last_bits": None}, {}),
        ({"first_bits": None, "last_bits": 6}, {"conv1": 4, "conv2": 4, "conv3": 4, "fc1": 4, "fc2": 6}),
        ({"weights": bs.Ternary(), "first_bits": 32}, {"conv2": 2, "conv3": 2, "fc1": 2, "fc2": 8}),
        (
            {"weights": {"*": bs.LearnedClip(4), "conv*": bs.LearnedClip(3), "conv2": "float"}},
            {"conv1": 3, "conv3": 3, "fc1": 4, "fc2": 8},
        ),
        ({"skip": ("conv2", "fc*")}, {"conv1": 8, "conv3": 4}),
        ({"include": ("fc1", "act")}, {"fc1": 4}),
        ({"bits": 32}, {}),
        ({"bits": 32, "weights": bs.LearnedClip(3)}, {"conv1": 8, "conv2": 3, "conv3": 3, "fc1": 3, "fc2": 8}),
    ],
)
def test_weights_follow_the_choices(choices: dict[str, object], bits: dict[str, int]) -> None:
    assert {path: c.bits for path, c in bs.codes(bs.quantize(net(), X[:1], **choices)).items()} == bits


def test_what_is_skipped_keeps_its_relu() -> None:
    quantized = bs.quantize(net(), X[:1], skip=("act*",))
    assert set(activations(quantized)) == {"relu", "relu#1"}
    again = bs.quantize(quantized, X[:1], bits=2, skip=("relu", "act"))
    assert {name: a.bits for name, a in activations(again).items()} == {"act#1": 2, "relu": 4, "relu#1": 2}


def test_fewer_bits_take_over_masters_norms_and_clips() -> None:
    four = bs.quantize(net(), X[:1], bits=4)
    with torch.no_grad():
        for i, (name, p) in enumerate(four.named_parameters()):
            if name.endswith("clip"):
                p.fill_(1 + i / 8)
    four(X)
    three = bs.quantize(four, X[:1], bits=3)
    assert {a.bits for a in activations(three).values()} == {3}
    assert stage(three, "conv2").bits == 3
    old, new = four.state_dict(), three.state_dict()
    assert old.keys() == new.keys()
    assert all(torch.equal(old[k], new[k]) for k in old if not k.endswith("_extra_state"))
    uniform = bs.quantize(four, X[:1], bits=2, weights=bs.LearnedClip(2, normalize=False, clip=0.5))
    assert stage(uniform, "conv2").clip.item() == 0.5  # in other units than the clip of before
    back = bs.quantize(three, X[:1], bits=32)
    assert torch.equal(back.conv2.weight, four.conv2.parametrizations.weight.original)
    assert not activations(back)


def test_a_relu6_starts_at_its_own_limit() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU6(), nn.Linear(4, 4), nn.Hardtanh(0.0, 2.0), nn.Linear(4, 2))
    clips = {name: a.clip.item() for name, a in activations(bs.quantize(model, torch.rand(1, 4), clip=7.0)).items()}
    assert clips == {"1": 6.0, "3": 2.0}


def test_a_relu_that_no_neuron_takes_the_place_of_stays_plain() -> None:
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2)]
    assert set(activations(bs.quantize(nn.Sequential(*layers), X[:1]))) == {"1"}


class Sums(nn.Module):
    """A sum of what two neurons send that is read as spikes, and two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        out: Tensor = self.c(self.a(x).relu() + self.b(y).relu())
        return out


def test_sums_of_spikes_are_quantized_too_and_inputs_may_be_several() -> None:
    inputs = torch.rand(3, 4), torch.rand(3, 3)
    quantized = bs.quantize(Sums(), inputs, bits=2)
    assert set(activations(quantized)) == {"relu", "relu#1", "add.activation"}
    assert {path: c.bits for path, c in bs.codes(quantized).items()} == {"a": 8, "b": 8, "c": 8}
    assert quantized(*inputs).shape == (3, 2)
    assert set(activations(bs.quantize(quantized, inputs, bits=4))) == set(activations(quantized))


@pytest.mark.parametrize(
    "make",
    [
        lambda: resnet_cifar(depth=8),
        lambda: vgg11_ann(width=0.125),
        lambda: resnet20(steps=None, neuron=nn.ReLU, width=0.25),
    ],
    ids=["resnet", "vgg11", "resnet20"],
)
def test_networks_of_the_papers_train_a_step(make) -> None:
    x = torch.rand(2, 3, 32, 32)
    quantized = bs.quantize(make(), x[:1], bits=2)
    assert activations(quantized)
    before = [p.detach().clone() for p in quantized.parameters()]
    optimizer = SGD(lr=0.01).build(quantized)
    quantized(x).logsumexp(1).mean().backward()
    optimizer.step()
    assert all(bool(p.isfinite().all()) for p in quantized.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, quantized.parameters(), strict=True))
    twin = copy.deepcopy(quantized).eval()
    assert torch.equal(twin(x), quantized.eval()(x))


def test_one_pass_gives_what_the_modules_give_one_by_one() -> None:
    x = torch.rand(2, 3, 32, 32)
    quantized = bs.quantize(resnet_cifar(depth=8).eval(), x[:1], bits=4).double()
    heard = copy.deepcopy(quantized)
    for module in heard.modules():
        module.register_forward_hook(lambda *_: None)  # somebody listens, so every module is called
    torch.testing.assert_close(quantized(x.double()), heard(x.double()), rtol=1e-9, atol=1e-9)


def test_a_state_goes_through_a_file_and_back() -> None:
    quantized, file = bs.quantize(net(), X[:1]).eval(), io.BytesIO()
    with torch.no_grad():
        quantized.act.clip.fill_(1.5)
    torch.save(quantized.state_dict(), file)
    file.seek(0)
    other = bs.quantize(Net(), X[:1]).eval()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(X), quantized(X))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: bs.quantize(net(), X[:1], bits=2).state_dict(), r"act, act#1, relu and 1 more.*bits=2.*bits=4"),
        (lambda: bs.quantize(net(), X[:1], weights=bs.LearnedClip(4, grid="uniform")).state_dict(), "uniform.*apot"),
        (lambda: bs.quantize(net(), X[:1], weights="float").state_dict(), "missing: conv2.parametrizations.*clip"),
        (lambda: net().state_dict(), r"missing: act.clip, .* and 4 more"),
        (lambda: dict(list(bs.quantize(net(), X[:1]).state_dict().items())[::2]), "missing: "),
        (lambda: bs.quantize(resnet_cifar(depth=8), torch.rand(1, 3, 32, 32)).state_dict(), "of another shape: conv1"),
        (lambda: bs.quantize(net(), X[:1]).state_dict() | {"conv9.weight": X}, "not in this network: conv9.weight"),
        (
            lambda: bs.quantize(net(), X[:1]).state_dict() | {"_extra_state": X},
            r"uint8.*_extra_state: torch.float32 \[",
        ),
        (lambda: bs.quantize(net(), X[:1]).state_dict() | {"_extra_state": {"epoch": 3}}, r"_extra_state: dict"),
    ],
    ids=["bits", "grid", "weights", "float", "half", "architecture", "more", "other tensor", "no tensor"],
)
def test_another_state_is_refused_and_changes_nothing(change, said: str) -> None:
    torch.manual_seed(5)
    quantized = bs.quantize(Net(), X[:1])
    before = copy.deepcopy(quantized.state_dict())
    with pytest.raises(RuntimeError, match=f"(?s){said}.*fix: ") as caught:
        quantized.load_state_dict(change())
    assert str(caught.value).count("Missing key") == 0
    assert all(torch.equal(value, before[key]) for key, value in quantized.state_dict().items())


@pytest.mark.parametrize(
    ("model", "choices", "said"),
    [
        (nn.Sequential(nn.Linear(4, 4), nn.SiLU(), nn.Linear(4, 2)), {}, "SiLU"),
        (nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), {}, "no relu"),
        (nn.Sequential(nn.Flatten()), {}, "no relu"),
    ],
)
def test_a_network_that_cannot_spike_is_refused(model: nn.Module, choices: dict[str, object], said: str) -> None:
    with pytest.raises(ConversionError, match=said):
        bs.quantize(model, torch.rand(1, 4), **choices)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"bits": 9}, "1 to 8"),
        ({"bits": True}, "1 to 8"),
        ({"bits": {"*": 4}}, "one number of bits"),
        ({"bits": 1}, r"LearnedClip\(bits=1\)"),
        ({"weights": 4}, "a scheme"),
        ({"weights": bs.LearnedClip}, "a scheme"),
        ({"weights": {"conv1": "float"}}, "no pattern matches 'fc1'"),
        ({"weights": {"convx*": bs.Ternary(), "*": "float"}}, "no layer matches"),
        ({"first_bits": 0}, "first_bits=0"),
        ({"last_bits": 17}, "last_bits=17"),
        ({"clip": 0.0}, "clip"),
        ({"clip": "6"}, r"clip='6'.*must be a number"),
        ({"include": "layer9"}, "no layer or relu matches"),
        ({"skip": "*"}, "nothing is left"),
    ],
)
def test_wrong_choices_are_refused(choices: dict[str, object], said: str) -> None:
    with pytest.raises(ConstraintError, match=said) as caught:
        bs.quantize(net(), X[:1], **choices)
    assert caught.value.fix


def test_weights_that_somebody_else_computes_are_refused() -> None:
    model = net()
    nn.utils.parametrizations.weight_norm(model.conv2)
    with pytest.raises(ConstraintError, match=r"conv2.*parametrization.*remove_parametrizations"):
        bs.quantize(model, X[:1])
    noisy = bs.attach(net(), vary=bs.Lognormal(0.1), include="conv2")
    with pytest.raises(ConstraintError, match=r"conv2.weight has a vary stage"):
        bs.quantize(noisy, X[:1])


# Where clips start --------------------------------------------------------------------------------------------------


def test_calibrated_clips_have_the_least_error_of_their_levels():
    model, images = net().eval(), torch.rand(64, 3, 8, 8)
    fixed = bs.quantize(model, X, bits=2, weights="float", first_bits=32, last_bits=32)
    calibrated = bs.quantize(model, X, bits=2, weights="float", first_bits=32, last_bits=32, calibrate=images)
    wanted = model(images).detach()
    assert (calibrated(images) - wanted).square().mean() < (fixed(images) - wanted).square().mean() / 4

    # Of the first relu, whose input is the same in both networks: no other clip has a smaller error.
    current = model.bn1(model.conv1(images)).detach()
    act, *_ = activations(calibrated).values()
    error = float((act(current).detach() - current.relu()).square().mean())
    for factor in (0.8, 0.9, 1.1, 1.25):
        other = quant_relu(current, act.clip.detach() * factor, act.levels)
        assert error <= float((other - current.relu()).square().mean())


def test_clips_of_other_bits_are_calibrated_anew_on_activations_without_levels():
    def clips(network: nn.Module) -> list[float]:
        return [act.clip.item() for act in activations(network).values()]

    model, images = net().eval(), torch.rand(64, 3, 8, 8)
    choices = {"weights": "float", "first_bits": 32, "last_bits": 32}
    four = bs.quantize(model, X, bits=4, calibrate=images, **choices)
    two = bs.quantize(four, X, bits=2, calibrate=images, **choices)
    assert clips(two) == clips(bs.quantize(model, X, bits=2, calibrate=images, **choices))
    assert all(a < b for a, b in zip(clips(two), clips(four), strict=True))
    assert clips(bs.quantize(four, X, bits=2, **choices)) == clips(four)


@pytest.mark.parametrize("bits", [1, 2, 3, 8])
def test_layers_at_the_ends_reach_to_their_largest_weight_as_runs_of_before_decode_them(bits: int) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    quantized = bs.quantize(model, torch.rand(2, 1, 2, 2), bits=4, first_bits=bits, last_bits=bits)
    schemes = [quantized.get_submodule(path).parametrizations.weight[0].quantize.scheme for path in ("1", "3")]
    assert schemes == [bs.Uniform(bits, scale=bs.weights.Max())] * 2
