"""Run a NIR file in the programs that read NIR, as each of them is used: step after step, from rest.

Each runner takes the path of a file, input codes [1 or T, N, ...] and T, and returns the summed outputs [N, ...].
samna is never imported: what PyPI calls samna installs another package from another index when it is imported, and
sinabs reads NIR without it (``pip install --no-deps sinabs``).
"""

from __future__ import annotations

import contextlib
import io
import logging
import signal
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bitspike.integer.nodes import Integers

Counts = npt.NDArray[np.float64]
Runner = Callable[[Path, Integers, int], Counts]


def spikingjelly(path: Path, codes: Integers, steps: int) -> Counts:
    """Run a file in SpikingJelly; ``dt`` is one step."""
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    return _whole_batch(import_from_nir(str(path), dt=1.0), codes, steps)


def snntorch(path: Path, codes: Integers, steps: int) -> Counts:
    """Run a file in snnTorch, a sample at a time: its Flatten takes the batch along."""
    import nir
    from snntorch import utils
    from snntorch.import_nir import import_from_nir

    model = import_from_nir(nir.read(path))
    return _by_sample(model, codes, steps, lambda: utils.reset(model))


def norse(path: Path, codes: Integers, steps: int) -> Counts:
    """Run a file in Norse, a sample at a time: its Flatten takes the batch along."""
    import nir
    from norse.torch import from_nir

    return _by_sample(from_nir(nir.read(path), dt=1.0), codes, steps)


def norse_subtract(path: Path, codes: Integers, steps: int) -> Counts:
    """Run a file in Norse with the reset by subtraction, which it takes for a CubaLIF."""
    import nir
    from norse.torch import from_nir
    from norse.torch.functional.reset import reset_subtract

    return _by_sample(from_nir(nir.read(path), dt=1.0, reset_method=reset_subtract), codes, steps)


def sinabs(path: Path, codes: Integers, steps: int) -> Counts:
    """Run a file in sinabs, which takes all steps at once."""
    from sinabs.nir import from_nir

    model = from_nir(str(path), num_timesteps=steps)
    entry = torch.from_numpy(np.broadcast_to(codes, (steps, *codes.shape[1:])).astype(np.float32))
    out = model(entry.transpose(0, 1).flatten(0, 1))[0]
    return np.asarray(out.detach().unflatten(0, (codes.shape[1], steps)).double().sum(1))


def nirtorch(path: Path, codes: Integers, steps: int) -> Counts:
    """Run a file in nirtorch alone, with the modules that it has for NIR's nodes."""
    import nirtorch

    return _whole_batch(nirtorch.nir_to_torch(str(path), {}), codes, steps)


RUNNERS: Mapping[str, Runner] = {
    "nirtorch": nirtorch,
    "SpikingJelly": spikingjelly,
    "snnTorch": snntorch,
    "Norse": norse,
    "sinabs": sinabs,
}
"""The readers, as they read a file of anybody."""

PACKAGES: Mapping[str, str] = {
    "nirtorch": "nirtorch",
    "SpikingJelly": "spikingjelly",
    "snnTorch": "snntorch",
    "Norse": "norse",
    "sinabs": "sinabs",
}

FOR: Mapping[str, tuple[str, Runner]] = {
    "SpikingJelly": ("spikingjelly", spikingjelly),
    "snnTorch": ("snntorch", snntorch),
    "Norse": ("norse", norse_subtract),
    "sinabs": ("sinabs", sinabs),
}
"""The word for which ``bs.write_nir(..., reader=...)`` writes, and how that file is run."""


def quietly(runner: Runner, path: Path, codes: Integers, steps: int, *, seconds: int = 0) -> Counts:
    """Run without gradients, without what the reader prints, logs and warns of.

    Raises:
        TimeoutError: it took more than so many seconds, if some are given.
    """

    def stop(*_: object) -> None:
        raise TimeoutError(f"it did not end within {seconds} s")

    held = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            return runner(path, codes, steps)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        logging.disable(held)


def _whole_batch(model: Any, codes: Integers, steps: int) -> Counts:
    state, total = None, torch.zeros((), dtype=torch.float64)
    for t in range(steps):
        out, state = model(torch.from_numpy(codes[min(t, len(codes) - 1)].astype(np.float32)), state)
        total = total + out.detach()
    return np.asarray(total)


def _by_sample(model: Any, codes: Integers, steps: int, reset: Callable[[], object] = lambda: None) -> Counts:
    rows = []
    for n in range(codes.shape[1]):
        reset()
        rows.append(_whole_batch(model, codes[:, n], steps))
    return np.stack(rows)
