"""Loihi: the exported program finds every spike and potential, what does not map is named, and each way out works."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lava_double
import numpy as np
import pytest

import bitspike as bs
from bitspike.errors import ExportError
from bitspike.formats.loihi.numbers import bias_of, parts_of
from bitspike.formats.loihi.populations import populations
from bitspike.formats.loihi.synapses import Synapses, synapses
from bitspike.integer import nodes
from bitspike.integer.border import Border
from bitspike.integer.bounds.grain import aligned
from bitspike.integer.examples import few_bits, one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Neuron, Readout
from bitspike.integer.simulate import simulate
from bitspike.ops.grids import Dyadic, Grid

ONE = np.ones((1, 1), np.int64)
Random = np.random.Generator


def program(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the program of a folder as a module, with a double for lava-nc."""
    lava_double.install(monkeypatch)
    spec = importlib.util.spec_from_file_location("run_in_lava", folder / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "versions", lambda: {"lava-nc": "a double", "python": "any"})
    return module


def changed(net: IntegerNetwork, **values: object) -> IntegerNetwork:
    """Return a network whose neurons have other values."""
    return replace(net, nodes=tuple(replace(n, **values) if isinstance(n, Neuron) else n for n in net.nodes))  # type: ignore[arg-type]


def hard(**values: object) -> IntegerNetwork:
    return changed(one_convolution(threshold=8), **{"reset": "hard", **values})


def weight(random: Random, shape: tuple[int, ...], *, top: int = 7) -> nodes.Weight:
    codes = random.integers(-top, top, shape, endpoint=True)
    return nodes.Weight(codes=codes, step=np.ones(1), bits=12, low=-2000, high=2000)


def neuron(
    random: Random, id: str, source: str, shape: tuple[int, ...], *, rounds: bool, plain: bool = False
) -> Neuron:
    """Return a neuron that Loihi has: one whose leak rounds, aligned to 64, or one that counts in any unit."""
    channels, unit = shape[0], 64 if rounds else 1 if plain else int(random.choice([1, 2, 3, 256]))

    def drawn(low: int, high: int) -> np.ndarray:
        return random.integers(low, high, (1, int(random.choice([1, channels]))), endpoint=True)

    leak = Dyadic(int(random.integers(1, 128)), 7) if rounds else Dyadic(1, 0)
    return Neuron(
        id=id, path=id, sources=(source,), shape=shape, gains=(unit * (ONE if plain else drawn(1, 3)),),
        unit=np.ones(1), bias=drawn(-60, 60) * (1 if rounds else unit), threshold=unit * drawn(4, 40),
        initial=np.zeros(1, np.int64),
        leak=leak, reset="hard", fire="gt" if rounds else random.choice(["ge", "gt"]),
        rounding="zero" if rounds else random.choice(["floor", "zero"]),
    )  # fmt: skip


def network(random: Random, *, top: int = 7) -> IntegerNetwork:
    """Return a convolution, a pool, a convolution and a linear layer, with neurons between them."""
    steps = int(random.integers(1, 6))
    entry = nodes.Input(
        id="input", path="input", shape=(2, 5, 5), grid=Grid(1.0, -3, 9), constant=random.random() < 0.5
    )
    square = {"stride": (1, 1), "dilation": (1, 1)}
    made = (
        entry,
        nodes.Convolution(
            id="conv", path="conv", sources=("input",), shape=(3, 5, 5), weight=weight(random, (3, 2, 3, 3), top=top),
            padding=(1, 1), **square,
        ),
        neuron(random, "a", "conv", (3, 5, 5), rounds=top < 100 and random.random() < 0.5, plain=top > 100),
        nodes.SumPool(
            id="pool", path="pool", sources=("a",), shape=(3, 2, 2), kernel=(2, 2), stride=(2, 2), padding=(0, 0)
        ),
        nodes.Convolution(
            id="conv2", path="conv2", sources=("pool",), shape=(4, 1, 1), weight=weight(random, (4, 3, 2, 2)),
            padding=(0, 0), **square,
        ),
        nodes.Convolution(
            id="side", path="side", sources=("a",), shape=(4, 1, 1), weight=weight(random, (4, 3, 5, 5)),
            padding=(0, 0), **square,
        ),
        replace(
            both := neuron(random, "b", "conv2", (4, 1, 1), rounds=random.random() < 0.5), sources=("conv2", "side"),
            gains=both.gains * 2,
        ),
        nodes.Reshape(id="flat", path="flat", sources=("b",), shape=(4,)),
        nodes.Linear(id="linear", path="linear", sources=("flat",), shape=(3,), weight=weight(random, (3, 4))),
        Readout(
            id="out", path="out", sources=("linear",), shape=(3,), gains=(random.integers(1, 9, (1, 3)),),
            bias=random.integers(-50, 50, (1, 3)), scale=np.array([0.5]),
        ),
    )  # fmt: skip
    return IntegerNetwork(steps, made)


