"""Run a network of Bitspike in lava-nc, bit-accurate with Loihi, and compare every spike and every potential.

This file stands alone next to network.json, network.npz and vectors.npz, and needs Python 3.10 and lava-nc 0.10:

    python3.10 -m venv lava && lava/bin/pip install lava-nc==0.10.0
    lava/bin/python run.py                              compare the vectors of the folder; exit code 1 if one differs
    lava/bin/python run.py --codes codes.npy --out outputs.npz          run codes [T or 1, N, ...] of your own

A sample takes T steps and the next one follows at once. Synapses hold spikes back for a step, so layer l sees the first
spikes of a sample l + 2 steps after the source has begun: then LIFReset clears its potentials.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).resolve().parent
NEEDED = "0.10.0"
DENSE = 1 << 22
"""Matrices of up to so many entries are handed over as they are, larger ones as sparse."""
Array = npt.NDArray[Any]


def matrix(arrays: Any, key: str, readers: int, sources: int) -> Array:
    """Return a matrix of weights from its values, columns and row starts; scipy's sparse one if it is large."""
    values, columns, starts = (arrays[f"{key}.{part}"] for part in ("values", "columns", "starts"))
    # Weights of both signs lose their last bit on the chip: twice the code is stored, with an exponent one lower.
    values = values.astype(np.int32) * 2
    if readers * sources > DENSE:
        from scipy.sparse import csr_matrix

        sparse: Array = csr_matrix((values, columns, starts), shape=(readers, sources), dtype=np.int32)
        return sparse
    whole = np.zeros((readers, sources), np.int32)
    whole[np.repeat(np.arange(readers), np.diff(starts)), columns] = values
    return whole


