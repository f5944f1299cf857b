"""Layers over time keep their names and do what the layer does at every step; arrangements move and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import bitspike as bs
from bitspike.errors import ConstraintError
from bitspike.nn import OverTime, Pad, Permute, Repeat, Reshape, Slice, Upsample, timed_layer

LAYERS = [
    (nn.Conv1d(3, 4, 3, padding=1), (3, 6)),
    (nn.Conv2d(3, 4, 3, stride=2), (3, 6, 6)),
    (nn.Conv3d(3, 4, 2, bias=False), (3, 4, 4, 4)),
    (nn.ConvTranspose1d(3, 4, 3, stride=2), (3, 6)),
    (nn.ConvTranspose2d(3, 4, 4, stride=2, padding=1), (3, 6, 6)),
    (nn.ConvTranspose3d(3, 4, 2, stride=2), (3, 2, 2, 2)),
    (nn.Linear(6, 5), (6,)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda x: type(x).__name__ if isinstance(x, nn.Module) else "")
def test_a_layer_over_time_is_the_layer_at_every_step(layer: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.rand(4, 2, *shape)
    carried = timed_layer(layer)
    assert isinstance(carried, OverTime)
    assert isinstance(carried, type(layer))
    expected = torch.stack([layer(x_t) for x_t in x])
    torch.testing.assert_close(carried(x), expected)
    torch.testing.assert_close(carried(Repeat(3)(x[0])), layer(x[0]).expand(3, *layer(x[0]).shape))
    names = set(layer.state_dict()) | {"bias"}
    assert set(carried.state_dict()) == names, "the names are those of the layer, and a bias there always is"
    assert set(timed_layer(layer, bias=False).state_dict()) == {"weight"}


def test_the_original_is_left_alone_and_schemes_attach() -> None:
    layer = nn.Conv2d(1, 2, 3)
    carried = bs.attach(timed_layer(layer), quantize=bs.Uniform(bits=2))
    assert type(layer) is nn.Conv2d
    assert list(bs.codes(carried)) == [""]
    assert carried(torch.rand(2, 1, 1, 5, 5)).shape == (2, 1, 2, 3, 3)


def test_other_modules_are_refused_with_the_way_out() -> None:
    with pytest.raises(ConstraintError, match=r"timed_layer got a ReLU[^$]*TimeDistributed"):
        timed_layer(nn.ReLU())


def test_arrangements_move_values() -> None:
    x = torch.arange(2.0 * 3 * 4 * 5).view(1, 2, 3, 4, 5)
    assert torch.equal(Reshape((60,))(x), x.flatten(2))
    assert torch.equal(Permute((2, 0, 1))(x), x.permute(0, 1, 4, 2, 3))
    assert torch.equal(Slice(1, 3)(x), x[:, :, 1:3])
    padded = Pad((1, 0), (0, 2))(x)
    assert padded.shape == (1, 2, 3, 5, 7)
    assert torch.equal(padded[..., 1:, :5], x)
    assert float(padded.sum()) == float(x.sum())
    assert torch.equal(Pad((-1, 0), (0, -2))(x), x[..., 1:, :3])
    nearest = nn.Upsample(scale_factor=(2, 3))(x[0])
    assert torch.equal(Upsample((2, 3))(x)[0], nearest)
