"""Every test runs on the CPU with fixed seeds, one thread and deterministic algorithms."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import settings

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic products, where there is a CUDA device
os.environ["BITSPIKE_METHODS"] = "off"  # nothing is read from the user's cache, and nothing written to it
torch.set_num_threads(1)
# The same examples in every run: a law that fails does so for everybody, and a slow machine is no failure.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
