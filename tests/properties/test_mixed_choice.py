"""The choice of bits under a budget: the best of all choices, whatever the tables hold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitspike.conversion.mixed.choose import Table, choose
from bitspike.errors import ConstraintError


@st.composite
def tables(draw: st.DrawFn, *, whole: bool) -> tuple[Table, Table]:
    """Losses and prices of up to five layers with up to four numbers of bits each; ties are common."""
    number = st.integers(0, 6) if whole else st.floats(0, 10, allow_subnormal=False)
    losses, prices = {}, {}
    for n in range(draw(st.integers(1, 5))):
        bits = draw(st.lists(st.integers(1, 8), min_size=1, max_size=4, unique=True))
        losses[f"layer{n}"] = {b: draw(number) for b in bits}
        prices[f"layer{n}"] = {b: draw(number) for b in bits}
    return losses, prices


def all_choices(losses: Table, prices: Table) -> list[tuple[float, float]]:
    """Loss and price of every choice that there is, added up in the order of the layers."""
    rows = [[(losses[name][b], prices[name][b]) for b in losses[name]] for name in losses]
    return [
        (float(sum(loss for loss, _ in picks)), float(sum(price for _, price in picks)))
        for picks in itertools.product(*rows)
    ]


@given(tables(whole=True), st.integers(0, 30))
@settings(max_examples=300, deadline=None)
def test_the_choice_is_the_best_of_all(both: tuple[Table, Table], budget: int) -> None:
    losses, prices = both
    allowed = [(loss, price) for loss, price in all_choices(losses, prices) if price <= budget]
    if not allowed:
        with pytest.raises(ConstraintError, match="at least"):
            choose(losses, prices, budget)
        return
    found = choose(losses, prices, budget)
    assert (found.loss, found.price) == min(allowed)  # least loss, and of equal ones the cheapest
    assert found.loss == sum(losses[name][b] for name, b in found.bits.items())
    assert list(found.bits) == list(losses)


@given(tables(whole=False), st.floats(0, 60))
@settings(max_examples=300, deadline=None)
def test_so_it_is_with_numbers_that_are_not_whole(both: tuple[Table, Table], budget: float) -> None:
    losses, prices = both
    cheapest = float(sum(min(row.values()) for row in prices.values()))
    if cheapest > budget:
        return
    found = choose(losses, prices, budget)
    assert found.price <= budget
    best = min(loss for loss, price in all_choices(losses, prices) if price <= budget)
    assert found.loss <= best + 1e-9 * (1 + best)


def test_a_deep_network_is_chosen_for_in_a_moment_and_always_alike() -> None:
    generator = np.random.default_rng(0)
    losses, prices = {}, {}
    for n in range(110):
        loss = np.sort(generator.random(8))[::-1] * generator.random()
        losses[f"layer{n}"] = dict(zip(range(1, 9), loss.tolist(), strict=True))
        size = float(generator.random() * 1e5)
        prices[f"layer{n}"] = {b: size * b for b in range(1, 9)}
    budget = sum(row[3] for row in prices.values())
    first = choose(losses, prices, budget)
    assert first == choose(losses, prices, budget)
    assert first.price <= budget
    # No layer can have more bits for what is left.
    left = budget - first.price
    assert all(
        prices[n][b] - prices[n][now] > left or losses[n][b] >= losses[n][now]
        for n, now in first.bits.items()
        for b in losses[n]
    )
