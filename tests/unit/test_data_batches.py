"""Batches: what comes in which batch of which rank."""

from __future__ import annotations

import pytest
import torch

from bitspike.data import Batches, Flip, ImageSet, PixelGrid, Shift
from bitspike.errors import ConstraintError


def make(count: int) -> ImageSet:
    """Make a set whose image i is filled with i and labeled i."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 4, 4, 1).contiguous()
    return ImageSet(images, torch.arange(count), tuple(str(i) for i in range(count)), "made")


def labels(batches: Batches) -> list[list[int]]:
    return [y.tolist() for _, y in batches]


GRID = PixelGrid(scale=1.0)


def test_the_last_batch_may_be_ragged_or_left_out():
    assert labels(Batches(make(5), 2, pixel_grid=GRID)) == [[0, 1], [2, 3], [4]]
    short = Batches(make(5), 2, pixel_grid=GRID, drop_last=True)
    assert labels(short) == [[0, 1], [2, 3]]
    assert len(short) == 2


def test_images_and_labels_stay_together():
    for x, y in Batches(make(9), 4, pixel_grid=GRID, shuffle=True, augment=Flip()):
        assert x.dtype == torch.float32
        assert torch.equal(x[:, 0, 0, 0].long(), y)


def test_every_epoch_has_its_own_order_and_the_same_epoch_the_same():
    batches = Batches(make(50), 50, pixel_grid=GRID, shuffle=True, seed=3)
    first = labels(batches)
    assert labels(batches) == first
    batches.set_epoch(1)
    second = labels(batches)
    assert second != first
    assert sorted(second[0]) == sorted(first[0]) == list(range(50))
    batches.set_epoch(0)
    assert labels(batches) == first
    assert labels(Batches(make(50), 50, pixel_grid=GRID, shuffle=True, seed=4)) != first


def test_an_iteration_under_way_does_not_notice_a_new_epoch():
    batches = Batches(make(6), 2, pixel_grid=GRID, shuffle=True)
    whole = labels(batches)
    seen = []
    for _, y in batches:
        seen.append(y.tolist())
        batches.set_epoch(7)
    assert seen == whole


@pytest.mark.parametrize("world_size", [1, 2, 3, 7, 8])
def test_in_evaluation_the_ranks_see_every_image_once(world_size):
    ranks = [Batches(make(7), 2, pixel_grid=GRID, rank=r, world_size=world_size) for r in range(world_size)]
    assert sorted(i for rank in ranks for batch in labels(rank) for i in batch) == list(range(7))
    assert all(len(labels(rank)) == len(rank) for rank in ranks)


@pytest.mark.parametrize("world_size", [2, 3, 8, 20])
def test_in_training_the_ranks_make_equally_many_batches_of_equal_size(world_size):
    ranks = [
        Batches(make(7), 2, pixel_grid=GRID, shuffle=True, rank=r, world_size=world_size) for r in range(world_size)
    ]
    assert len({tuple(len(batch) for batch in labels(rank)) for rank in ranks}) == 1
    seen = [i for rank in ranks for batch in labels(rank) for i in batch]
    assert set(seen) == set(range(7))
    assert len(seen) == -(-7 // world_size) * world_size


def test_ranks_see_together_what_one_process_sees():
    def run(size: int, rank: int, world_size: int) -> Batches:
        return Batches(
            make(12), size, pixel_grid=GRID, shuffle=True, augment=(Shift(1), Flip()), rank=rank, world_size=world_size
        )

    for (x, y), (x0, y0), (x1, y1) in zip(run(4, 0, 1), run(2, 0, 2), run(2, 1, 2), strict=True):
        assert torch.equal(x, torch.stack([x0, x1], dim=1).flatten(0, 1))
        assert torch.equal(y, torch.stack([y0, y1], dim=1).flatten())


def test_wrapping_can_be_asked_for():
    ranks = [Batches(make(5), 5, pixel_grid=GRID, rank=r, world_size=2, wrap=True) for r in range(2)]
    assert [labels(rank) for rank in ranks] == [[[0, 2, 4]], [[1, 3, 0]]]


def test_the_blank_pixel_becomes_input_zero():
    images = ImageSet(
        torch.full((40, 2, 2, 3), 255, dtype=torch.uint8), torch.zeros(40, dtype=torch.int64), ("a",), "w"
    )
    grid = PixelGrid(scale=1.0, offset=(10, 20, 30))
    ((x, _),) = Batches(images, 40, pixel_grid=grid, augment=Shift(2))
    assert {tuple(v.tolist()) for v in x.permute(0, 2, 3, 1).reshape(-1, 3)} == {(0.0, 0.0, 0.0), (245.0, 235.0, 225.0)}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"rank": 2, "world_size": 2}, "rank=2 of world_size=2"),
        ({"seed": -1}, "seed=-1"),
        ({"batch_size": 9, "drop_last": True}, "drop_last=True leaves no batch"),
        ({"pixel_grid": PixelGrid(offset=(1, 2, 3))}, "3 offsets, the images have 1 channels"),
    ],
)
def test_wrong_arguments_fail_at_once(wrong, message):
    arguments = {"batch_size": 2, "pixel_grid": GRID} | wrong
    with pytest.raises(ConstraintError, match=message):
        Batches(make(7), **arguments)


def test_a_set_without_images_makes_no_batches():
    with pytest.raises(ConstraintError, match="holds no images"):
        Batches(make(3).subset([]), 2, pixel_grid=GRID)


def test_an_epoch_is_not_negative():
    with pytest.raises(ConstraintError, match="epoch=-1"):
        Batches(make(3), 2, pixel_grid=GRID).set_epoch(-1)
