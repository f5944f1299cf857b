"""What recipes need and others have published, fetched from its authors: image sets and trained weights."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bitspike.arguments import checked
from bitspike.data import DATASETS, EVENT_SETS, load
from bitspike.data.download import download
from bitspike.data.images.on_disk import OnDisk
from bitspike.errors import ConstraintError, command
from bitspike.places import download_place
from bitspike.recipe import load as read_recipe
from bitspike.recipe import names as recipes
from bitspike.recipe.needs import needs_of
from bitspike.recipe.published import PUBLISHED
from bitspike.runs.construct.weights_file import published_place


@dataclass(frozen=True)
class Asset:
    """Something that is published and can be fetched.

    Args:
        name: of an image set, or of a file of weights.
        about: what it is, and what it weighs.
        source: who made it.
        path: where it is, or would be.
        there: whether it is there.
    """

    name: str
    about: str
    source: str
    path: str
    there: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@checked
def fetch(*names: str, root: str | Path | None = None) -> list[Asset]:
    """Fetch image sets and trained weights from their authors; what is there and whole is left as it is.

    A run fetches nothing by itself. Every file is compared with its published digest; it appears whole or not at all,
    and what a broken connection has left is fetched again.

    Args:
        names: of image sets (``mnist``), of files of weights, or of recipes, for all that these need; none of them
            lists what there is, and fetches nothing.
        root: the folder that it goes to; None is the one that BITSPIKE_DATA names, else the user's cache. Runs look
            into both by themselves, and into another one with ``data.root``.

    Raises:
        ConstraintError: there is nothing of this name, or it is not fetched by bitspike.
        DataError: there is no network, the file is another one, or it cannot be written.

    Example:
        >>> [asset.name for asset in fetch()][:2]
        ['cifar10', 'cifar100']
    """
    if not names:
        return [_asset(name, root) for name in fetchable()]
    wanted = list(dict.fromkeys(part for name in names for part in _parts(str(name))))
    for name in wanted:
        _bring(name, root)
    return [_asset(name, root) for name in wanted]


def fetchable() -> list[str]:
    """Return the names of everything that can be fetched."""
    sets = sorted(name for name, info in DATASETS.items() if isinstance(info.read, OnDisk))
    return [*sets, *sorted(PUBLISHED)]


def _parts(name: str) -> Iterable[str]:
    """Return what has to be fetched for a name, the smaller first."""
    known = fetchable()
    if name in known:
        return [name]
    if name in DATASETS or name in EVENT_SETS:
        source = DATASETS[name].source if name in DATASETS else EVENT_SETS[name].source
        raise ConstraintError(f"bitspike does not fetch {name!r}", fix=f"{_BY_HAND} ({source})")
    if name not in recipes() and not Path(name).is_file():
        names = [*known, *recipes()]
        near = difflib.get_close_matches(name, names, n=1) or [n for n in names if name and n.startswith(name)]
        way = command("fetch", near[0]) if near else f"one of {', '.join(known)}, or a recipe"
        raise ConstraintError(f"nothing that can be fetched is called {name!r}", fix=way)
    needs = needs_of(read_recipe(name))
    if needs.come_from == "own":
        raise ConstraintError(
            f"{name} takes data of kind {needs.data!r}, which bitspike does not fetch",
            fix=f"{_BY_HAND}, then {command('run', name, '--set', 'data.root=FOLDER')}",
        )
    return [*[str(needs.weights)] * needs.published, *[needs.data] * (needs.come_from == "download")]


_BY_HAND = "get them from their authors"


def _bring(name: str, root: str | Path | None) -> None:
    """Fetch one thing that is not there yet."""
    if name in DATASETS:
        load(name, "test", root=root, download=True)
    elif published_place(weights := PUBLISHED[name], root) is None:
        download(weights.address, download_place(root) / name, sha256=weights.sha256, size=weights.size)


def _asset(name: str, root: str | Path | None) -> Asset:
    """Say what something is, and where it lies or would lie."""
    if name in PUBLISHED:
        weights = PUBLISHED[name]
        about = f"{weights.about}, {weights.size / 1e6:.1f} MB"
        place, source = published_place(weights, root), f"{weights.source}: {weights.address}"
    else:
        info = DATASETS[name]
        assert isinstance(info.read, OnDisk)
        about = f"{info.title}, {info.read.archive.weight}"
        place, source = info.read.place(info, root), info.source
    return Asset(name, about, source, str((place or download_place(root) / name).absolute()), place is not None)
