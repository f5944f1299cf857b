"""The integer grid of what enters the spiking part, made of the values that calibration saw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from bitspike.conversion.calibrate.entering import Seen
from bitspike.conversion.region.cut import is_moved_input
from bitspike.conversion.settings import Settings
from bitspike.errors import ConstraintError
from bitspike.graph.ir import Graph
from bitspike.ops.entering import holds_whole_numbers
from bitspike.ops.grids import Grid


def grids_of(
    graph: Graph,
    seen: Mapping[str, Seen],
    settings: Settings,
    *,
    asked: Grid | None = None,
    bits: int = 8,
) -> tuple[dict[str, Grid], tuple[str, ...]]:
    """Return the integer grid of what enters the spiking part, by entry, and notes.

    Args:
        seen: by entry, what its values were.
        asked: takes the place of what would be read from the values.
        bits: of a code, 2 to 16.

    Raises:
        ConstraintError: the values or the grid that was asked for do not fit the coding, or ``bits`` is out of range.
    """
    events, notes = settings.coding == "events", list[str]()
    if asked is not None:
        if events and not holds_whole_numbers(asked):
            raise ConstraintError(
                f"convert(coding='events', input_grid={asked}): spikes and counts are whole numbers",
                fix="bs.Grid(1.0, 0, 1) for spikes, bs.Grid(1.0, 0, MOST) for counts",
            )
        return dict.fromkeys(seen, asked), ()
    if not 2 <= bits <= 16:
        raise ConstraintError(f"convert(input_bits={bits}): 2 to 16 bits are allowed", fix="input_bits=8")
    grids = {}
    for id, own in seen.items():
        # 1e-6: the rounding of floats may lead a little beyond 1.
        if settings.coding in ("rate", "bernoulli") and not (own.low >= 0 and own.high <= 1 + 1e-6):
            raise ConstraintError(
                f"convert(coding={settings.coding!r}): rates go from 0 to 1, and {id} from {own.low:.3g} to "
                f"{own.high:.3g}",
                fix="coding='direct', or images in [0, 1] and their normalization inside the model, where it is folded",
            )
        if events:
            grids[id], note = event_grid(own, settings.steps, id)
            notes += [note] if note else []
        else:
            grids[id] = grid_of(own, bits, image=is_moved_input(graph, id))
            if own.whole and not holds_whole_numbers(grids[id]) and max(-own.low, own.high) > 1:
                notes.append(
                    f"W207: {id} holds whole numbers from {own.low:g} to {own.high:g}, which {bits} bits round "
                    f"to multiples of {grids[id].scale:.4g}; input_bits={_needed(own)} would hold them exactly"
                )
    return grids, tuple(notes)


def with_borders_on_codes(graph: Graph, grids: Mapping[str, Grid]) -> Graph:
    """Return the graph whose borders around whole numbers, such as bytes, are whole numbers themselves.

    A border is the mean of the images, which may be 123.675; a grid of whole numbers holds 124. Other grids round what
    enters, and a border with it.
    """
    ops = []
    for op in graph:
        value, grid = op.attrs.get("value"), grids.get(op.id)
        if op.kind == "pad" and isinstance(value, Tensor) and grid is not None and holds_whole_numbers(grid):
            op = replace(op, attrs={**op.attrs, "value": value.round().clamp(grid.low, grid.high)})
        ops.append(op)
    return Graph(tuple(ops), graph.modules, graph.model)


def grid_of(seen: Seen, bits: int, *, image: bool) -> Grid:
    """Return the grid that reaches from the smallest to the largest value: whole numbers stay what they are.

    Example:
        >>> grid_of(Seen(0.0, 1.0, False), 8, image=True).high, grid_of(Seen(-2.0, 1.0, False), 8, image=True).low
        (255, -127)
        >>> grid_of(Seen(0.0, 9.0, True), 8, image=True)
        Grid(scale=1.0, low=0, high=255)
    """
    low, high = seen.low, seen.high
    if image and low >= 0 and high <= 1:
        # The whole range, whatever calibration saw: with 8 bits, bytes over 255 lie on it exactly.
        return Grid(1 / (2**bits - 1), 0, 2**bits - 1)
    reach = max(-low, high) or 1.0
    codes = 2**bits - 1 if low >= 0 else 2 ** (bits - 1) - 1
    # With a reach of 1 the finer grid holds 0 and 1 too, and what later inputs have between them.
    exact = seen.whole and 1 < reach <= codes
    return Grid(1.0 if exact else reach / codes, 0 if low >= 0 else -codes, codes)


def event_grid(seen: Seen, steps: int, id: str = "the input") -> tuple[Grid, str]:
    """Return the grid of spikes that are given step by step, or of their counts, and a note where it is guessed.

    Spikes are 0 and 1 (-1 where negative ones were seen). Counts reach as far as the bits of the largest one; of rates
    above 1 that is bounded by all of the run at one step.

    Example:
        >>> event_grid(Seen(0.0, 1.0, True, frames=True), 4), event_grid(Seen(0.0, 5.0, True, frames=True), 4)[0]
        ((Grid(scale=1.0, low=0, high=1), ''), Grid(scale=1.0, low=0, high=7))
    """
    reach = max(-seen.low, seen.high)
    if seen.frames and not seen.whole:
        raise ConstraintError(
            f"convert(coding='events'): spikes and counts are whole numbers, and {id} holds others, from "
            f"{seen.low:.4g} to {seen.high:.4g}",
            fix="frames of counts [T, N, ...]; or real values with coding='direct'",
        )
    most = math.ceil(reach) if seen.frames or reach <= 1 + 1e-6 else math.ceil(reach * steps - 1e-6)
    top = 1 if most <= 1 or reach <= 1 + 1e-6 else 2 ** most.bit_length() - 1
    grid = Grid(1.0, -top if seen.low < 0 else 0, top)
    if seen.frames:
        return grid, "" if top == 1 else f"W208: {id} reached {most} in calibration; its grid holds {grid.low} to {top}"
    said = "at most 1" if top == 1 else f"up to {reach:.3g}, so counts up to {most}"
    return grid, (
        f"W208: {id} was calibrated with rates of {said}; its grid holds whole numbers from {grid.low} to {top}. "
        "Frames [T, N, ...] as calibration data would tell the counts themselves, or input_grid=bs.Grid(1.0, 0, MOST)"
    )


def _needed(seen: Seen) -> int:
    """Return the bits that hold whole numbers up to the largest that was seen."""
    return math.ceil(max(-seen.low, seen.high)).bit_length() + (seen.low < 0)
