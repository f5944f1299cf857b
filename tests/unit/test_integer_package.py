"""A saved network: whole or not at all, byte for byte the same, readable without torch, and every damage has a name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from bitspike.errors import PackageError
from bitspike.integer.examples import convolution_and_pool, one_convolution
from bitspike.integer.saved.folder import load, save, tensor_bytes
from bitspike.integer.saved.manifest import MANIFEST, VECTORS, WEIGHTS
from bitspike.integer.saved.vectors import golden
from bitspike.integer.simulate import simulate
from bitspike.integer.verify import verify


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(convolution_and_pool(), tmp_path / "network")


def edit(folder: Path, **changes: object) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_the_folder_holds_the_three_files_and_nothing_else(folder: Path) -> None:
    assert sorted(contents(folder)) == sorted([MANIFEST, WEIGHTS, VECTORS])
    assert [p.name for p in folder.parent.iterdir()] == ["network"]


def test_saving_twice_gives_the_same_bytes(folder: Path) -> None:
    again = save(convolution_and_pool(), folder.parent / "again")
    assert contents(again) == contents(folder)
    loaded = save(load(folder), folder.parent / "loaded")
    assert contents(loaded) == contents(folder)


@pytest.mark.parametrize("order", ["C", "F"])
def test_vectors_come_back_equal_whatever_their_order_in_memory(order: str, tmp_path: Path) -> None:
    net = convolution_and_pool()
    given = {name: np.array(a, order=order) for name, a in golden(net).items()}
    given["slanted"] = np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1)
    given["every_other"] = np.arange(10)[::2]
    given["number"] = np.array(7)
    kept = {name: a.copy() for name, a in given.items()}
    found = load_file(save(net, tmp_path / "network", vectors=given) / VECTORS)
    assert found.keys() == kept.keys()
    for name, a in kept.items():
        assert np.array_equal(found[name], a), name
        assert found[name].shape == a.shape, name


def test_saving_over_a_package_replaces_it(folder: Path) -> None:
    save(one_convolution(), folder)
    assert "pool" not in {n.id for n in load(folder).nodes}
    assert [p.name for p in folder.parent.iterdir()] == ["network"]


def test_the_tensors_have_the_names_and_types_of_the_specification(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    assert tensors["conv.weight"].dtype == np.int8
    assert {tensors[f"neuron.{k}"].dtype for k in ("theta", "bias", "v0")} == {np.dtype(np.int32)}
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["T"] == 4
    assert [n["op"] for n in manifest["nodes"]] == [
        "Input", "Convolution", "Neuron", "SumPool", "Neuron", "Reshape", "Readout",
    ]  # fmt: skip
    assert manifest["widths"][0]["membrane_bits"] == 5  # 0 to 15


def test_golden_vectors_cover_zero_the_largest_the_smallest_and_chance() -> None:
    net = convolution_and_pool()
    vectors = golden(net)
    codes = vectors["input_codes"][0].reshape(6, -1)
    assert (codes[0] == 0).all()
    assert (codes[1] == 8).all()
    assert (codes[2] == 0).all()
    assert len({tuple(c) for c in codes[3:].tolist()}) == 3
    trace = simulate(net, vectors["input_codes"].astype(np.int64))
    assert np.array_equal(vectors["neuron.counts"], trace.spikes["neuron"].sum(0))
    assert np.array_equal(vectors["pooled.potentials"], trace.potentials["pooled"])
    assert np.array_equal(vectors["readout.output"], trace.outputs["readout"])


def test_golden_vectors_take_real_samples_and_keep_three_steps_of_long_runs() -> None:
    net = one_convolution(steps=11)
    samples = np.ones((1, 2, 1, 4, 4), np.int64)
    vectors = golden(net, samples, np.array([7, 3]))
    assert vectors["labels"].tolist() == [-1] * 6 + [7, 3]
    assert vectors["potential_steps"].tolist() == [0, 5, 10]
    assert vectors["neuron.potentials"].shape[0] == 3
    assert vectors["neuron.spikes"].shape[0] == 11


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (MANIFEST, "is not a network package: it holds no manifest.json"),
        (WEIGHTS, "is missing"),
        (VECTORS, "is missing"),
    ],
)
def test_a_missing_file_is_named(folder: Path, name: str, message: str) -> None:
    (folder / name).unlink()
    with pytest.raises(PackageError, match=message):
        verify(folder)


def test_a_folder_that_does_not_exist_or_is_something_else_is_named(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"nowhere does not exist\n  fix: the network/ folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(PackageError, match="is not a network package"):
        load(tmp_path)


@pytest.mark.parametrize("name", [WEIGHTS, VECTORS])
@pytest.mark.parametrize("keep", [0, 7, 60])
def test_a_truncated_tensor_file_is_named(folder: Path, name: str, keep: int) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:keep])
    with pytest.raises(PackageError, match=f"{name} cannot be read"):
        verify(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', '{"format": "onnx"}', "\x00"])
def test_a_foreign_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(PackageError, match=r"cannot be read|is not a Bitspike manifest"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 3}, "format version 3, this release reads 1 and 2"),
        ({"format_version": None}, "format version None"),
        ({"tensors": None}, "is damaged"),
        ({"tensors": []}, "is damaged"),
        ({"nodes": {}}, "is damaged"),
        ({"nodes": [1]}, "is damaged"),
        ({"nodes": [{}]}, "is damaged"),
        ({"nodes": []}, "at least one Input and one Readout"),
        ({"T": "many"}, "steps='many': allowed are whole numbers from 1"),
        ({"T": 4.0}, r"steps=4\.0: allowed are whole numbers"),
        ({"T": True}, "steps=True: allowed are whole numbers"),
        ({"T": 2**40}, "steps=1099511627776: allowed are whole numbers"),
        ({"T": 0}, "steps=0"),
        ({"source": 3}, "is damaged"),
    ],
)
def test_a_damaged_manifest_is_refused(folder: Path, changes: dict[str, object], message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(PackageError, match=message):
        load(folder)


def nodes_of(folder: Path) -> list[dict[str, object]]:
    return json.loads((folder / MANIFEST).read_text())["nodes"]


def test_every_single_key_of_the_manifest_is_needed(folder: Path) -> None:
    """Take away each key of each node in turn: a clear refusal each time, never a network with a guess in it."""
    original = (folder / MANIFEST).read_text()
    places = [(i, key) for i, n in enumerate(nodes_of(folder)) for key in n]
    inner = [(i, key) for i, n in enumerate(nodes_of(folder)) for key in n["attrs"]]
    for attrs, (i, key) in [*((False, p) for p in places), *((True, p) for p in inner)]:
        (folder / MANIFEST).write_text(original)
        nodes = nodes_of(folder)
        del (nodes[i]["attrs"] if attrs else nodes[i])[key]  # type: ignore[attr-defined]
        edit(folder, nodes=nodes)
        with pytest.raises(PackageError):
            load(folder)


def test_a_node_that_the_release_does_not_know_is_named(folder: Path) -> None:
    nodes = nodes_of(folder)
    nodes[3]["op"] = "Softmax"
    edit(folder, nodes=nodes)
    with pytest.raises(PackageError, match="node 'pool' is a Softmax, which this release does not know"):
        load(folder)


def test_a_choice_that_is_none_is_refused(folder: Path) -> None:
    nodes = nodes_of(folder)
    nodes[2]["attrs"]["fire"] = "eq"  # type: ignore[index]
    edit(folder, nodes=nodes)
    with pytest.raises(PackageError, match="neuron 'neuron': fire='eq': allowed are"):
        load(folder)


def rewrite(folder: Path, name: str, **changes: np.ndarray | None) -> None:
    tensors = {**load_file(folder / name), **changes}
    (folder / name).write_bytes(tensor_bytes({k: v for k, v in tensors.items() if v is not None}))


def test_float_tensors_are_refused(folder: Path) -> None:
    rewrite(folder, WEIGHTS, **{"conv.weight": np.zeros((1, 1, 3, 3), np.float32)})
    with pytest.raises(PackageError, match=r"conv.weight is not what was saved"):
        load(folder)
    with pytest.raises(PackageError, match=r"'conv\.weight' is float32; a network of integers was expected"):
        load(folder, check=False)


def test_missing_and_foreign_tensors_are_named(folder: Path) -> None:
    rewrite(folder, WEIGHTS, **{"neuron.theta": None, "extra": np.zeros(1, np.int8)})
    with pytest.raises(PackageError, match=r"neuron.theta, extra is not what was saved"):
        load(folder)
    with pytest.raises(PackageError, match=r"'neuron\.theta' that the manifest names is missing"):
        verify(folder)


@pytest.mark.parametrize(
    "key", ["input_codes", "neuron.spikes", "pooled.potentials", "readout.output", "potential_steps"]
)
def test_missing_vectors_are_named(folder: Path, key: str) -> None:
    rewrite(folder, VECTORS, **{key: None})
    with pytest.raises(PackageError, match=f"lacks '{key}', so there is nothing to compare it with"):
        verify(folder)


@pytest.mark.parametrize("key", ["neuron.spikes", "pooled.potentials", "readout.output"])
def test_vectors_of_another_shape_are_named(folder: Path, key: str) -> None:
    rewrite(folder, VECTORS, **{key: load_file(folder / VECTORS)[key][:-1]})
    with pytest.raises(PackageError, match=f"'{key}' has the shape"):
        verify(folder)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.write_text("mine"), "is a file; it was left alone"),
        (lambda p: (p.mkdir(), (p / "thesis.txt").write_text("mine")), "holds thesis.txt; it was left alone"),
        (lambda p: (p.mkdir(), (p / MANIFEST).write_text("{}")), "is not a Bitspike manifest"),
        (lambda p: (p.mkdir(), (p / WEIGHTS).write_text("mine")), "is no network package; it was left alone"),
        (lambda p: (save(one_convolution(), p), (p / "notes.md").write_text("mine")), "holds notes.md"),
    ],
    ids=["file", "foreign folder", "foreign manifest", "tensors only", "package with a foreign file"],
)
def test_what_is_not_ours_is_left_alone(tmp_path: Path, make, message: str) -> None:
    place = tmp_path / "place"
    make(place)
    before = place.read_text() if place.is_file() else contents(place)
    with pytest.raises(PackageError, match=message):
        save(one_convolution(), place)
    assert (place.read_text() if place.is_file() else contents(place)) == before
    assert [p.name for p in tmp_path.iterdir()] == ["place"]


def test_others_may_read_what_one_has_saved(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    usual = (tmp_path / "plain").stat().st_mode
    for path in save(one_convolution(), tmp_path / "network").iterdir():
        assert path.stat().st_mode == usual


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "deep" / "network").mkdir(parents=True)
    assert load(save(one_convolution(), tmp_path / "deep" / "network")).steps == 4


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("after", [0, 1])
def test_a_write_that_fails_midway_leaves_the_old_package_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool, error: BaseException, after: int
) -> None:
    place = tmp_path / "network"
    if existing:
        save(one_convolution(), place)
    before = contents(place) if existing else None
    write, left = Path.write_bytes, iter(range(after))

    def full(path: Path, data: bytes) -> int:
        if next(left, None) is None:
            raise error
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    expected = PackageError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match="could not be written.*No space left" if expected is PackageError else None):
        save(convolution_and_pool(), place)
    assert [p.name for p in tmp_path.iterdir()] == (["network"] if existing else [])
    assert not existing or contents(place) == before


def test_a_saved_network_replays_where_there_is_no_torch(folder: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from bitspike.integer.saved.replay import replay\n"
        f"certificate = replay(Path({str(folder)!r}))\n"
        "print(certificate); certificate.raise_if_failed()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "certificate: 100% equal (480 spikes, 174 of them fired, and 480 membranes of 6 samples)\n"
