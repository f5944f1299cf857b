"""Every word of a recipe stands for a class whose arguments and defaults are the recipe's."""

from __future__ import annotations

import inspect
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import torch
from pydantic import BaseModel
from torch import nn

from bitspike.data import DATASETS, EVENT_SETS, Normalization
from bitspike.errors import ConstraintError, RecipeError, RunError
from bitspike.nn import BernoulliCoder, SumReadout, ThresholdBatchNorm
from bitspike.recipe import load
from bitspike.recipe.kinds.train import TrainRecipe
from bitspike.recipe.words import conversion, data, devices, events, layers, models, neurons, training, weights
from bitspike.recipe.words.own import Own
from bitspike.recipe.words.value import Value, words_of
from bitspike.runs.construct.data import build_data
from bitspike.runs.construct.words import build
from bitspike.runs.kinds.train import build_model
from bitspike.train.checkpoint import state_of, write_weights
from bitspike.verbs.recipes import recipes
from bitspike.weights import codes, sparsity

UNIONS = [
    neurons.Surrogate, neurons.Neuron, layers.Norm, layers.Encoder, layers.Readout, data.Augmentation, events.Framing,
    training.Optimizer, training.Schedule, training.Loss, training.Clip, weights.Scale, weights.Scheme,
    conversion.Threshold, devices.Variation,
]  # fmt: skip


def words(union: Any) -> dict[str, type[Value]]:
    """Return the words of the package, without those for the user's own."""
    return {kind: word for kind, word in words_of(union).items() if not issubclass(word, Own)}


SINGLE = [weights.SRAM, devices.GroupLasso]
CASES = [
    pytest.param(resolve_name(word.makes), word, id=f"{word.__module__.rsplit('.', 1)[-1]}.{word.__name__}")
    for word in [*SINGLE, *(word for union in UNIONS for word in words(union).values())]
]


def test_no_two_words_stand_for_one_class() -> None:
    named = [word.makes for union in [*UNIONS, models.Model] for word in words(union).values()]
    assert len(named) == len(set(named)) > 40


@pytest.mark.parametrize(("made", "model"), CASES)
def test_names_and_defaults_are_those_of_the_class(made: type, model: type[BaseModel]) -> None:
    arguments = inspect.signature(made).parameters
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        assert name in arguments, f"{made.__name__} has no argument {name}"
        default = arguments[name].default
        if isinstance(field.default, BaseModel) or field.is_required() or "factory" in repr(default):
            continue
        if made is ThresholdBatchNorm and name == "threshold":  # null takes the neuron's
            continue
        assert field.default == default, f"{made.__name__}({name})"


@pytest.mark.parametrize("kind", [kind for kind in words(data.Data) if kind not in (*EVENT_SETS, "sequence")])
def test_data_kinds_and_their_pixels_are_those_of_the_package(kind: str) -> None:
    model = words(data.Data)[kind]
    assert set(words(data.Data)) == {*DATASETS, *EVENT_SETS, "sequence"}
    pixels = model.model_fields["pixels"].default
    same = DATASETS[kind].pixel_grid
    names = ("mean", "std", "folded") if isinstance(same, Normalization) else ("scale", "offset")
    assert [getattr(pixels, name) for name in names] == [getattr(same, name) for name in names]


@pytest.mark.parametrize("neuron", ["{kind: if}", "{kind: lif, decay: 0.25}", "{kind: plif}", "{kind: signed_if}"])
@pytest.mark.parametrize("norm", ["null", "{kind: batch}", "{kind: threshold}", "{kind: shift}"])
def test_every_neuron_and_norm_builds(neuron: str, norm: str) -> None:
    recipe = load("quickstart", [f"neuron={neuron}", f"norm={norm}", "model.width=0.25"])
    data = build_data(recipe)
    net = build_model(recipe, data.train)
    out = net(next(iter(data.training_batches("training")))[0])
    assert out.shape == (recipe.training.batch_size, 10)
    kinds = {type(m) for m in net.modules()}
    assert resolve_name(recipe.neuron.makes) in kinds
    assert recipe.norm is None or resolve_name(recipe.norm.makes) in kinds


