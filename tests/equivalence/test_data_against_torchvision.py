"""Whole batches at once, and photos from disk, against torchvision, one image at a time."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as V

from bitspike.data import Batches, Flip, ImageSet, PixelGrid, RandomCrop, Shift
from bitspike.data.images.augment import choose
from bitspike.data.images.crop import Draws, Window, middle
from bitspike.data.stream.photo import Form, look

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


@pytest.mark.parametrize("place", range(12))
@pytest.mark.parametrize("sides", [(75, 100), (311, 257), (40, 31)], ids=str)
def test_a_crop_is_a_resized_crop(sides, place):
    photo = random_images((1, *sides, 3))[0]
    window = Draws(RandomCrop(), 0, 0).window(place, *sides, 48)
    ours = look(photo, window, Form(48, 48, 3)).permute(2, 0, 1)
    top, left, height, width, *_ = window
    theirs = V.resized_crop(photo.permute(2, 0, 1), top, left, height, width, [48, 48], antialias=True)
    # torchvision computes in floating point where the processor has no instructions for bytes, and rounds once less.
    assert (ours.int() - theirs.int()).abs().max() <= 1


@pytest.mark.parametrize("sides", [(75, 100), (311, 257), (40, 31), (64, 64), (500, 333)], ids=str)
def test_the_middle_is_resize_and_center_crop(sides):
    photo = random_images((1, *sides, 3))[0]
    ours = look(photo, middle(*sides, shorter=64, size=56), Form(56, 64, 3)).permute(2, 0, 1)
    theirs = V.center_crop(V.resize(photo.permute(2, 0, 1), [64], antialias=True), [56])
    assert ours.shape == theirs.shape
    assert (ours.int() - theirs.int()).abs().max() <= 1


@pytest.mark.parametrize(("before", "after"), [(100, 48), (31, 48), (48, 48), (200, 33)])
def test_interpolation_is_triangular_and_reads_nothing_around_the_box(before, after):
    photo = random_images((1, before + 10, before + 20, 3))[0]
    ours = look(photo, Window(4, 7, before, before, (after, after)), Form(after, after, 3))
    filter = triangle(before, after)
    box = photo[4 : 4 + before, 7 : 7 + before].double()
    theirs = torch.einsum("ar,bc,rcd->abd", filter, filter, box)
    assert (ours.double() - theirs).abs().max() < 1.5  # two passes, each rounds to a byte


def triangle(before: int, after: int) -> torch.Tensor:
    """Return the weights of a filter that widens with the reduction, [after, before]: by its definition."""
    step = before / after
    wide = max(step, 1.0)
    centers = (torch.arange(after, dtype=torch.float64) + 0.5) * step
    pixels = torch.arange(before, dtype=torch.float64) + 0.5
    weights = (1 - (pixels - centers[:, None]).abs() / wide).clamp_min(0)
    return weights / weights.sum(1, keepdim=True)
