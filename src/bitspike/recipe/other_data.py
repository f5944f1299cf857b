"""What a recipe keeps of its data section where ``--set data.kind=...`` puts data of another kind in its place.

Counts, folders and readers belong to the former data. Shares, and augmentations that the new data take, stay. So does
the form of the input where a network comes with weights of its own; where it is trained from the start the new data
bring theirs. Images in the place of recordings are shown at every step, and what brings a frame for every step in the
place of images is read frame by frame.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, get_args

from bitspike.recipe.text import KeyPath
from bitspike.recipe.words.data import Data
from bitspike.recipe.words.sequences import ByStep
from bitspike.recipe.words.value import Value, words_of

_KIND = ("data", "kind")
_PHOTOS_ONLY = "random_crop"


def with_other_data(
    before: Mapping[str, Any], values: Mapping[str, Any], changed: Collection[KeyPath]
) -> Mapping[str, Any]:
    """Return the values of a recipe whose data are of another kind than before; others as they are.

    Args:
        before, values: the recipe without and with the changes.
        changed: the keys that were changed; what they say is kept in any case.

    Example:
        >>> before = {"data": {"kind": "cifar10", "download": True, "validation": 0.1, "pixels": {"scale": 0.5}}}
        >>> after = {"data": {**before["data"], "kind": "folder", "root": "mine"}}
        >>> with_other_data(before, after, {("data", "kind"), ("data", "root")})["data"]
        {'kind': 'folder', 'validation': 0.1, 'root': 'mine'}
    """
    old, new = before.get("data"), values.get("data")
    if _KIND not in changed or not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return values
    words = words_of(Data)
    was, kind = (words.get(str(section.get("kind"))) for section in (old, new))
    if was is None or kind is None or was is kind:
        return values
    said = {key_path[1] for key_path in changed if key_path[0] == "data" and len(key_path) > 1}
    trained_here = values.get("kind") not in ("convert", "progressive")
    kept = {key: value for key, value in new.items() if key in said or _stays(key, value, was, kind, trained_here)}
    if "augment" in kept and "augment" not in said:
        taken = _augmentations(kind)
        kept["augment"] = [word for word in kept["augment"] if isinstance(word, Mapping) and word.get("kind") in taken]
    after = {**values, "data": kept}
    return _as_they_enter(after, was, kind, changed) if trained_here else after


def _stays(key: str, value: Any, was: type[Value], kind: type[Value], trained_here: bool) -> bool:
    if key == "validation":
        return value == 0 or isinstance(value, float)
    if key == "pixels":
        return not trained_here and issubclass(was, ByStep) == issubclass(kind, ByStep)
    return key == "augment" and "augment" in kind.model_fields


def _as_they_enter(
    values: Mapping[str, Any], was: type[Value], kind: type[Value], changed: Collection[KeyPath]
) -> Mapping[str, Any]:
    """Return a recipe whose network takes the frames of samples that have some, and shows others at every step."""
    model, framed = values.get("model"), issubclass(kind, ByStep)
    told = any(key_path[:2] in (("model",), ("model", "encoder")) for key_path in changed)
    if told or not isinstance(model, Mapping) or issubclass(was, ByStep) == framed:
        return values
    return {**values, "model": {**model, "encoder": {"kind": "frames" if framed else "repeat"}}}


def _augmentations(kind: type[Value]) -> set[str]:
    """Return the kinds of augmentation that data of a kind take: none of images in parts."""
    members = get_args(kind.model_fields["augment"].annotation)
    taken = set(words_of(members[0])) if members else set()
    return taken if "reader" in kind.model_fields else taken - {_PHOTOS_ONLY}
