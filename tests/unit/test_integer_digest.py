"""A package that was changed in one place is refused or not certified: by limits, vectors, what follows, or digests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from bitspike import digests
from bitspike.errors import ConstraintError, PackageError
from bitspike.integer.examples import convolution_and_pool
from bitspike.integer.saved.folder import load, save, tensor_bytes
from bitspike.integer.saved.manifest import MANIFEST, VECTORS, WEIGHTS, digest_of, read_manifest
from bitspike.integer.saved.vectors import golden
from bitspike.integer.verify import verify

Manifest = dict[str, Any]
Change = Callable[[Manifest], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(convolution_and_pool(), tmp_path / "network")


def change(folder: Path, what: Change, *, digest: str = "kept") -> None:
    """Change the manifest; its digest is kept, taken away, or written anew as a forger would."""
    manifest = json.loads((folder / MANIFEST).read_text())
    what(manifest)
    if digest == "none":
        del manifest["digest"]
    elif digest == "forged":
        manifest["digest"] = digests.of_values(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def rewrite(folder: Path, name: str, *, forge: bool = False, **tensors: np.ndarray | None) -> None:
    changed = {**load_file(folder / name), **tensors}
    (folder / name).write_bytes(tensor_bytes({key: v for key, v in changed.items() if v is not None}))
    if forge:
        entry = {WEIGHTS: 0, VECTORS: 1}[name]
        sum_ = digests.of_file(folder / name)
        change(folder, lambda m: m["files"][entry].update(sha256=sum_), digest="forged")


def attrs(id: str, **values: object) -> Change:
    return lambda m: next(n for n in m["nodes"] if n["id"] == id)["attrs"].update(values)


def inner(id: str, key: str, **values: object) -> Change:
    return lambda m: next(n for n in m["nodes"] if n["id"] == id)["attrs"][key].update(values)


# What is refused at load, with its place and its limits, whatever the digest says.
REFUSED: dict[str, tuple[Change, str]] = {
    "scale below 0": (attrs("readout", scale=[-1.0]), r"Readout 'readout': scale is -1\.0; allowed are finite numbers"),
    "scale 0": (attrs("readout", scale=[0.0]), r"Readout 'readout': scale is 0\.0; allowed are finite numbers"),
    "inner scale": (attrs("conv", scale=[-0.5]), r"Convolution 'conv': scale is -0\.5; allowed are finite numbers"),
    "scales too many": (attrs("readout", scale=[1.0] * 7), r"scale has the shape \[7\]; allowed are \[1\] and \[4\]"),
    "scale a text": (attrs("readout", scale="1"), "scale is '1'; a list is needed"),
    "scale texts": (attrs("readout", scale=["1"]), "scale holds something else than numbers"),
    "unit": (attrs("neuron", unit=[0.0]), r"Neuron 'neuron': unit is 0\.0; allowed"),
    "delta": (inner("conv", "weight", delta=[-1.0]), r"weight\.step is -1\.0; allowed"),
    "deltas too many": (inner("conv", "weight", delta=[1.0] * 5), r"weight\.step has the shape \[5\]"),
    "input scale": (inner("input", "grid", scale=0.0), "must be finite and above 0"),
    "stride 0": (attrs("conv", stride=[0, 1]), "stride is 0; allowed are whole numbers from 1"),
    "stride 1.5": (attrs("pool", stride=[1.5, 2]), r"stride is 1\.5; allowed are whole numbers from 1"),
    "padding": (attrs("conv", padding=[-1, 1]), "padding is -1; allowed are whole numbers from 0"),
    "groups": (attrs("conv", groups=0), "groups is 0; allowed"),
    "shift 0.5": (attrs("neuron", right_shift=0.5), r"right_shift is 0\.5; allowed are whole numbers from 0 to 127"),
    "shift 999": (attrs("neuron", right_shift=999), "right_shift is 999; allowed are whole numbers from 0 to 127"),
    "leak shift": (inner("neuron", "leak", shift=1000), r"leak\.shift is 1000; allowed"),
    "leak numerator": (inner("neuron", "leak", numerator=1.5), r"leak\.numerator is 1\.5; allowed"),
    "floor": (attrs("neuron", floor=-0.5), r"floor is -0\.5; allowed are whole numbers"),
    "floor huge": (attrs("neuron", floor=-(2**80)), "floor is -1208925819614629174706176; allowed"),
    "floor a list": (attrs("neuron", floor=[]), r"floor is \(\); allowed are whole numbers"),
    "stride one number": (attrs("conv", stride="11"), "stride is '11'; allowed are whole numbers"),
    "width 64": (attrs("neuron", width=64), "width is 64; allowed are whole numbers from 2 to 63"),
    "width 3.5": (attrs("neuron", width=3.5), r"width is 3\.5; allowed"),
    "coding": (attrs("input", coding="morse"), "coding is 'morse'; allowed are direct, bernoulli, rate, frames"),
    "coding of a constant": (attrs("input", coding="rate"), "coding is 'rate' and constant is true"),
    "constant": (attrs("input", constant=1), "constant is 1; allowed are true and false"),
    "signed": (attrs("neuron", signed="no"), "signed is 'no'; allowed are true and false"),
    "divisor": (attrs("input", divisor=-2.0), r"divisor is -2\.0; allowed"),
    "bits": (inner("conv", "weight", bits=1), "bits is 1; that many tell 2 codes apart, there are 3"),
    "bits 2.0": (inner("conv", "weight", bits=2.0), "whole numbers are needed"),
    "levels": (inner("conv", "weight", levels=[1, -1, 0]), "levels are no ascending codes from -1 to 1"),
    "codes that are no level": (inner("conv", "weight", levels=[-1, 0]), "codes that are none of its 2 levels"),
    "scheme": (inner("conv", "weight", scheme=3), r"weight\.scheme is 3; a text is needed"),
    "schedule": (lambda m: m.update(schedule="layerwise"), "schedule is layerwise, from the nodes follows synchronous"),
    "outputs": (lambda m: m.update(outputs=["neuron"]), r"outputs is \['neuron'\], from the nodes follows"),
    "widths too narrow": (lambda m: m["widths"][0].update(membrane=[0, 7], membrane_bits=4), "widths of neuron is"),
    "bits of widths": (lambda m: m["widths"][0].update(membrane_bits=9), "widths of neuron is"),
    "widths lost": (lambda m: m["widths"].pop(), "widths is another list"),
    "files": (lambda m: m.update(files=[]), "it states digests of no file"),
    "file digest": (lambda m: m["files"][1].update(sha256="0" * 64), rf"{VECTORS} is not what was saved"),
    "path": (lambda m: m["nodes"][1].update(path=3), "path is 3; a text is needed"),
    "call": (lambda m: m["nodes"][1].update(call=-1), "call is -1; allowed are whole numbers from 0"),
    "notes": (lambda m: m.update(notes=[3]), "notes and source are texts"),
}  # fmt: skip


@pytest.mark.parametrize("digest", ["kept", "forged"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_with_its_place_and_limits(folder: Path, name: str, digest: str) -> None:
    what, message = REFUSED[name]
    change(folder, what, digest=digest)
    with pytest.raises(PackageError, match=message):
        load(folder)


# What could be, and is something else than what was saved.
OTHERS: dict[str, Change] = {
    "read-out scale x 2": attrs("readout", scale=[2.0]),
    "one class's scale x 20": attrs("readout", scale=[1.0, 20.0, 1.0, 1.0]),
    "input scale x 2": inner("input", "grid", scale=2.0),
    "input high": inner("input", "grid", high=9),
    "bits": inner("conv", "weight", bits=3),
    "delta": inner("conv", "weight", delta=[0.5]),
    "scheme": inner("conv", "weight", scheme="DoReFa"),
    "unit": attrs("neuron", unit=[0.5]),
    "wider widths": lambda m: m["widths"][0].update(membrane=[-16, 15]),
    "notes": lambda m: m.update(notes=["nothing was rounded"]),
    "source": lambda m: m["source"].update(model="another"),
    "a new key": lambda m: m.update(comment="mine"),
    "tensor digests": lambda m: m["tensors"].update({"conv.weight": "0" * 64}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_was_changed_is_refused_and_never_certified(folder: Path, name: str) -> None:
    change(folder, OTHERS[name])
    with pytest.raises(PackageError, match=r"not what was saved|from the nodes follows"):
        load(folder)
    first = verify(folder).first_difference
    assert first is not None, name


def test_vectors_show_what_is_worth_what_even_to_a_forger_and_in_packages_without_a_digest(folder: Path) -> None:
    for name, quantity in (
        ("read-out scale x 2", "value"), ("one class's scale x 20", "value"), ("input scale x 2", "code"),
        ("input high", "code"),
    ):  # fmt: skip
        original = (folder / MANIFEST).read_text()
        change(folder, OTHERS[name], digest="forged")
        first = verify(folder).first_difference
        assert first is not None, name
        assert first.quantity == quantity, name
        (folder / MANIFEST).write_text(original)


def test_a_forged_digest_is_another_digest(folder: Path) -> None:
    before = verify(folder)
    assert before.expecting(before.digest) == before
    change(folder, OTHERS["bits"], digest="forged")
    after = verify(folder)
    assert after.equal, "whoever changes a package can write its digest anew"
    told = after.expecting(before.digest)
    assert not told.equal
    assert str(told.first_difference) == f"{MANIFEST}: digest is {after.digest}, expected {before.digest}"
    with pytest.raises(ConstraintError, match="64 hexadecimal digits are needed"):
        after.expecting("abc")


def test_the_digest_is_of_the_values_and_not_of_their_order_or_layout(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(dict(reversed(manifest.items()))))
    load(folder)
    assert digest_of(read_manifest(folder)) == manifest["digest"] == verify(folder).digest


@pytest.mark.parametrize("key", ["neuron.counts", "pooled.counts"])
def test_wrong_golden_counts_are_found(folder: Path, key: str) -> None:
    counts = load_file(folder / VECTORS)[key]
    rewrite(folder, VECTORS, forge=True, **{key: counts + 1})
    first = verify(folder).first_difference
    assert first is not None
    assert (first.layer, first.quantity) == (key.partition(".")[0], "count")
    assert int(first.expected) - int(first.found) == 1


def test_changed_vectors_are_found_by_their_digest(folder: Path) -> None:
    net = convolution_and_pool()
    codes = np.ones((1, 2, *net.input.shape), np.int64)
    save(net, folder, vectors=golden(net, codes, np.array([3, 1])))
    assert verify(folder).equal
    labels = load_file(folder / VECTORS)["labels"]
    rewrite(folder, VECTORS, labels=labels[::-1].copy())
    assert str(verify(folder).first_difference).startswith(f"{VECTORS}: digest is ")
    with pytest.raises(PackageError, match=f"{VECTORS} is not what was saved"):
        load(folder)
    for wrong, message in ((labels + 4, "labels reach from 3 to 7, allowed are -1 to 3"), (labels[1:], "the shape")):
        rewrite(folder, VECTORS, labels=wrong)
        with pytest.raises(PackageError, match=message):
            verify(folder)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"input_codes": np.zeros((1, 0, 1, 4, 4), np.int8)}, "holds 0 samples.*that is no evidence"),
        ({"potential_steps": np.zeros(0, np.int8)}, "the potentials of 0 steps: that is no evidence"),
        ({"potential_steps": np.array([0, 9], np.int8)}, "ascending steps of 0 to 3 are needed"),
        ({"potential_steps": np.array([2, 1], np.int8)}, "ascending steps of 0 to 3 are needed"),
        ({"input_values": np.full((1, 6, 1, 4, 4), np.nan)}, "something else than finite float64 numbers"),
        ({"readout.values": np.zeros((6, 4), np.float32)}, "something else than finite float64 numbers"),
        ({"neuron.spikes": np.zeros((4, 6, 1, 4, 4), np.float32)}, "is float32, integers were expected"),
        ({"input_codes": np.full((1, 6, 1, 4, 4), 99, np.int8)}, "input codes reach from 99"),
    ],
)  # fmt: skip
def test_vectors_that_are_no_evidence_are_refused(folder: Path, tensors: dict[str, np.ndarray], message: str) -> None:
    rewrite(folder, VECTORS, **tensors)
    with pytest.raises(PackageError, match=message):
        verify(folder)


def test_a_package_without_a_digest_loads_with_one_line_that_says_what_is_not_protected(folder: Path) -> None:
    change(folder, lambda m: None, digest="none")
    rewrite(folder, VECTORS, input_values=None, **{"readout.values": None})
    change(
        folder,
        lambda m: (m["files"][1].update(sha256=digests.of_file(folder / VECTORS)), m.update(digest="")),
        digest="none",
    )
    with pytest.warns(UserWarning, match="states no digest.*scales, input grid and coding") as heard:
        assert load(folder).steps == 4
    assert len(heard) == 1
    assert "\n" not in str(heard[0].message)
    with pytest.warns(UserWarning, match="states no digest"):
        certificate = verify(folder)
    assert certificate.equal
    assert not certificate.digest_stated
    assert certificate.digest == digest_of(json.loads((folder / MANIFEST).read_text()))
    # What is in it is protected as far as it goes: its files, and the numbers that follow from the nodes.
    rewrite(folder, VECTORS, **{"neuron.counts": None})
    with pytest.warns(UserWarning, match="states no digest"):
        assert not verify(folder).equal


def test_a_digest_that_was_taken_away_is_missed(folder: Path) -> None:
    change(folder, lambda m: None, digest="none")
    with (
        pytest.warns(UserWarning, match="states no digest"),
        pytest.raises(PackageError, match="has lost its digest"),
    ):
        verify(folder)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}', "[" * 100_000])
def test_json_that_readers_understand_differently_is_refused(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(PackageError, match="cannot be read: "):
        load(folder)
