"""Recipes of kind convert: what they may say, where their networks and weights come from."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from bitspike.conversion.convert import convert
from bitspike.conversion.settings import PIPELINES, Kind, Procedure, Settings
from bitspike.data import Normalization
from bitspike.errors import ConstraintError, PackageError, RecipeError
from bitspike.models.digits_ann import digits_ann
from bitspike.models.resnet_cifar import resnet_cifar
from bitspike.ops.grids import Grid
from bitspike.recipe import ConvertRecipe, TrainRecipe, dump, load, shipped
from bitspike.recipe.words.conversion import Conversion
from bitspike.runs.construct.data import build_data, build_pixels
from bitspike.runs.construct.factory import build_network
from bitspike.runs.construct.weights_file import find_chip, load_strictly, read_state
from bitspike.runs.construct.words import build_conversion
from bitspike.runs.kinds.convert import Converted
from bitspike.runs.sketch import blank, sketch
from bitspike.verbs.recipes import recipes

NET = """
from torch import nn
from neighbor import HIDDEN

class Net(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.flatten, self.a, self.b = nn.Flatten(), nn.Linear(64, hidden), nn.Linear(hidden, 10)

    def forward(self, x):
        return self.b(self.a(self.flatten(x)).relu())

def make(hidden=HIDDEN):
    return Net(hidden)

def broken():
    raise ValueError("not today")

NUMBER = 3
"""
MINE = """
name: mine
kind: convert
question: Does it convert?
data: {kind: digits}
model: {kind: factory, factory: "net:make"}
"""


OVER_TIME = "over_time={epochs: 1, batch_size: 8, optimizer: {kind: adamw}, schedule: {kind: cosine}, keep: last}"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Return a recipe with a network of its own next to it."""
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "neighbor.py").write_text("HIDDEN = 6\n")
    path = tmp_path / "mine.yaml"
    path.write_text(MINE)
    return path


def converting(recipe: Any, *changes: str) -> ConvertRecipe:
    found = load(recipe, changes)
    assert isinstance(found, ConvertRecipe)
    return found


def message(recipe: Any, *changes: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(recipe, changes)
    return str(caught.value)


# What a recipe may say ----------------------------------------------------------------------------------------------


def test_the_kind_tells_recipes_apart_and_none_is_train() -> None:
    assert isinstance(load("quickstart"), TrainRecipe)
    assert load("quickstart", ["kind=train"]) == load("quickstart")
    assert load("quickstart").kind == "train"
    assert "kind" not in load("quickstart").model_dump(mode="json")
    assert converting("digits-convert").kind == "convert"
    assert "--set kind=trian: kind: found 'trian'; allowed are train, convert" in message("quickstart", "kind=trian")


def test_a_file_says_the_line_of_a_wrong_kind(mine: Path) -> None:
    mine.write_text(MINE.replace("kind: convert", "kind: transform"))
    assert f"{mine}, line 3: kind: found 'transform'" in message(mine)


def test_problems_of_a_conversion_are_told_in_its_words(mine: Path) -> None:
    said = message(
        mine, "convert.stesp=8", "convert.threshold.kind=maximum", "convert.bits=0", "model.factory=net", "finetune=3"
    )
    assert "has 5 problems" in said
    assert "convert.stesp: unknown key; allowed are steps, neuron, bits" in said
    assert "did you mean 'steps'?" in said
    assert "convert.threshold.kind: found 'maximum'; allowed are max, percentile, mse" in said
    assert "convert.bits: found 0, needed is a value greater than or equal to 1" in said
    assert "model.factory: found 'net', needed is module:function or file.py:function" in said
    assert "finetune: found 3, needed is a mapping" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["convert.reset=hard", "convert.schedule=layerwise"], "a hard reset loses the whole burst"),
        (["convert.reset=hard", "convert.neuron=signed_if"], "a signed neuron subtracts"),
        (["finetune.keep=best", "data.validation=0"], "finetune.keep is 'best' and data.validation is 0"),
        (["finetune.quantized=true", "convert.frontend=export"], "needs convert.frontend: fx"),
        ([OVER_TIME, "finetune=null"], "it needs finetune.quantized: true"),
        (
            [OVER_TIME, "finetune.quantized=true", "finetune.steps=3"],
            "runs convert.steps = 8 steps, and finetune.steps",
        ),
        (
            [OVER_TIME, "finetune.quantized=true", "convert.coding=split"],
            "over_time trains with convert.coding 'direct'",
        ),
        (["finetune.quantized=true", "convert.threshold={kind: max, per_channel: true}"], "one threshold per layer"),
        (["finetune.schedule.warmup_epochs=99"], "longer than the"),
    ],
)
def test_values_have_to_fit_together(changes: list[str], said: str) -> None:
    assert said in message("digits-convert", *changes)


