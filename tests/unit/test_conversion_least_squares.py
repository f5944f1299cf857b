"""Least squares by conjugate gradients: the solution of numpy, and no step that held-out samples do not confirm."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from bitspike.conversion.correct.least_squares import HELD_OUT, refit

F64 = torch.float64


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_many_steps_end_at_the_solution_of_the_weighted_normal_equations() -> None:
    x, share = draw(80, 5), draw(80, 3, seed=1).abs()
    missing = x @ draw(3, 5, seed=2).T + draw(3, seed=3) + 0.01 * draw(80, 3, seed=4)
    dw, db = refit(torch.zeros(3, 5, dtype=F64), missing, lambda w: x @ w.T, share=share, iterations=60)
    fitted = torch.ones(80, dtype=torch.bool)
    fitted[HELD_OUT - 1 :: HELD_OUT] = False
    for c in range(3):
        rows = torch.cat([x, torch.ones(80, 1, dtype=F64)], 1)[fitted] * share[fitted, c : c + 1].sqrt()
        wanted, *_ = np.linalg.lstsq(rows.numpy(), (missing[fitted, c] * share[fitted, c].sqrt()).numpy(), rcond=None)
        found = torch.cat([dw[c], db[c : c + 1]])
        torch.testing.assert_close(found, torch.from_numpy(wanted), atol=2e-3, rtol=0)


def test_a_strided_grouped_convolution_is_fitted_too() -> None:
    x, w = draw(40, 4, 7, 7), draw(6, 2, 3, 3, seed=1)

    def apply(w: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, w, stride=2, groups=2)

    dw, db = refit(torch.zeros_like(w), apply(w) + 0.5, apply, share=torch.ones(1), iterations=200)
    torch.testing.assert_close(dw, w, atol=1e-3, rtol=0)
    torch.testing.assert_close(db, torch.full((6,), 0.5, dtype=F64), atol=1e-3, rtol=0)


def test_noise_is_not_learned() -> None:
    x, noise = draw(40, 30), draw(40, 2, seed=1)
    dw, db = refit(torch.zeros(2, 30, dtype=F64), noise, lambda w: x @ w.T, share=torch.ones(1), iterations=100)
    held = torch.zeros(40, dtype=torch.bool)
    held[HELD_OUT - 1 :: HELD_OUT] = True
    left = noise - x @ dw.T - db
    assert left[held].square().sum() <= noise[held].square().sum()


def test_where_nothing_is_missing_or_too_little_is_known_nothing_changes() -> None:
    x = draw(40, 3)
    for rows, missing in ((40, torch.zeros(40, 2, dtype=F64)), (HELD_OUT - 1, draw(HELD_OUT - 1, 2))):
        at = x[:rows]
        dw, db = refit(torch.zeros(2, 3, dtype=F64), missing, lambda w, at=at: at @ w.T, share=torch.ones(1))
        assert not dw.any()
        assert not db.any()
