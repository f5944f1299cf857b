"""Where the clips of quantized relus start: at the least squared error on data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from bitspike.conversion.calibrate.feed import Batches
from bitspike.conversion.calibrate.find import calibrate as find_clips
from bitspike.conversion.calibrate.thresholds import MSEThreshold
from bitspike.conversion.fold.fold import fold
from bitspike.graph.capture.from_module import capture
from bitspike.graph.capture.live import in_evaluation
from bitspike.graph.ir import Graph, Op
from bitspike.nn.activation import FLOOR
from bitspike.nn.trace import evaluation

_RULE = MSEThreshold(smallest=0.05)
"""With 3 levels the best clip can lie at a tenth of the largest activation and below; the rule alone stops before."""


def least_error_clips(
    model: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    at: Iterable[str],
    batches: Batches,
    *,
    bits: int,
    samples: int,
    seed: int,
) -> dict[str, float]:
    """Return by operation the clip with the least squared error between a relu and its ``2**bits`` levels.

    What a relu gives is measured without the levels that it may have already, and with the weights as they are, codes
    included. All relus are measured in one run; the error that one of them adds for the next is left to the training.

    Args:
        model: it is not changed.
        at: ids of relus in its captured graph.
        batches, samples, seed: as of :func:`bitspike.conversion.calibrate.find.calibrate`.
    """
    with evaluation(model), torch.no_grad():
        graph = fold(in_evaluation(capture(model, example, keep_live=True)))
        plain = Graph(tuple(_without_levels(op) for op in graph), graph.modules, graph.model)
        steps = 2**bits - 1
        clips = find_clips(plain, batches, _RULE, steps=steps, at=at, samples=samples, seed=seed)
    return {id: max(FLOOR, float(clip)) for id, clip in clips.lambdas.items()}


def _without_levels(op: Op) -> Op:
    if op.kind != "relu" or "levels" not in op.attrs:
        return op
    return replace(op, attrs={"clip": None})
