"""The law of a norm, asked by everything that folds, lowers, traces, repairs or fuses one: ``y = gain * x + shift``.

A norm is one class that derives from :class:`AffineNorm`; torch's batch norms are understood as they are.
"""

from __future__ import annotations

from typing import ClassVar, Self

from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.kernels.norm import Norm
from bitspike.nn.declared import still_holds

_BATCH_NORM = nn.modules.batchnorm._BatchNorm


@checked
class AffineNorm(nn.Module):
    """The base of norms that in evaluation are affine by channel: ``y = gain * x + shift``, elementwise.

    A norm of your own gives ``forward`` and :meth:`affine`. Networks that hold it can then be lowered, converted and
    repaired, and their layers are carried over time like any other.

    Args:
        channels: C, at least 1.

    Shape: [N, C, ...] to the same; ``TimeDistributed`` folds time into N. A norm ``by_step`` takes [T, N, C, ...].

    Example:
        >>> import torch
        >>> class Halve(AffineNorm):
        ...     def forward(self, x):
        ...         return x / 2
        ...     def affine(self):
        ...         return torch.full((self.channels,), 0.5).double(), torch.zeros(self.channels).double()
        >>> [values.tolist() for values in affine(Halve(2))]
        [[0.5, 0.5], [0.0, 0.0]]
    """

    by_step: ClassVar[bool] = False
    """Whether each step has a gain and a shift of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        if not (isinstance(channels, int) and channels >= 1):
            raise ConstraintError(
                f"{type(self).__name__}(channels={channels!r}): a whole number of at least 1 is needed",
                fix="the out_channels or out_features of the layer before the norm",
            )
        self.channels = channels

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return the gain and the shift, float64 [C], that the layer applies in evaluation: y = gain * x + shift.

        A norm ``by_step`` returns [T, C].
        """
        raise NotImplementedError

    def kernel(self) -> Norm | None:
        """Return what a fused kernel needs to run the norm as a batch norm; None where it runs as a module only."""
        return None

    @classmethod
    def before(cls, neuron: nn.Module, channels: int, branches: int = 1) -> Self:
        """Return the norm of a layer before ``neuron``, one of ``branches`` that are added; the models call this."""
        del neuron, branches
        return cls(channels)


NORMS = (_BATCH_NORM, AffineNorm)
"""The classes of all norms."""


def affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the gain and the shift of a norm in evaluation, float64 [C], or [T, C] where each step has its own.

    A batch norm of torch has gain = weight / sqrt(running_var + eps) and shift = bias - running_mean * gain.

    Raises:
        ConstraintError: the norm keeps no running statistics, or a class changes ``forward`` without its law.

    Example:
        >>> from torch import nn
        >>> [values.tolist() for values in affine(nn.BatchNorm1d(2, eps=0.0))]
        [[1.0, 1.0], [0.0, 0.0]]
    """
    kind = type(norm)
    if isinstance(norm, AffineNorm):
        if still_holds(kind, "affine", "forward"):
            return norm.affine()
        problem = "gives forward() and no affine() that belongs to it"
    else:
        assert isinstance(norm, _BATCH_NORM)
        if kind.forward.__module__.startswith("torch."):
            return _affine_of_batch_norm(norm)
        problem = "has a forward of its own, which may not be that of a batch norm"
    raise ConstraintError(
        f"{kind.__name__} {problem}", fix=f"class {kind.__name__}(bitspike.nn.AffineNorm) with forward() and affine()"
    )


def _affine_of_batch_norm(norm: nn.modules.batchnorm._BatchNorm) -> tuple[Tensor, Tensor]:
    if norm.running_mean is None or norm.running_var is None:
        raise ConstraintError(
            "a batch norm without running statistics changes with every batch",
            fix=f"nn.{type(norm).__name__}({norm.num_features}, track_running_stats=True), trained again",
        )
    # In double precision, so that whoever rounds the result rounds once.
    deviation = (norm.running_var.double() + norm.eps).sqrt()
    gain = (1.0 if norm.weight is None else norm.weight.detach().double()) / deviation
    return gain, (0.0 if norm.bias is None else norm.bias.detach().double()) - norm.running_mean.double() * gain


def channels_of(norm: nn.Module) -> int:
    """Return the number of channels C of a norm."""
    assert isinstance(norm, NORMS)
    return norm.channels if isinstance(norm, AffineNorm) else norm.num_features


def changes_by_step(layer: nn.Module) -> bool:
    """Tell whether a layer is a norm with a gain and a shift of its own for each step, which takes [T, N, C, ...]."""
    return isinstance(layer, AffineNorm) and layer.by_step


def has_kernel(norm: nn.Module) -> bool:
    """Tell whether a norm is one that the fused kernels know, with a forward of its class and not of a subclass."""
    if isinstance(norm, AffineNorm):
        return type(norm).kernel is not AffineNorm.kernel and still_holds(type(norm), "kernel", "forward")
    return type(norm) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def kernel_of(norm: nn.Module) -> Norm | None:
    """Return what a fused kernel needs of a norm that has one; None where it has to run as a module after all."""
    if isinstance(norm, AffineNorm):
        return norm.kernel()
    assert isinstance(norm, _BATCH_NORM)
    if norm.momentum is None:  # it averages over all batches, which no kernel does
        return None
    training = norm.training or norm.running_mean is None
    kept = norm.track_running_stats or not training
    mean, var = (norm.running_mean, norm.running_var) if kept else (None, None)
    return Norm(norm.weight, norm.bias, mean, var, training, norm.momentum, norm.eps)
