"""What a recipe needs before it can run: images or recordings, and a file of weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bitspike.recipe.any_recipe import AnyRecipe
from bitspike.recipe.published import PUBLISHED
from bitspike.recipe.words.data import Data, set_of
from bitspike.recipe.words.own import OWN
from bitspike.recipe.words.value import words_of


@dataclass(frozen=True)
class Needs:
    """What a recipe needs.

    Args:
        data: the set of images or recordings, as ``bitspike fetch`` calls it.
        come_from: where they are: in the ``package``, fetched when asked (``download``), or the user ``own`` copy.
        weights: the file of weights that it starts from; None where it needs none.
        published: whether that file is one that ``bitspike fetch`` knows.
    """

    data: str
    come_from: Literal["package", "download", "own"]
    weights: str | None
    published: bool


def needs_of(recipe: AnyRecipe) -> Needs:
    """Return what a recipe needs.

    Example:
        >>> from bitspike.recipe import load
        >>> needs_of(load("quickstart"))
        Needs(data='digits', come_from='package', weights=None, published=False)
        >>> needs_of(load("resnet20-cifar10-convert")).weights
        'resnet20-12fca82f.th'
    """
    data = set_of(recipe.data)
    keys = words_of(Data)[data].model_fields
    fetched, placed = "download" in keys, "root" in keys or data == OWN
    weights = getattr(getattr(recipe, "model", None), "weights", None)
    return Needs(data, "download" if fetched else "own" if placed else "package", weights, weights in PUBLISHED)
