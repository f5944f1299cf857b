"""One contract over every norm: its law is what it does, and everything that asks for the law gets it."""

from __future__ import annotations

from collections.abc import Iterator
from pkgutil import resolve_name

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bitspike
from bitspike.nn import AffineNorm, ThresholdBatchNorm, TimeDistributed
from bitspike.nn.norms.base import affine, channels_of, has_kernel, kernel_of
from bitspike.nn.trace import trace
from bitspike.recipe.words.layers import Norm
from bitspike.recipe.words.value import words_of


def family(base: type[AffineNorm]) -> Iterator[type[AffineNorm]]:
    for cls in base.__subclasses__():
        if cls.__module__.startswith("bitspike."):
            yield cls
        yield from family(cls)


NORMS = sorted(set(family(AffineNorm)), key=lambda cls: cls.__name__)
every_norm = pytest.mark.parametrize("cls", [*NORMS, nn.BatchNorm1d], ids=lambda cls: cls.__name__)


def trained(cls: type[nn.Module]) -> nn.Module:
    """Return a norm with three channels of different statistics, ready for evaluation."""
    norm = new(cls)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    for _ in range(3):
        norm(values(cls, 64) * torch.tensor([0.3, 2.0, 9.0]).view(3, 1) + 1)
    return norm.eval()


def steps_of(cls: type[nn.Module]) -> tuple[int, ...]:
    """Return the axes before [N, C, ...] that a norm takes: time, where its steps differ."""
    return (2,) if getattr(cls, "by_step", False) else ()


def new(cls: type[nn.Module]) -> nn.Module:
    return cls(3, **({"steps": 2} if steps_of(cls) else {}))  # type: ignore[call-arg]


def values(cls: type[nn.Module], samples: int = 5) -> Tensor:
    return torch.randn(*steps_of(cls), samples, 3, 4)


def along(values: Tensor, x: Tensor) -> Tensor:
    """Bring a gain or shift, [C] or [T, C], to a shape that broadcasts against [N, C, ...] or [T, N, C, ...]."""
    return values.view(*values.shape[:-1], *[1] * (values.dim() - 1), -1, *[1] * (x.dim() - 1 - values.dim()))


def test_every_norm_of_the_package_is_public_and_has_a_word() -> None:
    named = {resolve_name(word.makes) for word in words_of(Norm).values()}
    assert {cls.__name__ for cls in NORMS} >= {"ShiftBatchNorm", "ThresholdBatchNorm"}
    for cls in NORMS:
        assert getattr(bitspike, cls.__name__, None) is cls, f"{cls.__name__}: name it in bitspike/__init__.py"
        assert cls in named, f"{cls.__name__}: give it a word in recipe/words/layers.py"


@every_norm
def test_evaluation_is_the_law(cls: type[nn.Module]) -> None:
    norm, x = trained(cls), values(cls)
    gain, shift = affine(norm)
    assert gain.dtype == shift.dtype == torch.float64
    assert gain.shape == shift.shape == (*steps_of(cls), channels_of(norm)) == (*steps_of(cls), 3)
    assert not any(values.requires_grad for values in (gain, shift))
    torch.testing.assert_close(norm(x).double(), x.double() * along(gain, x) + along(shift, x), atol=1e-5, rtol=1e-5)


@every_norm
def test_samples_do_not_see_each_other_in_evaluation(cls: type[nn.Module]) -> None:
    norm, x, axis = trained(cls), values(cls), len(steps_of(cls))
    torch.testing.assert_close(torch.cat([norm(part) for part in x.split([2, 1, 2], axis)], axis), norm(x))


def test_the_norms_that_kernels_fuse_are_known() -> None:
    assert {cls for cls in (*NORMS, nn.BatchNorm1d) if has_kernel(new(cls))} >= {ThresholdBatchNorm, nn.BatchNorm1d}


@every_norm
def test_what_a_kernel_is_given_is_a_batch_norm_that_does_the_same(cls: type[nn.Module]) -> None:
    norm, x = trained(cls), values(cls)
    if not has_kernel(norm):
        return
    numbers = kernel_of(norm)
    assert numbers is not None
    same = F.batch_norm(
        x, numbers.running_mean, numbers.running_var, numbers.gain, numbers.shift, eps=numbers.eps, training=False
    )
    torch.testing.assert_close(norm(x), same)


@every_norm
def test_a_tracer_stops_at_it_and_copies_keep_its_law(cls: type[nn.Module]) -> None:
    norm = trained(cls)
    (node,) = [n for n in trace(nn.Sequential(norm)).nodes if n.op == "call_module"]
    assert node.target == "0"
    copied = new(cls)
    copied.load_state_dict(norm.state_dict())
    assert all(map(torch.equal, affine(copied), affine(norm)))


@every_norm
def test_an_image_that_is_repeated_over_time_is_normalized_alike(cls: type[nn.Module]) -> None:
    norm, image = trained(cls), torch.randn(5, 3, 4)
    repeated = image.expand(2, 5, 3, 4)
    alike = norm(repeated) if steps_of(cls) else norm(image).expand(2, 5, 3, 4)
    assert torch.equal(TimeDistributed(norm)(repeated), alike)
