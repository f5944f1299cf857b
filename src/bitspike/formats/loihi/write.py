"""A network as arrays and a program for lava-nc, which computes bit for bit what Loihi does.

The folder holds ``network.json`` and ``network.npz``, the populations and their synapses in the chip's numbers,
``vectors.npz``, samples with every spike and potential that belong to them, and ``run.py``, which runs and compares
them. lava-nc 0.10 needs Python 3.10, so the program stands alone: nothing of Bitspike runs in its process.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitspike.arguments import checked
from bitspike.errors import ExportError
from bitspike.formats.folder import write_folder
from bitspike.formats.host import after, around, before
from bitspike.formats.loihi import runner
from bitspike.formats.loihi.populations import Population, populations
from bitspike.formats.loihi.synapses import origins
from bitspike.integer.network import IntegerNetwork, need_integers
from bitspike.integer.nodes import Integers, Neuron, Readout
from bitspike.integer.saved.vectors import golden
from bitspike.integer.simulate import simulate

FORMAT = "bitspike-loihi"
FILES = ("network.json", "network.npz", "vectors.npz", "run.py", "README.md")
Arrays = dict[str, npt.NDArray[Any]]


@checked
def write_loihi(
    net: IntegerNetwork, path: str | os.PathLike[str], *, vectors: Mapping[str, npt.NDArray[Any]] | None = None
) -> Path:
    """Write a network for Loihi: arrays, vectors and ``run.py``, which compares every spike and potential in lava-nc.

    Neurons reset to 0, leak before the input and toward zero where they round (``rounding="zero"``), and start at 0.
    Where a leak never rounds, potentials are counted in units that are finer by a power of two, so that thresholds and
    what arrives are multiples of 64; where it rounds, they have to be so already. ``bs.check(net, "loihi")`` says what
    keeps a network from it.

    The folder appears whole or not at all, and the same network gives the same bytes.

    Args:
        net: the network, of one input.
        path: the folder. An older export in it is replaced, anything else is left alone and refused.
        vectors: golden vectors as :func:`bitspike.integer.saved.vectors.golden` makes them, of which the codes are
            taken; None makes them.

    Returns:
        the folder.

    Raises:
        ExportError: Loihi cannot hold some nodes (all of them are named, each with its way out), the vectors hold no
            codes of the network, or the folder holds something else or cannot be written.

    Example:
        >>> import tempfile
        >>> from dataclasses import replace
        >>> from bitspike.integer.examples import one_convolution
        >>> net = one_convolution()
        >>> hard = replace(net, nodes=tuple(replace(n, reset="hard") if n.id == "neuron" else n for n in net.nodes))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(p.name for p in write_loihi(hard, folder + "/loihi").iterdir())
        ['README.md', 'network.json', 'network.npz', 'run.py', 'vectors.npz']
    """
    need_integers(net, "write_loihi")
    layers = populations(net)
    codes = _codes(net, golden(net) if vectors is None else vectors)
    files = {
        "network.json": (json.dumps(_facts(net, layers), indent=1) + "\n").encode(),
        "network.npz": _archive(_arrays(layers)),
        "vectors.npz": _archive(_vectors(net, layers, codes)),
        "run.py": Path(runner.__file__).read_bytes(),
        "README.md": _readme(net, layers).encode(),
    }
    return write_folder(Path(path).absolute(), files, foreign=_foreign)


def _codes(net: IntegerNetwork, vectors: Mapping[str, npt.NDArray[Any]]) -> Integers:
    """Return the input codes of golden vectors; their range the definition checks, which runs them."""
    codes = vectors.get("input_codes") if isinstance(vectors, Mapping) else None
    content = "no array input_codes"
    if isinstance(codes, np.ndarray):
        content = f"input_codes of the shape {list(codes.shape)}, {codes.dtype}"
        if (
            codes.ndim > 1
            and codes.shape[2:] == net.input.shape
            and codes.size
            and np.issubdtype(codes.dtype, np.integer)
        ):
            return codes.astype(np.int64)
    raise ExportError(
        f"the vectors have {content}; needed are integers [1 or T, N, {', '.join(map(str, net.input.shape))}]",
        fix="vectors=None, which makes them",
    )


def _facts(net: IntegerNetwork, layers: list[Population]) -> dict[str, Any]:
    """Return everything that is no array."""
    source = net.input
    return {
        "format": FORMAT,
        "format_version": 1,
        "lava-nc": runner.NEEDED,
        "steps": net.steps,
        "input": {
            "id": source.id, "shape": list(source.shape), "low": source.grid.low, "high": source.grid.high,
            "scale": source.grid.scale, "bits": source.grid.bits, "constant": source.constant,
        },
        "populations": [
            {
                "id": p.id,
                "path": p.path,
                "kind": p.kind,
                "shape": list(p.shape),
                "layer": p.layer,
                "finer": p.unit.finer,
                "decay": p.decay,
                "scale": _scale(p),
                "reads": [
                    {"source": id, "sources": part.codes.sources, "key": _key(p, id, i), "exponent": part.exponent}
                    for id, parts in p.reads.items()
                    for i, part in enumerate(parts)
                ],
            }
            for p in layers
        ],
    }  # fmt: skip


def _scale(p: Population) -> list[float]:
    """Return what one count is worth before the unit, by channel."""
    if p.node is None:
        return [1.0]
    worth: list[float] = (p.node.unit if isinstance(p.node, Neuron) else p.node.scale).tolist()
    return worth


def _key(p: Population, source: str, part: int) -> str:
    return f"{p.id}.from.{source}.{part}"


def _arrays(layers: list[Population]) -> Arrays:
    arrays: Arrays = {}
    for p in layers:
        arrays[f"{p.id}.thresholds"] = p.thresholds.astype(np.int32)
        arrays[f"{p.id}.mantissa"] = p.mantissa.astype(np.int16)
        arrays[f"{p.id}.exponent"] = p.exponent.astype(np.int8)
        for id, parts in p.reads.items():
            for i, part in enumerate(parts):
                key = _key(p, id, i)
                arrays[f"{key}.values"] = part.codes.values.astype(np.int8)
                arrays[f"{key}.columns"] = part.codes.columns.astype(np.int32)
                arrays[f"{key}.starts"] = part.codes.starts.astype(np.int64)
    return arrays


def _vectors(net: IntegerNetwork, layers: list[Population], codes: Integers) -> Arrays:
    """Return codes with all spikes, and with all potentials that the chip keeps from step to step, in its counts."""
    trace = simulate(net, codes)
    arrays: Arrays = {"codes": codes.astype(np.int32)}
    for p in layers:
        size = math.prod(p.shape)
        if p.node is None:
            spikes = np.ones((net.steps, codes.shape[1], 1), np.int8)
            kept = np.zeros(spikes.shape, np.int64)
        elif isinstance(p.node, Neuron):
            spikes, h = trace.spikes[p.node.id], trace.potentials[p.node.id]
            kept = np.zeros(h.shape, np.int64) if p.kind == "relay" else p.potentials(h, spikes)
        else:
            kept = p.unit.of(_sums(net, p.node, {net.input.id: codes, **trace.spikes}))
            spikes = np.zeros(kept.shape, np.int8)
        arrays[f"{p.id}.spikes"] = spikes.reshape(*spikes.shape[:2], size)
        arrays[f"{p.id}.potentials"] = kept.reshape(*kept.shape[:2], size).astype(np.int32)
    return arrays


def _sums(net: IntegerNetwork, node: Readout, sent: Mapping[str, npt.NDArray[Any]]) -> Integers:
    """Return what a read-out has added up after each step, [T, N, ...]."""
    ends, between = origins(net, node)
    wires = {end.id: np.asarray(sent[end.id], np.int64) for end in ends}
    for other in between:
        wires[other.id] = np.asarray(other.run([wires[s] for s in other.sources], net.steps), np.int64)
    charge = node.combined([wires[s] for s in node.sources], net.steps)
    bias = node.bias.reshape(len(node.bias), 1, -1, *[1] * (len(node.shape) - 1))
    return np.broadcast_to(charge + bias, (net.steps, *charge.shape[1:])).cumsum(0)


def _archive(arrays: Arrays) -> bytes:
    """Return arrays as an .npz file; NumPy writes no time into it."""
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)  # type: ignore[arg-type]
    return data.getvalue()


def _readme(net: IntegerNetwork, layers: list[Population]) -> str:
    source, every = net.input, "the same at every step" if net.input.constant else "new ones at every step"
    rows = [
        f"| `{p.id}` | {p.layer} | {math.prod(p.shape):,} | {_synapses(p):,} | {p.decay} | 2**{p.unit.finer} |"
        for p in layers
    ]
    return "\n".join([
        "# A spiking network for Loihi, in lava-nc",
        "",
        "`run.py` needs Python 3.10 and lava-nc, and nothing else:",
        "",
        "```",
        f"python3.10 -m venv lava && lava/bin/pip install lava-nc=={runner.NEEDED}",
        "lava/bin/python run.py",
        "```",
        "",
        f"It runs the samples of `vectors.npz` bit by bit as the chip does, all {net.steps} steps, and compares every",
        "spike, and every potential as it is kept after each step. `run.py --codes FILE --out FILE` runs your codes.",
        "",
        *[f"* {line}" for line in (_before(net), around(net)) if line],
        f"* Codes are whole numbers from {source.grid.low} to {source.grid.high}; one is worth {source.grid.scale:g}.",
        f"  They enter as graded spikes, {every}.",
        "* Outputs are the potentials of the last population at the last step of a sample, by its counts below,",
        "  times `scale`.",
        *[f"* After the outputs the host computes, in real numbers: {after(net)}."] * bool(after(net)),
        f"* Samples follow each other every {net.steps} steps; potentials are cleared when a sample arrives.",
        "",
        "| population | layer | neurons | synapses | decay / 4096 | counts of the chip in one of the network |",
        "| --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
    ])  # fmt: skip


def _before(net: IntegerNetwork) -> str:
    return f"Before the codes the host computes, in real numbers: {before(net)}." if before(net) else ""


def _synapses(p: Population) -> int:
    return sum(part.codes.values.size for parts in p.reads.values() for part in parts)


def _foreign(folder: Path) -> set[str]:
    """Return what is no part of an export."""
    names = {file.name for file in folder.iterdir()}
    others = names - {*FILES, "__pycache__"}
    return others or ({"another network.json"} if names and not _is_ours(folder / "network.json") else set())


def _is_ours(file: Path) -> bool:
    try:
        return bool(json.loads(file.read_text(encoding="utf-8")).get("format") == FORMAT)
    except (OSError, ValueError, AttributeError):
        return False
