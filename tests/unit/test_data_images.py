"""ImageSet and the ways to take a part of it."""

from __future__ import annotations

import pytest
import torch

from bitspike.data import ImageSet, load, validation_split
from bitspike.errors import ConstraintError, DataError


def make(labels: list[int], classes: int = 3) -> ImageSet:
    """Make a set whose image i is filled with the number i."""
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 2, 2, 1).contiguous()
    return ImageSet(images, torch.tensor(labels, dtype=torch.int64), tuple(f"c{i}" for i in range(classes)), "made")


def test_it_knows_its_size_shape_and_counts():
    made = make([0, 2, 2, 1])
    assert len(made) == 4
    assert made.shape == (2, 2, 1)
    assert made.counts() == [1, 1, 2]


@pytest.mark.parametrize(
    "images",
    [torch.zeros(2, 4, 4, 1), torch.zeros(2, 4, 4, dtype=torch.uint8)],
    ids=["float", "no channels"],
)
def test_images_must_be_bytes_with_channels_last(images):
    with pytest.raises(ConstraintError, match=r"needed is torch.uint8 \[N, H, W, C\]"):
        ImageSet(images, torch.zeros(2, dtype=torch.int64), ("a",), "bad")


@pytest.mark.parametrize("labels", [torch.zeros(3, dtype=torch.int64), torch.zeros(2)], ids=["count", "float"])
def test_labels_must_be_one_whole_number_per_image(labels):
    with pytest.raises(ConstraintError, match=r"needed is torch.int64 \[2\]"):
        ImageSet(torch.zeros(2, 4, 4, 1, dtype=torch.uint8), labels, ("a",), "bad")


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_without_a_class_is_an_error(label):
    with pytest.raises(DataError, match="3 classes allow 0 to 2"):
        make([0, label])


def test_a_subset_keeps_the_order_asked_for():
    part = make([0, 1, 2, 0]).subset([3, 1])
    assert part.images[:, 0, 0, 0].tolist() == [3, 1]
    assert part.labels.tolist() == [0, 1]


@pytest.mark.parametrize("position", [4, -1])
def test_a_subset_of_positions_that_are_not_there_is_an_error(position):
    with pytest.raises(ConstraintError, match="it has 0 to 3"):
        make([0, 1, 2, 0]).subset([position])


def test_a_split_loses_and_repeats_nothing_and_keeps_the_order():
    train, held = validation_split(make([0, 1, 2] * 10), 0.3, seed=5)
    first, second = (part.images[:, 0, 0, 0].tolist() for part in (train, held))
    assert sorted(first + second) == list(range(30))
    assert first == sorted(first)
    assert second == sorted(second)


def test_a_split_holds_out_exactly_the_count_in_proportion():
    train, held = validation_split(make([0] * 50 + [1] * 30 + [2] * 20), 7, seed=0)
    assert held.counts() == [4, 2, 1]  # shares are 3.5, 2.1 and 1.4
    assert train.counts() == [46, 28, 19]


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    made = make([0, 1, 2] * 20)
    first, again, other = (made.split(0.2, seed=seed)[1].images for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_last_images_can_be_held_out():
    train, held = make([0, 0, 0, 1, 2]).split(2, last=True)
    assert train.images[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert held.images[:, 0, 0, 0].tolist() == [3, 4]


@pytest.mark.parametrize("amount", [0, 5, -1, 0.0, 1.0, 1.5, 0.01])
def test_a_part_without_images_is_an_error(amount):
    with pytest.raises(ConstraintError, match="cannot be held out of 5"):
        make([0, 1, 2, 0, 1]).split(amount)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 9, 40])
def test_of_few_images_the_fraction_that_is_named_holds_some_out(count: int) -> None:
    images = make([0, 1] * (count // 2) + [0] * (count % 2))
    with pytest.raises(ConstraintError) as caught:
        images.split(0.001)
    share = float(caught.value.fix.split("such as ")[1].split(";")[0])
    assert all(len(part) for part in images.split(share))


def test_a_single_image_cannot_be_divided() -> None:
    with pytest.raises(ConstraintError, match=r"held out of 1\n  fix: two images or more"):
        make([0]).split(0.1)


def test_a_set_is_printed_in_one_line() -> None:
    assert repr(load("digits")) == "ImageSet(digits: 1,438 images of 8 x 8 x 1, 10 classes)"