def test_normalized_pixels_are_for_conversions_and_for_coders_of_any_values() -> None:
    values = "{mean: [0.5], std: [0.25]}"
    assert "mean and std are for kind: convert" in message("quickstart", f"data.pixels={values}")
    random = "model.encoder={kind: bernoulli, divisor: 2.0}"
    assert "folded: false" in message("quickstart", f"data.pixels={values}", random)
    assert load("quickstart", [f"data.pixels={values}", "data.pixels.folded=false", random]).model.encoder.divisor == 2
    recipe = converting("digits-convert", f"data.pixels={values}", "data.pixels.folded=false")
    pixels, grid = build_pixels(recipe)
    assert (pixels, grid) == (Normalization(mean=(0.5,), std=(0.25,), high=16), None)
    recipe = converting("digits-convert", f"data.pixels={values}")
    pixels, grid = build_pixels(recipe)
    assert (pixels, grid) == (Normalization(mean=(0.5,), std=(0.25,), high=16, folded=True), Grid(1 / 16, 0, 16))
    assert pixels.offset == (8,)  # what shifts fill the border with
    assert "data.pixels.std: is missing" in message("digits-convert", "data.pixels={mean: [0.5]}")
    assert "data.pixels.scal: unknown key; allowed are scale, offset" in message("quickstart", "data.pixels.scal=1")


def test_a_folded_normalization_is_computed_by_the_network() -> None:
    changes = ["data.pixels={mean: [0.25], std: [0.5]}", "data.pixels.folded="]
    outside, inside = (
        build_network(converting("digits-convert", changes[0], changes[1] + w)) for w in ("false", "true")
    )
    assert outside.state_dict().keys() == inside.state_dict().keys()
    assert [name for name, _ in outside.named_modules()] == [name for name, _ in inside.named_modules()]
    assert type(inside).__name__ == type(outside).__name__
    images = torch.randint(17, (5, 8, 8, 1), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    made, plain = (Normalization(mean=(0.25,), std=(0.5,), high=16, folded=f).to_input(images) for f in (False, True))
    assert 0 <= plain.min() <= plain.max() <= 1
    torch.testing.assert_close(inside(plain), outside(made), rtol=0, atol=1e-6)
    assert torch.equal(copy.deepcopy(inside)(plain), inside(plain))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_compiled_network_normalizes_and_a_scripted_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "from bitspike.models.digits_ann import digits_ann\n"
        "compiled = lambda: torch.compile(digits_ann(width=0.5))\n"
        "scripted = lambda: torch.jit.script(digits_ann(width=0.5))\n"
    )
    changes = ["data.pixels={mean: [0.25], std: [0.5]}", "model.arguments={}"]
    network = build_network(converting("digits-convert", *changes, f"model.factory={tmp_path / 'mine.py'}:compiled"))
    assert type(network).__name__ == "Sequential"
    assert hasattr(network, "pixel_mean")
    with pytest.raises(RecipeError, match=r"made TorchScript.*\n  fix: return the Python module"):
        build_network(converting("digits-convert", *changes, f"model.factory={tmp_path / 'mine.py'}:scripted"))


