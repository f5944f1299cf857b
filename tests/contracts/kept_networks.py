"""What the tools say of a network, as plain values that are the same on every processor.

Integers and texts are kept as they are, arrays as digests. Sentences of reports are left out: they may be said better.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

import bitspike as bs
from bitspike.cli import main
from bitspike.recipe import load

CHIPS = ("dynapcnn-speck", "fanin1024-v1", "generic-int")
FORMS = {
    "nir": ("integer", "real"),
    "onnx": ("step", "sequence", "count", "qonnx", "qonnx-readouts"),
}
READERS = ("norse", "sinabs", "snntorch", "spikingjelly")
SENTENCES = frozenset(
    ("found", "rule", "fixes", "verdict", "excluded", "assumptions", "sources", "process", "data", "message")
)
"""Keys of reports whose values are prose."""


def digest(value: Any) -> str:
    """Return a digest of plain values and arrays, by content: type, shape and numbers."""
    if isinstance(value, np.ndarray):
        order = value.dtype.newbyteorder("<") if value.dtype.byteorder != "|" else value.dtype
        data = f"{value.dtype.name}{value.shape}".encode() + np.ascontiguousarray(value, order).tobytes()
    else:
        data = json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def without_sentences(value: Any) -> Any:
    """Return plain values without those that are prose."""
    if isinstance(value, Mapping):
        return {key: without_sentences(part) for key, part in value.items() if key not in SENTENCES}
    return [without_sentences(part) for part in value] if isinstance(value, list | tuple) else value


def refused(call: Callable[[], Any]) -> Any:
    """Return what a call gives, or the name of the error with which it refuses."""
    try:
        return call()
    except bs.BitspikeError as error:
        return f"refused: {type(error).__name__}"


def vectors_of(folder: Path) -> dict[str, np.ndarray]:
    """Return the golden vectors of a run or of a package."""
    return load_file((folder / "network" if (folder / "network").is_dir() else folder) / "vectors.safetensors")


def read(folder: Path) -> bs.IntegerNetwork:
    """Return the network of a run or of a package."""
    return bs.load(folder / "network" if (folder / "network").is_dir() else folder)


def proofs(folder: Path) -> dict[str, Any]:
    """Return the certificates of a saved network."""
    return {
        "certificate": bs.verify(folder).to_dict(),
        "engine": bs.verify(folder, engine=True).to_dict(),
    }


def integers(folder: Path) -> dict[str, Any]:
    """Return what the network is and does on its golden vectors, in integers."""
    net, codes = read(folder), vectors_of(folder)["input_codes"].astype(np.int64)
    trace = bs.simulate(net, codes)
    fast = bs.Engine(net).run(codes).outputs
    assert all(np.array_equal(fast[name], out) for name, out in trace.outputs.items())
    return {
        "steps": net.steps,
        "nodes": [[type(n).__name__, n.id, n.path, n.call, list(n.sources), list(n.shape)] for n in net.nodes],
        "notes": len(net.notes),
        "weight_bits": net.weight_bits(),
        "weight_bytes": net.weight_bytes(),
        "weight_count": net.weight_count(),
        "widths": [
            [w.layer, *map(int, w.accumulator), w.accumulator_bits, *map(int, w.membrane), w.membrane_bits]
            for w in bs.widths(net)
        ],
        "spikes": {name: int(spikes.astype(np.int64).sum()) for name, spikes in trace.spikes.items()},
        "outputs": {name: digest(out) for name, out in trace.outputs.items()},
        "count": refused(lambda: {name: digest(np.asarray(x)) for name, x in bs.count(net, codes).items()}),
    }


def checks(folder: Path) -> dict[str, Any]:
    """Return what the check says for every shipped chip, without its sentences."""
    return {chip: without_sentences(bs.check(folder, chip).to_dict()) for chip in CHIPS}


def costs(folder: Path) -> dict[str, Any]:
    """Return the energy of the golden vectors, with and without memory."""
    net, codes = read(folder), vectors_of(folder)["input_codes"].astype(np.int64)
    bill = bs.energy(net, bs.simulate(net, codes), codes=codes)
    return without_sentences(bill.to_dict())


def c_text(folder: Path) -> dict[str, str]:
    """Return the digest of every file of the C export; the version of bitspike does not count."""
    with tempfile.TemporaryDirectory() as place:
        out = bs.export(folder, "c", Path(place) / "c")
        return {
            str(path.relative_to(out)): digest(path.read_text(encoding="utf-8").replace(bs.__version__, "VERSION"))
            for path in sorted(out.rglob("*"))
            if path.is_file()
        }


def exports(folder: Path) -> dict[str, Any]:
    """Return what the exports of a saved network mean, in every form and for every reader."""

    def through(format: str, said: Callable[[Path], Any], **options: str) -> Any:
        with tempfile.TemporaryDirectory() as place:
            return refused(lambda: said(bs.export(folder, format, Path(place) / f"network.{format}", **options)))

    found = {"c": refused(lambda: c_text(folder))}
    found |= {f"nir {form}": through("nir", nir_meaning, form=form) for form in FORMS["nir"]}
    found |= {f"nir for {reader}": through("nir", nir_meaning, reader=reader) for reader in READERS}
    return found | {f"onnx {form}": through("onnx", onnx_meaning, form=form) for form in FORMS["onnx"]}


def nir_meaning(path: Path) -> dict[str, Any]:
    """Return the nodes, the fields and the edges of a NIR file; which version of NIR wrote it does not matter."""
    import h5py

    fields: dict[str, dict[str, Any]] = {}
    edges: list[Any] = []

    def add(name: str, entry: Any) -> None:
        if not isinstance(entry, h5py.Dataset) or name == "version" or name.endswith("snn.digest"):
            return
        value = _plain(entry[()])
        if name == "node/edges":
            edges.extend(sorted(value))
            return
        _, _, rest = name.partition("node/nodes/")
        node, _, field = rest.partition("/")
        fields.setdefault(node, {})[field or name] = value

    with h5py.File(path) as file:
        file.visititems(add)
    return {
        "nodes": {node: [held.get("type", ""), digest(held)] for node, held in sorted(fields.items())},
        "edges": digest(edges),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items() if part is not None}
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        return _plain(array.tolist()) if array.dtype.kind in "OSU" else digest(array)
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def onnx_meaning(path: Path) -> dict[str, Any]:
    """Return the operators, the data flow and the numbers of an ONNX file; names of inner values do not matter."""
    import onnx

    model = onnx.load(path)
    names: dict[str, Any] = {}
    nodes = _operators(model.graph, names)
    return {
        "operators": [node[0] for node in nodes],
        "flow": digest(nodes),
        "inputs": [_port(port) for port in model.graph.input],
        "outputs": [_port(port) for port in model.graph.output],
        "opset": sorted([entry.domain, entry.version] for entry in model.opset_import),
        "facts": {entry.key: digest(entry.value.replace(bs.__version__, "VERSION")) for entry in model.metadata_props},
    }


def _port(port: Any) -> list[Any]:
    tensor = port.type.tensor_type
    return [port.name, tensor.elem_type, [axis.dim_value or axis.dim_param for axis in tensor.shape.dim]]


def _operators(graph: Any, outer: Mapping[str, Any]) -> list[Any]:
    """Describe the nodes of a graph; a value is the content of a constant, a port's name, or its number in the flow."""
    import onnx

    names = dict(outer)
    names |= {tensor.name: digest(onnx.numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    names |= {port.name: port.name for port in (*graph.input, *graph.output)}
    found = []
    for node in graph.node:
        read = [names.get(name, name) for name in node.input]
        for name in node.output:
            names.setdefault(name, f"value {len(names)}")
        attributes = {one.name: _attribute(one, names) for one in node.attribute}
        found.append([node.op_type, node.domain, read, [names[name] for name in node.output], attributes])
    return found


def _attribute(attribute: Any, names: Mapping[str, Any]) -> Any:
    import onnx

    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return digest(onnx.numpy_helper.to_array(value))
    if isinstance(value, onnx.GraphProto):
        return _operators(value, names)
    return _plain(list(value) if isinstance(value, list | tuple) or hasattr(value, "extend") else value)


def network(folder: Path) -> dict[str, Any]:
    """Return all that is kept of a saved network."""
    return {**proofs(folder), **integers(folder), "check": checks(folder), "energy": costs(folder)}


def printed(*words: str | Path) -> Any:
    """Run a verb of the command line that ends well, and return the JSON that it prints."""
    with redirect_stdout(StringIO()) as out:
        code = main([str(word) for word in words])
    assert code == 0, words
    return json.loads(out.getvalue())


def run(folder: Path) -> dict[str, Any]:
    """Return what is said of a run besides its network, as far as it is the same on every processor.

    The training graph of a run of kind train lies on dyadic grids, so its accuracy is exact at every T. A converted
    network is converted again by ``evaluate``, with float sums: of it only what was reported counts.
    """
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    steps = report["recipe"]["model"].get("steps")
    found = [bs.evaluate(folder, steps=t) for t in range(1, steps + 1)] if steps else [bs.evaluate(folder)]
    exact = (
        ("accuracy", "samples", "steps", "reported", "inputs_clipped") if steps else ("samples", "steps", "reported")
    )
    return {
        "evaluate": [{key: answer[key] for key in exact} for answer in found],
        "energy of 40 images": without_sentences(bs.energy(folder, samples=40).to_dict()),
        "energy with memory": without_sentences(printed("energy", folder, "--memory", "--json")),
    }


def recipes_on_chips() -> dict[str, Any]:
    """Return what one neuron of every layer costs on every chip, for recipes that are not trained yet."""
    return {
        name: {
            chip: [[cost.path, cost.call, cost.cost, cost.limit] for cost in bs.check(name, chip).costs]
            for chip in CHIPS
        }
        for name in ("quickstart", "digits-convert", "mnist-stbp-w4")
    }


def fits() -> dict[str, Any]:
    """Return what recipes become that are made to fit a chip: their changed values, and what was proven of them."""
    found = {}
    with tempfile.TemporaryDirectory() as place:
        for name in ("digits-convert", "mnist-stbp-w4"):
            fitting = bs.fit(name, chip="fanin1024-v1", out=Path(place) / f"{name}.yaml")
            said = fitting.to_dict()
            found[name] = {
                "passed": fitting.passed,
                "repairs": len(fitting.repairs),
                "codes": [violation["code"] for violation in said["before"]["violations"]],
                "certificate": {key: value for key, value in said["certificate"].items() if key != "digest"},
                "recipe": load(fitting.path).model_dump(mode="json"),
            }
    return found
