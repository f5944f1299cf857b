"""PixelGrid: inputs lie on the grid that it declares."""

from __future__ import annotations

import pytest
import torch

from bitspike.data import DATASETS, PixelGrid
from bitspike.errors import ConstraintError


def test_offsets_are_per_channel():
    pixels = torch.tensor([[[[10, 20, 30]]]], dtype=torch.uint8)
    x = PixelGrid(scale=0.5, offset=(0, 20, 40)).to_input(pixels)
    assert x.shape == (1, 3, 1, 1)
    assert x.flatten().tolist() == [5.0, 0.0, -5.0]


def test_the_input_is_a_channels_last_view():
    x = PixelGrid(offset=(1, 2, 3)).to_input(torch.zeros(2, 4, 5, 3, dtype=torch.uint8))
    assert x.shape == (2, 3, 4, 5)
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_the_pixels_are_not_written_to():
    pixels = torch.full((1, 2, 2, 1), 7, dtype=torch.uint8)
    PixelGrid(offset=(3,)).to_input(pixels)
    assert (pixels == 7).all()


def test_no_images_give_no_inputs():
    assert PixelGrid(offset=(1, 2, 3)).to_input(torch.zeros(0, 4, 5, 3, dtype=torch.uint8)).shape == (0, 3, 4, 5)


@pytest.mark.parametrize(
    "pixel_grid", [PixelGrid(), PixelGrid(2**-6, (125, 123, 114)), PixelGrid(1 / 16, (3,))], ids=str
)
def test_every_pixel_lies_on_the_grid_exactly_and_the_grid_is_reached(pixel_grid):
    channels = len(pixel_grid.offset)
    pixels = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 1, channels)
    x, grid = pixel_grid.to_input(pixels), pixel_grid.grid()
    assert grid.holds(x)
    codes = grid.encode(x)
    assert torch.equal(codes[:, :, 0, 0], torch.arange(256)[:, None] - torch.tensor(pixel_grid.offset))
    assert (int(codes.min()), int(codes.max())) == (grid.low, grid.high)


def test_digits_need_only_five_bits():
    assert DATASETS["digits"].grid.bits == 5


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_the_scale_must_be_above_zero(scale):
    with pytest.raises(ConstraintError, match="must be above 0"):
        PixelGrid(scale=scale)


@pytest.mark.parametrize("offset", [(), (256,), (-1,), (0.5,)])
def test_offsets_must_be_pixels(offset):
    with pytest.raises(ConstraintError, match="whole numbers from 0 to 255"):
        PixelGrid(offset=offset)


def test_offsets_must_fit_the_channels():
    with pytest.raises(ConstraintError, match="2 offsets, the images have 3 channels"):
        PixelGrid(offset=(1, 2)).to_input(torch.zeros(1, 2, 2, 3, dtype=torch.uint8))
