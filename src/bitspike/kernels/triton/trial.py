"""Every kind of layer is compared with plain torch at its first use on a device.

The kernels are compiled for each combination of choices, on devices and with compilers that nobody has tried. A few
elements through both loops show whether that went well: equal spikes, equal gradients to rounding. Where it did not,
plain torch runs, and the log says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bitspike.kernels.triton.launch import BLOCK, Loop, flags_of, run_backward, run_forward, surrogate_numbers
from bitspike.kernels.triton.support import attempt, give_up
from bitspike.ops.dynamics import SignedState, if_step, lif_step, signed_if_step

_passed: set[Any] = set()


def passed(x: Tensor, loop: Loop) -> bool:
    """Tell whether the kernels for such a call have shown that they do what plain torch does; try new ones."""
    surrogate = surrogate_numbers(loop.rule.surrogate)
    assert surrogate is not None
    residual = None if loop.residual is None else loop.residual.dtype
    choices = (*flags_of(loop).values(), loop.rule.detach_reset, surrogate[0])
    key = (x.device, x.dtype, residual, x.shape[0], *choices)
    return trusted(key, lambda: _faults(*_small(x, loop)))


def trusted(key: tuple[Any, ...], trial: Callable[[], list[str]]) -> bool:
    """Tell whether the kernels of a key, its device first, have passed a trial, which names what differs."""
    if key in _passed:
        return True
    if key[0].type == "cuda" and torch.cuda.is_current_stream_capturing():
        return False  # a captured graph cannot wait for the outcome
    with torch.inference_mode(False), torch.no_grad():  # the trial differentiates, whatever the caller does
        faults = attempt(trial)
    if faults:
        give_up(f"a Triton kernel gave other {' and '.join(faults)} than plain torch ({', '.join(map(str, key))})")
    if faults == []:
        _passed.add(key)
    return faults == []


def currents(x: Tensor, affine: tuple[Tensor, Tensor, Tensor] | None, residual: Tensor | None) -> Tensor:
    """Return what norm and residual make of ``x`` [T, N, C, ...], in single precision."""
    i = x.float()
    if affine is not None:
        mean, scale, shift = (_per_channel(t, x.dim() - 2) for t in affine)
        i = (i - mean) * scale + shift
    return i if residual is None else i + residual


def plain_spikes(x: Tensor, loop: Loop) -> Tensor:
    """Run the loop with plain torch; arguments and result as those of ``run_forward``."""
    i, theta, initial = currents(x, loop.affine, loop.residual), loop.threshold, loop.initial
    if isinstance(theta, Tensor):
        theta = _per_channel(theta, x.dim() - 2)
    rest = torch.zeros_like(i[0]) + (_per_channel(initial, x.dim() - 2) if isinstance(initial, Tensor) else initial)
    v, state, out = rest, SignedState(rest, torch.zeros_like(rest)), []
    for i_t in i.unbind(0):
        if loop.retract is not None:
            s, state, _ = signed_if_step(state, i_t, theta, loop.rule, retract=loop.retract)
        elif loop.decay is None:
            s, v, _ = if_step(v, i_t, theta, loop.rule)
        else:
            s, v, _ = lif_step(v, i_t, loop.decay, theta, loop.rule)
        out.append(s.to(x.dtype))
    return torch.stack(out)


def plain_gradients(x: Tensor, grad: Tensor, loop: Loop) -> tuple[Tensor, Tensor | None]:
    """Differentiate the loop with plain torch; arguments and result as those of ``run_backward``."""
    decay = loop.decay.detach().requires_grad_() if isinstance(loop.decay, Tensor) else None
    with torch.enable_grad():
        # The gradient asked for is that of the current after norm and residual: a zero added there receives it.
        current = torch.zeros_like(x, dtype=torch.float32).requires_grad_()
        residual = current if loop.residual is None else current + loop.residual
        spikes = plain_spikes(x, loop._replace(residual=residual, decay=loop.decay if decay is None else decay))
        grads = torch.autograd.grad(spikes, [current] if decay is None else [current, decay], grad.to(x.dtype))
    return grads[0].to(x.dtype), grads[1].double() if decay is not None else None


def _per_channel(values: Tensor, axes: int) -> Tensor:
    return values.view(-1, *[1] * (axes - 1))


def _small(x: Tensor, loop: Loop) -> tuple[Tensor, Tensor, Loop]:
    """Return a small input, gradient and loop of the same kind; nothing random, and two programs with masked lanes."""
    one: dict[str, Any] = {"dtype": torch.float32, "device": x.device}
    shape = (x.shape[0], 1, 2, BLOCK // 2 + 40)
    wave = torch.arange(math.prod(shape), **one).view(shape)
    theta = torch.tensor([0.5, 0.75], **one)
    return (
        (torch.sin(wave * 0.7) + 0.2).to(x.dtype),
        torch.cos(wave * 1.3).to(x.dtype),
        loop._replace(
            threshold=theta if isinstance(loop.threshold, Tensor) else 0.5,
            initial=theta / 4 if isinstance(loop.initial, Tensor) else 0.125,
            decay=theta[1] if isinstance(loop.decay, Tensor) else None if loop.decay is None else 0.3,
            affine=None if loop.affine is None else (theta / 5, theta + 0.3, theta / 7),
            residual=None if loop.residual is None else torch.sin(wave * 0.3).to(loop.residual.dtype) / 2,
        ),
    )


def _faults(x: Tensor, grad: Tensor, loop: Loop) -> list[str]:
    """Name what differs; gradients may do so by rounding."""
    (dx, ddecay), (plain_dx, plain_ddecay) = run_backward(x, grad, loop), plain_gradients(x, grad, loop)
    checks = {
        "spikes": torch.equal(run_forward(x, loop), plain_spikes(x, loop)),
        # Half precision is rounded to at the end only, so a unit in the last place is all that may differ.
        "gradients": close(dx, plain_dx, 1e-4 if x.dtype == torch.float32 else 4 * torch.finfo(x.dtype).eps),
        # A sum of many terms of either sign.
        "gradients of the decay": ddecay is None or plain_ddecay is None or close(ddecay, plain_ddecay, 1e-2),
    }
    return [name for name, fine in checks.items() if not fine]


def close(mine: Tensor, plain: Tensor, share: float) -> bool:
    """Tell whether two results differ by no more than a share of the largest value."""
    return bool((mine.double() - plain.double()).abs().max() <= share * plain.double().abs().max() + 0.01 * share)
