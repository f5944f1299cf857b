"""The images of a recipe, or its recordings of events: read, split, and dealt out as batches."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from bitspike.data import Batches, Images, ImageSet, Normalization, PixelGrid, as_sequence, describe
from bitspike.data.events.cache import Tell
from bitspike.data.images.info import Request
from bitspike.devices import choose_device
from bitspike.errors import ConstraintError, DataError, RecipeError
from bitspike.ops.grids import Grid
from bitspike.recipe import AnyRecipe
from bitspike.recipe.words.data import Data as AnyData
from bitspike.recipe.words.data import OwnImages, set_of
from bitspike.recipe.words.events import Events
from bitspike.recipe.words.own import Own
from bitspike.recipe.words.pixels import Pixels
from bitspike.recipe.words.sequences import ImageSequence
from bitspike.runs.construct.events import largest_of, note_of_cuts, read_recordings
from bitspike.runs.construct.words import build


@dataclass(frozen=True, eq=False)
class Data:
    """The images of a recipe in their splits, and the batches for training, calibration and measurement.

    Args:
        recipe: says the seed, the augmentation and the sizes of batches.
        train, test: the two splits of the data set.
        validation: images of the training split that are kept apart from training; None where there are none.
        pixels: what turns pixels into inputs.
        grid: of these inputs; None where they lie on no integer grid.
        notes: what the user should read about the images.
    """

    recipe: AnyRecipe
    train: Images
    validation: Images | None
    test: Images
    pixels: PixelGrid | Normalization
    grid: Grid | None
    notes: tuple[str, ...] = ()

    def training_batches(self, section: str, *, rank: int = 0, world_size: int = 1) -> Batches:
        """Return shuffled, augmented batches for one of several processes.

        Args:
            section: of the recipe whose epochs they are for; its batch is that of all processes together.

        Raises:
            ConstraintError: the batch cannot be dealt out evenly.
        """
        batch = self.recipe.trainings[section].batch_size
        if batch % world_size:
            raise ConstraintError(
                f"{section}.batch_size is {batch}, which {world_size} processes cannot share evenly",
                fix=f"--set {section}.batch_size={-(-batch // world_size) * world_size}",
            )
        return Batches(
            self.train,
            batch // world_size,
            pixel_grid=self.pixels,
            augment=[build(word) for word in self.recipe.data.augment] or None,
            shuffle=True,
            seed=self.recipe.seed,
            rank=rank,
            world_size=world_size,
            device=choose_device(self.recipe.trainings[section].device),
        )

    def calibration_batches(self, size: int | None = None, most: int | None = None) -> Batches:
        """Return training images without augmentation, in an order that depends on the recipe's seed alone.

        Args:
            size: of a batch; None is that of the evaluation.
            most: how many images, with as much of every class as there is in all; None is all of them.
        """
        images, seed = _limited(self.train, most, self.recipe.seed), self.recipe.seed
        size = self.recipe.evaluation.batch_size if size is None else size
        return Batches(images, size, pixel_grid=self.pixels, shuffle=True, seed=seed)

    def held_batches(self, most: int) -> Batches:
        """Return at most so many validation images, or training images where none are held out."""
        images = self.train if self.validation is None else self.validation
        return self.batches(_limited(images, most, self.recipe.seed))

    def batches(self, images: Images, *, rank: int = 0, world_size: int = 1) -> Batches:
        """Return batches of images to measure on: in their order, each image exactly once."""
        size = self.recipe.evaluation.batch_size
        return Batches(images, size, pixel_grid=self.pixels, rank=rank, world_size=world_size)

    def test_batches(self, most: int | None = None) -> Batches:
        """Return batches of the first ``most`` test images, or of all of them."""
        return self.batches(self.test if most is None or most >= len(self.test) else self.test.subset(range(most)))


def build_data(recipe: AnyRecipe, tell: Tell | None = None) -> Data:
    """Read the recipe's images and part them; the held-out images depend on the recipe's seed alone.

    ``tell`` hears how many recordings of events have become frames, and of how many.

    Raises:
        DataError: the set is missing or damaged.
        ConstraintError: more images are held out than there are, or the offsets do not fit the channels.
    """
    data = recipe.data
    train, test = (
        _limited(read_images(data, split, recipe.steps, tell), data.limit, recipe.seed) for split in ("train", "test")
    )
    largest = largest_of(data, train, test)
    notes = note_of_cuts(data, train, test)
    validation = None
    if data.validation:
        train, validation = train.split(data.validation, seed=recipe.seed, last=data.validation_last)
    pixels, grid = build_pixels(recipe, largest)
    pixels.check_channels(train.shape[2])
    return Data(recipe, train, validation, test, pixels, grid, notes)


def read_images(data: AnyData, split: str, steps: int, tell: Tell | None = None) -> Images:
    """Read one split of the images that a recipe names, by name or by a function of the user's own.

    Recordings of events become ``steps`` frames each. Ways out of an error are written as changes of the recipe.
    """
    try:
        return _read(data, split, steps, tell)
    except DataError as error:
        raise DataError(as_changes(error.message), fix=error.fix and as_changes(error.fix)) from error


def as_changes(text: str) -> str:
    """Write the arguments of :mod:`bitspike.data` in a message as what recipes call them; whole calls stay.

    Example:
        >>> as_changes("by root=FOLDER, or download=True, or load('folder', root=FOLDER)")
        "by --set data.root=FOLDER, or --set data.download=true, or load('folder', root=FOLDER)"
    """
    told = {"root=FOLDER": "--set data.root=FOLDER", "download=True": "--set data.download=true"}
    parts = re.split(r"(\w+\([^()]*\))", text)  # every second one is a call
    return "".join(
        part if n % 2 else re.sub("|".join(told), lambda match: told[match[0]], part) for n, part in enumerate(parts)
    )


def _read(data: AnyData, split: str, steps: int, tell: Tell | None) -> Images:
    if isinstance(data, Events):
        return read_recordings(data, split, steps, tell)
    if isinstance(data, Own):
        images: Images = build(data, split=split)
        return images
    info = describe(set_of(data))
    asked = [field.name for field in fields(Request) if hasattr(data, field.name)]
    images = info.read(info, Request(split, **{name: getattr(data, name) for name in asked}))
    return in_parts(images, steps) if isinstance(data, ImageSequence) else images


def in_parts(images: Images, steps: int) -> Images:
    """Return images that a network reads a part at a time.

    Raises:
        RecipeError: so many steps do not divide them.
    """
    assert isinstance(images, ImageSet)
    try:
        return as_sequence(images, steps)
    except ConstraintError as error:
        rows = images.shape[0]
        raise RecipeError(f"model.steps: {error.message}", fix=f"--set model.steps={rows}, a row at each") from error


def high_pixel(data: AnyData) -> int:
    """Return the largest pixel of the images that a recipe names, or the largest count, where it is known unread."""
    if isinstance(data, Events):
        return data.most or 255
    return data.high_pixel if isinstance(data, OwnImages) else describe(set_of(data)).high_pixel


def build_pixels(recipe: AnyRecipe, largest: int | None = None) -> tuple[PixelGrid | Normalization, Grid | None]:
    """Return what turns the recipe's pixels into inputs, and the grid of these inputs where they lie on one.

    ``largest`` is the largest pixel, where images have been read to know it.
    """
    value, high = recipe.data.pixels, high_pixel(recipe.data) if largest is None else largest
    if isinstance(value, Pixels):
        pixels = PixelGrid(scale=value.scale, offset=value.offset)
        return pixels, pixels.grid(high)
    normalized = Normalization(mean=value.mean, std=value.std, high=high, folded=value.folded)
    return normalized, normalized.grid


def _limited(images: Images, limit: int | None, seed: int) -> Images:
    if limit is None or limit >= len(images):
        return images
    return images.split(limit, seed=seed)[1]
