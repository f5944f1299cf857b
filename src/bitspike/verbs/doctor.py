"""What this machine offers: devices, instruction sets, optional parts, folders."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import time
from pathlib import Path
from typing import Any

from bitspike.arguments import checked
from bitspike.files import obstacle
from bitspike.machine import describe_cpu
from bitspike.places import places

#: Optional part -> what it is for. Each is looked for, never imported.
OPTIONAL = {
    "tensorboard": "training curves in TensorBoard (pip install 'bitspike[tb]')",
    "matplotlib": "plots",
    "nir": "export to NIR (pip install 'bitspike[nir]')",
    "onnx": "export to ONNX (pip install 'bitspike[onnx]')",
    "simplejpeg": "photos read from disk twice as fast (pip install 'bitspike[photos]')",
}


@checked
def doctor(runs: str | Path = "runs") -> dict[str, Any]:
    """Describe this machine as plain values, ready for JSON; nothing is written, trained or downloaded.

    A torch that cannot be imported is a finding, not an error: people run this verb when something is broken.

    Args:
        runs: the folder that runs would be written to; it need not exist.

    Returns:
        ``bitspike``, ``python``, ``platform``, ``cpu``, ``torch``, ``kernels``, ``methods``, ``devices``,
        ``bf16``, ``convolutions``, ``optional``, ``runs``, ``data`` and ``problems``: a list of sentences, empty on a
        machine where everything works.

    Example:
        >>> found = doctor()
        >>> found["problems"]
        []
        >>> found["devices"][0]["name"]
        'cpu'
    """
    cpu = describe_cpu()
    torch = _describe_torch()
    works = "error" not in torch
    devices = _describe_devices() if works else []
    folder = describe_folder(Path(runs))
    problems = []
    if "error" in torch:
        problems.append(f"torch cannot be imported: {torch['error']}")
    if not folder["writable"]:
        problems.append(f"runs cannot be written to {folder['path']}; choose another folder with --out")
    return {
        "bitspike": _version("bitspike"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu,
        "torch": torch,
        "kernels": _describe_kernels() if works else None,
        "methods": _describe_methods() if works else None,
        "devices": devices,
        "bf16": measure_bf16() if works else None,
        "convolutions": describe_convolutions() if works else None,
        "optional": {name: _version(name) for name in OPTIONAL},
        "runs": folder,
        "data": _describe_data(),
        "problems": problems,
    }


def _describe_kernels() -> dict[str, str]:
    """Say for every part of the kernels what runs it on this machine, and why."""
    from bitspike.kernels.cpp.loader import PARTS, status
    from bitspike.kernels.engine.structs import describe
    from bitspike.kernels.triton.support import status as on_cuda

    parts = {words: status(part) for part, words in PARTS.items()}
    return parts | {PARTS["engine"]: describe(), "CUDA": on_cuda()}


def _describe_methods() -> dict[str, Any]:
    """Say where the integer engine keeps what its methods took on this machine, and of how many kinds of layers."""
    from bitspike.kernels.engine import kept

    path = kept.file()
    return {
        "file": None if path is None else str(path),
        "writable": path is not None and obstacle(path.parent) is None,
        "layers": len(kept.read()),
    }


def describe_convolutions() -> str:
    """Say whether torch's convolutions on this processor need the detour of :mod:`bitspike.ops.pixels_first`."""
    from bitspike.ops import pixels_first

    if not pixels_first.needed():
        return "all by torch's own ways"
    return (
        "1x1 with a stride by a detour: without AVX-512, torch's own gradients of some in float32 with channels last "
        "overwrite memory. Bitspike's training, data and layers avoid it; in an own loop over plain torch layers "
        "keep model and images contiguous"
    )


def measure_bf16() -> dict[str, Any]:
    """Measure what one core gains from convolutions in bf16; flags of a processor do not tell as much.

    A 3 x 3 convolution, 64 to 64 channels, 16 images of 16 x 16, channels last, on one thread; the least processor time
    of 10 runs each, which other work on the machine does not touch.

    Returns:
        ``cpu_speedup``: time in float32 over time in bf16; ``automatic``: device -> whether runs choose bf16 there
        by themselves, without ``precision: bf16`` in the recipe.
    """
    import torch
    from torch.nn.functional import conv2d

    from bitspike.devices import choose_precision

    def seconds(dtype: torch.dtype) -> float:
        x = torch.ones(16, 64, 16, 16, dtype=dtype).to(memory_format=torch.channels_last)
        w = torch.ones(64, 64, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
        start = time.thread_time()
        conv2d(x, w, padding=1)
        return time.thread_time() - start

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        best = {dtype: min(seconds(dtype) for _ in range(10)) for dtype in (torch.float32, torch.bfloat16)}
    finally:
        torch.set_num_threads(threads)
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    return {
        "cpu_speedup": round(best[torch.float32] / best[torch.bfloat16], 1),
        "automatic": {device: choose_precision("auto", device) == "bf16" for device in devices},
    }


def describe_folder(path: Path) -> dict[str, Any]:
    """Say whether ``path`` could be written, and how much room its disk has, without touching it.

    A folder that does not exist is judged by the nearest parent that does.
    """
    path = path.absolute()
    nearest = next(parent for parent in (path, *path.parents) if parent.exists())
    return {
        "path": str(path),
        "exists": path.is_dir(),
        "writable": obstacle(path) is None,
        "free_gigabytes": round(shutil.disk_usage(nearest).free / 1e9, 1),
    }


def _describe_torch() -> dict[str, Any]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library that does not load
        return {"error": f"{type(error).__name__}: {error}"}
    return {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cuda": torch.version.cuda,
    }


def _describe_devices() -> list[dict[str, Any]]:
    import torch

    devices: list[dict[str, Any]] = [{"name": "cpu", "kind": "cpu"}]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            devices.append(
                {
                    "name": f"cuda:{index}",
                    "kind": "cuda",
                    "model": properties.name,
                    "gigabytes": round(properties.total_memory / 1e9, 1),
                    "capability": [properties.major, properties.minor],
                }
            )
    if torch.backends.mps.is_available():
        devices.append({"name": "mps", "kind": "mps"})
    return devices


def _describe_data() -> list[dict[str, Any]]:
    """List the folders in which image sets are looked for, first to last, with what lies in them."""
    return [
        {
            "path": str(folder.absolute()),
            "exists": folder.is_dir(),
            "holds": sorted(child.name for child in folder.iterdir()) if folder.is_dir() else [],
        }
        for folder in places()
    ]


def _version(distribution: str) -> str | None:
    if importlib.util.find_spec(distribution) is None:
        return None
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown version"
