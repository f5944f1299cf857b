"""Laws of augmentation over random images."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitspike.data import Batches, Compose, Flip, ImageSet, PixelGrid, Shift
from bitspike.data.images.augment import choose

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3]))


def random_images(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=40)
@given(shape=SHAPES, pixels=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_shift_reads_the_moved_pixel_or_the_fill(shape, pixels, seed):
    images = random_images(shape, seed)
    chosen = choose(Shift(pixels), shape[0], torch.Generator().manual_seed(seed))
    moved = Shift(pixels).apply(images, chosen, blank=(9,))
    _, height, width, _ = shape
    for n, (down, right) in enumerate((chosen - pixels).tolist()):
        for i in range(height):
            for j in range(width):
                inside = 0 <= i + down < height and 0 <= j + right < width
                expected = images[n, i + down, j + right].tolist() if inside else [9] * shape[3]
                assert moved[n, i, j].tolist() == expected


@settings(deadline=None, max_examples=30)
@given(shape=SHAPES, seed=st.integers(0, 99))
def test_flipping_twice_is_nothing_and_writes_to_nothing(shape, seed):
    images = random_images(shape, seed)
    before = images.clone()
    chosen = choose(Flip(), shape[0], torch.Generator().manual_seed(seed))
    once = Flip().apply(images, chosen, blank=(0,))
    assert torch.equal(images, before)
    assert torch.equal(Flip().apply(once, chosen, blank=(0,)), images)


@pytest.mark.parametrize("augment", [Shift(3), Flip(), Compose(Shift(1), Flip())], ids=str)
def test_choices_are_all_made_and_about_equally_often(augment):
    chosen = choose(augment, 6000, torch.Generator().manual_seed(0))
    for column, outcomes in zip(chosen.T, augment.choices, strict=True):
        share = torch.bincount(column, minlength=outcomes) / 6000
        assert len(share) == outcomes
        assert (share - 1 / outcomes).abs().max() < 0.03


@settings(deadline=None, max_examples=20)
@given(count=st.integers(1, 20), first=st.integers(1, 20), second=st.integers(1, 20), epoch=st.integers(0, 5))
def test_what_happens_to_an_image_does_not_depend_on_the_batch_size(count, first, second, epoch):
    images = ImageSet(random_images((count, 4, 4, 3), count), torch.zeros(count, dtype=torch.int64), ("a",), "random")

    def epoch_of(size: int) -> torch.Tensor:
        batches = Batches(images, size, pixel_grid=PixelGrid(), augment=[Shift(1), Flip()], shuffle=True, seed=1)
        batches.set_epoch(epoch)
        return torch.cat([x for x, _ in batches])

    assert torch.equal(epoch_of(first), epoch_of(second))
