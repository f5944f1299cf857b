"""A certificate says yes only where everything is equal, and otherwise where the first difference is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from bitspike.errors import CheckFailed, ConstraintError, DataError
from bitspike.integer.codes import encode
from bitspike.integer.engine import Engine, Method, TorchEngine
from bitspike.integer.examples import convolution_and_pool, one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Input, Linear, Neuron, Readout, Weight
from bitspike.integer.saved.folder import save, tensor_bytes
from bitspike.integer.saved.manifest import MANIFEST, VECTORS, WEIGHTS
from bitspike.integer.saved.replay import spikes_in
from bitspike.integer.simulate import Trace, simulate
from bitspike.integer.values import decode
from bitspike.integer.verify import prove_codes, verify
from bitspike.ops.grids import Grid

ONE = np.ones((1, 1), np.int64)


def flip(folder: Path, name: str, key: str, index: tuple[int, ...], value: int) -> None:
    tensors = load_file(folder / name)
    tensors[key] = tensors[key].copy()
    tensors[key][index] = value
    (folder / name).write_bytes(tensor_bytes(tensors))


def test_convert_check_11_a_flipped_code_is_named_by_layer_step_and_index(tmp_path: Path) -> None:
    folder = save(convolution_and_pool(), tmp_path / "network")
    assert verify(folder).equal
    flip(folder, WEIGHTS, "conv.weight", (0, 0, 1, 1), -1)
    certificate = verify(folder)
    first = certificate.first_difference
    assert not certificate.equal
    assert first is not None
    # Sample 1 holds the largest codes: 8 becomes -8 at the first step and place.
    assert (first.layer, first.step, first.index, first.quantity) == ("neuron", 0, (1, 0, 0, 0), "membrane")
    assert (first.expected, first.found) == (8, -8)
    with pytest.raises(CheckFailed, match=r"NOT equal\n  first difference: layer neuron, step 0, index \[1, 0, 0, 0\]"):
        certificate.raise_if_failed()


def test_convert_check_11_any_single_code_that_is_flipped_is_found(tmp_path: Path) -> None:
    net = convolution_and_pool()
    for place in np.ndindex(1, 1, 3, 3):
        folder = save(net, tmp_path / "network")
        flip(folder, WEIGHTS, "conv.weight", place, 1 if place != (0, 0, 1, 1) else 0)
        assert not verify(folder).equal, place


def test_a_flip_beyond_the_grid_of_the_codes_is_named_by_what_it_does(tmp_path: Path) -> None:
    folder = save(one_convolution(), tmp_path / "network")
    flip(folder, WEIGHTS, "conv.weight", (0, 0, 1, 1), 65)  # one bit of a ternary code
    assert "layer neuron, step 0" in str(verify(folder))


def blind() -> IntegerNetwork:
    """A network whose second input is always 0: its weight changes nothing that a vector shows."""
    weight = Weight(codes=np.array([[1, 0], [0, 1]]), step=np.ones(1), bits=2, low=-1, high=1)
    gain = np.array([[1, 0]])
    return IntegerNetwork(
        2,
        (
            Input(id="input", path="input", shape=(2,), grid=Grid(1.0, 0, 1)),
            Linear(id="fc", path="features.fc", sources=("input",), shape=(2,), weight=weight),
            Neuron(
                id="neuron", path="neuron", sources=("fc",), shape=(2,), gains=(gain,), bias=0 * ONE, threshold=ONE,
                initial=np.zeros(1, np.int64), unit=np.ones(1),
            ),
            Readout(id="out", path="out", sources=("neuron",), shape=(2,), gains=(ONE,), bias=0 * ONE),
        ),
    )  # fmt: skip


def test_convert_check_11_a_flip_that_no_vector_excites_is_found_by_its_digest(tmp_path: Path) -> None:
    folder = save(blind(), tmp_path / "network")
    flip(folder, WEIGHTS, "fc.weight", (1, 1), 0)
    certificate = verify(folder)
    assert not certificate.equal
    assert "layer features.fc" in str(certificate)
    assert "fc.weight" in str(certificate)


@pytest.mark.parametrize(
    ("key", "index", "quantity"),
    [
        ("neuron.spikes", (2, 3, 0, 1, 1), "spike"),
        ("pooled.potentials", (2, 3, 0, 1, 1), "membrane"),
        ("readout.output", (4, 2), "output"),
    ],
)
def test_a_changed_vector_is_named(tmp_path: Path, key: str, index: tuple[int, ...], quantity: str) -> None:
    folder = save(convolution_and_pool(), tmp_path / "network")
    flip(folder, VECTORS, key, index, 77)
    first = verify(folder).first_difference
    assert first is not None
    assert (first.layer, first.quantity) == (key.split(".", maxsplit=1)[0], quantity)
    assert (first.step, *first.index) == (index if quantity != "output" else (3, *index))
    assert first.expected == 77


def test_a_certificate_is_plain_values(tmp_path: Path) -> None:
    folder = save(one_convolution(), tmp_path / "network")
    good = verify(folder)
    assert json.loads(json.dumps(good.to_dict())) == {
        "equal": True, "samples": 6, "spikes_compared": 384, "membranes_compared": 384, "first_difference": None,
        "inputs_clipped": 0,
        "digest": json.loads((folder / MANIFEST).read_text())["digest"], "digest_stated": True, "spikes_fired": 142,
    }  # fmt: skip
    good.raise_if_failed()
    flip(folder, WEIGHTS, "neuron.theta", (0,), 7)
    first = json.loads(json.dumps(verify(folder).to_dict()))["first_difference"]
    assert set(first) == {"layer", "step", "index", "quantity", "expected", "found"}


def test_images_and_batches_are_counted_to_the_last_ragged_one() -> None:
    net = one_convolution()
    images = torch.randint(0, 9, (7, 1, 4, 4)).float()
    whole = verify(net, images, batch_size=3)
    parts = verify(net, [(images[:4], torch.zeros(4)), (images[4:], torch.zeros(3))])
    assert whole == parts
    assert (whole.equal, whole.samples, whole.spikes_compared) == (True, 7, 7 * 64)
    fired = simulate(net, encode(net, images)).spikes
    assert whole.spikes_fired == sum(int((spikes != 0).sum()) for spikes in fired.values()) > 0
    with pytest.raises(DataError, match="nothing to prove"):
        verify(net, images[:0])


def test_a_network_that_is_silent_is_equal_and_its_certificate_says_that_nothing_fired() -> None:
    silent = verify(one_convolution(), torch.zeros(2, 1, 4, 4))
    assert (silent.equal, silent.spikes_fired) == (True, 0)
    said = "certificate: 100% equal, and SILENT (128 spikes, none of them fired, and 128 membranes of 2 samples)"
    assert str(silent).splitlines()[0] == said
    assert "silence was compared with silence" in str(silent)
    assert "silence was compared with silence" in repr(silent)
    assert repr(silent).splitlines()[0] == "Certificate: 100% equal, and SILENT"
    earlier = replace(silent, spikes_fired=None)
    assert str(earlier) == "certificate: 100% equal (128 spikes and 128 membranes of 2 samples)"
    assert (silent.silent, earlier.silent) == (True, False)


def test_a_network_that_always_fires_is_no_better() -> None:
    busy = verify(one_convolution(threshold=1), torch.full((2, 1, 4, 4), 8.0))
    always = replace(busy, spikes_fired=busy.spikes_compared)
    assert str(always).startswith("certificate: 100% equal, and ALWAYS FIRING (128 spikes, all of them fired, and")
    assert "what depends on no input was compared with itself" in repr(always)
    assert (always.always_fires, always.silent) == (True, False)
    assert not replace(always, spikes_fired=always.spikes_compared - 1).always_fires


def test_minus_spikes_are_counted_as_spikes() -> None:
    plus = np.array([[[1, 0, -1]]])
    assert spikes_in(Trace({"a": plus, "b": np.zeros((1, 1, 2), np.int8)}, {}, {})) == 2


def test_as_many_samples_are_run_at_once_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    net, seen = one_convolution(), list[int]()
    run = TorchEngine.run

    def counted(self: TorchEngine, codes: np.ndarray) -> Trace:
        seen.append(codes.shape[1])
        return run(self, codes)

    monkeypatch.setattr(TorchEngine, "run", counted)
    images = torch.randint(0, 9, (7, 1, 4, 4)).float()
    each = 9 * net.steps * sum(n.shape[0] * n.shape[1] * n.shape[2] for n in net.neurons)
    for memory, sizes in ((2**30, [7]), (3 * each, [3, 3, 1]), (1, [1] * 7)):
        monkeypatch.setattr("bitspike.integer.verify._MEMORY", memory)
        for given in (images, [images]):
            seen.clear()
            assert verify(net, given).samples == 7
            assert seen == sizes


def test_a_difference_between_torch_and_the_folder_counts_samples_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, folder = one_convolution(), save(one_convolution(), tmp_path / "network")
    run = TorchEngine.run

    def wrong(self: TorchEngine, codes: np.ndarray) -> Trace:
        trace = run(self, codes)
        if codes.max() == 5:
            trace.potentials["neuron"][2, 1, 0, 3, 3] += 1
        return trace

    monkeypatch.setattr(TorchEngine, "run", wrong)
    batches = [np.full((1, 4, 1, 4, 4), value) for value in (1, 5, 2)]
    certificate = prove_codes(net, folder, batches)
    assert not certificate.equal
    assert certificate.samples == 12
    assert certificate.first_difference is not None
    assert (certificate.first_difference.step, certificate.first_difference.index) == (2, (4 + 1, 0, 3, 3))


def test_what_is_compared_is_the_folder_and_not_the_network_in_memory(tmp_path: Path) -> None:
    folder = save(one_convolution(threshold=8), tmp_path / "network")
    assert not prove_codes(one_convolution(threshold=7), folder, [np.full((1, 1, 1, 4, 4), 8)]).equal


def test_the_host_encodes_and_decodes() -> None:
    whole = one_convolution()  # reads whole numbers from 0 to 8
    halves = replace(whole.input, grid=Grid(0.5, 0, 8))
    net = replace(whole, nodes=(halves, *whole.nodes[1:]))
    images = torch.tensor([-1.5, 0.2, 3.8, 4.9]).view(4, 1, 1, 1).expand(4, 1, 4, 4)
    with pytest.warns(UserWarning, match=r"50\.00% of the input values were clipped"):
        codes = encode(net, images)
    assert codes.shape == (1, 4, 1, 4, 4)
    assert codes[0, :, 0, 0, 0].tolist() == [0, 0, 8, 8]
    for value in (-3.0, 0.4, 99.0):
        with pytest.raises(ConstraintError, match="whole numbers from 0 to 8"):
            encode(whole, torch.full((1, 1, 4, 4), value))
    assert decode(net.outputs[0], np.array([[1, 2]])).tolist() == [[1.0, 2.0]]
    with pytest.raises(ValueError, match=r"\[2, 4, 4\], needed is \[N, 1, 4, 4\]"):
        encode(net, torch.zeros(2, 4, 4))


def test_the_engine_is_proved_by_golden_vectors_and_by_images(tmp_path: Path) -> None:
    net, folder = one_convolution(), save(one_convolution(), tmp_path / "network")
    assert verify(folder, engine=True) == verify(folder)
    images = torch.randint(0, 9, (7, 1, 4, 4)).float()
    assert verify(folder, images, engine=True) == verify(net, images, engine=True) == verify(net, images)


@pytest.mark.parametrize("method", [None, *(m for m in Method if m is not Method.NONE)])
@pytest.mark.parametrize("by_images", [True, False])
def test_an_engine_that_is_wrong_in_one_of_its_ways_is_found(
    monkeypatch: pytest.MonkeyPatch, method: Method | None, by_images: bool
) -> None:
    run = Engine.run

    def wrong(self: Engine, codes: np.ndarray) -> Trace:
        trace = run(self, codes)
        if self.method is method:
            trace.potentials["neuron"][1, 2, 0, 3, 0] -= 1
        return trace

    monkeypatch.setattr(Engine, "run", wrong)
    net = one_convolution()
    if not Engine(net).native and method is not None:
        return  # without the native library there is one way only
    images = torch.randint(0, 9, (7, 1, 4, 4)).float() if by_images else None
    certificate = verify(net, images, engine=True)
    assert not certificate.equal
    assert certificate.first_difference is not None
    assert certificate.first_difference.quantity == "membrane"
