"""A small recipe to begin with: it runs as it is, on the digits of the package, and says what to change."""

from __future__ import annotations

import shlex

from bitspike.errors import RecipeError
from bitspike.recipe.any_recipe import NAME

TEXT = """\
# A spiking network for the handwritten digits that come with bitspike; it trains in about a minute.
#
#   bitspike run {file}                            trains, lowers to integers, proves them, reports
#   bitspike run {file} --set training.epochs=2    with another value, for this once
#   bitspike run {file} --seeds 0,1,2              three times, and the spread
#
# Keys that are left out have their defaults; 'bitspike recipes' lists recipes of papers, and
# 'bitspike recipes show NAME' prints one, to copy from.
name: {name}
question: How well do 2-bit weights read handwritten digits in four time steps?
seed: 0
# expect: {{test_accuracy: 0.95}}     # a run below it fails

data:
  kind: digits                        # mnist, cifar10, ...; folder for images of your own, with root: FOLDER
  validation: 0.1                     # held out of the training images, to choose the best epoch
  pixels: {{scale: 0.0625, offset: [0]}}  # (pixel - offset) * scale enters; these run from 0 to 16
  augment: [{{kind: shift, pixels: 1}}]

model:
  kind: digits_net                    # vgg9, resnet19, ...; factory for a network of your own
  steps: 4                            # T

neuron: {{kind: lif, decay: 0.5, surrogate: {{kind: arctan}}}}
norm: {{kind: shift}}                   # power-of-two gains: integers do exactly what training did

weights:
  quantize:
    kind: uniform                     # ternary, binary, power_of_two, ...; weights: null trains floats
    bits: 2
    scale: {{kind: dyadic, rule: {{kind: mean_abs, factor: 1.5}}}}

training:
  epochs: 15
  batch_size: 64
  optimizer: {{kind: adamw, lr: 0.005}}
  schedule: {{kind: cosine, warmup_epochs: 1}}
  loss: {{kind: cross_entropy, label_smoothing: 0.1}}
"""


def small(name: str, file: str | None = None) -> str:
    """Return the text of a small recipe under a name, for a file of that name; None is ``NAME.yaml``.

    Raises:
        RecipeError: recipes cannot have this name.

    Example:
        >>> from bitspike.recipe.text import parse
        >>> parse(small("mine"), "mine.yaml").values["model"]
        {'kind': 'digits_net', 'steps': 4}
    """
    if NAME.fullmatch(name) is None:
        raise RecipeError(
            f"a recipe cannot be called {name!r}; allowed are small letters, digits, '.', '-' and '_', not first",
            fix="bitspike new my-network",
        )
    return TEXT.format(name=name, file=shlex.quote(file or f"{name}.yaml"))
