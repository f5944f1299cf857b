"""From the words of a recipe to objects: each word (kind) names one class, its numbers are the arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

import torch
from torch import nn

from bitspike.data import Batches, ImageSet, Normalization, PixelGrid, describe
from bitspike.data import load as load_images
from bitspike.errors import ConstraintError
from bitspike.lowering.fit_neuron import Precision
from bitspike.ops.grids import Grid
from bitspike.recipe import AnyRecipe, Recipe
from bitspike.recipe.kinds.convert import ConvertRecipe
from bitspike.recipe.words.conversion import Conversion
from bitspike.recipe.words.data import Pixels
from bitspike.recipe.words.neurons import Neuron
from bitspike.recipe.words.training import Training
from bitspike.recipe.words.value import Value, words_of
from bitspike.runs.build.factory import repaired
from bitspike.weights import attach

_NONE_SAYS = ("first_bits", "last_bits", "correct")
"""Arguments of a conversion that None says something to: the width of all layers, or no correction."""


@dataclass(frozen=True)
class Data:
    """The images of a recipe, parted.

    ``validation`` is None where none are held out, ``grid`` where the inputs lie on no integer grid.
    """

    train: ImageSet
    validation: ImageSet | None
    test: ImageSet
    pixels: PixelGrid | Normalization
    grid: Grid | None


def build(value: Any, **more: Any) -> Any:
    """Build the object that a word of a recipe stands for; None stays None.

    Args:
        value: a word; its numbers are the arguments of the class that it names, and a word among them is built first.
        more: arguments that do not stand in the recipe, or replace what does.

    Example:
        >>> from bitspike.recipe.words.neurons import Triangle
        >>> build(Triangle(kind="triangle", width=2.0))
        Triangle(center=0.0, width=2.0, height=None)
    """
    if value is None:
        return None
    numbers = {name: getattr(value, name) for name in type(value).model_fields if name != "kind"}
    built = {name: build(part) if isinstance(part, Value) else part for name, part in numbers.items()}
    return resolve_name(value.makes)(**{**built, **more})


def build_threshold(value: Any) -> Any:
    """Build a threshold rule, or rules by pattern; None stays None."""
    return {pattern: build(rule) for pattern, rule in value.items()} if isinstance(value, dict) else build(value)


def build_conversion(value: Conversion) -> dict[str, Any]:
    """Return the arguments of ``bs.convert``; what the recipe leaves open is left out.

    Example:
        >>> sorted(build_conversion(Conversion(steps=4, correct="bias")).items())[:2]
        [('average_pool', 'sum'), ('bits', 8)]
    """
    built: dict[str, Any] = {
        "neuron": resolve_name(words_of(Neuron)[value.neuron].makes),
        "threshold": build_threshold(value.threshold),
        "scale": build(value.scale),
    }
    named = {name: getattr(value, name) for name in type(value).model_fields}
    return {name: part for name, part in {**named, **built}.items() if part is not None or name in _NONE_SAYS}


def build_neuron(recipe: Recipe) -> Callable[[], nn.Module]:
    """Return what makes the recipe's neuron."""
    return lambda: build(recipe.neuron)


def build_norm(recipe: Recipe) -> Callable[[int], nn.Module] | None:
    """Return what makes the recipe's norm from a number of channels; None for none."""
    norm = recipe.norm
    if norm is None:
        return None
    return lambda channels: build(norm, **norm.arguments(channels, recipe.neuron.threshold))


