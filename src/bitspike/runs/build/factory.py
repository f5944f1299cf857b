"""A network that a function of the user's makes, with the weights of a file."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError, PackageError, RecipeError
from bitspike.hardware.chips.plan_repairs import Repair as Planned
from bitspike.ops.wrappers import unwrapped
from bitspike.recipe import ConvertRecipe
from bitspike.recipe.words.data import Normalization
from bitspike.recipe.words.models import Repair
from bitspike.surgery.apply import apply
from bitspike.train.checkpoint import read_weights
from bitspike.weights import detach

_WIDTH = 8
"""Of the quantizers that repairs bring along; they are taken off again."""
_SHOWN = 8
"""Names of weights that a message lists at most of each sort."""


def build_network(recipe: ConvertRecipe, *, weights: bool = True) -> nn.Module:
    """Call the factory of a recipe and load its weights, strictly; initial weights are drawn from the recipe's seed.

    Args:
        recipe: names the factory.
        weights: False leaves the initial weights, whatever the recipe says.

    Returns:
        the network in evaluation mode.

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


def comes_trained(recipe: ConvertRecipe) -> bool:
    """Tell whether a factory's network brings weights of its own: those that are the same whatever the seed.

    Raises:
        RecipeError: the factory is not found, fails, or makes no module.
    """
    first, other = (_called(recipe, seed).state_dict() for seed in (0, 1))
    return all(torch.equal(weight, other[name]) for name, weight in first.items() if weight.dim() > 1)


