"""One chip: every layer whose weights vary keeps the draws of one seed, as long as a block lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from bitspike.arguments import checked_last
from bitspike.errors import ConstraintError
from bitspike.ops.wrappers import unwrapped
from bitspike.weights.devices.variation import DeviceStage, check_resolution
from bitspike.weights.path import paths
from bitspike.weights.stage import HasChip


@checked_last
@contextmanager
def on_chip(model: nn.Module, seed: int, *, resolution: int | None = None) -> Iterator[None]:
    """Make a model one chip inside the block: its devices are those of a seed, in training and in evaluation.

    The same seed is the same chip on every machine, whether the stages drew fresh numbers before or were another chip.
    With a ``resolution`` the levels of the chip are codes: ``lower`` inside the block keeps them.

    Args:
        model: has layers with variation (:class:`bitspike.weights.Lognormal` and its kind) in the slot ``vary``.
        seed: of the chip, at least 0.
        resolution: the bits with which cells are read, 2 to 15; None leaves the levels as real numbers.

    Raises:
        ConstraintError: nothing varies, or a number outside what is allowed.

    Example:
        >>> import torch
        >>> from bitspike.weights import Lognormal, Uniform, attach
        >>> layer = attach(nn.Linear(3, 2), quantize=Uniform(4), vary=Lognormal(0.3)).eval()
        >>> with on_chip(layer, 7):
        ...     first = layer.weight
        >>> with on_chip(layer, 7):
        ...     print(torch.equal(layer.weight, first))
        True
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConstraintError(f"on_chip(seed={seed!r}): a whole number >= 0 is needed", fix="on_chip(model, 0)")
    if resolution is not None:
        check_resolution(resolution, "on_chip")
    stages = varying(model)
    with ExitStack() as stack:
        for stage, weight in stages:
            stack.enter_context(stage.as_chip(seed, weight, resolution))
        yield


def varies(model: nn.Module) -> bool:
    """Tell whether any weight of a model varies."""
    return bool(_varying(model))


def varying(model: nn.Module) -> list[tuple[HasChip, Tensor]]:
    """Return the stages of a model that can be a chip, each with the master of its weight.

    Raises:
        ConstraintError: there is none.
    """
    if not (stages := _varying(model)):
        raise ConstraintError(
            f"{type(unwrapped(model)).__name__}: no weight varies, so all chips are alike",
            fix="bs.attach(model, vary=bs.Lognormal.for_bits(4)) first",
        )
    return stages


def drawn_anew(model: nn.Module) -> list[str]:
    """Return the layers whose weights are drawn anew at every call in evaluation, so that none are the network's own.

    Example:
        >>> from bitspike.weights import Lognormal, attach
        >>> layers = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> drawn_anew(attach(layers, vary=Lognormal(0.3, active_in_eval=True), skip="0"))
        ['1']
    """
    return [
        name
        for name, _, _, path, _ in paths(unwrapped(model))
        if isinstance(path.vary, DeviceStage) and path.vary.draws_anew
    ]


@torch.no_grad()
def left_out(model: nn.Module) -> list[str]:
    """Return the layers with devices that do not vary in the mode in which a model is: who reads its weights misses it.

    Example:
        >>> from bitspike.weights import Lognormal, attach
        >>> layers = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> left_out(attach(layers, vary=Lognormal(0.3), skip="0").eval())
        ['1']
    """
    return [
        name
        for name, _, _, path, latent in paths(unwrapped(model))
        if path.vary is not None and torch.equal(path(latent), path.ideal(latent))
    ]


def _varying(model: nn.Module) -> list[tuple[HasChip, Tensor]]:
    return [(path.vary, latent) for _, _, _, path, latent in paths(unwrapped(model)) if isinstance(path.vary, HasChip)]