def test_normalization_is_that_of_torchvision() -> None:
    pixels = torch.randint(256, (2, 4, 5, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = Normalization(mean=mean, std=std).to_input(pixels)
    wanted = (pixels.permute(0, 3, 1, 2).float() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(
        3, 1, 1
    )
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    assert Normalization(mean=mean, std=std).offset == (124, 116, 104)
    with pytest.raises(ConstraintError, match="3 of mean, the images have 1 channels"):
        Normalization(mean=mean, std=std).to_input(pixels[..., :1])
    for wrong in ({"std": (0.0,)}, {"mean": (float("nan"),)}, {"high": 0}):
        with pytest.raises(ConstraintError):
            Normalization(**wrong)  # type: ignore[arg-type]


def test_every_choice_of_a_conversion_is_an_argument_with_the_same_default() -> None:
    arguments = {n: p.default for n, p in inspect.signature(convert).parameters.items()}
    for name, field in Procedure.__dataclass_fields__.items():
        assert arguments[name] == field.default
    arguments |= {name: field.default for name, field in Settings.__dataclass_fields__.items()}
    for name, field in Conversion.model_fields.items():
        assert name in arguments
        if name not in ("neuron", "scale", "tolerance"):  # null leaves these to bs.convert and bs.finish
            assert field.default == arguments[name]
    built = build_conversion(Conversion())
    assert set(built) <= set(arguments)
    assert "threshold" not in built
    assert built["neuron"].__name__ == "IF"
    assert build_conversion(Conversion(first_bits=None))["first_bits"] is None


def test_every_setting_is_a_key_of_recipes() -> None:
    # Recipes read images, which are no spikes yet; real thresholds are for the error ledger alone.
    of_python_alone = {"input_value", "rounded"}
    assert set(Settings.__dataclass_fields__) - set(Conversion.model_fields) == of_python_alone
    assert set(get_args(get_type_hints(Settings)["coding"])) - _words("coding") == {"events"}
    for name in ("reset", "fire", "schedule", "average_pool", "concat"):
        assert set(get_args(get_type_hints(Settings)[name])) == _words(name)
    assert {*get_args(Kind), *PIPELINES} == _words("correct") - {"auto"}


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "steps": (0, 1),
        **dict.fromkeys(("bits", "first_bits", "last_bits"), (0, 1, 16, 17)),
        **dict.fromkeys(("max_fraction_bits", "multiplier_bits"), (-1, 0)),
        "initial": (-0.1, 0.0, 0.99, 1.0),
        "tolerance": (0.0, 0.5, 1.0),
    }.items(),
)
def test_recipes_allow_what_conversions_allow(name: str, values: tuple[float, ...]) -> None:
    def allowed(words: Callable[..., object], error: type[Exception], value: float) -> bool:
        try:
            words(**{name: value})
        except error:
            return False
        return True

    in_recipes = [allowed(Conversion, ValidationError, value) for value in values]
    assert in_recipes == [allowed(Settings, ConstraintError, value) for value in values]
    assert len(set(in_recipes)) == 2


def _words(name: str) -> set[str]:
    """Return the words that a key of a conversion allows."""

    def inside(annotation: object) -> set[str]:
        parts = get_args(annotation)
        return {p for p in parts if isinstance(p, str)}.union(*(inside(p) for p in parts))

    return inside(Conversion.model_fields[name].annotation)


def test_corrections_are_words_or_a_row_of_them() -> None:
    assert converting("digits-convert", "convert.correct=advanced").convert.correct == "advanced"
    row = converting("digits-convert", "convert.correct=[weights, potential]", "convert.tolerance=0.001").convert
    assert build_conversion(row)["correct"] == ("weights", "potential")
    assert build_conversion(row)["tolerance"] == 0.001
    assert "tolerance" not in build_conversion(Conversion())
    assert "convert.correct" in message("digits-convert", "convert.correct=[weights, light]")


@pytest.mark.parametrize("name", [n for n in shipped() if isinstance(load(n), ConvertRecipe)])
def test_a_conversion_written_back_loads_to_the_same(name: str, tmp_path: Path) -> None:
    recipe = load(name, ["convert.bits={'*': 4, 'layer1.*': 2}", "convert.threshold={kind: percentile}"])
    path = tmp_path / "recipe.yaml"
    path.write_text(dump(recipe))
    assert load(path) == recipe


def test_the_listing_names_converted_networks() -> None:
    rows = {row["name"]: row for row in recipes()}
    row = rows["resnet20-cifar10-convert"]
    assert (row["kind"], row["model"], row["steps"], row["bits"]) == ("convert", "resnet_cifar", 32, 8)
    assert rows["quickstart"]["kind"] == "train"
    assert load("digits-convert", ["convert.bits={'*': 2, linear: 5}"]).bits == 5
    assert load("digits-convert", ["finetune.bits=3"]).bits == 3


class Normalizing(nn.Module):
    """Normalizes its pixels itself, before convolutions with these paddings."""

    def __init__(self, *paddings: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(1, 2, 2 * p + 1, padding=p) for p in paddings)
        self.last = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = (x - 0.5) / 0.25
        return self.last(sum(layer(y) for layer in self.layers).relu().flatten(1))  # type: ignore[no-any-return]


def test_the_grid_of_pixels_is_for_what_is_made_of_pixels() -> None:
    recipe = converting("digits-convert", "finetune=null", "convert.steps=2", "convert.samples=20")
    kind = Converted(recipe, build_data(recipe))
    assert list(kind.finish(Normalizing(1).eval()).record.grids.values()) == [kind.data.grid]  # type: ignore[union-attr]
    (grid,) = kind.finish(Normalizing(1, 2).eval()).record.grids.values()  # type: ignore[union-attr]
    assert grid.low < 0  # normalized on the host, since the two layers need two borders


# The network and its weights ----------------------------------------------------------------------------------------


def test_a_factory_lies_beside_its_recipe(mine: Path, tmp_path: Path) -> None:
    recipe = converting(mine)
    assert recipe.model.folder == str(tmp_path.resolve())
    assert build_network(recipe).a.out_features == 6  # type: ignore[union-attr]
    for name in ("net.py:make", "net:Net"):
        changed = load(recipe, [f"model.factory={name}", "model.arguments={hidden: 9}"])
        assert build_network(changed).a.out_features == 9  # type: ignore[arg-type, union-attr]
    # What a run keeps says itself where the recipe lay.
    again = tmp_path / "elsewhere" / "recipe.yaml"
    again.parent.mkdir()
    again.write_text(dump(recipe))
    assert load(again) == recipe


def test_two_recipes_may_each_have_a_net(mine: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "net.py").write_text("from torch import nn\ndef make():\n    return nn.Flatten()\n")
    (other / "mine.yaml").write_text(MINE)
    assert isinstance(build_network(converting(other / "mine.yaml")), nn.Flatten)
    assert type(build_network(converting(mine))).__name__ == "Net"


def test_a_factory_is_found_in_the_working_directory(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load("digits-convert", ["model.factory=net:make"])
    assert type(build_network(recipe)).__name__ == "Net"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model.factory=net:maker", "net has no 'maker'; it has Net, make, broken"),
        ("model.factory=net:NUMBER", "NUMBER is a int and cannot be called"),
        ("model.factory=net:broken", "net:broken failed: ValueError: not today"),
        ("model.factory=nets:make", "nets cannot be imported: ModuleNotFoundError"),
        ("model.factory=nets.py:make", "there is no file"),
        ("model.factory=builtins:dict", "made a dict, needed is an nn.Module"),
        ("model.arguments={hiden: 3}", "unexpected keyword argument 'hiden'"),
    ],
)
def test_a_wrong_factory_is_told(mine: Path, change: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        build_network(converting(mine, change))
    assert said in str(caught.value)


def test_initial_weights_depend_on_the_seed_alone(mine: Path) -> None:
    before = torch.get_rng_state()
    one, two = (build_network(converting(mine)) for _ in range(2))
    other = build_network(converting(mine, "seed=1"))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.a.weight, two.a.weight)  # type: ignore[union-attr, arg-type]
    assert not torch.equal(one.a.weight, other.a.weight)  # type: ignore[union-attr, arg-type]
    assert not one.training


