from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import bitspike as bs
from bitspike.graph.capture.from_module import capture
from bitspike.hardware.chips.check import check
from bitspike.hardware.chips.plan_repairs import Repair, plan
from bitspike.models import vgg11
from bitspike.surgery.apply import apply
from bitspike.surgery.channels import can_follow, latent, links, select
from bitspike.weights import Binary, Dyadic, Max, Ternary, Uniform
from bitspike.weights.scales import ScaleRule

V1 = "fanin1024-v1"


def planned(path: str, kind: str, **more: object) -> Repair:
    return Repair(path=path, kind=kind, **{"bits": 2, **more})  # type: ignore[arg-type]


def randomize_norms(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)  # type: ignore[arg-type]
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor, 0, 0.3)  # type: ignore[arg-type]


def small(*, steps: int | None = 2, bits: int = 4, width: float = 1 / 8) -> nn.Module:
    neuron: Callable[[], nn.Module] = nn.ReLU if steps is None else bs.IF
    model = vgg11(steps=steps, width=width, image_size=16, neuron=neuron)
    randomize_norms(model)
    return bs.attach(model, quantize=Uniform(bits=bits)).eval()


def test_the_links_of_a_chain() -> None:
    found = links(small())
    assert {path: link.reader for path, link in found.items()} == {
        **{f"layer{i}.conv": f"layer{i + 1}.conv" for i in range(1, 8)},
        "layer8.conv": "layer9.linear",
        "layer9.linear": "layer10.linear",
        "layer10.linear": "layer11.linear",
    }
    assert found["layer8.conv"].flattened
    assert not found["layer9.linear"].flattened


def test_branches_and_shared_layers_have_no_links() -> None:
    class Branched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
            self.c, self.d = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.a(x)
            return self.d(self.c(self.b(x) + x)) + self.d(x)  # type: ignore[no-any-return]

    assert set(links(Branched())) == set()


