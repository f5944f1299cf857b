"""The choice of bits under a budget, by hand; and what it refuses."""

from __future__ import annotations

import pytest

from bitspike.conversion.mixed.choose import choose
from bitspike.errors import ConstraintError

LOSSES = {"a": {1: 9.0, 2: 4.0, 4: 1.0}, "b": {1: 3.0, 2: 2.0, 4: 1.9}}
PRICES = {"a": {1: 10, 2: 20, 4: 40}, "b": {1: 10, 2: 20, 4: 40}}


@pytest.mark.parametrize(
    ("budget", "bits", "loss"),
    [
        (20, {"a": 1, "b": 1}, 12.0),
        (30, {"a": 2, "b": 1}, 7.0),
        (50, {"a": 4, "b": 1}, 4.0),
        (59, {"a": 4, "b": 1}, 4.0),  # nothing to spend the rest on
        (60, {"a": 4, "b": 2}, 3.0),
        (1000, {"a": 4, "b": 4}, 2.9),
    ],
)
def test_bits_go_where_they_help_most(budget: float, bits: dict[str, int], loss: float) -> None:
    choice = choose(LOSSES, PRICES, budget)
    assert dict(choice.bits) == bits
    assert choice.loss == pytest.approx(loss)


def test_of_equal_losses_the_cheapest_wins() -> None:
    assert choose({"a": {2: 1.0, 4: 1.0}}, {"a": {2: 10, 4: 20}}, budget=100).bits == {"a": 2}


def test_a_budget_that_cannot_be_met_says_the_smallest_one() -> None:
    with pytest.raises(ConstraintError, match=r"the budget is 19 bytes.*need 20 at least") as error:
        choose(LOSSES, PRICES, budget=19)
    assert "20 bytes or more" in str(error.value.fix)
    assert choose(LOSSES, PRICES, budget=20).price == 20  # the way out works


@pytest.mark.parametrize("budget", [float("nan"), -1.0])
def test_a_budget_that_is_no_number_is_refused(budget: float) -> None:
    with pytest.raises(ConstraintError, match="at least"):
        choose(LOSSES, PRICES, budget)


def test_tables_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConstraintError, match="in one table only"):
        choose(LOSSES, {"a": PRICES["a"]}, budget=100)
    with pytest.raises(ConstraintError, match=r"losses for \[1, 2, 4\] bits and prices for \[1\]"):
        choose(LOSSES, PRICES | {"a": {1: 10}}, budget=100)
    with pytest.raises(ConstraintError, match="loss of 'a' at 2 bits is nan"):
        choose({"a": {2: float("nan")}}, {"a": {2: 1}}, budget=100)
    with pytest.raises(ConstraintError, match="no layers"):
        choose({}, {}, budget=100)