def build_model(recipe: Recipe, images: ImageSet) -> nn.Module:
    """Build the recipe's network for these images, its initial weights drawn from the recipe's seed.

    Torch's own generator is as before afterwards.

    Raises:
        ConstraintError: the network does not fit the images, or a pattern matches no layer.
        RecipeError: a repair does not fit the network.
    """
    height, width, channels = images.shape
    model = recipe.model
    more = {name: getattr(model, name) for name in ("bias", "depth") if hasattr(model, name)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net = resolve_name(model.makes)(
            steps=model.steps,
            num_classes=len(images.classes),
            in_channels=channels,
            image_size=(height, width),
            neuron=build_neuron(recipe),
            norm=build_norm(recipe),
            readout=lambda: build(model.readout),
            encoder=lambda steps: build(model.encoder, steps=steps),
            width=model.width,
            **more,
        )
        net = repaired(net, model.repairs)
    if recipe.weights is not None:
        w = recipe.weights
        attach(net, quantize=build(w.quantize), bias=build(w.bias), include=w.include, skip=w.skip)
    return net


def build_data(recipe: AnyRecipe) -> Data:
    """Read the recipe's images and part them; the held-out images depend on the recipe's seed alone.

    Raises:
        DataError: the set is missing or damaged.
        ConstraintError: more images are held out than there are, or the offsets do not fit the channels.
    """
    data = recipe.data
    known = {name: getattr(data, name) for name in ("root", "download", "size", "channels") if hasattr(data, name)}
    train = _limited(load_images(data.kind, "train", **known), data.limit, recipe.seed)
    test = _limited(load_images(data.kind, "test", **known), data.limit, recipe.seed)
    validation = None
    if data.validation:
        train, validation = train.split(data.validation, seed=recipe.seed, last=data.validation_last)
    pixels, grid = build_pixels(recipe)
    pixels.check_channels(train.shape[2])
    return Data(train, validation, test, pixels, grid)


def build_pixels(recipe: AnyRecipe) -> tuple[PixelGrid | Normalization, Grid | None]:
    """Return what turns the recipe's pixels into inputs, and the grid of these inputs where they lie on one."""
    value, high = recipe.data.pixels, describe(recipe.data.kind).high_pixel
    if isinstance(value, Pixels):
        pixels = PixelGrid(scale=value.scale, offset=value.offset)
        return pixels, pixels.grid(high)
    normalized = Normalization(mean=value.mean, std=value.std, high=high, folded=value.folded)
    return normalized, normalized.grid


def input_grid(recipe: ConvertRecipe, grid: Grid | None) -> Grid | None:
    """Return the grid of the pixels where they are what the integers read: where the whole network is converted."""
    c = recipe.convert
    return None if c.include is not None or c.exclude or c.keep_real else grid


def _limited(images: ImageSet, limit: int | None, seed: int) -> ImageSet:
    if limit is None or limit >= len(images):
        return images
    return images.split(limit, seed=seed)[1]


def trainings_of(recipe: AnyRecipe) -> dict[str, Training]:
    """Return what a recipe says about epochs, in order, by the name of its section; empty where there are none."""
    converted = isinstance(recipe, ConvertRecipe)
    names = ("finetune", "over_time") if converted else ("training",)
    return {name: found for name in names if (found := getattr(recipe, name)) is not None}


def training_of(recipe: AnyRecipe) -> Training | None:
    """Return what a recipe says about its last epochs; None where there are none."""
    return next(reversed(trainings_of(recipe).values()), None)


def training_batches(
    recipe: AnyRecipe, data: Data, section: str | None = None, *, rank: int = 0, world_size: int = 1
) -> Batches:
    """Return the shuffled, augmented batches of one process; the recipe's batch is that of all of them together.

    Args:
        section: of the recipe whose batches they are; None is the first that trains.

    Raises:
        ConstraintError: the batch cannot be dealt out evenly.
    """
    trainings = trainings_of(recipe)
    section = next(iter(trainings)) if section is None else section
    batch = trainings[section].batch_size
    if batch % world_size:
        raise ConstraintError(
            f"{section}.batch_size is {batch}, which {world_size} processes cannot share evenly",
            fix=f"--set {section}.batch_size={-(-batch // world_size) * world_size}",
        )
    return Batches(
        data.train,
        batch // world_size,
        pixel_grid=data.pixels,
        augment=[build(a) for a in recipe.data.augment] or None,
        shuffle=True,
        seed=recipe.seed,
        rank=rank,
        world_size=world_size,
    )


def calibration_batches(recipe: AnyRecipe, data: Data) -> Batches:
    """Return training images as they are, in an order that depends on the recipe's seed alone."""
    return Batches(data.train, recipe.evaluation.batch_size, pixel_grid=data.pixels, shuffle=True, seed=recipe.seed)


def evaluation_batches(
    recipe: AnyRecipe, data: Data, images: ImageSet, *, rank: int = 0, world_size: int = 1
) -> Batches:
    """Return the batches of images to measure on, in their order, each exactly once."""
    return Batches(images, recipe.evaluation.batch_size, pixel_grid=data.pixels, rank=rank, world_size=world_size)


def build_precision(recipe: Recipe) -> Precision:
    """Return how fine the recipe's integers are."""
    return Precision(**recipe.lowering.model_dump())
