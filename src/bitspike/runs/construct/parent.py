"""Where a stage starts: the weights of the stage before it, loaded into its network, and what is new after that."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bitspike.errors import PackageError, RunError
from bitspike.recipe import AnyRecipe, load
from bitspike.recipe.kinds.progressive import ProgressiveRecipe
from bitspike.recipe.kinds.train import TrainRecipe
from bitspike.recipe.words.stages import FLOAT
from bitspike.runs.construct.weights_file import load_strictly, places, read_state
from bitspike.runs.folder import RECIPE
from bitspike.train.checkpoint import MODEL, read_weights
from bitspike.weights.path import plain_name

ANN = "ann.safetensors"
"""The quantized network of a stage whose spiking network was trained further; ``MODEL`` is what it ended with."""


@dataclass(frozen=True)
class Start:
    """What a stage started from.

    Args:
        source: the file of weights; empty where the network itself has its weights.
        bits: of the network in it; None where the file alone does not say them.
        new: names of the state that it did not hold, which start at their initial values.
        dropped: names that it held and the stage has no use for.
        random: whether the weights were drawn at random, because nothing is trained yet.

    Example:
        >>> print(Start("4bit/model.safetensors", 4, new=("relu1.clip", "relu2.clip")))
        starts from 4bit/model.safetensors (4 bits); new: 2 clips of activations (relu1.clip, relu2.clip)
    """

    source: str
    bits: int | None
    new: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    random: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"source": self.source, "bits": self.bits, "new": list(self.new), "dropped": list(self.dropped)}

    def __str__(self) -> str:
        """Count what was not taken over, by kind, with the first names; ``new`` and ``dropped`` have them all."""
        if self.random:
            return "starts from random weights"
        new = f"new: {counted(self.new)}" if self.new else "nothing is new"
        dropped = f"; not needed any more: {counted(self.dropped)}" if self.dropped else ""
        bits = "" if self.bits is None else f" ({self.bits} bits)"
        return f"starts from {self.source or 'the weights of model'}{bits}; {new}{dropped}"


def counted(names: Sequence[str]) -> str:
    """Say how many entries of a state there are of each kind, and name the first ones.

    Example:
        >>> counted(["conv.parametrizations.weight.0.quantize.clip", "a.clip", "b.clip", "c.clip", "d.clip"])
        '1 clip of weights (conv), 4 clips of activations (a.clip, b.clip, c.clip, ...)'
    """
    kinds: dict[str, list[str]] = {}
    for name in names:
        weights = re.fullmatch(r"(.*)\.parametrizations\.weight\.\d+\.quantize\.clip", name)
        if weights:
            kinds.setdefault("clip of weights", []).append(weights[1])
        elif name.rpartition(".")[2] == "clip":
            kinds.setdefault("clip of activations", []).append(name)
        else:
            kinds.setdefault("other entry", []).append(name)
    return ", ".join(_few(kind, members) for kind, members in kinds.items())


def _few(kind: str, names: Sequence[str]) -> str:
    """Return a number of entries of one kind in words, with the first three names."""
    many = kind.replace("clip", "clips").replace("entry", "entries")
    shown = ", ".join([*names[:3], *["..."] * (len(names) > 3)])
    return f"{len(names)} {kind if len(names) == 1 else many} ({shown})"


def compared(before: nn.Module, after: nn.Module, *, source: str, bits: int, random: bool = False) -> Start:
    """Say what the state of a network has that the one it was made of had not, and the other way round."""
    return started(before.state_dict(), after, source=source, bits=bits, random=random)


def started(
    state: Mapping[str, Any], network: nn.Module, *, source: str, bits: int | None, random: bool = False
) -> Start:
    """Say what a network has that the state it starts from had not, and the other way round."""
    old, new = (_entries(entries) for entries in (state, network.state_dict()))
    fresh, dropped = tuple(n for n in new if n not in old), tuple(n for n in old if n not in new)
    return Start(source, bits, fresh, dropped, random)


def _entries(state: Mapping[str, Any]) -> list[str]:
    """Return the names of what is learned; a quantized weight has the name of the float one."""
    return [plain_name(name) for name in state if not name.endswith("_extra_state")]


def weights_of(place: Path) -> Path:
    """Return the file of weights of a run's folder, from which a stage starts, or the file itself.

    Raises:
        RunError: there is no such file or folder, or the run in it has no weights yet.
    """
    if place.is_dir():
        file = next((place / name for name in (ANN, MODEL) if (place / name).is_file()), None)
        if file is None:
            raise RunError(
                f"the folder {place} holds no weights yet ({MODEL})", fix="--set init=FOLDER of a run that is trained"
            )
        return file
    return place


def place_of_parent(recipe: ProgressiveRecipe | TrainRecipe, folder: Path | None) -> Path | None:
    """Return the folder of a run, or the file of weights, that a recipe starts from: ``init``, or its stage's parent.

    None where the recipe names neither.

    Args:
        folder: of the run; that of the parent lies next to it.

    Raises:
        RunError: it is not there.
    """
    if recipe.init is not None:
        return find_init(recipe.init, getattr(recipe.model, "folder", None))
    stage, before = recipe.chosen, recipe.parent
    if stage is None or before is None:
        return None
    assert folder is not None, "a stage is started in its folder"
    place, usual = folder.parent / before.folder, Path("runs") / recipe.name / before.folder
    if place.is_dir():
        return place
    another = f"init={usual}" if (usual / MODEL).is_file() else "init=FOLDER_OR_FILE for another run or file of weights"
    raise RunError(
        f"{stage.called} starts from {before.called_next}, and there is no run of it in {place}",
        fix=f"bitspike run RECIPE --set stage={before.key} --out {shlex.quote(str(place))} first, or --set {another}",
    )


def recipe_in(place: Path) -> AnyRecipe | None:
    """Return the recipe of a run's folder; None where there is a file of weights alone."""
    return load(place / RECIPE) if (place / RECIPE).is_file() else None


