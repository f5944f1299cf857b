"""Time variants in turns, block by block, and keep the blocks that nobody disturbed."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks import load
from benchmarks.case import Call

DISTURBED = 0.12
"""Share of the machine used by others from which a block is dropped."""


SETTLED = 50
"""Fresh pages per block below which the allocator counts as settled."""


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Args:
        blocks: kept blocks per variant.
        seconds: a block repeats the call until it has lasted so long; one call at least.
        patience: blocks tried per kept one, before the machine counts as busy.
        settling: rounds that are thrown away at most; where memory is given back after every call, pages never settle.
        strict: give up on a busy machine; else disturbed blocks fill up the number and are marked.
        budget: seconds that the blocks of one variant may take, by its first call; one that would take longer is left
            out, as bf16 may where the processor has no instruction for it.
    """

    blocks: int = 9
    seconds: float = 0.3
    patience: int = 10
    settling: int = 6
    strict: bool = True
    budget: float = 600.0


QUICK = Effort(blocks=3, seconds=0.1, patience=2, settling=3, strict=False)
TINY = Effort(blocks=1, seconds=0.0, patience=1, settling=1, strict=False)
"""Both are for a first look: what they measure is not kept as a result."""


class BusyError(RuntimeError):
    """Other processes used the machine for so long that nothing can be said."""


@dataclass
class Timing:
    """Seconds per call of the kept blocks of one variant."""

    kept: list[float] = field(default_factory=list)
    dropped: list[tuple[float, float]] = field(default_factory=list)
    """(share of others, seconds) of disturbed blocks"""
    accepted: int = 0
    """Disturbed blocks that were kept for want of quiet ones."""
    beyond: float = 0.0
    """Seconds of its one call, where its blocks would take longer than the budget; it is then left out."""


def alternate(
    calls: Mapping[str, Call], effort: Effort, *, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Timing]:
    """Measure all calls in turns: one block each, round after round, so that a drift of the machine meets all alike.

    Every call is run twice before, and rounds are thrown away until none of their blocks needed fresh pages, which come
    at many times the cost of using them: in the beginning one variant pays for the holes that others left. A block
    during which others used more than :data:`DISTURBED` of the machine is dropped and repeated in a later round: on a
    busy machine threads wait for each other, and a variant of more operations would look far worse than it is.

    A variant whose blocks would not end within the budget is called once, and its timing says how long that took.

    Raises:
        BusyError: the machine stayed busy, and the effort is strict.
    """
    left_out: dict[str, Timing] = {}
    for name, call in calls.items():
        start = clock()
        call()
        if (seconds := clock() - start) * (effort.blocks + 2) > effort.budget:  # two rounds at least before them
            left_out[name] = Timing(beyond=seconds)
        else:
            call()
    calls = {name: call for name, call in calls.items() if name not in left_out}
    for _ in range(effort.settling):
        before = load.faults()
        lasts = {name: _block(call, effort.seconds, clock, False)[0] for name, call in calls.items()}
        if load.faults() - before < SETTLED * len(calls):
            break
    timings = {name: Timing() for name in calls}
    filtered = load.available()
    for _ in range(effort.blocks * effort.patience):
        waiting = [name for name, t in timings.items() if len(t.kept) < effort.blocks]
        if not waiting:
            break
        gc.collect()
        for name in waiting:
            if lasts[name] < effort.seconds:
                calls[name]()  # brings back what the last variant has driven out of the caches
            seconds, others = _block(calls[name], effort.seconds, clock, filtered)
            if others > DISTURBED:
                timings[name].dropped.append((others, seconds))
            else:
                timings[name].kept.append(seconds)
    for timing in timings.values():
        if effort.strict and len(timing.kept) < effort.blocks:
            raise BusyError(
                f"other processes used more than {DISTURBED:.0%} of the machine in {len(timing.dropped)} of "
                f"{len(timing.dropped) + len(timing.kept)} blocks; measure again when it is quiet, or take --quick"
            )
        least = sorted(timing.dropped)[: effort.blocks - len(timing.kept)]
        timing.kept += [seconds for _, seconds in least]
        timing.accepted = len(least)
    return timings | left_out


def _block(call: Call, seconds: float, clock: Callable[[], float], filtered: bool) -> tuple[float, float]:
    """Return seconds per call, and the share of the machine that others used meanwhile."""
    gc.disable()
    try:
        before = load.read() if filtered else None
        start = clock()
        count, end = 0, start
        while count == 0 or end - start < seconds:
            call()
            count, end = count + 1, clock()
        others = load.foreign(before, load.read()) if before is not None else 0.0
    finally:
        gc.enable()
    return (end - start) / count, others


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return lower quartile, median and upper quartile.

    Example:
        >>> quartiles([3.0, 1.0, 2.0, 5.0, 4.0])
        (2.0, 3.0, 4.0)
        >>> quartiles([7.0])
        (7.0, 7.0, 7.0)
    """
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