def _called(recipe: ConvertRecipe, seed: int) -> nn.Module:
    """Return what a factory makes when torch's generator starts from a seed."""
    chosen = recipe.model
    make = _function(chosen.factory, _places(chosen.folder))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network = make(**chosen.arguments)
        except Exception as error:  # the user's code may raise anything
            raise RecipeError(
                f"model.factory {chosen.factory} failed: {type(error).__name__}: {error}",
                fix="model.arguments are what it is called with",
            ) from error
    if not isinstance(network, nn.Module):
        raise RecipeError(f"model.factory {chosen.factory} made a {type(network).__name__}, needed is an nn.Module")
    if isinstance(network, torch.jit.ScriptModule):
        raise RecipeError(
            f"model.factory {chosen.factory} made TorchScript, in which modules cannot be followed",
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
    return detach(changed, keep="latent")  # repairs quantize; here the conversion does


def find_file(name: str, folder: str | None, what: str) -> Path:
    """Return a file that lies beside the recipe or in the working directory.

    Raises:
        RecipeError: it is in neither.
    """
    looked = [place / name for place in _places(folder)]
    found = next((path for path in looked if path.is_file()), None)
    if found is None:
        places = " and ".join(dict.fromkeys(str(path) for path in looked))
        raise RecipeError(f"{what}: there is no file {places}", fix=f"--set {what}=FILE")
    return found


def find_chip(chip: str, folder: str | None) -> str | Path:
    """Return the file of a chip that lies beside the recipe or in the working directory, or else its name."""
    return next((place / chip for place in _places(folder) if (place / chip).is_file()), chip)


def read_state(path: Path, *, key: str | None = None, prefix: str = "") -> dict[str, Tensor]:
    """Read the state of a network from a safetensors file, or from one that torch saved; nothing in it is executed.

    Of a weight that was trained as codes the float master is read.

    Args:
        path: ``.safetensors``, or anything that ``torch.load(weights_only=True)`` reads.
        key: the entry that holds the state, where the file holds more.
        prefix: taken off the names that begin with it, such as ``module.``.

    Raises:
        PackageError: the file cannot be read, or does not hold a state there.
    """
    if path.suffix == ".safetensors":
        state: Any = read_weights(path)
    else:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a zip, pickle or system error, depending on what the file is
            said = next(iter(str(error).splitlines()), type(error).__name__)
            raise PackageError(
                f"{path} cannot be read as weights: {said}",
                fix="save the state alone: torch.save(model.state_dict(), FILE), or a .safetensors file",
            ) from error
    if key is not None:
        if not isinstance(state, Mapping) or key not in state:
            raise PackageError(f"{path} has no entry {key!r}; it has {_listed(state)}", fix="--set model.key=ENTRY")
        state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        within = [k for k, v in state.items() if isinstance(v, Mapping)] if isinstance(state, Mapping) else []
        fix = f"--set model.key={within[0]}" if within else "a file of torch.save(model.state_dict(), FILE)"
        raise PackageError(f"{path} holds no state of tensors by name but {_listed(state)}", fix=fix)
    return {_plain(name.removeprefix(prefix)): value for name, value in state.items()}


def _plain(name: str) -> str:
    """Return a parameter's name without its weight path: of ``a.parametrizations.weight.original``, ``a.weight``."""
    return re.sub(r"(^|\.)parametrizations\.(\w+)\.original$", r"\1\2", name)


def load_strictly(network: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Load a state whose names and shapes all agree.

    Raises:
        PackageError: they do not; everything that is missing, unexpected or of another shape is listed.
    """
    wanted = network.state_dict()
    # Checkpoints of old versions of torch do not count the batches of a norm.
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in wanted]
    shapes = [
        f"{name} {list(state[name].shape)} for {list(wanted[name].shape)}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    found = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    if any(found.values()):
        lines = [f"  {word}: {_some(names)}" for word, names in found.items() if names]
        raise PackageError(
            "\n".join([f"{source} does not fit {type(network).__name__}", *lines]), fix=_hint(missing, unexpected)
        )
    network.load_state_dict({**{name: wanted[name] for name in wanted if name not in state}, **state})


def _hint(missing: list[str], unexpected: list[str]) -> str:
    """Find the prefix that would explain the difference."""
    for name in unexpected:
        for end in missing:
            if name.endswith(f".{end}"):
                return f"--set model.prefix={name.removesuffix(end)}"
    return "the factory and arguments with which the weights were trained"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _listed(value: Any) -> str:
    return (
        _some([repr(key) for key in value]) or "nothing" if isinstance(value, Mapping) else f"a {type(value).__name__}"
    )


def _places(folder: str | None) -> list[Path]:
    return [*([] if folder is None else [Path(folder)]), Path()]


def _function(factory: str, places: list[Path]) -> Callable[..., Any]:
    """Return the function that ``module:function`` names."""
    name, _, attributes = factory.partition(":")
    module = _module(name, places, factory)
    found: Any = module
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            there = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
            raise RecipeError(f"model.factory {factory}: {name} has no {attributes!r}; it has {_some(there)}")
        found = getattr(found, attribute)
    if not callable(found):
        raise RecipeError(f"model.factory {factory}: {attributes} is a {type(found).__name__} and cannot be called")
    return found  # type: ignore[no-any-return]


def _module(name: str, places: list[Path], factory: str) -> Any:
    """Import a module: a file beside the recipe or in the working directory, else an installed one."""
    written = Path(name) if name.endswith(".py") else Path(*name.split(".")).with_suffix(".py")
    package = written.with_suffix("") / "__init__.py"
    path = next((p / f for p in places for f in (written, package) if (p / f).is_file()), None)
    try:
        if path is not None:
            return _from_file(path)
        if name.endswith(".py"):
            raise ModuleNotFoundError(f"there is no file {' and '.join(str(p / written) for p in places)}")
        return importlib.import_module(name)
    except Exception as error:  # the user's code may raise anything
        raise RecipeError(
            f"model.factory {factory}: {path or name} cannot be imported: {type(error).__name__}: {error}",
            fix="module:function, or file.py:function beside the recipe or in the working directory",
        ) from error


def _from_file(path: Path) -> Any:
    """Import a file under a name of its own, anew, so that two recipes may each have a ``net.py``."""
    path = path.resolve()
    known_as = f"bitspike_recipe_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(known_as, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[known_as] = module  # dataclasses and torch look modules up by name
    with _importable(path.parent):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a file import its neighbors for the length of a block."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