def test_weights_are_read_from_both_sorts_of_file(mine: Path, tmp_path: Path) -> None:
    trained = build_network(converting(mine, "seed=5"))
    state = trained.state_dict()
    save_file(state, tmp_path / "w.safetensors")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "w.th")
    for changes in (
        ["model.weights=w.safetensors"],
        ["model.weights=w.th", "model.key=state_dict", "model.prefix=module."],
    ):
        found = build_network(converting(mine, *changes))
        assert all(torch.equal(found.state_dict()[k], v) for k, v in state.items())
        initial = build_network(converting(mine, *changes), weights=False)
        assert not torch.equal(initial.state_dict()["a.weight"], state["a.weight"])


def test_weights_that_do_not_fit_are_all_listed(mine: Path, tmp_path: Path) -> None:
    net = build_network(converting(mine))
    state = net.state_dict()
    with pytest.raises(PackageError) as caught:
        load_strictly(net, {"a.weight": torch.zeros(2, 2), "a.bias": state["a.bias"], "c": torch.zeros(1)}, source="f")
    said = str(caught.value)
    assert "f does not fit Net" in said
    assert "missing: b.weight, b.bias" in said
    assert "unexpected: c" in said
    assert "of another shape: a.weight [2, 2] for [6, 64]" in said
    with pytest.raises(PackageError, match=r"fix: --set model\.prefix=module\."):
        load_strictly(net, {f"module.{k}": v for k, v in state.items()}, source="f")