def test_random_networks_run_in_the_program_without_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fired, rounded, parts = 0, 0, set()
    for seed in range(24):
        random = np.random.default_rng(seed)
        net = network(random, top=200 if seed % 4 == 0 else 7)
        folder = bs.write_loihi(net, tmp_path / "loihi")
        module = program(folder, monkeypatch)
        monkeypatch.setattr(module, "DENSE", 0 if seed % 3 == 0 and importlib.util.find_spec("scipy") else 1 << 22)
        assert module.main(["--json", "--at-once", "4"]) == 0, seed
        found = json.loads(capsys.readouterr().out)
        codes = np.load(folder / "vectors.npz")["codes"]
        assert found["samples"] == codes.shape[1]
        assert found["spikes"] == found["potentials"] == net.steps * codes.shape[1] * (75 + 4 + 3)
        fired += sum(of["fired"] for of in found["populations"].values())
        rounded += sum(n.leak.shift > 0 for n in net.neurons)
        parts |= {len(p) for layer in populations(net) for p in layer.reads.values()}
    assert fired > 1000
    assert rounded > 10
    assert parts == {1, 2}


def test_the_program_finds_a_single_wrong_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bs.write_loihi(network(np.random.default_rng(1)), tmp_path / "loihi")
    arrays = dict(np.load(folder / "network.npz"))
    arrays["a.from.input.0.values"][0] += 1
    np.savez(folder / "network.npz", **arrays)
    assert program(folder, monkeypatch).main([]) == 1


