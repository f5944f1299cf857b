"""Batches of network inputs from a set of images, in memory or on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.data.images.augment import Augmentation, Compose, choose
from bitspike.data.images.crop import Draws, RandomCrop
from bitspike.data.images.images import Images, Wanted
from bitspike.data.images.pixels import Normalization, PixelGrid
from bitspike.errors import ConstraintError
from bitspike.ops import pixels_first


@checked
class Batches:
    """Go through a set once per iteration, in batches of (inputs, labels).

    The order of an epoch is a permutation that depends on (seed, epoch) alone; rank r of W takes every W-th image of
    it, from the r-th. So W ranks with batches of b see together, batch for batch, what one process sees with batches
    of W*b.

    The images that do not divide evenly among the ranks:
        * training (``shuffle=True``): the order wraps around to its start until it divides, so that every rank makes
          the same number of batches of the same sizes, and none waits for the others for ever;
        * evaluation (``shuffle=False``): nothing is repeated, so every image counts exactly once; ranks may then differ
          by one image, and by one batch.

    ``wrap`` says it explicitly.

    Args:
        image_set: where the images are.
        batch_size: images in a batch of this rank. The last batch may be smaller.
        pixel_grid: turns pixels into inputs.
        augment: one augmentation or several, applied in order; None for none. A :class:`RandomCrop` comes first, and
            needs a set that is read from disk.
        shuffle: draw a new order for every epoch.
        seed: of the order and the augmentation, at least 0.
        drop_last: leave out a last batch that is smaller.
        rank, world_size: which process this is, and of how many.
        wrap: repeat some images so that all ranks have equally many; None does so when shuffling.
        device: where batches are made; None is where the set lies.

    Yields:
        x float32 [N, C, H, W], of recordings [N, T, C, H, W], y int64 [N]. The channels of x are last in memory, except
        on processors where that is not safe (:mod:`bitspike.ops.pixels_first`).

    Raises:
        ConstraintError: a value is not allowed, or there would be no batch at all.

    Example:
        >>> from bitspike.data import ImageSet
        >>> images = torch.zeros(5, 8, 8, 1, dtype=torch.uint8)
        >>> tiny = ImageSet(images, torch.tensor([0, 1, 0, 1, 0]), ("a", "b"), "tiny")
        >>> batches = Batches(tiny, 2, pixel_grid=PixelGrid())
        >>> len(batches), [y.tolist() for _, y in batches]
        (3, [[0, 1], [0, 1], [0]])
    """

    def __init__(
        self,
        image_set: Images,
        batch_size: int,
        *,
        pixel_grid: PixelGrid | Normalization,
        augment: Augmentation | RandomCrop | Sequence[Augmentation | RandomCrop] | None = None,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        wrap: bool | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConstraintError(f"batch_size={batch_size}: at least 1 is needed", fix="batch_size=64")
        if not 0 <= rank < world_size:
            raise ConstraintError(
                f"rank={rank} of world_size={world_size}: needed is 0 <= rank < world_size",
                fix="rank=0, world_size=1 for one process",
            )
        if seed < 0:
            raise ConstraintError(f"seed={seed}: at least 0 is needed", fix="seed=0")
        if len(image_set) == 0:
            raise ConstraintError(
                f"{image_set.name} holds no images", fix="pass a set, or a subset, of at least one image"
            )
        pixel_grid.check_channels(image_set.shape[2])
        self.image_set = image_set
        self.batch_size = batch_size
        self.pixel_grid = pixel_grid
        self.crop, self.augment = _parted(augment, image_set)
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.rank = rank
        self.world_size = world_size
        self.wrap = shuffle if wrap is None else wrap
        self.device = image_set.device if device is None else torch.device(device)
        self.epoch = 0
        if drop_last and len(self) == 0:
            raise ConstraintError(
                f"drop_last=True leaves no batch: {image_set.name} has {self.samples} images for this rank, "
                f"batch_size is {batch_size}",
                fix=f"drop_last=False, or a batch_size of at most {max(1, self.samples)}",
            )

    @property
    def samples(self) -> int:
        """Images that this rank goes through in one epoch, before ``drop_last``."""
        total = len(self.image_set)
        return -(-(total if self.wrap else total - self.rank) // self.world_size)

    def __len__(self) -> int:
        return self.samples // self.batch_size if self.drop_last else -(-self.samples // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and the augmentation of the next iterations; the same epoch gives the same batches."""
        if epoch < 0:
            raise ConstraintError(f"epoch={epoch}: at least 0 is needed", fix="set_epoch(0) before the first epoch")
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # Read once, so that a change of epoch does not reach an iteration that is already under way.
        images, labels, total = self.image_set, self.image_set.labels, len(self.image_set)
        draws = None if self.crop is None else Draws(self.crop, self.seed, self.epoch)
        order = torch.randperm(total, generator=self._generator(0)) if self.shuffle else torch.arange(total)
        chosen = choose(self.augment or Compose(), total, self._generator(1))
        # Choices belong to places in the epoch; a place that is visited twice by wrapping keeps its choices.
        places = (torch.arange(self.samples) * self.world_size + self.rank) % total
        order = order[places].to(images.device)
        chosen = chosen[places].to(self.device)
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        parts = [slice(start, start + self.batch_size) for start in starts]
        wanted = (Wanted(order[part], places[part]) for part in parts)
        with closing(images.read(wanted, draws=draws, device=self.device)) as batches:
            for part, batch in zip(parts, batches, strict=True):
                batch = batch.to(self.device, non_blocking=True)
                if self.augment is not None:
                    batch = self.augment.apply(batch, chosen[part], blank=self.pixel_grid.offset)
                x = self.pixel_grid.to_input(batch)
                y = labels.index_select(0, order[part]).to(self.device)
                # What torch computes from images with channels last has its channels last too, throughout a network.
                yield x.contiguous() if pixels_first.needed() else x, y

    def _generator(self, purpose: int) -> torch.Generator:
        """Return a generator whose numbers are unrelated to those of other seeds, epochs and purposes."""
        state = np.random.SeedSequence([self.seed, self.epoch, purpose]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(state[0]) >> 1)


def _parted(
    augment: Augmentation | RandomCrop | Sequence[Augmentation | RandomCrop] | None, image_set: Images
) -> tuple[RandomCrop | None, Augmentation | None]:
    """Return what is drawn when an image is read, and what changes a batch afterwards.

    Raises:
        ConstraintError: a random crop stands at a place where it cannot be done.
    """
    steps = [] if augment is None else list(augment) if isinstance(augment, Sequence) else [augment]
    crop = steps[0] if steps and isinstance(steps[0], RandomCrop) else None
    steps = steps if crop is None else steps[1:]
    later = [step for step in steps if not isinstance(step, RandomCrop)]
    if len(later) < len(steps):
        raise ConstraintError(
            "RandomCrop is not the first augmentation; photos are cut while they are read, before anything else",
            fix="augment=[RandomCrop(), Flip()]",
        )
    if crop is not None and not image_set.cut_while_read:
        raise ConstraintError(
            f"RandomCrop cuts photos while they are read, and {image_set.name} is in memory with its size",
            fix="Shift(4) moves images in memory; open_photos(FOLDER) reads photos from disk",
        )
    return crop, Compose(*later) if later else None
