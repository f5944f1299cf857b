"""The Triton kernels in Triton's interpreter, and compiled for a device that is not here. Collected where Triton is.

On a machine with a CUDA device the same cases run on it as well.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

triton = pytest.importorskip("triton", reason="Triton is not installed; test_triton.py has what can be tested without")


@pytest.mark.parametrize("where", ["interpreter", *["cuda"] * torch.cuda.is_available()])
def test_every_case(where: str, tmp_path: Path) -> None:
    # The interpreter is chosen when Triton is imported, which may long have happened in this process.
    environment = {k: v for k, v in os.environ.items() if k not in ("TRITON_INTERPRET", "BITSPIKE_KERNELS")}
    environment |= {"OMP_NUM_THREADS": "1", "TRITON_CACHE_DIR": str(tmp_path)}
    if where == "interpreter":
        environment |= {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    cases = Path(__file__).with_name("triton_cases.py")
    # Interpreters of old Triton make numbers of arrays in a way that new NumPy warns of.
    options = ["-q", "-x", "--no-header", "-p", "no:cacheprovider", "-W", "ignore::DeprecationWarning"]
    command = [sys.executable, "-m", "pytest", *options, str(cases)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    found = re.search(r"(\d+) passed", answer.stdout)
    assert found is not None
    assert int(found[1]) > 100
    assert "skipped" not in answer.stdout


FLAGS = {
    "HARD",
    "STRICT",
    "DECAY_INPUT",
    "ROUNDED",
    "SIGNED",
    "LEARNED",
    "THETAS",
    "INITIALS",
    "NORM",
    "RESIDUAL",
    "DETACH",
}


def assembly(kernel: Any, *, fused: bool, **constants: Any) -> str:
    """Compile a kernel for compute capability 9.0, which needs no device, and return its PTX."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    constants = {name: False for name in kernel.arg_names if name in FLAGS} | constants
    needed = {
        "residual": "RESIDUAL",
        "thetas": "THETAS",
        "initials": "INITIALS",
        "decays": "LEARNED",
        "partial": "LEARNED",
    }
    signature = {}
    for name in kernel.arg_names:
        norm = "NORM" if name in ("means", "scales", "shifts") else None
        if name in constants:
            continue
        in_registers = name == "scratch" and constants.get("UNROLL", False)
        if in_registers or not constants.get(needed.get(name) or norm or "", True):
            constants[name] = None
        elif name in ("x", "out", "grad", "dx", "residual"):
            signature[name] = "*bf16"
        elif name in ("thetas", "initials", "means", "scales", "shifts", "decays", "scratch", "partial", "clips"):
            signature[name] = "*fp32"
        elif name in ("total", "inner", "channels") or name.endswith("_stride"):
            signature[name] = "i64"
        else:
            signature[name] = "fp32"
    if tuple(int(part) for part in triton.__version__.split(".")[:2]) >= (3, 3):
        every = {name: signature.get(name, "constexpr") for name in kernel.arg_names}
        source = ASTSource(kernel, every, constants)
    else:
        source = ASTSource(kernel, signature=signature, constants=constants)
    options = {"num_warps": 4, "enable_fp_fusion": fused}
    return str(triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"])


@pytest.mark.parametrize("steps", [4, 12])
def test_the_compiled_code_rounds_every_product(steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    from bitspike.kernels.triton import clip as triton_clip
    from bitspike.kernels.triton import launch as triton_launch
    from bitspike.kernels.triton import loop as triton_loop

    some: dict[str, Any] = {"LEAK": 1, "NORM": True, "BLOCK": triton_launch.BLOCK, "STEPS": steps}
    some["UNROLL"] = triton_launch.unrolled(steps)
    loops: Any = ((triton_loop.forward, {}), (triton_loop.backward, {"KIND": 2, "LEARNED": True}))
    for kernel, more in loops:
        assert "fma" not in assembly(kernel, fused=triton_launch.OPTIONS["enable_fp_fusion"], **some, **more)
    assert "fma" in assembly(triton_loop.forward, fused=True, **some)  # what the option is for
    code = assembly(triton_clip.forward, fused=False, NORM=True, BLOCK=1024)
    assert "div.rn" in code
    assert "div.full" not in code
    assert "cvt.rn.bf16" in code