def test_files_that_hold_no_weights_are_told(mine: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}, "epoch": 1}, tmp_path / "w.th")
    with pytest.raises(PackageError, match=r"fix: --set model\.key=state_dict"):
        read_state(tmp_path / "w.th")
    with pytest.raises(PackageError, match=r"no entry 'net'; it has 'state_dict', 'epoch'"):
        read_state(tmp_path / "w.th", key="net")
    torch.save(nn.Linear(1, 1), tmp_path / "whole.th")  # a pickled module is not executed
    with pytest.raises(PackageError, match="save the state alone"):
        read_state(tmp_path / "whole.th")
    with pytest.raises(RecipeError, match=r"model\.weights: there is no file .*gone\.th"):
        build_network(converting(mine, "model.weights=gone.th"))


def test_old_checkpoints_do_not_count_the_batches_of_a_norm() -> None:
    net = nn.BatchNorm1d(2)
    state = {k: v + 1 for k, v in net.state_dict().items() if k != "num_batches_tracked"}
    load_strictly(net, state, source="f")
    assert net.weight.tolist() == [2.0, 2.0]


def test_a_chip_may_lie_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("")
    assert find_chip("own.toml", str(tmp_path)) == tmp_path / "own.toml"
    assert find_chip("fanin1024-v1", str(tmp_path)) == "fanin1024-v1"