@pytest.mark.parametrize(
    "scheme",
    [
        "{kind: uniform, bits: 3, scale: {kind: dyadic, rule: {kind: percentile, p: 99}}}",
        "{kind: midrise, bits: 2}",
        "{kind: dorefa, bits: 4}",
        "{kind: ternary, scale: {kind: dyadic}}",
        "{kind: binary, scale: {kind: max}}",
        "{kind: power_of_two, bits: 4}",
        "{kind: apot, bits: 4}",
        "{kind: fixed_point, step: 0.125, bits: 4}",
        "{kind: uniform, bits: 1, scale: {kind: constant, value: 0.5}}",
    ],
)
def test_every_scheme_builds_and_quantizes(scheme: str) -> None:
    recipe = load("quickstart", [f"weights.quantize={scheme}", "model.width=0.25"])
    data = build_data(recipe)
    found = codes(build_model(recipe, data.train))
    assert set(found) == {"layer1.conv", "layer2.conv", "layer3.linear"}
    wanted = build(recipe.weights.quantize)  # type: ignore[union-attr]
    assert {c.bits for c in found.values()} == {wanted.bits}
    assert recipe.bits == wanted.bits


@pytest.mark.parametrize(
    "vary",
    [
        "{kind: lognormal, sigma: 0.3, seed: 1, fixed: true, resolution: 7}",
        "{kind: rram, bits: 4, scale: 2.0}",
        "{kind: rram_by_level, bits: 4}",
        "{kind: stuck_at, high: 0.01}",
        "{kind: drift, seconds: 3600}",
        "{kind: pcm_drift, seconds: 3600}",
        "{kind: combined, parts: [{kind: rram, bits: 2}, {kind: stuck_at, low: 0.02}], seed: 3, fixed: true}",
    ],
)
def test_every_memory_device_builds_and_varies(vary: str) -> None:
    memory = [f"weights.vary={vary}", "weights.recover={bits: 2}", "weights.prune={threshold: 0.1}"]
    recipe = load("quickstart", ["weights.quantize={kind: midrise, bits: 4}", *memory, "model.width=0.25"])
    assert load(recipe) == recipe
    model = build_model(recipe, build_data(recipe).train).train()
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == [f"{layer}.parametrizations.weight.original" for layer in codes(model)]
    ideal = codes(model)["layer2.conv"].decode()
    assert not torch.equal(model.layer2.conv.weight, ideal)
    assert list(sparsity(model).layers) == ["layer2.conv", "layer3.linear"]


def test_sram_starts_from_a_file_of_weights(tmp_path: Path) -> None:
    other = build_model(load("quickstart", ["model.width=0.25", "seed=5"]), build_data(load("quickstart")).train)
    write_weights(tmp_path / "model.safetensors", state_of(other))
    memory = ["weights.quantize={kind: midrise, bits: 4}", f"weights.recover={{bits: 2, start: {tmp_path}}}"]
    recipe = load("quickstart", [*memory, "model.width=0.25"])
    images = build_data(recipe).train
    layer = build_model(recipe, images).layer2.conv
    master = layer.parametrizations.weight[0].recover.master
    assert torch.equal(master, other.layer2.conv.parametrizations.weight.original)
    assert not torch.equal(master, layer.parametrizations.weight.original)
    with pytest.raises(ConstraintError, match=r"in the state for SRAM and"):
        build_model(load(recipe, ["model.width=2.0"]), images)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(RunError, match="holds no weights yet"):
        build_model(recipe, images)
    build_model(recipe, images, weights=False)  # of a finished run, whose own weights are loaded afterwards


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("weights.recover={bits: 0}", "weights.recover.bits"),
        ("weights.recover={bits: 2, shift: 99}", "weights.recover.shift"),
        ("weights.vary={kind: rram, bits: 5}", "1, 2, 3, 4 or 8"),
        ("weights.vary={kind: ram}", "lognormal"),
        ("weights.prune={threshold: 1.0}", "weights.prune.threshold"),
    ],
)
def test_memory_devices_that_do_not_exist_are_refused(change: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load("quickstart", [change])


def test_initial_weights_depend_on_the_seed_alone() -> None:
    recipe = load("quickstart", ["model.width=0.25"])
    data = build_data(recipe)
    torch.manual_seed(1)
    one = build_model(recipe, data.train)
    before = torch.get_rng_state()
    two = build_model(recipe, data.train)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(x, y) for x, y in zip(one.parameters(), two.parameters(), strict=True))
    other = build_model(load(recipe, ["seed=1"]), data.train)
    assert not all(torch.equal(x, y) for x, y in zip(one.parameters(), other.parameters(), strict=True))


