"""Exported files at work: the C program compiled and fed images, the ONNX file in ONNX Runtime.

Legend of shapes: T steps, N images. Each runner takes codes [1 or T, N, ...] and returns spikes [T, N, ...] by neuron
and outputs [N, ...] by read-out.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bitspike.formats.c.write import write_c
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers

Spikes = dict[str, npt.NDArray[Any]]

FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2")

_DRIVER = """
#include "network.h"
#include <stdio.h>
#include <string.h>
static network_state state;
static network_input image[%(codes)d];
%(arrays)s
#ifdef NETWORK_OBSERVER
static const unsigned long first[] = {%(first)s}, size[] = {%(size)s};
static int8_t spikes[%(spikes)d];
void network_observer(uint32_t neuron, uint32_t step, const int8_t *fired)
{
    memcpy(spikes + first[neuron] + step * size[neuron], fired, size[neuron]);
}
#endif
int main(void)
{
    while (fread(image, sizeof image, 1, stdin) == 1) {
        network_run(&state, image, %(names)s);
#ifdef NETWORK_OBSERVER
        fwrite(spikes, sizeof spikes, 1, stdout);
#else
        %(write)s
#endif
    }
    return 0;
}
"""


class CRun:
    """The C program of a network, compiled twice: as shipped it writes its outputs, observed it writes every spike."""

    def __init__(self, net: IntegerNetwork, scratch: Path) -> None:
        self.net = net
        folder = write_c(net, scratch / "c")
        header = (folder / "network.h").read_text(encoding="ascii")
        (kind,) = [line.split()[1] for line in header.splitlines() if line.endswith(" network_input;")]
        self.codes = np.dtype(kind.removesuffix("_t"))
        self.sizes = [math.prod(n.shape) for n in net.neurons]
        (scratch / "driver.c").write_text(self._driver(), encoding="ascii")
        self.plain, self.observed = scratch / "plain", scratch / "observed"
        sources = [f"-I{folder}", scratch / "driver.c", folder / "network.c"]
        _compile(*sources, "-o", self.plain)
        _compile("-DNETWORK_OBSERVER", *sources, "-o", self.observed)

    def _driver(self) -> str:
        net = self.net
        starts = np.cumsum([0, *(size * net.steps for size in self.sizes)]).tolist()
        outs = [(f"out_{i}", math.prod(o.shape)) for i, o in enumerate(net.outputs)]
        return _DRIVER % {
            "codes": math.prod(net.input.shape) * (1 if net.input.constant else net.steps),
            "arrays": "\n".join(f"static int64_t {name}[{size}];" for name, size in outs),
            "first": ", ".join(map(str, starts[:-1])),
            "size": ", ".join(map(str, self.sizes)),
            "spikes": starts[-1],
            "names": ", ".join(name for name, _ in outs),
            "write": "\n        ".join(f"fwrite({name}, sizeof {name}, 1, stdout);" for name, _ in outs),
        }

    def __call__(self, codes: Integers) -> tuple[Spikes, Spikes]:
        """Run both programs."""
        net, samples = self.net, codes.shape[1]
        given = np.ascontiguousarray(np.moveaxis(codes, 1, 0), self.codes).tobytes()
        fired = np.frombuffer(_fed(self.observed, given), np.int8).reshape(samples, -1)
        parts = np.split(fired, np.cumsum([size * net.steps for size in self.sizes])[:-1], axis=1)
        spikes = {
            node.id: np.moveaxis(part.reshape(samples, net.steps, *node.shape), 1, 0)
            for node, part in zip(net.neurons, parts, strict=True)
        }
        results = np.frombuffer(_fed(self.plain, given), np.int64).reshape(samples, -1)
        cuts = np.cumsum([math.prod(o.shape) for o in net.outputs])[:-1]
        outputs = {o.id: part for o, part in zip(net.outputs, np.split(results, cuts, axis=1), strict=True)}
        return spikes, outputs


def _compile(*arguments: str | Path) -> None:
    done = subprocess.run(["cc", *FLAGS, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"cc: {done.stderr}")


def _fed(program: Path, given: bytes) -> bytes:
    return subprocess.run([program], input=given, capture_output=True, check=True).stdout


class OnnxRun:
    """An ONNX file of one time step, run by ONNX Runtime from the file and its metadata alone."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        facts = self.session.get_modelmeta().custom_metadata_map
        self.steps, self.numbers = int(facts["snn.T"]), np.dtype(facts["snn.numbers"])
        self.states = json.loads(facts["snn.states"])
        (entry,) = json.loads(facts["snn.inputs"])
        self.entry = entry["id"]
        self.wanted = {value.name for value in self.session.get_inputs()}
        self.names = [value.name for value in self.session.get_outputs()]

    def __call__(self, codes: Integers) -> tuple[Spikes, Spikes]:
        """Run all steps of a batch, handing the states on."""
        values = {s["input"]: self._first(s, codes.shape[1]) for s in self.states}
        spikes: dict[str, list[npt.NDArray[Any]]] = defaultdict(list)
        for t in range(self.steps):
            feed = {self.entry: codes[min(t, len(codes) - 1)].astype(self.numbers), **values}
            if "time.step" in self.wanted:
                feed["time.step"] = np.array(t, self.numbers)
            found = dict(zip(self.names, self.session.run(self.names, feed), strict=True))
            values = {s["input"]: found[s["output"]] for s in self.states}
            for name in self.names:
                if name.endswith(".spikes"):
                    spikes[name.removesuffix(".spikes")].append(found[name])
        sums = {name.removesuffix(".sum"): value for name, value in values.items() if name.endswith(".sum")}
        return {name: np.stack(rows) for name, rows in spikes.items()}, sums

    def _first(self, state: dict[str, Any], samples: int) -> npt.NDArray[Any]:
        initial = np.array(state["initial"], self.numbers).reshape(-1, *[1] * (len(state["shape"]) - 1))
        return np.broadcast_to(initial, (samples, *state["shape"])).copy()
