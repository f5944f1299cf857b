"""The recordings of events of a recipe, as frames, and the counts that they hold."""

from __future__ import annotations

import torch

from bitspike.data import EventSet, Images, describe_events, load_events
from bitspike.data.events.cache import Tell
from bitspike.data.images.listing import class_folders
from bitspike.errors import RecipeError
from bitspike.places import places
from bitspike.recipe.words.data import Data
from bitspike.recipe.words.events import AnyEvents, EventFolder, Events
from bitspike.runs.construct.words import build


def read_recordings(data: AnyEvents, split: str, steps: int, tell: Tell | None = None) -> EventSet:
    """Read one split, each recording as ``steps`` frames."""
    asked = {name: getattr(data, name) for name in ("root", "size", "cache") if hasattr(data, name)}
    return load_events(data.kind, split, framing=build(data.frames, frames=steps), most=data.most, tell=tell, **asked)


def largest_of(data: Data, train: Images, test: Images) -> int | None:
    """Return the largest count that the input of the integers has to hold; None where the data are images.

    It is ``most``, or what a counter of as few bits as possible holds that counts all of both splits.

    Example:
        >>> from bitspike.recipe.words.events import DigitsEvents
        >>> frames = EventSet(torch.full((1, 1, 1, 1, 2), 5, dtype=torch.uint8), torch.tensor([0]), ("a",), "tiny")
        >>> largest_of(DigitsEvents(kind="digits_events"), frames, frames)
        7
    """
    if not isinstance(data, Events):
        return None
    return data.most or 2 ** max(1, train.brightest().bit_length(), test.brightest().bit_length()) - 1


def note_of_cuts(data: Data, *splits: Images) -> tuple[str, ...]:
    """Say that counts are cut, where some are."""
    largest = max((images.largest or 0 for images in splits if isinstance(images, EventSet)), default=0)
    if not isinstance(data, Events) or data.most is None or largest <= data.most:
        return ()
    return (f"pixels count up to {largest:,} events in a frame; data.most cuts counts to {data.most:,}",)


def blank_recording(data: AnyEvents, steps: int) -> EventSet:
    """Return one recording without events, of the shape that the recipe's data have, with their classes.

    Raises:
        RecipeError: the shape or the classes are known only from files.
    """
    info = describe_events(data.kind)
    size, classes = info.size, info.classes
    if isinstance(data, EventFolder):
        size = data.size
        train = places(data.root)[0] / "train"
        classes = tuple(class_folders(train)) if train.is_dir() else ()
        if size is None or not classes:
            missing = "data.size is null" if size is None else f"there are no folders of classes in {train}"
            raise RecipeError(
                f"{missing}, and the recordings are not read here: what shape do they have?",
                fix="--set data.size=[480,640] --set data.root=FOLDER, with a folder for every class in FOLDER/train",
            )
    assert size is not None
    frames = torch.zeros(1, steps, *size, 2, dtype=torch.uint8)
    return EventSet(frames, torch.zeros(1).long(), classes or ("?",), info.name)
