"""What a result depends on besides its recipe: versions and hardware."""

from __future__ import annotations

import platform
from typing import Any

import torch

from bitspike import __version__
from bitspike.runs.machine import describe_cpu
from bitspike.train import History


def environment(history: History | None, device: str) -> dict[str, Any]:
    """Return versions, machine, and where and how precisely the run was made, as plain values.

    Args:
        history: of the training; None where nothing was trained.
        device: where it was measured: ``cpu`` or ``cuda``.
    """
    device = device if history is None else history.device
    return {
        "bitspike": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": describe_cpu()["name"],
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "precision": "fp32" if history is None else history.precision,
        "workers": 1 if history is None else history.workers,
    }
