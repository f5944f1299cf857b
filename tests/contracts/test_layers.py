"""The house stands: imports go downwards, narrow doors stay narrow, and starting up is cheap."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINT = "from importlinter.cli import lint_imports_command as run; run(['--no-logo', '--no-cache'])"


def python(code: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)


def modules_after(code: str) -> dict[str, object]:
    """Run ``code`` in a fresh interpreter; return the top-level modules it left behind."""
    ending = (
        "import json, sys\n"
        "names = sorted({name.partition('.')[0] for name in sys.modules})\n"
        "print('\\n' + json.dumps({'modules': names}))"
    )
    done = python(f"{code}\n{ending}")
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_import_contract_is_kept() -> None:
    done = python(LINT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_import_contract_can_be_broken(tmp_path: Path) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rooms = {room.strip(" ()"): "" for row in contracts[0]["layers"] for room in re.split(r"[|:]", row)}
    del rooms["formats"]  # a folder below
    wrong = rooms | {
        "__init__": "",
        "ops": "import bitspike.nn",
        "nn": "import matplotlib",
        "weights": "import pydantic",
        "formats/__init__": "",
        "formats/c": "import bitspike.graph",
        "graph": "import onnx",
        "models": "import lightning_fabric",
        "verbs": "import rich",
        "attic": "",
    }
    for room in (ROOT / "src" / "bitspike").iterdir():  # every row of the contract must exist
        if room.is_dir() and room.name.isidentifier():
            wrong.setdefault(room.name, "")
        elif room.suffix == ".py":
            wrong.setdefault(room.stem, "")
    del wrong["formats"]  # a folder, of two files
    for name, code in wrong.items():
        path = tmp_path / "bitspike" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    done = python(LINT, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Contracts: 0 kept" in done.stdout, done.stdout
    assert "bitspike.attic" in done.stdout


def test_importing_the_package_imports_no_torch() -> None:
    heavy = {"torch", "torchvision", "numpy", "matplotlib", "pydantic", "rich", "typer"}
    assert heavy.isdisjoint(modules_after("import bitspike")["modules"])


def test_help_imports_nothing_that_takes_long() -> None:
    found = modules_after(
        "import sys\n"
        "from bitspike.__main__ import main\n"
        "sys.argv = ['bitspike', '--help']\n"
        "try:\n    code = main()\n"
        "except SystemExit as stop:\n    code = stop.code\n"
        "assert not code, code"
    )
    # The seconds themselves belong to a machine: `python -m benchmarks startup` measures them against their target.
    heavy = {
        "torch",
        "torchvision",
        "numpy",
        "matplotlib",
        "pydantic",
        "yaml",
        "safetensors",
        "lightning_fabric",
        "PIL",
    }
    assert heavy.isdisjoint(found["modules"])


def test_importing_every_module_touches_no_device_and_no_optional_part() -> None:
    found = modules_after(
        "import importlib, pkgutil, socket\n"
        "def refuse(*args, **kwargs): raise AssertionError('an import opened a socket')\n"
        "socket.socket.connect = refuse\n"
        "import bitspike\n"
        "names = [m.name for m in pkgutil.walk_packages(bitspike.__path__, 'bitspike.')]\n"
        "assert len(names) > 10, names\n"
        "for name in names:\n"
        "    if not name.endswith('__main__'): importlib.import_module(name)\n"
        "import torch\n"
        "assert not torch.cuda.is_initialized()"
    )
    assert {"matplotlib", "nir", "onnx", "tensorboard"}.isdisjoint(found["modules"])