@pytest.mark.parametrize("steps", [None, 2])
def test_reordering_channels_changes_nothing(steps: int | None) -> None:
    model = small(steps=steps)
    x = torch.rand(3, 3, 16, 16)
    before = model(x)
    for link in links(model).values():
        assert can_follow(model, link)
        channels = len(latent(model.get_submodule(link.layer)))
        select(model, link, torch.randperm(channels, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(model(x), before)


def test_bits_are_set_and_the_model_itself_is_left_alone() -> None:
    model = small()
    fitted = apply(model, [planned("layer3.conv", "bits", bits=1), planned("layer4.conv", "bits", bits=2)])
    assert {n: c.bits for n, c in bs.codes(fitted).items() if n[5] in "345"} == {
        "layer3.conv": 1,
        "layer4.conv": 2,
        "layer5.conv": 4,
    }
    assert {c.bits for c in bs.codes(model).values()} == {4}
    assert torch.equal(latent(fitted.get_submodule("layer3.conv")), latent(model.get_submodule("layer3.conv")))


@pytest.mark.parametrize("scheme", [Ternary(), Binary(per_channel=True), Uniform(bits=3, per_channel=True)], ids=repr)
def test_a_scheme_of_one_width_becomes_uniform(scheme: object) -> None:
    model = bs.attach(nn.Sequential(nn.Conv2d(2, 2, 3)), quantize=scheme)  # type: ignore[arg-type]
    found = bs.codes(apply(model, [planned("0", "bits", bits=2)]))["0"]
    assert found.bits == 2
    assert (found.scale.numel() > 1) == scheme.per_channel  # type: ignore[attr-defined]


@pytest.mark.parametrize("scale", [None, Max(factor=0.5), Dyadic()])
def test_fewer_bits_choose_the_default_scale_of_their_own_and_keep_one_that_is_named(scale: ScaleRule | None) -> None:
    model = bs.attach(nn.Sequential(nn.Linear(4, 3)), quantize=Uniform(8, scale=scale))
    for bits in (2, 8):
        model = apply(model, [Repair(path="0", kind="bits", bits=bits)])
        assert model[0].parametrizations.weight[0].quantize.scheme == Uniform(bits, scale=scale)


def test_a_layer_without_a_scheme_gets_one() -> None:
    assert bs.codes(apply(nn.Sequential(nn.Conv2d(2, 2, 3)), [planned("0", "bits", bits=2)]))["0"].bits == 2


def test_a_grouped_layer_keeps_the_weights_of_the_dense_one() -> None:
    """Weights that are block diagonal in a hidden order are found again: nothing is lost."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 5, 1),
    ).eval()  # fmt: skip
    randomize_norms(model)
    ins, outs = torch.randperm(16, generator=generator) % 4, torch.randperm(24, generator=generator) % 4
    with torch.no_grad():
        model[3].weight *= (outs[:, None] == ins[None])[:, :, None, None]
    x = torch.rand(2, 3, 8, 8)
    fitted = apply(model, [planned("3", "groups", bits=16, groups=4)])
    assert isinstance(fitted[3], nn.Conv2d)
    assert fitted[3].groups == 4
    bs.detach(fitted, keep="latent")
    torch.testing.assert_close(fitted(x), model(x))


def test_matching_keeps_more_than_a_blind_choice() -> None:
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Conv2d(32, 4, 1))
    fitted = apply(model, [planned("2", "groups", groups=8)])
    whole, kept = latent(model[2]).square().sum(), latent(fitted[2]).square().sum()
    assert latent(fitted[2]).shape == (32, 4, 3, 3)
    assert kept / whole > 1.1 / 8


def test_two_grouped_layers_in_a_row_are_mixed_by_a_shuffle() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 1, bias=False), nn.ReLU(), nn.Conv2d(16, 16, 1, bias=False),
        nn.ReLU(), nn.Conv2d(16, 2, 1),
    )  # fmt: skip
    repairs = [planned("2", "groups", groups=4), planned("4", "groups", groups=4)]
    fitted = apply(model, repairs)
    assert isinstance(fitted[4], nn.Sequential)
    assert isinstance(fitted[4].shuffle, nn.ChannelShuffle)
    for layer in (fitted[2], fitted[4].layers):
        nn.init.ones_(latent(layer))
    part = nn.Sequential(fitted[2], fitted[4])
    bs.detach(part, keep="latent")
    reached = (part(torch.eye(16)[:, :, None, None]).flatten(1) != 0).sum(1)
    assert (reached == 16).all(), "every input channel reaches every output"


def test_a_shuffle_over_time_stands_behind_the_pool_of_its_layers() -> None:
    model = bs.TimeDistributed(nn.Conv2d(2, 8, 3, groups=2), nn.ReLU())
    timed = bs.TimeDistributed(nn.AvgPool2d(2), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    whole = nn.Sequential(bs.Repeat(2), model, bs.IF(), timed, bs.IF(), bs.RateReadout()).eval()
    fitted = apply(whole, [planned("3.1", "groups", groups=4, source_shape=(8, 4, 4))])
    assert [name for name, _ in fitted[3].named_children()] == ["front", "split", "swap", "join", "layers"]
    assert fitted(torch.rand(1, 2, 10, 10)).shape == (1, 8, 2, 2)
    assert isinstance(fitted.get_submodule("3.layers.1"), nn.Conv2d)


def test_a_repaired_network_without_time_can_be_captured_and_repaired_again() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU(),
        nn.Conv2d(16, 2, 1),
    ).eval()  # fmt: skip
    fitted = apply(model, [planned("2", "groups", groups=4), planned("4", "groups", groups=4)])
    again = apply(fitted, [planned("6", "bits", bits=1), planned("6", "groups", bits=1, groups=2)])
    kinds = [op.kind for op in capture(again, torch.rand(2, 3, 5, 5))]
    assert kinds.count("transpose") == 2
    assert kinds.count("convolution") == 4


def test_a_layer_in_a_branch_is_grouped_where_it_stands() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.first(x))
            return torch.relu(self.second(x) + x)

    fitted = apply(Skip(), [planned("second", "groups", groups=2)])
    assert isinstance(fitted.second, nn.Sequential)
    assert fitted(torch.rand(1, 4, 5, 5)).shape == (1, 8, 5, 5)


def test_pruning_takes_the_channels_out_of_the_layer_that_makes_them() -> None:
    model = small()
    keep = (0, 2, 5, 7, 11)
    with torch.no_grad():
        others = [c for c in range(16) if c not in keep]
        latent(model.get_submodule("layer3.conv"))[:, others] = 0
    fitted = apply(model, [planned("layer3.conv", "prune", bits=4, inputs=5, keep=keep)])
    assert latent(fitted.get_submodule("layer2.conv")).shape == (5, 8, 3, 3)
    assert latent(fitted.get_submodule("layer3.conv")).shape == (32, 5, 3, 3)
    x = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(fitted(x)[:, :1].shape, model(x)[:, :1].shape)
    bs.detach(fitted, keep="latent")
    bs.detach(model, keep="latent")
    torch.testing.assert_close(fitted(x), model(x))


@pytest.mark.parametrize(
    ("repair", "match"),
    [
        (planned("layer99", "bits"), "no such module"),
        (planned("neuron1", "bits"), "no layer with weights"),
        (planned("layer3.conv", "split", parts=2), "source_shape is empty"),
        (planned("layer3.conv", "shrink"), "no repair 'shrink'"),
        (planned("layer3.conv", "groups", groups=3), "groups=3 does not divide"),
        (planned("layer9.linear", "groups", groups=2), "only a dense convolution"),
        (planned("layer1.conv", "prune", keep=(0,)), "not those of one layer that nothing else reads"),
    ],
)
def test_what_cannot_be_applied(repair: Repair, match: str) -> None:
    with pytest.raises(bs.ConstraintError, match=match) as caught:
        apply(small(), [repair])
    assert caught.value.fix


def test_a_weight_with_device_variation_is_refused() -> None:
    model = bs.attach(nn.Sequential(nn.Conv2d(2, 2, 3)), quantize=Ternary(), vary=bs.Lognormal(sigma=0.1))
    with pytest.raises(bs.ConstraintError, match="vary already"):
        apply(model, [planned("0", "bits")])


def test_a_real_layer_is_left_alone() -> None:
    model = small()
    fitted = apply(model, [planned("layer3.conv", "real")])
    assert {c.bits for c in bs.codes(fitted).values()} == {4}


@pytest.mark.parametrize(("width", "size"), [(1 / 2, 16), (1.0, 16)])
def test_a_vgg11_is_fitted_passes_the_check_and_verifies(width: float, size: int) -> None:
    """512 channels at full width: 4608 cells at 1 bit, where 1024 are allowed."""
    model = vgg11(steps=2, width=width, image_size=size, neuron=bs.IF)
    randomize_norms(model)
    # The linear layers are not what is tested; 4096 features would only cost time.
    model = bs.attach(_light(model), quantize=Uniform(bits=4)).eval()
    example = torch.rand(2, 3, size, size)
    net = bs.lower(model, example)
    assert not check(net, V1).passed
    repairs = plan(net, V1)
    assert {r.kind for r in repairs} == {"bits", "groups"}
    fitted = apply(model, repairs)
    lowered = bs.lower(fitted, example)
    report = bs.check(lowered, chip=V1).raise_if_failed()
    assert max(cost.cost for cost in report.costs if cost.path.endswith("conv")) <= 1024
    assert bs.verify(lowered, example).equal


def _light(model: nn.Module) -> nn.Module:
    """Replace the wide linear layers by narrow ones."""
    wide = model.get_submodule("layer9.linear").in_features
    for number, into, out in ((9, wide, 16), (10, 16, 16), (11, 16, 10)):
        layer = model.get_submodule(f"layer{number}")
        layer.linear = nn.Linear(into, out, bias=False)
        if number < 11:
            layer.norm = nn.BatchNorm1d(out)
    return model
