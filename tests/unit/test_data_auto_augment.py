"""AutoAugment and Cutout: policies and operations are torchvision's, one image at a time or many."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import AutoAugment as Peer
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode
from torchvision.transforms import autoaugment as peer

from bitspike.data import AutoAugment, Cutout, Flip, Shift
from bitspike.data.images.augment import choose
from bitspike.errors import ConstraintError
from bitspike.recipe import load
from bitspike.runs.construct.words import build

BLANK = (125, 123, 114)


def images(count: int, channels: int = 3, side: int = 32) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, side, side, channels), dtype=torch.uint8, generator=draw)


@pytest.mark.parametrize("channels", [3, 1])
def test_every_image_becomes_what_torchvision_makes_of_it(channels: int) -> None:
    x, ours, theirs = images(200, channels), AutoAugment(), Peer(AutoAugmentPolicy.CIFAR10)
    space = theirs._augmentation_space(10, (32, 32))
    chosen = choose(ours, len(x), torch.Generator().manual_seed(1))
    fill = [float(b) for b in BLANK[:channels]]
    result = ours.apply(x, chosen, blank=BLANK[:channels])
    for image, (policy, *places), changed in zip(x, chosen.tolist(), result, strict=True):
        one = image.permute(2, 0, 1)
        for (name, probability, magnitude), place, negative in zip(
            theirs.policies[policy], places[:2], places[2:], strict=True
        ):
            if place < round(10 * probability):
                magnitudes, signed = space[name]
                by = 0.0 if magnitude is None else float(magnitudes[magnitude])
                by = -by if signed and negative else by
                one = peer._apply_op(one, name, by, interpolation=InterpolationMode.NEAREST, fill=fill)
        assert torch.equal(one.permute(1, 2, 0), changed), (policy, places)


@pytest.mark.parametrize("channels", [3, 1])
def test_what_happens_to_an_image_depends_on_its_own_choices_alone(channels: int) -> None:
    x, augmentation = images(60, channels), AutoAugment()
    chosen, before = choose(augmentation, 60, torch.Generator().manual_seed(2)), x.clone()
    blank = BLANK[:channels]
    together = augmentation.apply(x, chosen, blank=blank)
    alone = [augmentation.apply(x[n : n + 1], chosen[n : n + 1], blank=blank) for n in range(60)]
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(x, before)
    assert together.shape == x.shape
    assert augmentation.apply(x[:0], chosen[:0], blank=blank).shape == x[:0].shape


def test_cutout_blanks_a_square_that_a_border_cuts() -> None:
    x, cutout = images(2000, side=8), Cutout(4)
    changed = cutout.apply(x, choose(cutout, 2000, torch.Generator().manual_seed(3)), blank=(9, 8, 7))
    differs = (changed == torch.tensor([9, 8, 7], dtype=torch.uint8)).all(-1)
    assert torch.equal(changed[~differs], x[~differs])
    counts = differs.sum((1, 2))
    assert counts.max() == 16
    assert counts.min() == 4  # in a corner a quarter of it is left
    middles = differs.float().mean(0)
    assert 0.11 < middles[0, 0] < 0.17  # 3 x 3 of 64 middles reach it
    assert 0.21 < middles[4, 4] < 0.29  # 4 x 4


@pytest.mark.parametrize("pixels", [0, -1, 1.5, "16", True])
def test_a_side_that_is_no_number_of_pixels_is_refused(pixels: object) -> None:
    with pytest.raises(ConstraintError, match="a whole number of at least 1"):
        Cutout(pixels)  # type: ignore[arg-type]


def test_auto_augment_of_other_channels_is_refused() -> None:
    with pytest.raises(ConstraintError, match="2 channels; allowed are 1 and 3"):
        AutoAugment().apply(images(1, 2), torch.zeros(1, 5, dtype=torch.int64), blank=(0,))


def test_the_recipes_of_vgg16_train_with_both() -> None:
    steps = [build(word) for word in load("cbp-vgg16-cifar10-bin").data.augment]
    assert steps == [Shift(4), Flip(), AutoAugment(), Cutout(16)]
