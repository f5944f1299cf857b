"""The weights of a user's network, read from a file and loaded strictly; files that a recipe names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bitspike import digests
from bitspike.errors import DataError, PackageError, RecipeError, command, some
from bitspike.places import places as data_places
from bitspike.recipe.published import PUBLISHED, PublishedWeights
from bitspike.train.checkpoint import read_weights
from bitspike.weights.path import plain_name


def find_file(name: str, folder: str | None, what: str) -> Path:
    """Return a file in the folder of the recipe or in the working directory; published weights also where data are.

    Raises:
        RecipeError: it is in none of them. DataError: it is not the published file whose place it has.
    """
    candidates = [place / name for place in places(folder)]
    file = next((path for path in candidates if path.is_file()), None)
    if file is None and (known := PUBLISHED.get(name)) is not None:
        return fetched(known, f"{what}: ")
    if file is None:
        tried = " and ".join(dict.fromkeys(str(path) for path in candidates))
        raise RecipeError(f"{what}: there is no file {tried}", fix=f"--set {what}=FILE")
    return file


def fetched(weights: PublishedWeights, what: str = "") -> Path:
    """Return the file of published weights where ``bitspike fetch`` has put it, checked to the bit.

    Raises:
        RecipeError: it is not there. DataError: it holds something else.
    """
    path = published_place(weights)
    if path is not None:
        return path
    places = data_places()
    other = next((place / weights.name for place in places if (place / weights.name).is_file()), None)
    if other is not None:
        raise DataError(
            f"{other.absolute()} is not the published file: its SHA-256 is another one",
            fix=f"{command('fetch', weights.name)}; or name your own: --set model.weights=FILE",
        )
    tried = "".join(f"\n    {place.absolute()}" for place in (Path(), *places))
    raise RecipeError(
        f"{what}there is no file {weights.name}; looked in{tried}",
        fix=f"{command('fetch', weights.name)} brings it: {weights.size / 1e6:.1f} MB of"
        f"\n       {weights.address}"
        f"\n       SHA-256 {weights.sha256};"
        "\n       or name a file of your own: --set model.weights=FILE",
    )


def published_place(weights: PublishedWeights, root: str | Path | None = None) -> Path | None:
    """Return the file of published weights in one of the folders that data are looked for in; None in none of them.

    A file of that name that holds something else does not count.
    """
    paths = [place / weights.name for place in data_places(root)]
    return next((path for path in paths if path.is_file() and digests.of_file(path) == weights.sha256), None)


def find_chip(chip: str, folder: str | None) -> str | Path:
    """Return the file of a chip in the folder of the recipe or in the working directory, or else its name."""
    return next((place / chip for place in places(folder) if (place / chip).is_file()), chip)


def read_state(
    path: Path, *, key: str | None = None, prefix: str = "", key_word: str | None = "model.key"
) -> dict[str, Tensor]:
    """Read the state of a network from a safetensors file, or from one that torch saved; nothing in it is executed.

    Of a weight that was trained as codes the float master is read.

    Args:
        path: ``.safetensors``, or anything that ``torch.load(weights_only=True)`` reads.
        key: the entry that holds the state, where the file holds more.
        prefix: taken off the names that begin with it, such as ``module.``.
        key_word: of the recipe, which names such an entry; None where there is no such word.

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
        fix = "a file of torch.save(model.state_dict(), FILE)"
        if within:
            alone = f"torch.save(torch.load(FILE)[{within[0]!r}], ANOTHER_FILE), which is the state alone"
            fix = alone if key_word is None else f"--set {key_word}={within[0]}"
        raise PackageError(f"{path} holds no state of tensors by name but {_listed(state)}", fix=fix)
    return {plain_name(name.removeprefix(prefix)): value for name, value in state.items()}


def load_strictly(network: nn.Module, state: Mapping[str, Tensor], *, source: str, way: str | None = None) -> None:
    """Load a state whose names and shapes all agree; ``way`` is the way out where they do not.

    Raises:
        PackageError: they do not, and everything that is missing, unexpected or of another shape is listed; or the
            network itself refuses the state.
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
    differences = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    if any(differences.values()):
        lines = [f"  {word}: {some(names)}" for word, names in differences.items() if names]
        hint = _hint(missing, unexpected) if way is None else way
        raise PackageError("\n".join([f"{source} does not fit {type(network).__name__}", *lines]), fix=hint)
    try:
        network.load_state_dict({**{name: wanted[name] for name in wanted if name not in state}, **state})
    except RuntimeError as error:
        said = str(error).partition("\n")[2].strip() or str(error)
        raise PackageError(f"{source} does not fit {type(network).__name__}: {said}", fix=way or _WAY) from error


_WAY = "the factory and arguments with which the weights were trained"


def _hint(missing: list[str], unexpected: list[str]) -> str:
    """Find the prefix that would explain the difference."""
    for name in unexpected:
        for end in missing:
            if name.endswith(f".{end}"):
                return f"--set model.prefix={name.removesuffix(end)}"
    return _WAY


def _listed(value: Any) -> str:
    return (
        some([repr(key) for key in value]) or "nothing" if isinstance(value, Mapping) else f"a {type(value).__name__}"
    )


def places(folder: str | None) -> list[Path]:
    """Return where the files of a recipe are looked for: its own folder, then the working directory."""
    return [*([] if folder is None else [Path(folder)]), Path()]
