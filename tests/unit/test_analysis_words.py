"""Rounding never turns a number into a claim that is not true."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bitspike.analysis.drawing.words import against, percent, points


@given(st.floats(0, 1))
def test_only_everything_is_a_hundred_percent_and_only_nothing_is_zero(fraction: float) -> None:
    text = percent(fraction)
    assert (text == "100 %") == (fraction == 1.0)
    assert (text == "0 %") == (fraction == 0.0)
    assert text not in {"100.00 %", "0.00 %"}


def test_a_difference_too_small_to_print_is_not_none() -> None:
    assert points(1e-9) == "< 0.01 points"
    assert points(-1e-9) == "< 0.01 points"
    assert points(0.0) == "0 points"


def test_against_names_the_side() -> None:
    assert against(0.5, 0.6) == "10.00 points below"
    assert against(0.6, 0.5) == "10.00 points above"