def find_init(init: str, folder: str | None) -> Path:
    """Return the folder or file that ``init`` names: next to the recipe, or in the working directory.

    Raises:
        RunError: it is in neither.
    """
    candidates = [place / init for place in places(folder)]
    path = next((path for path in candidates if path.exists()), None)
    if path is None:
        tried = " and ".join(dict.fromkeys(map(str, candidates)))
        raise RunError(
            f"init: there is no file or folder {tried}",
            fix="--set init=PATH of the folder of a run that is trained, or of a file of weights",
        )
    return path


def load_parent(network: nn.Module, file: Path, recipe: ProgressiveRecipe) -> None:
    """Load the weights of a stage's parent into the network that the parent is.

    Args:
        network: of the parent, as its own run builds it.
        file: its weights.
        recipe: of the stage that starts from it.

    Raises:
        PackageError: the file holds a network of other bits, or another network.
    """
    stages, chosen = recipe.stages, recipe.chosen
    bits = FLOAT if recipe.parent is None else recipe.parent.bits
    state = read_weights(file) if file.suffix == ".safetensors" else as_in(network, read_state(file, key_word=None))
    actual = bits_in(state)
    if actual == {FLOAT} != {bits} and any(name.endswith(".clip") for name in state):
        raise PackageError(
            f"{file} holds clips of quantized activations, and not the entry _extra_state that says of how many bits; "
            f"{chosen.called} starts from one of {bits}",
            fix="all entries of model.state_dict() in the file, or --set init=FOLDER of the run that trained it",
        )
    if actual != {bits}:
        there = " and ".join(f"{n} bits" for n in sorted(actual))
        earlier = [s for s in stages[: stages.index(chosen)] if s.bits in actual]
        ways = [f"--set stages.{stages.index(chosen)}.parent={s.key}" for s in earlier]
        raise PackageError(
            f"{file} holds a network with activations of {there}; {chosen.called} starts from one of {bits}",
            fix=", or ".join([f"--set init=FOLDER_OR_FILE with {bits} bits", *ways]),
        )
    load_strictly(
        network, state, source=str(file), way="the model, quantize and stages sections with which it was trained"
    )


def as_in(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state whose float masters have the names of plain weights under the names that the network gives them.

    Example:
        >>> import bitspike as bs
        >>> list(as_in(bs.attach(nn.Linear(1, 1), quantize=bs.Ternary()), nn.Linear(1, 1).state_dict()))
        ['parametrizations.weight.original', 'bias']
    """
    masters = {plain_name(name): name for name in network.state_dict()}
    return {masters.get(name, name): value for name, value in state.items()}


def bits_in(state: Mapping[str, Tensor]) -> set[int]:
    """Return the bits of the quantized activations of a state; 32 stands for a network without them.

    Example:
        >>> import torch
        >>> bits_in({"fc.weight": torch.zeros(1)})
        {32}
    """
    texts = (bytes(value.tolist()).decode() for name, value in state.items() if name.endswith("_extra_state"))
    return {int(n) for text in texts for n in re.findall(r"QuantReLU\(bits=(\d+)\)", text)} or {FLOAT}