def run(network: dict[str, Any], arrays: Any, codes: Array) -> dict[str, dict[str, Array]]:
    """Run codes [T or 1, N, ...]; returns ``spikes`` and ``potentials`` [T, N, neurons] by population."""
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.dense.process import Dense
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source
    from lava.proc.lif.process import LIFReset
    from lava.proc.monitor.process import Monitor
    from lava.proc.sparse.process import Sparse

    steps, samples = int(network["steps"]), codes.shape[1]
    populations = network["populations"]
    deepest = max(p["layer"] for p in populations)
    total = samples * steps + deepest + 1
    flat = np.broadcast_to(codes, (steps, *codes.shape[1:])).reshape(steps, samples, -1)
    data = np.zeros((flat.shape[2], total), np.int32)
    data[:, : samples * steps] = flat.transpose(2, 1, 0).reshape(flat.shape[2], -1)
    source = Source(data=data)
    # By population: the output ports of its groups, and which neurons each of them has.
    ports: dict[str, list[tuple[Any, Array]]] = {network["input"]["id"]: [(source.s_out, np.arange(len(data)))]}
    sinks, monitors, last = [], [], None
    for p in populations:
        thresholds = arrays[f"{p['id']}.thresholds"]
        ports[p["id"]] = []
        for threshold in np.unique(thresholds):
            rows = np.flatnonzero(thresholds == threshold)
            neurons = LIFReset(
                shape=(len(rows),), du=4095, dv=p["decay"], vth=int(threshold),
                bias_mant=arrays[f"{p['id']}.mantissa"][rows].astype(int),
                bias_exp=arrays[f"{p['id']}.exponent"][rows].astype(int),
                reset_interval=steps, reset_offset=(p["layer"] + 2) % steps,
            )  # fmt: skip
            for read in p["reads"]:
                weights = matrix(arrays, read["key"], len(thresholds), read["sources"])
                graded = network["input"]["bits"] if read["source"] == network["input"]["id"] else 0
                for port, columns in ports[read["source"]]:
                    part = weights[rows][:, columns]
                    kind = Dense if isinstance(part, np.ndarray) else Sparse
                    synapses = kind(weights=part, weight_exp=read["exponent"] - 1, num_message_bits=graded)
                    port.connect(synapses.s_in)
                    synapses.a_out.connect(neurons.a_in)
            sink, monitor = Sink(shape=(len(rows),), buffer=total), Monitor()
            neurons.s_out.connect(sink.a_in)
            monitor.probe(neurons.v, total)
            sinks.append((p["id"], rows, sink))
            monitors.append((p["id"], rows, monitor))
            ports[p["id"]].append((neurons.s_out, rows))
            last = neurons
    assert last is not None, "a network has a read-out"
    last.run(condition=RunSteps(num_steps=total), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    traces = {
        p["id"]: {
            name: np.zeros((steps, samples, len(arrays[f"{p['id']}.thresholds"])), np.int64)
            for name in ("spikes", "potentials")
        }
        for p in populations
    }
    layers = {p["id"]: p["layer"] for p in populations}
    for id, rows, sink in sinks:
        traces[id]["spikes"][:, :, rows] = in_time(np.asarray(sink.data.get()).T, layers[id], steps, samples)
    for id, rows, monitor in monitors:
        ((probed,),) = (of.values() for of in monitor.get_data().values())
        traces[id]["potentials"][:, :, rows] = in_time(np.asarray(probed), layers[id], steps, samples)
    last.stop()
    return traces


def in_time(values: Array, layer: int, steps: int, samples: int) -> Array:
    """Return what a layer did at the steps of each sample, [steps of the run, n] as [T, N, n]."""
    begin = layer + 1
    by_sample = values[begin : begin + samples * steps].reshape(samples, steps, -1)
    return np.rint(by_sample).astype(np.int64).transpose(1, 0, 2)


def compare(network: dict[str, Any], arrays: Any, vectors: Any, *, samples: int, at_once: int) -> dict[str, Any]:
    """Run the vectors and count what differs, by population."""
    codes = vectors["codes"][:, :samples]
    counts: dict[str, dict[str, int]] = {}
    for start in range(0, codes.shape[1], at_once):
        part = slice(start, start + at_once)
        traces = run(network, arrays, codes[:, part])
        for p in network["populations"]:
            of = counts.setdefault(p["id"], {"spikes": 0, "fired": 0, "potentials": 0, "differ": 0, "unequal": 0})
            for name, wrong in (("spikes", "differ"), ("potentials", "unequal")):
                wanted = vectors[f"{p['id']}.{name}"][:, :samples][:, part]
                of[name] += wanted.size
                of[wrong] += int((traces[p["id"]][name] != wanted).sum())
            of["fired"] += int(traces[p["id"]]["spikes"].sum())
    return {"samples": int(codes.shape[1]), "populations": counts}


def outputs(network: dict[str, Any], traces: dict[str, dict[str, Array]]) -> dict[str, Array]:
    """Return the real values of the read-outs [N, ...]: what their populations have added up at the last step."""
    values = {}
    for p in network["populations"]:
        if p["kind"] == "sum":
            counts = traces[p["id"]]["potentials"][-1] * 2.0 ** -p["finer"]
            shape = (len(counts), *p["shape"])
            scale = np.asarray(p["scale"]).reshape(-1, *[1] * (len(p["shape"]) - 1))
            values[p["id"]] = counts.reshape(shape) * scale
    return values


def versions() -> dict[str, str]:
    """Return the versions of what runs."""
    packages = {name: importlib.metadata.version(name) for name in ("lava-nc", "numpy", "scipy")}
    return {"python": platform.python_version(), **packages}


def main(words: list[str] | None = None) -> int:
    """Read the command line, run, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=None, metavar="N", help="only the first N of the vectors")
    parser.add_argument("--at-once", type=int, default=100, metavar="N", help="samples of one run of lava; default 100")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of text")
    parser.add_argument("--codes", type=Path, metavar="FILE", help="codes of your own, .npy [T or 1, N, ...]")
    parser.add_argument("--out", type=Path, metavar="FILE", help="of --codes: where outputs and spikes go, .npz")
    args = parser.parse_args(words)
    if (args.codes is None) != (args.out is None):
        parser.error("--codes and --out belong together")
    if args.at_once < 1 or (args.samples is not None and args.samples < 1):
        parser.error("--samples and --at-once count from 1")
    try:
        about = versions()
    except importlib.metadata.PackageNotFoundError as error:
        parser.exit(
            2,
            f"{error.name} is not installed. It needs Python 3.10:\n"
            f"  python3.10 -m venv lava && lava/bin/pip install lava-nc=={NEEDED}\n  lava/bin/python {__file__}\n",
        )
    network = json.loads((HERE / "network.json").read_text(encoding="utf-8"))
    arrays = np.load(HERE / "network.npz")
    if args.codes is not None:
        return own(network, arrays, args.codes, args.out, parser)
    counted = compare(
        network, arrays, np.load(HERE / "vectors.npz"), samples=args.samples or sys.maxsize, at_once=args.at_once
    )
    total = {
        name: sum(of[name] for of in counted["populations"].values())
        for name in ("spikes", "potentials", "differ", "unequal")
    }
    if args.json:
        print(json.dumps({**counted, **total, "versions": about}))
    else:
        for p in network["populations"]:
            of = counted["populations"][p["id"]]
            print(
                f"{p['path']}: {of['spikes']:,} spikes, {of['fired']:,} of them fired, {of['differ']:,} differ; "
                f"{of['potentials']:,} potentials, {of['unequal']:,} differ"
            )
        print(
            f"{counted['samples']} samples: {total['spikes']:,} spikes, {total['differ']:,} differ; "
            f"{total['potentials']:,} potentials, {total['unequal']:,} differ (lava-nc {about['lava-nc']}, "
            f"Python {about['python']})"
        )
    return 1 if total["differ"] or total["unequal"] else 0


def own(network: dict[str, Any], arrays: Any, codes: Path, out: Path, parser: argparse.ArgumentParser) -> int:
    """Run codes from a file, and write outputs and spikes."""
    try:
        values = np.load(codes)
    except (OSError, ValueError, EOFError) as error:
        parser.error(f"{codes} cannot be read: {error}; one array as np.save writes it is needed")
    if not isinstance(values, np.ndarray):
        parser.error(f"{codes} holds several arrays; one array as np.save writes it is needed")
    shape, steps = tuple(network["input"]["shape"]), int(network["steps"])
    low, high = network["input"]["low"], network["input"]["high"]
    if values.ndim != 2 + len(shape) or values.shape[2:] != shape or values.shape[0] not in (1, steps):
        parser.error(
            f"{codes} has the shape {list(values.shape)}; [1 or {steps}, N, {', '.join(map(str, shape))}] is needed"
        )
    if not np.issubdtype(values.dtype, np.integer) or values.size == 0 or values.min() < low or values.max() > high:
        parser.error(
            f"{codes} holds {values.dtype}; whole numbers from {low} to {high} are needed, of at least one sample"
        )
    traces = run(network, arrays, values.astype(np.int64))
    spikes = {f"{id}.spikes": of["spikes"].astype(np.int8) for id, of in traces.items()}
    written: dict[str, Any] = {**outputs(network, traces), **spikes}
    np.savez_compressed(out, **written)
    print(f"written: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
