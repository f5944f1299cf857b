"""C programs of networks, compiled and run: as a library that shows every spike, and as their own test bench."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bitspike.formats.c.write import write_c
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers
from bitspike.integer.simulate import Trace

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None and not os.environ.get("CI"), reason="there is no C compiler: apt install gcc"
)
"""Skip without a compiler, but never where all checks have to run."""

_SHIM = """
#include "@.h"
#include <string.h>
static void (*shown)(uint32_t, uint32_t, const int8_t *);
void @_observer(uint32_t n, uint32_t t, const int8_t *spikes) { if (shown) shown(n, t, spikes); }
void set_observer(void (*f)(uint32_t, uint32_t, const int8_t *)) { shown = f; }
unsigned long state_bytes(void) { return sizeof(@_state); }
"""
_Shown = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)


def cc(*arguments: str | Path, compiler: Sequence[str] = ("cc",)) -> None:
    """Compile, or fail with what the compiler says."""
    done = subprocess.run([*compiler, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def bench(folder: Path, name: str = "network", *flags: str) -> subprocess.CompletedProcess[str]:
    """Compile and run the test bench that lies in a folder."""
    program = folder.parent / f"{name}_bench"
    cc(
        *STRICT,
        "-O1",
        *flags,
        f"-D{name.upper()}_OBSERVER",
        "-o",
        program,
        folder / f"{name}_test.c",
        folder / f"{name}.c",
    )
    return subprocess.run([program], capture_output=True, text=True, check=False)


class CProgram:
    """The C program of a network as a shared library."""

    def __init__(self, net: IntegerNetwork, folder: Path, *, name: str = "network", optimize: str = "-O1") -> None:
        self.net, self.name = net, name
        place = write_c(net, folder / name, name=name, bench=False)
        (folder / f"{name}_shim.c").write_text(_SHIM.replace("@", name))
        library = folder / f"{name}.so"
        sources = (folder / f"{name}_shim.c", place / f"{name}.c")
        flags = (*STRICT, optimize, "-shared", "-fPIC", f"-D{name.upper()}_OBSERVER", f"-I{place}")
        cc(*flags, "-o", library, *sources)
        self.library = ctypes.CDLL(str(library))
        self.library.state_bytes.restype = ctypes.c_ulong
        self.bytes = int(self.library.state_bytes())
        self.state = np.full(-(-self.bytes // 8), 0x5555555555555555, np.int64)
        header = (place / f"{name}.h").read_text()
        (kind,) = [line.split()[1] for line in header.splitlines() if line.endswith(f" {name}_input;")]
        self.input_type = np.dtype(kind.removesuffix("_t"))

    def call(self, function: str, *arrays: Integers) -> int:
        """Call a function of the program on its state and on arrays."""
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (self.state, *arrays)]
        called = getattr(self.library, f"{self.name}_{function}")
        called.restype = ctypes.c_int if function == "step" else None
        return called(*pointers) or 0

    def outputs(self) -> list[Integers]:
        """Return arrays for the outputs of one sample."""
        return [np.full(o.shape, -77, np.int64) for o in self.net.outputs]

    def run(self, codes: Integers) -> Trace:
        """Run on codes [1 or T, N, ...]; potentials are not shown."""
        net, samples = self.net, codes.shape[1]
        spikes = {n.id: np.full((net.steps, samples, *n.shape), 77, np.int8) for n in net.neurons}
        results: dict[str, list[Integers]] = {o.id: [] for o in net.outputs}
        for i in range(samples):

            def show(neuron: int, step: int, address: int, sample: int = i) -> None:
                node = net.neurons[neuron]
                size = int(np.prod(node.shape))
                found = np.frombuffer(ctypes.string_at(address, size), np.int8)
                spikes[node.id][step, sample] = found.reshape(node.shape)

            shown = _Shown(show)
            self.library.set_observer(shown)
            outs = self.outputs()
            self.call("run", np.ascontiguousarray(codes[:, i], self.input_type), *outs)
            for o, out in zip(net.outputs, outs, strict=True):
                results[o.id].append(out)
        self.library.set_observer(_Shown())
        outputs = {
            id: np.stack(each) if each else np.zeros((0, *net[id].shape), np.int64) for id, each in results.items()
        }
        return Trace(spikes, {}, outputs)

    def stepwise(self, codes: Integers, steps: int) -> dict[str, Integers]:
        """Run the first so many steps of one sample [1 or T, ...] through the door for single steps."""
        self.state[:] = -1
        self.call("reset")
        for t in range(steps):
            assert self.call("step", np.ascontiguousarray(codes[min(t, len(codes) - 1)], self.input_type)) == 0
        if steps == self.net.steps:
            assert self.call("step", np.ascontiguousarray(codes[0], self.input_type)) == 1
        outs = self.outputs()
        self.call("read", *outs)
        return {o.id: out for o, out in zip(self.net.outputs, outs, strict=True)}
