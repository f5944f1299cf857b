"""What a network's own grids and coders clip, counted while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from bitspike.nn.counts import Codes
from bitspike.nn.encoders import RateCoder
from bitspike.ops.entering import Clipped, ends, put
from bitspike.ops.grids import Grid


@contextmanager
def counted_inputs(model: nn.Module) -> Iterator[Clipped]:
    """Count the values beyond the grids of a converted model's input for the length of a block.

    Its :class:`~bitspike.nn.Codes` and :class:`~bitspike.nn.RateCoder` are watched.

    Raises:
        ConstraintError: inside the block, from the model's call, where inputs are none of its own; the rules are those
            of :mod:`bitspike.ops.entering`.

    Example:
        >>> import torch
        >>> with counted_inputs(model := nn.Sequential(Codes(Grid(0.5, 0, 2)))) as clipped:
        ...     _ = model(torch.tensor([0.25, 1.0, 1.75]))
        >>> clipped.values, clipped.total
        (1, 3)
    """
    clipped = Clipped()

    def counting(grid: Grid) -> Callable[[nn.Module, tuple[Tensor, ...], dict[str, Tensor]], None]:
        return lambda _module, inputs, named: _count((*inputs, *named.values())[0], grid, clipped)

    entering = [m for m in model.modules() if isinstance(m, Codes | RateCoder)]
    watched = [(m, m.grid if isinstance(m, Codes) else ends(1.0)) for m in entering]
    handles = [module.register_forward_pre_hook(counting(grid), with_kwargs=True) for module, grid in watched]
    try:
        yield clipped
    finally:
        for handle in handles:
            handle.remove()


def _count(x: Tensor, grid: Grid, clipped: Clipped) -> None:
    put(x.detach(), grid, clipped)
