"""Numbers as people read them; nothing is rounded into a claim that is not true."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

MISSING = "n/a"


def known(value: object) -> float | None:
    """Return a finite number as float, and None for everything else.

    Example:
        >>> known(1), known(None), known(float("nan")), known(True), known(10**400)
        (1.0, None, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number that no float holds
        return None
    return number if math.isfinite(number) else None


def percent(fraction: object, digits: int = 2) -> str:
    """Write a fraction in percent; only exactly all is 100 %, only exactly none is 0 %.

    Example:
        >>> percent(0.98056), percent(1.0), percent(0.999999), percent(0.0), percent(1e-7), percent(None)
        ('98.06 %', '100 %', '> 99.99 %', '0 %', '< 0.01 %', 'n/a')
    """
    value = known(fraction)
    if value is None:
        return MISSING
    if value in (0.0, 1.0):
        return f"{100 * value:.0f} %"
    step = 10.0**-digits
    if 0 < value < 1 and round(100 * value, digits) >= 100:
        return f"> {100 - step:.{digits}f} %"
    if 0 < value < 1 and round(100 * value, digits) <= 0:
        return f"< {step:.{digits}f} %"
    return f"{100 * value:.{digits}f} %"


def points(difference: float) -> str:
    """Write a difference of two fractions in percentage points, with its sign.

    Example:
        >>> points(0.0051), points(-0.2), points(0.0), points(1e-6)
        ('+0.51 points', '-20.00 points', '0 points', '< 0.01 points')
    """
    if difference == 0:
        return "0 points"
    if abs(difference) < 5e-5:
        return "< 0.01 points"
    return f"{100 * difference:+.2f} points"


def against(value: float, other: float) -> str:
    """Say how far a fraction is above or below another one.

    Example:
        >>> against(0.981, 0.975), against(0.97, 0.975), against(0.97, 0.97)
        ('0.60 points above', '0.50 points below', 'equal to')
    """
    difference = round(100 * (value - other), 2)
    if difference == 0:
        return "equal to"
    return f"{abs(difference):.2f} points {'above' if difference > 0 else 'below'}"


def count(number: object) -> str:
    """Write a whole number with a comma at every third digit.

    Example:
        >>> count(1234567), count(None)
        ('1,234,567', 'n/a')
    """
    value = known(number)
    return MISSING if value is None else f"{value:,.0f}"


def plain(value: object) -> str:
    """Write a value of a recipe as ``--set`` takes it.

    Example:
        >>> plain(None), plain(True), plain(0.5), plain("if"), plain([1, None])
        ('null', 'true', '0.5', 'if', '[1, null]')
    """
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def size(number: object) -> str:
    """Write a number of bytes in binary units.

    Example:
        >>> size(300), size(5000), size(3 * 2**20), size(None)
        ('300 bytes', '4.9 KiB', '3.0 MiB', 'n/a')
    """
    value = known(number)
    if value is None:
        return MISSING
    if value < 1024:
        return f"{value:.0f} bytes"
    for unit in ("KiB", "MiB"):
        value /= 1024
        if value < 1024:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} GiB"


def span(seconds: object) -> str:
    """Write a duration.

    Example:
        >>> span(0.04), span(7.25), span(75), span(3 * 3600 + 120), span(None)
        ('0.04 s', '7.2 s', '1 min 15 s', '3 h 2 min', 'n/a')
    """
    value = known(seconds)
    if value is None:
        return MISSING
    if value < 60:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def bits(widths: Iterable[int]) -> str:
    """Say how wide weights are.

    Example:
        >>> bits([2, 2]), bits([8, 2, 2]), bits([32]), bits([])
        ('2-bit weights', '2- to 8-bit weights', 'float32 weights', 'weights')
    """
    distinct = sorted(set(widths))
    if not distinct:
        return "weights"
    if distinct == [32]:
        return "float32 weights"
    return f"{distinct[0]}-bit weights" if len(distinct) == 1 else f"{distinct[0]}- to {distinct[-1]}-bit weights"
