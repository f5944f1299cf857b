"""What ``fit`` steps with: the optimizer that a word builds, or one of torch that the caller made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from bitspike.errors import ConstraintError, short
from bitspike.train.optimizers import SGD, AdamW, Optimizer, lay_alike

AnyOptimizer = Optimizer | torch.optim.Optimizer
_OURS = {"sgd": "bs.train.SGD(lr=0.1)", "adam": "bs.train.AdamW(lr=1e-3)", "adamw": "bs.train.AdamW(lr=1e-3)"}


def optimizer_of(model: nn.Module, optimizer: AnyOptimizer, lr: float | None) -> torch.optim.Optimizer:
    """Return the optimizer of a model.

    Args:
        model: what is trained.
        optimizer: a word, or an optimizer of torch that was made for this model.
        lr: takes the place of the learning rate of a word; None leaves it.

    Raises:
        ConstraintError: it is no optimizer, it was made for another model, or ``lr`` is a second learning rate.

    Example:
        >>> optimizer_of(nn.Linear(2, 1), SGD(), 0.5).param_groups[0]["lr"]
        0.5
    """
    if isinstance(optimizer, SGD | AdamW):
        return (optimizer if lr is None else replace(optimizer, lr=lr)).build(model)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ConstraintError(f"fit(optimizer={short(optimizer)}): it is no optimizer", fix=_meant(optimizer))
    kind = type(optimizer).__name__
    if lr is not None:
        raise ConstraintError(
            f"fit(lr={lr}, optimizer={kind}(...)): an optimizer of torch has its own learning rate",
            fix=f"torch.optim.{kind}(model.parameters(), lr={lr})",
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ConstraintError(
            "fit(optimizer=LBFGS(...)): it reads a batch several times in one step, which fit does not",
            fix="a training loop of your own, or torch.optim.AdamW(model.parameters(), lr=1e-3)",
        )
    own = {id(p) for p in model.parameters()}
    foreign = sum(id(p) not in own for p in _parameters(optimizer))
    if foreign:
        raise ConstraintError(
            f"fit(optimizer={kind}(...)): {foreign} of its parameters are none of the model's, so they would not be "
            "trained with it",
            fix=f"torch.optim.{kind}(model.parameters(), ...), made last of all: of this very model, after bs.attach",
        )
    return optimizer


def left_alone(model: nn.Module, optimizer: torch.optim.Optimizer) -> str:
    """Say which parameters that could be trained an optimizer does not have; empty where it has all.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        >>> left_alone(model, torch.optim.SGD(model[1].parameters(), lr=0.1))
        'the optimizer has 2 of 4 parameters: 0.weight, 0.bias stay as they are'
    """
    own = {id(p) for p in _parameters(optimizer)}
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    out = [name for name, p in named if id(p) not in own]
    if not out:
        return ""
    names = ", ".join(out[:3]) + (f" and {len(out) - 3} more" if len(out) > 3 else "")
    stay = "stay as they are" if len(out) > 1 else "stays as it is"
    return f"the optimizer has {len(named) - len(out)} of {len(named)} parameters: {names} {stay}"


@contextmanager
def unchanged(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Step with an optimizer of the caller's for a block, and leave it with the learning rates that it had."""
    rates = [group["lr"] for group in optimizer.param_groups]
    hook = optimizer.register_step_pre_hook(lambda stepped, *_: lay_alike(stepped))
    try:
        yield
    finally:
        hook.remove()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    for group in optimizer.param_groups:
        yield from group["params"]


def _meant(value: Any) -> str:
    """Return what to write instead of what is no optimizer."""
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer):
        return f"optimizer=torch.optim.{value.__name__}(model.parameters(), lr=1e-3)"
    word = value if isinstance(value, str) else getattr(value, "__name__", "")
    return f"optimizer={_OURS.get(word.lower(), 'torch.optim.AdamW(model.parameters(), lr=1e-3)')}"
