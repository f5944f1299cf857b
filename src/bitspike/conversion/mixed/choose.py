"""One choice a layer, so that the sum of losses is least and the sum of prices stays within a budget, exactly.

This is the multiple-choice knapsack problem:

    minimize  sum over layers of loss[layer][bits]   subject to   sum over layers of price[layer][bits] <= budget

Layers are taken one after the other. Of all choices so far only those are kept that no other one beats in both price
and loss (dynamic programming with dominance, Nemhauser and Ullmann 1969, doi 10.1287/mnsc.15.9.494), and of these only
those that can still be better than a choice that is known. What a choice can still reach is bounded by the Lagrangian
of the remaining layers, whose multiplier is found once (Sinha and Zoltners 1979, doi 10.1287/opre.27.3.503).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitspike.errors import ConstraintError

Table = Mapping[str, Mapping[int, float]]
"""A number for every layer and every number of bits that it may have."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """Bits of every layer, with what they cost.

    Args:
        bits: by layer.
        loss, price: the sums over all layers.
    """

    bits: Mapping[str, int]
    loss: float
    price: float


def choose(losses: Table, prices: Table, budget: float, *, unit: str = "bytes") -> Choice:
    """Return the bits of least loss whose price stays within the budget; of equal ones the cheapest.

    Args:
        losses: what each number of bits costs each layer in accuracy, finite numbers of any unit that adds up.
        prices: what it costs in the unit of the budget, finite and not negative, for the same layers and bits.
        budget: the most that all layers together may cost.
        unit: of prices and budget, for messages.

    Raises:
        ConstraintError: the tables do not fit together or hold something else than numbers; or even the cheapest
            choice of every layer costs more than the budget.

    Example:
        >>> losses = {"a": {2: 5.0, 4: 1.0}, "b": {2: 0.5, 4: 0.1}}
        >>> prices = {"a": {2: 10, 4: 20}, "b": {2: 100, 4: 200}}
        >>> choose(losses, prices, budget=150)
        Choice(bits={'a': 4, 'b': 2}, loss=1.5, price=120.0)
    """
    layers = [_Layer.of(name, losses, prices) for name in _checked(losses, prices)]
    cheapest = sum(float(layer.price.min()) for layer in layers)
    if not cheapest <= budget:
        fewest = ", ".join(f"{layer.name} {layer.bits[int(layer.price.argmin())]}" for layer in layers[:3])
        raise ConstraintError(
            f"the budget is {budget:,.10g} {unit}, and the layers need {cheapest:,.10g} at least, with the fewest bits "
            f"that are allowed ({fewest}{', ...' if len(layers) > 3 else ''})",
            fix=f"a budget of {cheapest:,.10g} {unit} or more, or fewer bits among those that are allowed",
        )
    multiplier = _multiplier(layers, budget)
    known = _feasible(layers, multiplier, budget)
    picks = _best(layers, budget, multiplier, known)
    bits = {layer.name: layer.bits[i] for layer, i in zip(layers, picks, strict=True)}
    return Choice(bits, _total(losses, bits), _total(prices, bits))


@dataclass(frozen=True, eq=False)
class _Layer:
    """The choices of one layer, fewest bits first."""

    name: str
    bits: tuple[int, ...]
    loss: Floats
    price: Floats

    @classmethod
    def of(cls, name: str, losses: Table, prices: Table) -> _Layer:
        bits = tuple(sorted(losses[name]))
        return cls(name, bits, *(np.array([float(table[name][b]) for b in bits]) for table in (losses, prices)))


def _total(table: Table, bits: Mapping[str, int]) -> float:
    return float(sum(float(table[name][b]) for name, b in bits.items()))


def _checked(losses: Table, prices: Table) -> list[str]:
    """Return the names of the layers of two tables that fit together."""
    problems = [f"{name!r} has no choice" for name, row in losses.items() if not row]
    if set(losses) != set(prices):
        problems.append(f"layers {sorted(set(losses) ^ set(prices))} are in one table only")
    else:
        problems += [
            f"{name!r} has losses for {sorted(losses[name])} bits and prices for {sorted(prices[name])}"
            for name in losses
            if set(losses[name]) != set(prices[name])
        ]
    for word, table, low in (("loss", losses, -np.inf), ("price", prices, 0.0)):
        for name, row in table.items():
            wrong = {b: v for b, v in row.items() if not (np.isfinite(v) and v >= low)}
            problems += [f"the {word} of {name!r} at {b} bits is {v}" for b, v in wrong.items()]
    if not losses:
        problems.append("there are no layers")
    if problems:
        raise ConstraintError(
            f"losses and prices: {'; '.join(problems[:5])}",
            fix="one finite loss and one finite price of at least 0 for every layer and each of its numbers of bits",
        )
    return list(losses)


def _relaxed(layers: Sequence[_Layer], multiplier: float) -> list[int]:
    """Return the choices of least loss + multiplier * price; of equal ones the cheapest."""
    picks = []
    for layer in layers:
        value = layer.loss + multiplier * layer.price
        best = np.flatnonzero(value == value.min())
        picks.append(int(best[layer.price[best].argmin()]))
    return picks


def _price(layers: Sequence[_Layer], picks: Sequence[int]) -> float:
    return float(sum(layer.price[i] for layer, i in zip(layers, picks, strict=True)))


def _loss(layers: Sequence[_Layer], picks: Sequence[int]) -> float:
    return float(sum(layer.loss[i] for layer, i in zip(layers, picks, strict=True)))


def _multiplier(layers: Sequence[_Layer], budget: float) -> float:
    """Return, nearly, the smallest multiplier of prices whose choices stay within the budget."""
    if _price(layers, _relaxed(layers, 0.0)) <= budget:
        return 0.0
    spread = max(float(np.ptp(layer.loss)) for layer in layers)
    steps = [np.diff(np.unique(layer.price)) for layer in layers]
    low, high = 0.0, 1.0 + spread / min(float(s.min()) for s in steps if len(s))  # there, each layer's cheapest choice
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if _price(layers, _relaxed(layers, middle)) <= budget else (middle, high)
    return high


def _rounding(budget: float) -> float:
    """Return more than the sums of the same prices in two orders differ by."""
    return 1e-12 * max(1.0, abs(budget))


def _feasible(layers: Sequence[_Layer], multiplier: float, budget: float) -> float:
    """Return the loss of a good choice within the budget: the relaxed one, improved as long as something fits."""
    picks = _relaxed(layers, multiplier)
    price, room = _price(layers, picks), budget - _rounding(budget)
    while True:
        better: tuple[float, int, int] | None = None
        for n, (layer, now) in enumerate(zip(layers, picks, strict=True)):
            for i in range(len(layer.bits)):
                gain = float(layer.loss[now] - layer.loss[i])
                fits = price - layer.price[now] + layer.price[i] <= room
                if fits and gain > 0 and (better is None or gain > better[0]):
                    better = gain, n, i
        if better is None:
            return _loss(layers, picks)
        picks[better[1]] = better[2]
        price = _price(layers, picks)


def _best(layers: Sequence[_Layer], budget: float, multiplier: float, known: float) -> list[int]:
    """Return the best choice of every layer, by dynamic programming over the choices that can still win."""
    # What the layers after each one need at least, and the Lagrangian bound of their losses.
    need, bound = [0.0], [0.0]
    for layer in reversed(layers):
        need.append(need[-1] + float(layer.price.min()))
        bound.append(bound[-1] + float((layer.loss + multiplier * layer.price).min()))
    need.reverse()
    bound.reverse()
    slack = 1e-9 * (1.0 + abs(known) + multiplier * budget + sum(float(np.abs(x.loss).max()) for x in layers))
    price, loss = np.zeros(1), np.zeros(1)
    history: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]] = []
    for n, layer in enumerate(layers, 1):
        after_price = (price[:, None] + layer.price).ravel()
        after_loss = (loss[:, None] + layer.loss).ravel()
        keep = after_price + need[n] <= (budget if n == len(layers) else budget + _rounding(budget))
        keep &= after_loss + multiplier * (after_price - budget) + bound[n] <= known + slack
        states = np.flatnonzero(keep)
        order = states[np.lexsort((states, after_loss[states], after_price[states]))]
        # Only what is better than everything cheaper stays.
        least = np.minimum.accumulate(after_loss[order])
        order = order[np.concatenate(([True], after_loss[order][1:] < least[:-1]))]
        history.append(np.divmod(order, len(layer.bits)))
        price, loss = after_price[order], after_loss[order]
    at, picks = int(loss.argmin()), list[int]()
    for parents, choices in reversed(history):
        picks.append(int(choices[at]))
        at = int(parents[at])
    return picks[::-1]
