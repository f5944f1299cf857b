"""The integers of a recipe that was not run: built with initial weights, for rules that ask for shapes and widths."""

from __future__ import annotations

import torch
from torch import nn

from bitspike.data import Images, ImageSet, describe
from bitspike.data.images.listing import class_folders
from bitspike.errors import RecipeError
from bitspike.places import places
from bitspike.recipe import AnyRecipe
from bitspike.recipe.words.data import set_of
from bitspike.recipe.words.events import Events
from bitspike.recipe.words.own import Own
from bitspike.recipe.words.sequences import ImageSequence
from bitspike.runs.construct.data import Data, build_pixels, high_pixel, in_parts, read_images
from bitspike.runs.construct.events import blank_recording
from bitspike.runs.kinds.kind import Kind, Sketch, kind_of

SAMPLES = 32
"""Random images in the place of the data."""


def sketch(recipe: AnyRecipe, model: nn.Module | None = None) -> Sketch:
    """Build a recipe's network with initial weights and lower it; neither weights nor images are read.

    Args:
        recipe: of any kind.
        model: takes the place of the recipe's own network.

    Raises:
        RecipeError: the shape of its images is known only from files.
    """
    kind = kind_without_images(recipe)
    model = kind.build(weights=False) if model is None else model
    generator = torch.Generator().manual_seed(recipe.seed)
    high = high_pixel(recipe.data)
    shape = kind.data.train.first(1).shape[1:]
    noise = torch.randint(high + 1, (SAMPLES, *shape), generator=generator).to(
        torch.uint8 if high < 256 else torch.int16
    )
    return kind.sketch(model, kind.data.pixels.to_input(noise))


def kind_without_images(recipe: AnyRecipe) -> Kind:
    """Return what a recipe's kind does, with one black image (:func:`blank`) in the place of its data."""
    image = blank(recipe)
    return kind_of(recipe)(recipe, Data(recipe, image, None, image, *build_pixels(recipe)))


def blank(recipe: AnyRecipe) -> Images:
    """Return one black image of the shape that the recipe's data have, with their classes.

    Raises:
        RecipeError: the shape or the classes are known only from files, and these are not there.
    """
    data = recipe.data
    if isinstance(data, Own):  # only its function knows the shape
        return read_images(data, "test", recipe.steps).subset([0])
    if isinstance(data, Events):
        return blank_recording(data, recipe.steps)
    info = describe(set_of(data))
    shape, classes = info.shape, info.classes or tuple(f"class {n}" for n in range(info.class_count or 0))
    if data.kind in ("folder", "imagenet"):
        size = data.size
        if size is None or data.channels is None:
            raise RecipeError(
                "data.size and data.channels are null, and the images are not read here: what shape do they have?",
                fix="--set data.size=32 --set data.channels=3",
            )
        height, width = (size, size) if isinstance(size, int) else size
        shape = (height, width, data.channels)
        train = places(data.root)[0] / "train"
        classes = tuple(class_folders(train)) if train.is_dir() else ()
        if not classes and kind_of(recipe).needs_classes:
            raise RecipeError(
                f"data.root: there are no folders of classes in {train}, so their number is not known",
                fix="--set data.root=FOLDER, which has a folder for every class in FOLDER/train",
            )
    assert shape is not None
    black = ImageSet(torch.zeros(1, *shape, dtype=torch.uint8), torch.zeros(1).long(), classes or ("?",), info.name)
    return in_parts(black, recipe.steps) if isinstance(data, ImageSequence) else black