def test_rounding_decides_in_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vectors of a network that rounds down are not those of the chip: what is refused would differ."""
    net = changed(hard(), gains=(64 * ONE,), threshold=ONE * 4096, bias=-ONE * 77, leak=Dyadic(115, 7), fire="gt")
    zero, floor = (changed(net, rounding=rounding) for rounding in ("zero", "floor"))
    folder = bs.write_loihi(zero, tmp_path / "loihi")
    assert program(folder, monkeypatch).main([]) == 0
    vectors = dict(np.load(folder / "vectors.npz"))
    trace = simulate(floor, vectors["codes"].astype(np.int64))
    h, s = trace.potentials["neuron"], trace.spikes["neuron"]
    vectors["neuron.potentials"] = np.where(s != 0, 0, h).reshape(vectors["neuron.potentials"].shape)
    np.savez(folder / "vectors.npz", **vectors)
    assert program(folder, monkeypatch).main([]) == 1


def test_codes_of_ones_own_give_the_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    net = network(np.random.default_rng(3))
    folder = bs.write_loihi(net, tmp_path / "loihi")
    module, codes, out = program(folder, monkeypatch), tmp_path / "codes.npy", tmp_path / "out.npz"
    shape = (1 if net.input.constant else net.steps, 2, *net.input.shape)
    given = np.random.default_rng(0).integers(-3, 10, shape)
    np.save(codes, given)
    assert module.main(["--codes", str(codes), "--out", str(out)]) == 0
    found, trace = np.load(out), simulate(net, given)
    assert np.array_equal(found["out"], trace.outputs["out"] * 0.5)
    assert np.array_equal(found["a.spikes"], trace.spikes["a"].reshape(net.steps, 2, -1))
    for wrong in (given[:, :, :1], given.astype(float), given + 99):
        np.save(codes, wrong)
        with pytest.raises(SystemExit):
            module.main(["--codes", str(codes), "--out", str(out)])
        assert "needed" in capsys.readouterr().err
    absent, words, several = tmp_path / "absent.npy", tmp_path / "words.npy", tmp_path / "several.npz"
    words.write_text("1 2 3")
    np.savez(several, given, given)
    for file in (absent, words, several):
        with pytest.raises(SystemExit):
            module.main(["--codes", str(file), "--out", str(out)])
        assert "one array as np.save writes it is needed" in capsys.readouterr().err


def test_the_program_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = program(bs.write_loihi(hard(), tmp_path / "loihi"), monkeypatch)

    def absent() -> None:
        raise module.importlib.metadata.PackageNotFoundError("lava-nc")

    monkeypatch.setattr(module, "versions", absent)
    with pytest.raises(SystemExit) as ended:
        module.main([])
    assert ended.value.code == 2
    assert "lava-nc is not installed. It needs Python 3.10:\n  python3.10 -m venv lava" in capsys.readouterr().err


REFUSED: dict[str, tuple[dict[str, object], str, dict[str, object]]] = {
    "soft": ({"reset": "soft"}, "resets by subtraction.*: reset='hard'", {"reset": "hard"}),
    "value": ({"v_reset": np.array([2])}, "other than 0: v_reset=0", {"v_reset": np.array([0])}),
    "start": ({"initial": np.array([4])}, "does not start at 0: initial=0", {"initial": np.array([0])}),
    "after": ({"leak": Dyadic(1, 1), "leak_order": "after"}, "1/2 comes after the input.*: leak='before'", {
        "leak_order": "before", "gains": (256 * ONE,), "threshold": 2048 * ONE,
    }),
    "no leak of 12 bits": ({"leak": Dyadic(0, 0)}, "none of 4096 parts", {"leak": Dyadic(1, 0)}),
    "floor": ({"floor": -5}, "a floor of -5.*: floor=None", {"floor": None}),
    "width": ({"width": 12}, "saturates at 12 bits.*: potential_bits=None", {"width": None}),
    "shift": ({"right_shift": 1}, "right by 1 bits.*: right_shift=0", {"right_shift": 0}),
    "down": (
        {"leak": Dyadic(115, 7), "gains": (64 * ONE,), "threshold": 512 * ONE, "fire": "gt"},
        "115/128 rounds down.*: rounding='zero'",
        {"rounding": "zero"},
    ),
    "gains": (
        {"leak": Dyadic(115, 7), "rounding": "zero", "fire": "gt"},
        r"gains are multiples of 1; .* of 64: .*a resolution 64 times finer",
        {"gains": (64 * ONE,), "threshold": 512 * ONE},
    ),
    "threshold": (
        {"leak": Dyadic(115, 7), "rounding": "zero", "gains": (64 * ONE,), "threshold": 512 * ONE},
        "potentials >= 512; compared is with multiples of 64, by >: fire='gt'",
        {"fire": "gt"},
    ),
    "wide": ({"gains": (ONE * 65537,), "threshold": ONE * 9}, "24: fewer bits", {"gains": (ONE,)}),
    "bias over time": ({"bias": np.array([[1], [2], [3], [4]])}, "its bias changes over time", {"bias": ONE}),
    "threshold over time": (
        {"threshold": np.array([[1], [2], [3], [4]])}, "its threshold changes over time", {"threshold": ONE},
    ),
    "gains over time": ({"gains": (np.array([[1], [2], [3], [4]]),)}, "its gains change over time", {"gains": (ONE,)}),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_map_is_named_with_a_way_out_that_works(name: str, tmp_path: Path) -> None:
    values, message, way_out = REFUSED[name]
    wrong = hard(**values)
    with pytest.raises(ExportError, match=rf"Loihi cannot hold 1 of 5 nodes\n  neuron  Neuron neuron: .*{message}"):
        bs.write_loihi(wrong, tmp_path / "loihi")
    assert not list(tmp_path.iterdir())
    bs.write_loihi(changed(wrong, **way_out), tmp_path / "loihi")


ON_CHIP = [name for name in REFUSED if name not in ("wide", "gains over time", "no leak of 12 bits")]


@pytest.mark.parametrize("name", ON_CHIP)
def test_the_profile_of_the_chip_says_the_same(name: str) -> None:
    values, _, way_out = REFUSED[name]
    report = bs.check(hard(**values), "loihi")
    assert {v.node for v in report.errors} == {"neuron"}
    assert all(v.fixes or v.code == "E110" or "right shift" in v.rule for v in report.errors)
    assert bs.check(changed(hard(**values), **way_out), "loihi").passed


def test_other_nodes_that_do_not_map() -> None:
    net = hard()
    burst = nodes.Burst(id="burst", path="burst", sources=("conv",), shape=(1, 4, 4))
    late = replace(net, nodes=(
        *net.nodes[:2], burst, replace(net["neuron"], sources=("burst",)), *net.nodes[3:]
    ))  # fmt: skip
    with pytest.raises(ExportError, match=r"burst  Burst burst: a Burst is no sum of weighted spikes"):
        populations(late)
    with pytest.raises(ExportError, match=r"in few bits.*: membrane=None"):
        populations(changed(few_bits(), reset="hard"))
    again = replace(net["neuron"], id="again", path="again", sources=("neuron", "conv"), gains=(ONE, ONE))
    skip = replace(net, nodes=(*net.nodes[:3], again, replace(net.nodes[3], sources=("again",)), *net.nodes[4:]))
    with pytest.raises(
        ExportError, match=r"codes and spikes \(input, neuron\), which come a step later: a neuron after"
    ):
        populations(skip)
    signed = changed(one_convolution(), signed=True)
    with pytest.raises(ExportError, match=r"takes spikes back, and Loihi's neuron sends 0 and 1"):
        populations(signed)


def test_spikes_that_come_too_early_pass_relays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A block with two shortcuts: one of two layers and one of three."""
    net = hard()

    def after(id: str, *sources: str) -> Neuron:
        return replace(
            net["neuron"], id=id, path=id, sources=sources, gains=(ONE,) * len(sources), threshold=ONE * len(sources)
        )  # type: ignore[return-value]

    block = (after("b", "neuron"), after("c", "b", "neuron"), after("d", "c", "neuron", "b"))
    flat, readout = net.nodes[3:]
    net = replace(net, nodes=(*net.nodes[:3], *block, replace(flat, sources=("d",)), readout))
    assert [(p.id, p.layer) for p in populations(net)] == [
        ("neuron", 0), ("b", 1), ("neuron.later1", 1), ("c", 2), ("neuron.later2", 2), ("b.later1", 2), ("d", 3),
        ("readout", 4),
    ]  # fmt: skip
    folder = bs.write_loihi(net, tmp_path / "loihi")
    assert program(folder, monkeypatch).main(["--json"]) == 0
    counted = json.loads(capsys.readouterr().out)["populations"]
    assert counted["neuron.later2"]["fired"] == counted["neuron"]["fired"] > 0
    assert counted["d"]["fired"] > 0