def test_data_is_parted_without_overlap_and_limited_by_class() -> None:
    data = build_data(load("quickstart"))
    assert (len(data.train), len(data.test)) == (1294, 359)
    assert data.validation is not None
    assert len(data.validation) == 144
    assert (data.grid.low, data.grid.high) == (0, 16)
    small = build_data(load("quickstart", ["data.limit=50", "data.validation=10"]))
    assert (len(small.train), len(small.test)) == (40, 50)
    assert min(small.test.counts()) >= 4
    assert build_data(load("quickstart", ["data.validation=0", "training.keep=last"])).validation is None


def test_encoder_read_out_and_bias_reach_the_model() -> None:
    changes = ["model.encoder={kind: bernoulli, divisor: 2}", "model.readout={kind: sum}"]
    recipe = load("quickstart", changes)
    net = build_model(recipe, build_data(recipe).train)
    assert isinstance(net.encoder, BernoulliCoder)
    assert net.encoder.divisor == 2
    assert isinstance(net.readout, SumReadout)


def test_a_batch_is_that_of_all_processes() -> None:
    recipe = load("quickstart", ["training.batch_size=64"])
    data = build_data(recipe)
    assert data.training_batches("training", rank=1, world_size=4).batch_size == 16
    with pytest.raises(ConstraintError, match=r"64, which 3 processes cannot share evenly[\s\S]*batch_size=66"):
        data.training_batches("training", world_size=3)


def test_the_listing_names_papers_and_figures() -> None:
    rows = {row["name"]: row for row in recipes()}
    assert rows["mnist-stbp-w4"]["published"]["value"] == 0.9756
    assert rows["mnist-stbp-w8"]["published"]["value"] == 0.9757
    assert rows["mnist-stbp-fp32"]["published"]["value"] == 0.9796
    assert [rows[f"mnist-stbp-{k}"]["bits"] for k in ("fp32", "w8", "w4")] == [32, 8, 4]
    assert all(rows[f"mnist-stbp-{k}"]["steps"] == 2 for k in ("fp32", "w8", "w4"))
    assert (rows["quickstart"]["bits"], rows["quickstart"]["steps"], rows["quickstart"]["expected"]) == (2, 4, 0.97)


def test_a_pattern_that_matches_nothing_is_an_error() -> None:
    recipe = load("quickstart", ["weights.skip=[head]"])
    with pytest.raises(ConstraintError, match="no layer matches 'head'"):
        build_model(recipe, build_data(recipe).train)


def test_float_weights_stay_float() -> None:
    recipe = load("quickstart", ["weights=null"])
    net = build_model(recipe, build_data(recipe).train)
    assert not codes(net)
    assert isinstance(net.get_submodule("layer1.conv"), nn.Conv2d)


@pytest.mark.parametrize(("alpha", "share"), [("shared", 2**-0.5), ("1.0", 1.0)])
def test_branches_that_are_added_share_the_threshold_where_the_norm_says_so(alpha: str, share: float) -> None:
    changes = ["model={kind: resnet19, steps: 1, width: 0.05}", f"norm={{kind: threshold, alpha: {alpha}}}"]
    recipe = load("quickstart", changes)
    assert isinstance(recipe, TrainRecipe)
    net = build_model(recipe, build_data(recipe).train)
    alphas = {name: m.alpha for name, m in net.named_modules() if isinstance(m, ThresholdBatchNorm)}
    added = {name for name in alphas if ".layer2." in name or ".shortcut." in name}
    assert {alphas[name] for name in added} == {share}
    assert {alpha for name, alpha in alphas.items() if name not in added} == {1.0}
