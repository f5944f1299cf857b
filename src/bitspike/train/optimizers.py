"""Optimizers and gradient clipping as values: what a recipe says, and what ``fit`` builds for a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.nn.norms.base import NORMS
from bitspike.ops.decay import groups


def _groups(model: nn.Module, weight_decay: float, decay_norms: bool) -> list[dict[str, Any]]:
    """Return the groups of the parameters that train; refuse a model without any."""
    norms = [p for module in model.modules() if isinstance(module, NORMS) for p in module.parameters(recurse=False)]
    parted = groups(model.parameters(), weight_decay, norms, decay_norms=decay_norms)
    if not parted:
        raise ConstraintError(
            "the model has no parameter that requires a gradient, so nothing can be trained",
            fix="model.requires_grad_(True) for frozen weights; a model without weights has nothing to train",
        )
    return parted


def _one_pass(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Make an optimizer that updates each parameter in one pass safe for every layout of memory.

    torch's fused CPU updates walk through parameter, gradient and state as if all lay alike in memory, and do not
    check it: a channels-last weight with a contiguous gradient would be updated with the wrong elements.
    """
    optimizer.register_step_pre_hook(lambda stepped, *_: lay_alike(stepped))
    return optimizer


def lay_alike(optimizer: torch.optim.Optimizer) -> None:
    """Bring the gradients and the state of an optimizer into the layout of their parameters."""

    def alike(p: Tensor, values: Tensor) -> Tensor:
        return values if values.stride() == p.stride() else torch.empty_like(p, dtype=values.dtype).copy_(values)

    for p in (p for group in optimizer.param_groups for p in group["params"] if p.grad is not None):
        p.grad = alike(p, p.grad)
        state = optimizer.state.get(p, {})
        for name, values in state.items():
            if isinstance(values, Tensor) and values.shape == p.shape:
                state[name] = alike(p, values)


def _fusible(model: nn.Module) -> bool:
    """Tell whether torch has an update in one pass for these parameters."""
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in model.parameters())


def _need(owner: object, condition: bool, text: str, way: str) -> None:
    if not condition:
        raise ConstraintError(f"{owner}: {text}", fix=way)


@checked
@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum; see ``torch.optim.SGD`` for the update.

    Args:
        lr: learning rate before the schedule, above 0.
        momentum: in [0, 1).
        weight_decay: pull of weights towards zero, >= 0; biases, norm gains and time constants are left alone.
        nesterov: look ahead; needs a momentum above 0.
        decay_norms: let gains and shifts of norms decay, too, as code does that hands all parameters to the optimizer.

    Raises:
        ConstraintError: a value outside what is allowed.

    Example:
        >>> SGD(lr=0.05).build(nn.Linear(2, 1)).param_groups[0]["momentum"]
        0.9
    """

    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    nesterov: bool = False
    decay_norms: bool = False

    def __post_init__(self) -> None:
        _need(self, self.lr > 0, "lr must be above 0", "lr=0.001")
        _need(self, 0 <= self.momentum < 1, "momentum must lie in [0, 1)", "momentum=0.9")
        _need(self, self.weight_decay >= 0, "weight_decay must be at least 0", "weight_decay=0.0")
        _need(self, not self.nesterov or self.momentum > 0, "nesterov needs a momentum above 0", "momentum=0.9")

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer of the model's trained parameters."""
        parted = _groups(model, self.weight_decay, self.decay_norms)
        fused = _fusible(model)
        return _one_pass(
            torch.optim.SGD(parted, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, fused=fused)
        )


@checked
@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019, arXiv 1711.05101).

    Args:
        lr: learning rate before the schedule, above 0.
        betas: decay of the two running moments, each in [0, 1).
        eps: added to the denominator, above 0.
        weight_decay, decay_norms: as in :class:`SGD`.

    Raises:
        ConstraintError: a value outside what is allowed.

    Example:
        >>> AdamW(lr=1e-3).build(nn.Linear(2, 1)).param_groups[0]["lr"]
        0.001
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01
    decay_norms: bool = False

    def __post_init__(self) -> None:
        _need(self, self.lr > 0, "lr must be above 0", "lr=0.001")
        two = len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas)
        _need(self, two, "betas must be two values in [0, 1)", "betas=(0.9, 0.999)")
        _need(self, self.eps > 0, "eps must be above 0", "eps=1e-8")
        _need(self, self.weight_decay >= 0, "weight_decay must be at least 0", "weight_decay=0.0")

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer of the model's trained parameters."""
        parted, fused = _groups(model, self.weight_decay, self.decay_norms), _fusible(model)
        return _one_pass(torch.optim.AdamW(parted, lr=self.lr, betas=self.betas, eps=self.eps, fused=fused))


Optimizer = SGD | AdamW


@dataclass(frozen=True)
class _Limited:
    limit: float

    def __post_init__(self) -> None:
        _need(self, self.limit > 0, "limit must be above 0", "limit=1.0")


@checked
@dataclass(frozen=True)
class ClipNorm(_Limited):
    """Scale all gradients down together where their joint Euclidean norm is above ``limit``."""

    def apply(self, parameters: Iterable[nn.Parameter]) -> None:
        """Clip the gradients in place."""
        torch.nn.utils.clip_grad_norm_(parameters, self.limit)


@checked
@dataclass(frozen=True)
class ClipValue(_Limited):
    """Limit every element of every gradient to [-limit, limit]."""

    def apply(self, parameters: Iterable[nn.Parameter]) -> None:
        """Clip the gradients in place."""
        torch.nn.utils.clip_grad_value_(parameters, self.limit)


Clip = ClipNorm | ClipValue