def test_the_public_resnet_has_the_names_of_its_checkpoint() -> None:
    net = resnet_cifar(depth=20)
    names = {n for n in net.state_dict() if not n.endswith("num_batches_tracked")}
    assert {"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer3.2.bn2.bias", "linear.bias"} <= names
    assert not any("shortcut" in n or "downsample" in n for n in names)
    x = torch.rand(2, 4, 6, 6)
    block = resnet_cifar(depth=8, width=4).layer2[0]
    short = block.shortcut(x)  # type: ignore[operator]
    assert short.shape == (2, 8, 3, 3)
    assert torch.equal(short[:, 2:6], x[:, :, ::2, ::2])
    assert not short[:, :2].any()
    assert not short[:, 6:].any()
    for depth in (7, 21):
        with pytest.raises(ConstraintError, match="6n \\+ 2"):
            resnet_cifar(depth=depth)


def test_repairs_are_made_when_the_weights_are_there(tmp_path: Path) -> None:
    plain = converting("digits-convert")
    save_file(build_network(plain).state_dict(), tmp_path / "w.safetensors")
    loaded = f"model.weights={tmp_path / 'w.safetensors'}"
    grouped = build_network(converting(plain, loaded, "model.repairs=[{kind: groups, path: conv2, groups: 4}]"))
    layers = [m for m in grouped.modules() if isinstance(m, nn.Conv2d)]
    assert [m.groups for m in layers] == [1, 4]
    assert not any("parametrizations" in name for name in grouped.state_dict()), "the conversion quantizes"
    kept = "model.repairs=[{kind: prune, path: conv2, keep: [0, 3, 5, 7]}]"
    pruned = build_network(converting(plain, loaded, kept))
    assert [m.in_channels for m in pruned.modules() if isinstance(m, nn.Conv2d)] == [1, 4]
    assert torch.equal(pruned.conv1.weight, build_network(plain).conv1.weight[[0, 3, 5, 7]])  # type: ignore[union-attr, index]
    for recipe in (
        converting(plain, "model.repairs=[{kind: groups, path: conv2, groups: 4}]"),
        converting(plain, kept),
    ):
        made = sketch(recipe)
        assert set(made.layers.values()) <= set(dict(made.model.named_modules()))
    with pytest.raises(RecipeError, match=r"model\.repairs: .*'conv9'.* no such module"):
        build_network(converting(plain, "model.repairs=[{kind: groups, path: conv9, groups: 4}]"))


# Networks that are only looked at -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits-convert", "resnet20-cifar10-convert", "mnist-stbp-w4"])
def test_a_network_is_sketched_without_weights_and_images(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitspike.runs.construct.data.read_images", lambda *a, **k: pytest.fail("images were read"))
    small = ["model.arguments={depth: 8, width: 4}"] if "resnet" in name else []
    recipe = load(name, small)
    made = sketch(recipe)
    assert made.net.steps == recipe.steps
    modules = dict(made.model.named_modules())
    assert set(made.layers) == {n.path for n in made.net.weighted}
    assert set(made.layers.values()) <= set(modules)


def test_of_unseen_images_the_shape_has_to_be_said(tmp_path: Path) -> None:
    own = f"data={{kind: folder, root: {tmp_path}}}"
    with pytest.raises(RecipeError, match=r"data\.size and data\.channels are null"):
        blank(load("digits-convert", [own]))
    sized = [own, "data.size=[8, 6]", "data.channels=1"]
    assert blank(load("digits-convert", sized)).shape == (8, 6, 1)
    with pytest.raises(RecipeError, match="there are no folders of classes"):
        blank(load("quickstart", sized))
    for name in ("cat", "dog", ".ipynb_checkpoints"):  # the last one is none of the classes that are read
        (tmp_path / "train" / name).mkdir(parents=True)
    assert blank(load("quickstart", sized)).classes == ("cat", "dog")


def test_digits_ann_takes_digits() -> None:
    assert digits_ann(width=0.5)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_a_sketch_reads_the_codes_that_the_run_reads() -> None:
    recipe = load("digits-convert")
    assert sketch(recipe).net.input_grid == build_pixels(recipe)[1]
    inside = sketch(load("digits-convert", ["convert.include=[conv2,relu2]"])).net
    assert inside.input_grid.high == 255  # what the real layers give, in 8 bits
