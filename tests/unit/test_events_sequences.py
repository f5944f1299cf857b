"""Images that are read in parts, as sequential MNIST is: the parts, their recipe, and what is refused."""

from __future__ import annotations

import pytest
import torch

import bitspike as bs
from bitspike.data import ImageSet, as_sequence
from bitspike.data.picture import picture
from bitspike.errors import ConstraintError, RecipeError
from bitspike.lowering.agreement import compare
from bitspike.recipe import load as load_recipe
from bitspike.runs.construct.data import build_data
from bitspike.runs.kinds.train import build_model
from bitspike.runs.sketch import blank, sketch

DIGITS = ["data.of=digits", "data.limit=60", "model.width=0.125", "training.epochs=1"]


def images(channels: int = 1) -> ImageSet:
    """Return two images of 4 x 6 pixels, each of which is another number."""
    pixels = torch.arange(2 * 4 * 6 * channels, dtype=torch.uint8).reshape(2, 4, 6, channels)
    return ImageSet(pixels, torch.tensor([0, 1]), ("a", "b"), "tiny")


@pytest.mark.parametrize(("steps", "part"), [(1, (4, 6)), (2, (2, 6)), (4, (1, 6)), (8, (1, 3)), (24, (1, 1))])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_parts_follow_each_other_row_by_row(steps: int, part: tuple[int, int], channels: int) -> None:
    whole = images(channels)
    parts = as_sequence(whole, steps)
    assert (parts.steps, parts.shape) == (steps, (*part, channels))
    assert torch.equal(parts.first(2).reshape(2, -1, channels), whole.images.reshape(2, -1, channels))
    assert parts.frames.data_ptr() == whole.images.data_ptr(), "nothing is copied"
    assert torch.equal(torch.from_numpy(picture(parts)), torch.from_numpy(picture(whole)))
    assert torch.equal(torch.from_numpy(picture(parts.subset([1]))), torch.from_numpy(picture(whole.subset([1]))))


@pytest.mark.parametrize("steps", [0, 3, 5, 48])
def test_steps_that_do_not_divide_an_image_are_refused_with_those_that_do(steps: int) -> None:
    with pytest.raises(ConstraintError, match=r"1, 2, 4, 8, 12, 24\n  fix: 4 steps, a row at each"):
        as_sequence(images(), steps)


def test_what_is_no_set_of_images_is_refused() -> None:
    for other in (images().images, as_sequence(images(), 4)):
        with pytest.raises(ConstraintError, match=rf"as_sequence of a {type(other).__name__}; needed is an ImageSet"):
            as_sequence(other, 4)  # type: ignore[arg-type]


def test_a_recipe_reads_a_row_at_every_step() -> None:
    recipe = load_recipe("bntt-mnist-rows", [*DIGITS, "model.steps=8"])
    data = build_data(recipe)
    x, _ = next(iter(data.test_batches()))
    assert x.shape == (60, 8, 1, 1, 8)
    assert data.grid is not None
    assert data.grid.high == 16
    assert build_model(recipe, data.train)(x).shape == (60, 10)
    assert blank(recipe).shape == data.test.shape
    assert sketch(recipe).net.steps == 8


def test_a_recipe_of_other_steps_says_which_there_are() -> None:
    with pytest.raises(RecipeError, match=r"model.steps: 25 steps do not divide .*\n  fix: --set model.steps=8"):
        build_data(load_recipe("bntt-mnist-rows", [*DIGITS, "model.steps=25"]))
    with pytest.raises(RecipeError, match=r"model\.steps: 25 steps"):
        blank(load_recipe("bntt-mnist-rows", [*DIGITS, "model.steps=25"]))


def test_parts_need_the_encoder_for_them_and_a_recipe_that_trains() -> None:
    with pytest.raises(RecipeError, match=r"'sequence' .*: images in parts need {kind: frames}"):
        load_recipe("bntt-mnist-rows", ["model.encoder={kind: repeat}"])
    with pytest.raises(RecipeError, match="images in parts, and a recipe of kind convert takes images"):
        load_recipe("digits-convert", ["data={kind: sequence, of: digits}"])


def test_integers_read_rows_as_the_network_does() -> None:
    recipe = load_recipe("bntt-mnist-rows", [*DIGITS, "model.steps=8"])
    data = build_data(recipe)
    torch.manual_seed(0)
    network = build_model(recipe, data.train)
    network.train()
    for x, _ in data.training_batches("training"):
        network(x)
    network.eval()
    x, _ = next(iter(data.test_batches()))
    net = bs.lower(network, x[:1], grid=data.grid)
    certificate = bs.verify(net, x)
    assert certificate.equal
    assert certificate.spikes_fired
    assert compare(network, net, [(x, torch.zeros(60).long())]).spikes == 1


def test_layers_for_sequences_are_named_and_sized() -> None:
    net = bs.models.bntt_mlp(hidden=[12, 7], steps=4, in_channels=2, image_size=(1, 5))
    shapes = [tuple(m.weight.shape) for m in net.modules() if isinstance(m, torch.nn.Linear)]
    assert shapes == [(12, 10), (7, 12), (10, 7)]
    assert net(torch.rand(3, 4, 2, 1, 5)).shape == (3, 10)
    for hidden in ([], [0], [4, -1]):
        with pytest.raises(ConstraintError, match=r"one hidden layer or more.*\n  fix: hidden=\(256,\)"):
            bs.models.bntt_mlp(hidden=hidden)
