# mypy: ignore-errors
"""Triton and its language for the files that hold kernels; importing this imports Triton.

Where it is not installed those files can still be imported, as documentation and the tests of the package's structure
do. Their kernels are plain functions then, and nothing runs them.
"""

from __future__ import annotations

try:
    import triton
    import triton.language as tl

    jit = triton.jit
except ModuleNotFoundError as error:
    if error.name != "triton":
        raise
    triton = tl = None

    def jit(function):
        """Stand for ``triton.jit``."""
        return function


__all__ = ["jit", "tl", "triton"]
