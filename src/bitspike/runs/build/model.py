"""The network of a recipe of kind ``train``, with initial weights, and how fine its integers are."""

from __future__ import annotations

from collections.abc import Callable
from pkgutil import resolve_name

from torch import nn

from bitspike.data import ImageSet
from bitspike.lowering.fit_neuron import Precision
from bitspike.recipe.kinds.train import TrainRecipe
from bitspike.recipe.words.layers import Norm
from bitspike.recipe.words.own import Own
from bitspike.runs.build.factory import repaired
from bitspike.runs.build.own import own
from bitspike.runs.build.words import build, maker
from bitspike.train.evaluate import seeded
from bitspike.weights import attach


def norm_maker(norm: Norm, threshold: float) -> Callable[[int], nn.Module]:
    """Return what makes a norm from a number of channels, before neurons of a threshold."""
    make = maker(norm)
    return lambda channels: make(**norm.for_layer(channels, threshold))


def build_model(recipe: TrainRecipe, images: ImageSet) -> nn.Module:
    """Build the recipe's network for these images, its initial weights drawn from the recipe's seed.

    Torch's own generator is as before afterwards.

    Raises:
        ConstraintError: the network does not fit the images, or a pattern matches no layer.
        RecipeError: a repair does not fit the network.
    """
    height, width, channels = images.shape
    model = recipe.model
    more = {name: getattr(model, name) for name in ("bias", "depth") if hasattr(model, name)}
    neuron = maker(recipe.neuron)
    make = own(model) if isinstance(model, Own) else resolve_name(model.makes)
    with seeded(recipe.seed):
        net = make(
            steps=model.steps,
            num_classes=len(images.classes),
            in_channels=channels,
            image_size=(height, width),
            neuron=neuron,
            norm=None if recipe.norm is None else norm_maker(recipe.norm, neuron().threshold),
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


def build_precision(recipe: TrainRecipe) -> Precision:
    """Return how fine the recipe's integers are."""
    return Precision(**recipe.lowering.model_dump())
