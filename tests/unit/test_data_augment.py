"""Augmentations, worked out by hand on small images."""

from __future__ import annotations

import pytest
import torch

from bitspike.data import Compose, Flip, Shift
from bitspike.data.images.augment import choose
from bitspike.errors import ConstraintError

IMAGE = torch.arange(1, 10, dtype=torch.uint8).view(1, 3, 3, 1)


def test_the_middle_choice_of_a_shift_moves_nothing():
    assert torch.equal(Shift(2).apply(IMAGE, torch.tensor([[2, 2]]), blank=(0,)), IMAGE)


def test_a_shift_moves_by_the_choice_and_fills_with_the_blank_pixel():
    moved = Shift(1).apply(IMAGE, torch.tensor([[2, 1]]), blank=(7,))
    assert moved.view(3, 3).tolist() == [[4, 5, 6], [7, 8, 9], [7, 7, 7]]


def test_an_explicit_fill_wins_over_the_blank_pixel():
    moved = Shift(1, fill=0).apply(IMAGE, torch.tensor([[1, 0]]), blank=(7,))
    assert moved.view(3, 3).tolist() == [[0, 1, 2], [0, 4, 5], [0, 7, 8]]


def test_a_fill_may_differ_between_channels():
    image = torch.zeros(1, 1, 1, 3, dtype=torch.uint8)
    assert Shift(1, fill=(4, 5, 6)).apply(image, torch.tensor([[0, 0]]), blank=(0,)).flatten().tolist() == [4, 5, 6]


def test_each_image_gets_its_own_choice():
    images = IMAGE.expand(2, 3, 3, 1)
    moved = Shift(1).apply(images, torch.tensor([[1, 1], [0, 1]]), blank=(0,))
    assert moved[0].view(3, 3).tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert moved[1].view(3, 3).tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]


def test_a_flip_mirrors_the_chosen_images_and_no_others():
    images = IMAGE.expand(2, 3, 3, 1)
    flipped = Flip().apply(images, torch.tensor([[0], [1]]), blank=(0,))
    assert torch.equal(flipped[0], IMAGE[0])
    assert flipped[1].view(3, 3).tolist() == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]


def test_a_composition_gives_each_step_its_own_choices():
    both = Compose(Shift(1), Flip())
    assert both.choices == (3, 3, 2)
    chosen = torch.tensor([[2, 1, 1]])
    by_hand = Flip().apply(Shift(1).apply(IMAGE, chosen[:, :2], blank=(0,)), chosen[:, 2:], blank=(0,))
    assert torch.equal(both.apply(IMAGE, chosen, blank=(0,)), by_hand)


def test_an_empty_composition_changes_nothing():
    chosen = choose(Compose(), 1, torch.Generator())
    assert torch.equal(Compose().apply(IMAGE, chosen, blank=(0,)), IMAGE)


@pytest.mark.parametrize("pixels", [0, -1, 1.5])
def test_a_shift_needs_a_distance(pixels):
    with pytest.raises(ConstraintError, match="at least 1"):
        Shift(pixels)


@pytest.mark.parametrize("fill", [256, -1, (), (0, 300, 0)])
def test_a_fill_is_a_pixel(fill):
    with pytest.raises(ConstraintError, match="pixels from 0 to 255"):
        Shift(1, fill=fill)


def test_a_fill_must_fit_the_channels():
    with pytest.raises(ConstraintError, match="2 values of fill for 1 channels"):
        Shift(1, fill=(0, 0)).apply(IMAGE, torch.tensor([[0, 0]]), blank=(0,))
