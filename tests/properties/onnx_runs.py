"""Run an exported ONNX file with ONNX Runtime, as its reader would: from the file and its metadata alone."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from bitspike.integer.nodes import Integers

Arrays = dict[str, npt.NDArray[np.integer]]


@dataclass
class Run:
    """What came out: spikes [T, N, ...] by neuron, sums [N, ...] by read-out, states after the last step by name."""

    spikes: Arrays = field(default_factory=dict)
    sums: Arrays = field(default_factory=dict)
    states: Arrays = field(default_factory=dict)


def open_file(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def facts_of(session: onnxruntime.InferenceSession) -> dict[str, str]:
    return dict(session.get_modelmeta().custom_metadata_map)


def run_steps(session: onnxruntime.InferenceSession, codes: Integers) -> Run:
    """Run a file of mode "step" on codes [1 or T, N, ...]."""
    facts = facts_of(session)
    steps, numbers = int(facts["snn.T"]), np.dtype(facts["snn.numbers"])
    (entry,) = json.loads(facts["snn.inputs"])
    states = json.loads(facts["snn.states"])
    wanted = {value.name for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    values = {s["input"]: first_value(s, codes.shape[1], numbers) for s in states}
    spikes = defaultdict(list)
    for t in range(steps):
        feed = {entry["id"]: codes[min(t, len(codes) - 1)].astype(numbers), **values}
        if "time.step" in wanted:
            feed["time.step"] = np.array(t, numbers)
        found = dict(zip(names, session.run(names, feed), strict=True))
        values = {s["input"]: found[s["output"]] for s in states}
        for name, value in found.items():
            if name.endswith(".spikes"):
                spikes[name.removesuffix(".spikes")].append(value)
    sums = {name.removesuffix(".sum"): value for name, value in values.items() if name.endswith(".sum")}
    return Run({name: np.stack(rows) for name, rows in spikes.items()}, sums, values)


def first_value(state: dict[str, list[int]], samples: int, numbers: np.dtype[np.integer]) -> npt.NDArray[np.integer]:
    initial = np.array(state["initial"], numbers).reshape(-1, *[1] * (len(state["shape"]) - 1))
    return np.broadcast_to(initial, (samples, *state["shape"])).copy()


def run_whole(session: onnxruntime.InferenceSession, codes: Integers) -> Run:
    """Run a file of mode "sequence" on codes [1 or T, N, ...], or one of mode "count" on codes [N, ...]."""
    facts = facts_of(session)
    (entry,) = json.loads(facts["snn.inputs"])
    names = [value.name for value in session.get_outputs()]
    values = session.run(names, {entry["id"]: codes.astype(facts["snn.numbers"])})
    found = Run()
    for name, value in zip(names, values, strict=True):
        node, _, what = name.partition(".")
        (found.sums if what == "sum" else found.spikes)[node] = value
    return found
