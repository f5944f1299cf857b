"""The network that a function of the user returns, with the weights of a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError, RecipeError
from bitspike.hardware.chips.plan_repairs import Repair as Planned
from bitspike.ops.wrappers import unwrapped
from bitspike.recipe import ConvertRecipe, ProgressiveRecipe
from bitspike.recipe.words.models import Repair
from bitspike.recipe.words.pixels import Normalization
from bitspike.runs.construct.own import own
from bitspike.runs.construct.weights_file import find_file, load_strictly, read_state
from bitspike.surgery.apply import apply
from bitspike.train.evaluate import seeded
from bitspike.weights import detach

WithFactory = ConvertRecipe | ProgressiveRecipe
"""Recipes of networks that a function makes."""
_WIDTH = 8
"""Bits of the quantizers that repairs attach; these are removed again, because the recipe has its own."""


def build_network(recipe: WithFactory, *, weights: bool = True) -> nn.Module:
    """Call the factory of a recipe and load its weights, strictly; return the network in evaluation mode.

    Initial weights are drawn from the recipe's seed; ``weights=False`` leaves them, whatever the recipe says.

    Raises:
        RecipeError: the factory is not found, fails, or makes no module.
        PackageError: the weights cannot be read, or are not those of this network.
    """
    chosen, network = recipe.model, _called(recipe, recipe.seed)
    if chosen.repaired:
        network = repaired(network, chosen.repairs)
    if weights and chosen.weights is not None:
        path = find_file(chosen.weights, chosen.folder, "model.weights")
        load_strictly(network, read_state(path, key=chosen.key, prefix=chosen.prefix), source=str(path))
    if not chosen.repaired:
        network = repaired(network, chosen.repairs)
    pixels = recipe.data.pixels
    if isinstance(pixels, Normalization) and pixels.folded:
        network = normalizing(network, pixels.mean, pixels.std)
    return network.eval()


def normalizing(network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """Return a network that gets ``(x - mean) / std`` of its input; its modules and its state keep their names.

    Args:
        network: takes images [N, C, H, W]; it is changed.
        mean, std: one for all channels, or one for each.

    Example:
        >>> network = normalizing(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), (0.5,), (0.25,))
        >>> type(network).__name__, list(network.state_dict())
        ('Sequential', ['1.weight', '1.bias'])
    """
    kind = type(network)

    def forward(self: Any, x: Tensor) -> Any:
        return kind.forward(self, (x - self.pixel_mean) / self.pixel_std)

    # As torch's own parametrizations do: a class of the same name whose forward computes a little more.
    network.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
    for name, values in (("pixel_mean", mean), ("pixel_std", std)):
        network.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)
    return network


def comes_trained(recipe: WithFactory) -> bool:
    """Tell whether a factory's network brings weights of its own: those that are the same whatever the seed."""
    first, other = (_called(recipe, seed).state_dict() for seed in (0, 1))
    return all(torch.equal(weight, other[name]) for name, weight in first.items() if weight.dim() > 1)


def _called(recipe: WithFactory, seed: int) -> nn.Module:
    """Return what a factory makes when torch's generator starts from a seed."""
    with seeded(seed):
        network: nn.Module = own(recipe.model)()
    if isinstance(network, torch.jit.ScriptModule):
        raise RecipeError(
            f"model.factory {recipe.model.factory} made TorchScript, in which modules cannot be followed",
            fix="return the Python module, with the same weights: model.load_state_dict(scripted.state_dict())",
        )
    return unwrapped(network)


def repaired(network: nn.Module, repairs: Sequence[Repair]) -> nn.Module:
    """Return a float network with the shapes of its layers repaired.

    Raises:
        RecipeError: a repair does not fit the network.
    """
    if not repairs:
        return network
    try:
        changed = apply(network, [Planned(**r.model_dump(), bits=_WIDTH) for r in repairs])
    except ConstraintError as error:
        raise RecipeError(f"model.repairs: {error.message}", fix=error.fix) from error
    # Repairs attach quantizers, for networks that have none yet; a recipe quantizes when it trains or converts.
    return detach(changed, keep="latent")
