"""Real inputs onto their integer grid: what leaves the grid is refused, or clipped, counted and said.

a grid of whole numbers     holds counts and spikes. A value that is not whole, or beyond, is refused.
any other grid              rounds to the nearest code. Values beyond are clipped and counted. More than ``SAID`` of
                            them are said in one warning. They are refused where more than ``FAR`` lie beyond by more
                            than the whole grid is wide: those are values of another unit, such as bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bitspike.errors import ConstraintError, warn
from bitspike.ops.grids import Grid

SAID = 1e-3
"""Share of clipped values above which a warning is given."""
FAR = 0.01
"""Share of values beyond by more than the width of the grid above which inputs are refused."""


@dataclass
class Clipped:
    """Input values that lay beyond their grid and were clipped, counted over all that was put on it.

    Args:
        values: how many were clipped.
        total: of how many.
        low, high: the smallest and the largest value that was seen where some were clipped.
        grid: the smallest and the largest value that the grid holds.
    """

    values: int = 0
    total: int = 0
    low: float = 0.0
    high: float = 0.0
    grid: tuple[float, float] = (0.0, 0.0)

    @property
    def share(self) -> float:
        """Share of the values that were clipped, 0 to 1."""
        return self.values / max(1, self.total)

    def add(self, values: int, total: int, low: float, high: float, grid: tuple[float, float]) -> None:
        """Count one batch."""
        self.total += total
        if values:
            self.low, self.high = (min(self.low, low), max(self.high, high)) if self.values else (low, high)
            self.values, self.grid = self.values + values, grid

    def warn(self) -> None:
        """Say once what was clipped, where it is more than a share of ``SAID``."""
        if self.share > SAID:
            warn(
                f"{self.share:.2%} of the input values were clipped: they reach from {self.low:.4g} to "
                f"{self.high:.4g}, the grid of the input from {self.grid[0]:.4g} to {self.grid[1]:.4g}. Calibrate with "
                "data of their range, or declare it: input_grid=bs.Grid(scale, low, high)"
            )


def ends(reach: float, *, signed: bool = False) -> Grid:
    """Return a grid from 0, or from -reach, to reach, so fine that only what lies beyond its ends is counted.

    Example:
        >>> ends(1.0) == Grid(2.0**-24, 0, 2**24)
        True
    """
    fine = 2**24
    return Grid(reach / fine, -fine if signed else 0, fine)


def holds_whole_numbers(grid: Grid) -> bool:
    """Tell whether a grid's codes are the real values themselves: counts, spikes, anything that is counted."""
    return grid.scale == 1.0


def need_numbers(x: Tensor, grid: Grid) -> None:
    """Refuse integers for a grid of real values: bytes could be codes or values.

    Raises:
        ConstraintError: names the type, the grid and the way out.
    """
    if x.is_floating_point() or (holds_whole_numbers(grid) and not x.is_complex()):
        return
    low, high = _ends(grid)
    way = "x.float() / 255" if grid.scale == 1 / 255 else f"x.float() * {grid.scale:.6g}"
    raise ConstraintError(
        f"inputs are {x.dtype}, needed are real numbers from {low:.4g} to {high:.4g}",
        fix=f"{way}, where they are codes of the grid already; else the transforms of the calibration data",
    )


def put(x: Tensor, grid: Grid, clipped: Clipped) -> Tensor:
    """Return the codes of real values, int64 and of their shape, and count what had to be clipped.

    Values are floating; of a grid of whole numbers also integers or truth values.

    Raises:
        ConstraintError: a value that is not finite; one that is not on a grid of whole numbers; integers where the
            grid holds real values; values of another unit.

    Example:
        >>> count = Clipped()
        >>> put(torch.tensor([0.0, 0.5, 1.25]), Grid(1 / 4, 0, 4), count).tolist(), count.values, count.total
        ([0, 2, 4], 1, 3)
    """
    need_numbers(x, grid)
    if not x.numel():
        return x.long()
    exact = x.detach().double() / grid.scale
    least, most = (float(v) for v in torch.aminmax(exact))
    if not (math.isfinite(least) and math.isfinite(most)):  # aminmax hands NaN on
        raise ConstraintError("inputs hold NaN or infinity, which no code stands for", fix="look at the transforms")
    codes, low, high = exact.round(), round(least), round(most)
    if holds_whole_numbers(grid) and (low < grid.low or high > grid.high or not torch.equal(exact, codes)):
        raise _not_whole(exact, codes, grid)
    beyond = 0
    if low < grid.low or high > grid.high:
        width = grid.high - grid.low
        beyond = int(((codes < grid.low) | (codes > grid.high)).sum())
        far = int(((codes < grid.low - width) | (codes > grid.high + width)).sum())
        if far > FAR * x.numel():
            raise _another_unit(x, grid, far / x.numel())
    clipped.add(beyond, x.numel(), least * grid.scale, most * grid.scale, _ends(grid))
    return codes.clamp_(grid.low, grid.high).long()


def _ends(grid: Grid) -> tuple[float, float]:
    return grid.low * grid.scale, grid.high * grid.scale


def _not_whole(exact: Tensor, codes: Tensor, grid: Grid) -> ConstraintError:
    """Say what is wrong with values for a grid of whole numbers."""
    broken = exact[exact != codes]
    low, high = (int(v) for v in torch.aminmax(codes))
    if broken.numel():
        return ConstraintError(
            f"inputs hold {float(broken[0]):.6g}; the grid of the input holds whole numbers from {grid.low} to "
            f"{grid.high} (counts or spikes)",
            fix="spikes or counts as they are; for real values another grid: input_grid=bs.Grid(scale, low, high)",
        )
    need = max(high, grid.high)
    return ConstraintError(
        f"inputs reach from {low} to {high}; the grid of the input holds whole numbers from {grid.low} to {grid.high}",
        fix=f"input_grid=bs.Grid(1.0, {min(low, grid.low)}, {need}) of bs.convert, or grid= of bs.lower; or calibrate "
        "with such counts: calibrate=frames [T, N, ...]",
    )


def _another_unit(x: Tensor, grid: Grid, far: float) -> ConstraintError:
    """Say that values are none of this network's inputs."""
    (low, high), (least, most) = (float(v) for v in torch.aminmax(x)), _ends(grid)
    image = low >= 0 and 1 < high <= 255 and (least, most) == (0.0, 1.0)
    return ConstraintError(
        f"inputs reach from {low:.4g} to {high:.4g}, and the grid of the input from {least:.4g} to {most:.4g}: "
        f"{far:.0%} of the values lie further out than the grid is wide",
        fix="images in [0, 1]: x / 255" if image else "the transforms of the calibration data; or calibrate with these",
    )