def test_a_bias_of_any_width_is_a_weight_of_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """8193 counts of 64 are no mantissa of 13 bits times a power of two up to 7."""
    net = hard(bias=np.array([[-8193]]), gains=(3 * ONE,))
    clock, neuron, readout = populations(net)
    assert (clock.kind, neuron.reads.keys(), readout.reads.keys()) == ("clock", {"every.step", "input"}, {"neuron"})
    assert program(bs.write_loihi(net, tmp_path / "loihi"), monkeypatch).main([]) == 0
    net = hard(bias=np.array([[1029]]), threshold=5000 * ONE, leak=Dyadic(115, 7), rounding="zero", fire="gt")
    net = changed(net, gains=(64 * ONE,), threshold=64 * 80 * ONE, bias=np.array([[4099]]))
    assert populations(net)[0].kind == "clock"
    assert program(bs.write_loihi(net, tmp_path / "loihi"), monkeypatch).main([]) == 0


def test_a_neuron_that_never_rounds_finds_its_unit() -> None:
    """Leaks of a half over 4 steps need 3 bits; the rest up to 6 is a unit that is 8 times finer, or none at all."""
    exact = replace(hard()["neuron"], leak=Dyadic(1, 1), gains=(8 * ONE,), threshold=64 * ONE, fire="gt")
    unit = aligned(exact, 4, 6)
    assert not isinstance(unit, str)
    assert (unit.finer, unit.quiet.tolist()) == (3, [8])
    at_least = aligned(replace(exact, fire="ge"), 4, 6)
    assert not isinstance(at_least, str)
    assert (at_least.finer, at_least.quiet.tolist()) == (6, [63])  # as potentials are whole, 63 of 64 do not fire
    coarse = aligned(replace(exact, leak=Dyadic(1, 0), gains=(1024 * ONE,), threshold=3000 * ONE), 4, 6)
    assert not isinstance(coarse, str)
    assert (coarse.finer, coarse.quiet.tolist()) == (-4, [2])  # 2048 does not fire, 3072 does


