"""Run a model on the side: in evaluation mode, without gradients, and with all its random numbers put back after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass

import torch
from torch import nn

from bitspike.nn.trace import evaluation
from bitspike.ops.precision import full_precision


@contextmanager
def aside(model: nn.Module, seed: int = 0) -> Iterator[None]:
    """Let a block run a model without a trace: modes, torch's generators and those of the model are put back.

    Inside, the model is in evaluation mode and in single precision, no gradient is kept, and torch's generators start
    from ``seed``.

    Example:
        >>> from bitspike.nn import BernoulliCoder
        >>> coder = BernoulliCoder(2, generator=torch.Generator().manual_seed(0))
        >>> before = coder.generator.get_state()
        >>> with aside(coder):
        ...     _ = coder(torch.ones(3))
        >>> torch.equal(coder.generator.get_state(), before)
        True
    """
    own = {id(generator): generator for module in model.modules() for generator in _generators_of(module)}
    states = [(generator, generator.get_state()) for generator in own.values()]
    devices = {t.device for t in [*model.parameters(), *model.buffers()] if t.device.type == "cuda"}
    try:
        with torch.no_grad(), evaluation(model), full_precision(), torch.random.fork_rng(devices=list(devices)):
            torch.manual_seed(seed)
            yield
    finally:
        for generator, state in states:
            generator.set_state(state)


def _generators_of(module: nn.Module) -> Iterator[torch.Generator]:
    """Yield the generators that a module holds, itself or in a value such as the settings of its weights."""
    for value in list(vars(module).values()):
        parts = vars(value).values() if is_dataclass(value) and hasattr(value, "__dict__") else (value,)
        yield from (part for part in parts if isinstance(part, torch.Generator))
