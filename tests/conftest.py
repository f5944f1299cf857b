"""Every test runs on the CPU with fixed seeds, one thread and deterministic algorithms."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
