"""The integers of a recipe that was not run: built with initial weights, for rules that ask for shapes and widths."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitspike.conversion.convert import convert
from bitspike.conversion.result import conversion_of
from bitspike.data import ImageSet, describe
from bitspike.data.images.places import places
from bitspike.errors import RecipeError
from bitspike.graph.ir import Graph
from bitspike.integer.network import IntegerNetwork
from bitspike.lowering.lower import lower
from bitspike.recipe import AnyRecipe, ConvertRecipe, Recipe
from bitspike.runs.build import words as b
from bitspike.runs.build.factory import build_network

SAMPLES = 32
"""Random images that stand for the data of a network that is only looked at."""


@dataclass(frozen=True, eq=False)
class Sketch:
    """A network as a recipe describes it, with initial weights: shapes and widths are right, accuracy is not.

    Args:
        model: what the recipe trains or converts.
        example: random images as the integers take them.
        net: its integers.
        layers: by path of an integer layer, the path of the module in ``model``.
        graph: of what is converted.
    """

    model: nn.Module
    example: Tensor
    net: IntegerNetwork
    layers: dict[str, str]
    graph: Graph | None = None


def sketch(recipe: AnyRecipe, model: nn.Module | None = None) -> Sketch:
    """Build a recipe's network with initial weights and lower it; neither weights nor images are read.

    Args:
        recipe: of any kind.
        model: takes the place of the recipe's own, as :func:`drawn` made it.

    Raises:
        RecipeError: the shape of its images is known only from files.
    """
    images = blank(recipe)
    model = drawn(recipe) if model is None else model
    pixels, grid = b.build_pixels(recipe)
    generator = torch.Generator().manual_seed(recipe.seed)
    high = describe(recipe.data.kind).high_pixel
    noise = torch.randint(high + 1, (SAMPLES, *images.shape), generator=generator).to(torch.uint8)
    example = pixels.to_input(noise)
    if isinstance(recipe, Recipe):
        net = lower(model, example[:1], grid=grid, precision=b.build_precision(recipe))
        return Sketch(model, example, net, {node.path: node.path for node in net.weighted})
    choices = b.build_conversion(recipe.convert)
    if recipe.finetune is not None and recipe.finetune.quantized and recipe.finetune.bits is not None:
        choices["bits"] = recipe.finetune.bits
    # Of random images and weights there is nothing to learn.
    choices |= {"calibrate": example, "seed": recipe.seed, "correct": None}
    grid = b.input_grid(recipe, grid)
    spiking = convert(model, example[:1], input_grid=grid, **choices)
    if grid is not None and not conversion_of(spiking).reads_input:  # as in the run of the recipe
        spiking = convert(model, example[:1], **choices)
    net = lower(spiking, example[:1])
    record = conversion_of(spiking)
    return Sketch(model, record.packed(example), net, _origins(spiking, net), record.graph)


def drawn(recipe: AnyRecipe) -> nn.Module:
    """Build what a recipe trains or converts, with initial weights."""
    if isinstance(recipe, ConvertRecipe):
        return build_network(recipe, weights=False)
    return b.build_model(recipe, blank(recipe))


def _origins(spiking: nn.Module, net: IntegerNetwork) -> dict[str, str]:
    """Return by layer of the integers the module of the original network."""
    words = {op.id.replace(".", "_").replace("#", "_"): op.path for op in conversion_of(spiking).graph}
    return {node.path: words.get(node.path.replace(".", "_").replace("#", "_"), node.path) for node in net.weighted}


def blank(recipe: AnyRecipe) -> ImageSet:
    """Return one black image of the shape that the recipe's data have, with their classes.

    Raises:
        RecipeError: the shape or the classes are known only from files, and these are not there.
    """
    data = recipe.data
    info = describe(data.kind)
    shape, classes = info.shape, info.classes
    if data.kind == "folder":
        size = data.size
        if size is None or data.channels is None:
            raise RecipeError(
                "data.size and data.channels are null, and the images are not read here: what shape do they have?",
                fix="--set data.size=32 --set data.channels=3",
            )
        height, width = (size, size) if isinstance(size, int) else size
        shape = (height, width, data.channels)
        train = places(data.root)[0] / "train"
        classes = tuple(sorted(p.name for p in train.iterdir() if p.is_dir())) if train.is_dir() else ()
        if not classes and isinstance(recipe, Recipe):
            raise RecipeError(f"data.root: there are no folders of classes in {train}, so their number is not known")
    assert shape is not None
    return ImageSet(torch.zeros(1, *shape, dtype=torch.uint8), torch.zeros(1).long(), classes or ("?",), info.name)
