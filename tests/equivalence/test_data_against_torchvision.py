"""Whole batches at once against torchvision, one image at a time."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as V

from bitspike.data import Batches, Flip, ImageSet, PixelGrid, Shift
from bitspike.data.images.augment import choose

SHAPES = [(5, 28, 28, 1), (5, 32, 32, 3), (3, 7, 12, 3)]


def random_images(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("pixels", [1, 4])
def test_a_shift_is_a_crop_of_a_padded_image(shape, pixels):
    images = random_images(shape)
    fill = [125, 123, 114][: shape[3]]
    chosen = choose(Shift(pixels), shape[0], torch.Generator().manual_seed(1))
    moved = Shift(pixels).apply(images, chosen, blank=tuple(fill))
    for image, (top, left), ours in zip(images, chosen.tolist(), moved, strict=True):
        padded = V.pad(image.permute(2, 0, 1), [pixels] * 4, fill=fill)
        theirs = V.crop(padded, top, left, shape[1], shape[2])
        assert torch.equal(ours.permute(2, 0, 1), theirs)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_flip_is_a_horizontal_flip(shape):
    images = random_images(shape)
    chosen = choose(Flip(), shape[0], torch.Generator().manual_seed(1))
    for image, (flip,), ours in zip(images, chosen.tolist(), Flip().apply(images, chosen, blank=(0,)), strict=True):
        theirs = V.hflip(image.permute(2, 0, 1)) if flip else image.permute(2, 0, 1)
        assert torch.equal(ours.permute(2, 0, 1), theirs)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_inputs_are_pixels_scaled_and_normalized(shape):
    # The grid of CIFAR-10, written as the usual mean and deviation of pixels between 0 and 1.
    offset = (125, 123, 114)[: shape[3]]
    images = ImageSet(random_images(shape), torch.zeros(shape[0], dtype=torch.int64), ("a",), "random")
    ((x, _),) = Batches(images, shape[0], pixel_grid=PixelGrid(2**-6, offset))
    theirs = v2.Compose(
        [
            v2.ToDtype(torch.float64, scale=True),
            v2.Normalize([o / 255 for o in offset], [64 / 255] * shape[3]),
        ]
    )
    expected = torch.stack([theirs(image.permute(2, 0, 1)) for image in images.images])
    torch.testing.assert_close(x.double(), expected, rtol=0, atol=1e-12)