def test_weights_wider_than_a_synapse_are_several() -> None:
    random = np.random.default_rng(0)
    for top in (127, 128, 5000, 16000):
        values = random.integers(-top, top, 50, endpoint=True)
        whole = Synapses(values, np.arange(50), np.array([0, 50]), 50)
        parts = parts_of(whole)
        assert parts is not None
        total = np.zeros(50, np.int64)
        for part in parts:
            assert int(np.abs(part.codes.values).max()) <= 127
            total[part.codes.columns] += part.codes.values << part.exponent
        assert np.array_equal(total, values)
    assert len(parts_of(Synapses(np.array([127 << 8]), np.array([0]), np.array([0, 1]), 1)) or ()) == 1
    assert parts_of(Synapses(np.array([(1 << 22) + 1]), np.array([0]), np.array([0, 1]), 1)) is None
    assert bias_of(np.array([4095 << 7])) is not None
    assert bias_of(np.array([4097])) is None


def test_synapses_are_what_the_layers_between_add_up() -> None:
    net = network(np.random.default_rng(5))
    for reader, source in (("a", "input"), ("b", "a"), ("out", "b")):
        end, begin = net[reader], net[source]
        assert isinstance(end, Neuron | Readout)
        found = synapses(net, end, begin)
        whole = np.zeros((found.readers, found.sources), np.int64)
        whole[found.rows(), found.columns] = found.values
        x = np.random.default_rng(1).integers(0, 2, (1, 3, *begin.shape))
        wires: dict[str, Any] = {source: x}
        for node in net.nodes[net.nodes.index(begin) + 1 : net.nodes.index(end)]:
            wires[node.id] = node.run([wires[s] for s in node.sources], 1)
        wanted = end.combined([wires[s] for s in end.sources], 1)
        assert np.array_equal((x.reshape(3, -1) @ whole.T).reshape(wanted.shape[1:]), wanted[0])


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = bs.write_loihi(hard(), tmp_path / "loihi")
    first = {file.name: file.read_bytes() for file in folder.iterdir()}
    bs.write_loihi(hard(), folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == first
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"holds mine\.txt; it was left alone"):
        bs.write_loihi(hard(), folder)
    other = tmp_path / "other"
    other.mkdir()
    (other / "network.json").write_text("{}")
    with pytest.raises(ExportError, match="left alone"):
        bs.write_loihi(hard(), other)


def test_the_verb_takes_the_vectors_of_a_saved_network(tmp_path: Path) -> None:
    saved = bs.save(hard(), tmp_path / "net")
    folder = bs.export(saved, "loihi", tmp_path / "loihi")
    assert np.load(folder / "vectors.npz")["codes"].shape == (1, 6, 1, 4, 4)
    wrong: Callable[[], Path] = lambda: bs.write_loihi(hard(), tmp_path / "x", vectors={})  # noqa: E731
    with pytest.raises(ExportError, match=r"no array input_codes; needed are integers \[1 or T, N, 1, 4, 4\]"):
        wrong()


@pytest.mark.parametrize(
    "vectors",
    [{"input_codes": np.full((1, 1, 1, 4, 4), 0.5)}, {"input_codes": [[1]]}, np.zeros((1, 1, 1, 4, 4), np.int64)],
)
def test_vectors_that_are_no_integers_are_refused(vectors: dict[str, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"needed are integers \[1 or T, N, 1, 4, 4\]\n  fix: vectors=None"):
        bs.write_loihi(hard(), tmp_path / "x", vectors=vectors)


def test_the_readme_says_what_else_the_host_does(tmp_path: Path) -> None:
    parts = {"host": "before the spikes: 0 (Conv2d); after the spikes: softmax (softmax)"}
    text = (bs.write_loihi(replace(hard(), source=parts), tmp_path / "parts") / "README.md").read_text()
    assert "* Before the codes the host computes, in real numbers: 0 (Conv2d)." in text
    assert "* After the outputs the host computes, in real numbers: softmax (softmax)." in text
    said = Border((1, 1), (1, 1), (3,)).said()
    text = (bs.write_loihi(replace(hard(), source=said), tmp_path / "border") / "README.md").read_text()
    assert "* Around the image stands a border, 1 wide on every side, of the code of each channel: 3." in text
