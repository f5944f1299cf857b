"""Refit the weights of one layer to the spikes that reach it: least squares by a few conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

HELD_OUT = 4
"""One sample in so many is not fitted; it decides how many steps are taken."""


def refit(
    weight: Tensor, missing: Tensor, apply: Callable[[Tensor], Tensor], *, share: Tensor, iterations: int = 10
) -> tuple[Tensor, Tensor]:
    """Return what to add to the weights and the bias of a layer, so that it computes what is missing.

        minimize   sum share * (apply(dw) + db - missing)^2      over three quarters of the samples

    by conjugate gradients from 0 (CGLS). The error on the other samples is known after every step, and the step with
    the least of it wins: stopping early keeps the weights close to what they were, and no sample's noise is learned.

    Args:
        weight: of the layer; only its shape counts.
        missing: [N, C, ...] what the layer's output lacks.
        apply: the layer without bias, linear in the weights that it is given: [N, C, ...].
        share: what each value counts, broadcastable against ``missing``.
        iterations: steps at most.

    Returns:
        dw of the shape of the weight and db [C]; zeros where no step helps, or where there are fewer than 4 samples.

    Example:
        >>> x = torch.rand(64, 3, generator=torch.Generator().manual_seed(0))
        >>> wanted = x @ torch.tensor([[0.5, -0.2, 0.1]]).T + 0.25
        >>> dw, db = refit(torch.zeros(1, 3), wanted, lambda w: x @ w.T, share=torch.ones(1))
        >>> [round(v, 3) for v in [*dw[0].tolist(), *db.tolist()]]
        [0.5, -0.2, 0.1, 0.25]

    Source of CGLS: Bjorck, Numerical Methods for Least Squares Problems, SIAM 1996, section 7.4.
    """
    dw, db = torch.zeros_like(weight), weight.new_zeros(missing.shape[1])
    n = len(missing)
    if n < HELD_OUT:
        return dw, db
    kept = torch.ones(n, *[1] * (missing.dim() - 1), dtype=missing.dtype, device=missing.device)
    kept[HELD_OUT - 1 :: HELD_OUT] = 0
    # Residuals times the root of their share: plain least squares then counts them by their share.
    root = share.to(missing).sqrt()
    with torch.enable_grad():
        # `apply` is linear: its gradient, with r as the output's, is the transposed map of r.
        w = torch.zeros_like(weight, requires_grad=True)
        y = apply(w)

    def back(r: Tensor) -> tuple[Tensor, Tensor]:
        r = r * root * kept
        (g,) = torch.autograd.grad(y, w, r, retain_graph=True)
        return g, r.transpose(0, 1).flatten(1).sum(1)

    # The residual of all samples: `back` reads the fitted ones, the error reads the others.
    left = missing * root
    gw, gb = back(left)
    pw, pb = gw, gb
    size = _dot(gw, gw) + _dot(gb, gb)
    best, least = (dw, db), _dot(left * (1 - kept), left)
    for _ in range(iterations):
        if not size > 0:
            break
        with torch.no_grad():
            moved = (apply(pw) + pb.view(-1, *[1] * (missing.dim() - 2))) * root
        length = _dot(moved * kept, moved)
        if not length > 0:
            break
        # CGLS with A the map and r the residual: step = |A^T r|^2 / |A p|^2.
        step = size / length
        dw, db, left = dw + step * pw, db + step * pb, left - step * moved
        error = _dot(left * (1 - kept), left)
        if error < least:
            best, least = (dw, db), error
        gw, gb = back(left)
        new = _dot(gw, gw) + _dot(gb, gb)
        pw, pb, size = gw + new / size * pw, gb + new / size * pb, new
    return best


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a.double() * b.double()).sum())
