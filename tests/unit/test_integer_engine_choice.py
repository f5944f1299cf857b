"""Methods are chosen within a budget, kept on disk for the next process, and never change a result."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitspike.errors import ConstraintError
from bitspike.integer import engine as engines
from bitspike.integer.engine import Engine, expected, native, race
from bitspike.integer.engine.excerpt import excerpt, products, workspace
from bitspike.integer.engine.expected import fetched
from bitspike.integer.engine.fuse import Fire, Layer, fuse
from bitspike.integer.engine.native import layers_of, run
from bitspike.integer.engine.plan import candidates, fixed, takes_tables, weighted
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Convolution, Input, Linear, Neuron, Node, Readout, Reshape, Weight
from bitspike.integer.simulate import simulate
from bitspike.kernels.cpp.loader import SWITCH
from bitspike.kernels.engine import kept
from bitspike.kernels.engine.structs import Kind, Layout, Method, OpStruct, level, library
from bitspike.ops.grids import Grid

pytestmark = pytest.mark.usefixtures("_cache")
STEPS, SAMPLES = 4, 40
ONE = np.ones((1, 1), np.int64)


@pytest.fixture
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kept.VARIABLE, str(tmp_path / "methods"))


def network(*, largest: int = 7, channels: int = 16, side: int = 12) -> IntegerNetwork:
    """Two convolutions of spikes, the second with a shortcut, and a linear read-out."""
    random = np.random.default_rng(0)
    shape = (channels, side, side)

    def codes(*size: int) -> Weight:
        values = random.integers(-largest, largest, size, endpoint=True)
        return Weight(codes=values, step=np.ones(1), bits=9, low=-largest, high=largest)

    def convolve(id: str, source: str, inputs: int) -> Convolution:
        ones = (1, 1)
        return Convolution(
            id=id, path=id, sources=(source,), shape=shape, weight=codes(channels, inputs, 3, 3), stride=ones,
            padding=ones, dilation=ones,
        )  # fmt: skip

    def fire(id: str, *sources: str) -> Neuron:
        threshold = np.full((1, 1), 12 * largest)
        return Neuron(
            id=id, path=id, sources=sources, shape=shape, gains=(ONE,) * len(sources), bias=0 * ONE,
            threshold=threshold, initial=np.full(1, 6 * largest), unit=np.ones(1),
        )  # fmt: skip

    size = channels * side * side
    nodes: list[Node] = [
        Input(id="input", path="input", shape=(3, side, side), grid=Grid(1.0, 0, 15)),
        convolve("stem", "input", 3),
        fire("first", "stem"),
        convolve("branch", "first", channels),
        fire("second", "branch"),
        convolve("back", "second", channels),
        fire("joined", "back", "first"),
        Reshape(id="flat", path="flat", sources=("joined",), shape=(size,)),
        Linear(id="head", path="head", sources=("flat",), shape=(10,), weight=codes(10, size)),
        Readout(id="out", path="out", sources=("head",), shape=(10,), gains=(ONE,), bias=0 * ONE),
    ]
    return IntegerNetwork(STEPS, tuple(nodes))


def images(samples: int = SAMPLES, side: int = 12) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.random.default_rng(1).integers(0, 15, (1, samples, 3, side, side), endpoint=True)


def counted(ops: Any, monkeypatch: pytest.MonkeyPatch | None = None) -> int:
    """Return the products of weights and inputs that operations add up, read off what the library is handed."""
    total = 0
    for op in ops:
        if op.kind == Kind.LAYER and op.method != Method.NONE:
            source = op.source.contents
            rows = op.samples * (op.steps if source.timed else 1)
            total += rows * op.oh * op.ow * op.out_channels * source.channels * op.kh * op.kw
    return total


@pytest.fixture
def raced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The products of every run of a race, in order."""
    seen: list[int] = []

    def count(ops: Any, threads: int) -> None:
        seen.append(counted(ops))
        run(ops, threads)

    monkeypatch.setattr(race, "run", count)
    return seen


needs_library = pytest.mark.skipif(
    library() is None, reason="the native library is not built: pip install -e . where a C++ compiler is"
)


@needs_library
@pytest.mark.parametrize("loops", ["", "avx512", "avx2", "portable"])
@pytest.mark.parametrize("samples", [1, 40])
def test_every_choice_gives_the_integers_of_the_definition(
    loops: str, samples: int, monkeypatch: pytest.MonkeyPatch, raced: list[int]
) -> None:
    monkeypatch.setenv(SWITCH, loops)
    net, codes = network(), images(samples)
    wanted = simulate(net, codes).outputs["out"]
    for _ in ("raced", "read"):
        assert np.array_equal(Engine(net).predict(codes)["out"], wanted)
        times, _ = len(raced), raced.clear()
    assert times == 0, "what was kept is raced again"


@needs_library
@pytest.mark.parametrize("loops", ["", "portable"])
@pytest.mark.parametrize("samples", [40, 100])
def test_races_stay_within_a_share_of_one_run(
    loops: str, samples: int, monkeypatch: pytest.MonkeyPatch, raced: list[int]
) -> None:
    monkeypatch.setenv(SWITCH, loops)
    monkeypatch.setattr(race, "LEAST", 0)
    engine, whole = Engine(network(side=24)), 0
    engine.predict(images(samples, side=24))
    (work, ops), *_ = engine._works.values()
    whole = counted(ops)
    assert 0 < sum(raced) <= race.SHARE * whole
    assert work.samples == samples


@needs_library
def test_a_network_of_no_allowance_takes_what_the_constants_promise(
    monkeypatch: pytest.MonkeyPatch, raced: list[int]
) -> None:
    monkeypatch.setattr(race, "LEAST", 0)
    monkeypatch.setattr(race, "SHARE", 0.0)
    net, codes = network(), images()
    engine = Engine(net)
    assert np.array_equal(engine.predict(codes)["out"], simulate(net, codes).outputs["out"])
    assert not raced
    assert not any(timing.seconds for timing in engine.timings)
    assert kept.read() == {}


@needs_library
def test_the_count_of_products_is_that_of_the_operations() -> None:
    fused = fuse(network())
    engine = Engine(network(), method=Method.DOT)
    engine.predict(images())
    (_, ops), *_ = engine._works.values()
    assert counted(ops) == sum(products(step, SAMPLES, STEPS) for step in weighted(fused))


@needs_library
@pytest.mark.parametrize("most", [1, 10**6, 10**8, 10**12])
@pytest.mark.parametrize("side", [4, 12])
def test_all_methods_see_the_same_spikes_in_an_excerpt(most: int, side: int) -> None:
    """The same spikes lie in all layouts, so all methods send the same on."""
    for step in weighted(fuse(network(side=side))):
        layers = layers_of(step)
        if not isinstance(step, Fire) or not layers[0].signal.binary:
            continue
        piece = excerpt(step, SAMPLES, STEPS, most)
        assert piece.products <= products(step, SAMPLES, STEPS)
        assert isinstance(piece.step, Fire)
        work = workspace(piece, STEPS, {"0": 0.5})
        sent = {}
        for method in candidates(layers[0]):
            if method == Method.TABLE and not takes_tables(step, layers):
                continue
            ops = work.step(piece.step, {id(layer): method for layer in layers_of(piece.step)}, {Layout.BITS})
            run((OpStruct * len(ops))(*ops), 1)
            sent[method] = work.wires[piece.step.signal.id, Layout.BITS][1].copy()
            work.wires[piece.step.signal.id, Layout.BITS][1].fill(0)
        assert len(sent) >= 3
        assert sent[Method.DOT].any()
        for method, spikes in sent.items():
            assert np.array_equal(spikes, sent[Method.DOT]), method


def entries(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Return what changes the content of a kept file."""

    def damage(path: Path) -> None:
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return damage


def each(seconds: Any) -> Callable[[Path], None]:
    return entries(lambda content: content | {"layers": dict.fromkeys(content["layers"], seconds)})


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: path.write_bytes(b"") and None,
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-9]) and None,
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00" * 9) and None,
    "nested": lambda path: path.write_text("[" * 10**5) and None,
    "too large": lambda path: path.write_text(path.read_text() + " " * 2**22) and None,
    "a list": entries(lambda _: [1]),
    "another format": entries(lambda content: content | {"format_version": 99}),
    "another machine": entries(lambda content: content | {"machine": {"processor": "another"}}),
    "layers of no kind": entries(lambda content: content | {"layers": 3}),
    "races of no kind": each([1, 2]),
    "unknown methods": each({"FAST": 1.0}),
    "words for seconds": each({"DOT": "fast"}),
    "no time": each({"DOT": 0.0, "TABLE": -1.0}),
    "every method": each({"DOT": 4.0, "POPCOUNT": 3.0, "EVENTS": 2.0, "TABLE": 1.0}),
    "a folder": folder_instead,
}


@needs_library
def test_of_methods_that_race_alike_the_one_of_fewer_bytes_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A race sees a few weights only: what many take to come from memory is reckoned."""
    fused = fuse(network())
    kept.add({r.name: dict.fromkeys(r.methods, 1.0) for r in race._races(fused, SAMPLES, STEPS, {})})
    layers = [layer for step in weighted(fused) for layer in layers_of(step)]
    for method in (Method.DOT, Method.POPCOUNT):
        monkeypatch.setattr(race, "fetched", lambda _, m, __, method=method: 0.0 if m == method else 1.0)
        choice = race.choose(fused, SAMPLES, STEPS, {}).choice
        hopeful = {id(r.layer): r.methods for r in race._races(fused, SAMPLES, STEPS, {})}
        assert all(choice[id(layer)] == method for layer in layers if method in hopeful[id(layer)])
    small, large = (Layer("", layers[1].signal, np.ones((n, n, 3, 3), np.int8), layers[1].window) for n in (64, 1024))
    assert all(fetched(small, m, 3) == 0 for m in Method if m != Method.NONE)
    bytes_of = {m: expected._KEPT + fetched(large, m, 4) / expected._FETCH for m in (Method.DOT, Method.EVENTS)}
    assert bytes_of == pytest.approx({Method.DOT: large.codes.size, Method.EVENTS: 2 * large.codes.size})


# ---------------------------------------------------------------- what the next process does


@needs_library
@pytest.mark.parametrize("method", [m for m in Method if m != Method.NONE])
def test_spikes_are_counted_alike_whichever_methods_count_them(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are looked up for 64 samples at once, and these neurons would fire in those that are not there, too."""
    net, codes = network(), images()
    eager = [replace(node, bias=node.threshold) if isinstance(node, Neuron) else node for node in net.nodes]
    net = replace(net, nodes=tuple(eager))
    engine = Engine(net)
    assert engine._fused is not None
    monkeypatch.setattr(engines, "counts_spikes", lambda *_: True)
    monkeypatch.setattr(engines, "foreseen", lambda fused, *_: fixed(fused, method))
    spikes = simulate(net, codes[:, :1]).spikes
    assert engine._rates(codes, STEPS, 1) == {id: float(s.mean()) for id, s in spikes.items()}


@needs_library
@pytest.mark.parametrize("samples", [1, 40])
def test_where_races_are_kept_weights_are_packed_once(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net, codes, packed = network(), images(samples), []

    def pack(codes: Any, method: Method, **details: int) -> Any:
        packed.append((id(codes), method))
        return plain(codes, method, **details)

    plain = native.pack
    monkeypatch.setattr(native, "pack", pack)
    monkeypatch.setattr(engines, "counts_spikes", lambda *_: True)
    monkeypatch.setattr(native.Workspace, "rates", lambda _: {})  # as usual: then what was foreseen is chosen
    Engine(net).predict(codes)
    packed.clear()
    engine = Engine(net)
    engine.predict(codes)
    assert engine._fused is not None
    layers = [layer for step in weighted(engine._fused) for layer in layers_of(step)]
    assert sorted(id for id, _ in packed) == sorted(id(layer.codes) for layer in layers)


@needs_library
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("largest", [7, 127])
def test_no_file_changes_a_result_or_fails(damage: str, largest: int) -> None:
    """With codes up to 127 neither EVENTS nor TABLE is exact, whatever a file says of them."""
    net, codes = network(largest=largest), images()
    Engine(net).predict(codes)
    path = kept.file()
    assert path is not None
    if not path.exists():  # there was only one method to choose from
        kept.add({r.name: {Method.DOT: 1.0} for r in race._races(fuse(net), SAMPLES, STEPS, {})})
    DAMAGES[damage](path)
    assert np.array_equal(Engine(net).predict(codes)["out"], simulate(net, codes).outputs["out"])


@needs_library
@pytest.mark.parametrize("where", ["below a file", "full", "off"])
def test_where_nothing_can_be_kept_nothing_fails(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: str) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "file").touch()
    match where:
        case "below a file":
            monkeypatch.setenv(kept.VARIABLE, str(tmp_path / "file" / "methods"))
        case "full":
            monkeypatch.setattr(kept, "write_whole", full)
        case "off":
            monkeypatch.setenv(kept.VARIABLE, "off")
    net, codes = network(), images()
    for _ in range(2):
        assert np.array_equal(Engine(net).predict(codes)["out"], simulate(net, codes).outputs["out"])
    assert kept.read() == {}
    assert not list(tmp_path.rglob("*.json"))


def test_who_writes_at_once_leaves_a_whole_file() -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: kept.add({f"layer {i}": {Method.DOT: 1.0, Method.TABLE: 2.0}}), range(40)))
    found = kept.read()
    assert found
    assert set(found) <= {f"layer {i}" for i in range(40)}
    kept.add({"last": {Method.DOT: 1.0}})
    assert set(kept.read()) == {*found, "last"}
    path = kept.file()
    assert path is not None
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_oldest_races_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_MOST", 3)
    for name in "abcade":
        kept.add({name: {Method.DOT: 1.0}})
    assert sorted(kept.read()) == ["a", "d", "e"]


def test_each_set_of_loops_has_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    if library() is None:
        return
    files = set()
    for loops in ("", "portable"):
        monkeypatch.setenv(SWITCH, loops)
        files.add((level(), kept.file()))
    assert len({path for _, path in files}) == len({loops for loops, _ in files})


@pytest.mark.parametrize(
    ("variable", "cache", "home", "wanted"),
    [
        ("/m", "/c", "/h", "/m"),
        ("~/m", "/c", "/h", "/h/m"),
        ("", "/c", "/h", "/c/bitspike/methods"),
        ("", "c", "/h", "/h/.cache/bitspike/methods"),
        ("", "", "/h", "/h/.cache/bitspike/methods"),
        ("off", "/c", "/h", None),
    ],
)
def test_the_folder_is_named_or_the_users_cache(
    variable: str, cache: str, home: str, wanted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(kept.VARIABLE, variable)
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    monkeypatch.setenv("HOME", home)
    assert kept.folder() == (None if wanted is None else Path(wanted))


def test_without_a_home_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does where the user is unknown
    monkeypatch.chdir(tmp_path)
    for named in ("", "~/methods", "~nobody/methods"):
        monkeypatch.setenv(kept.VARIABLE, named)
        assert kept.folder() is None
        kept.add({"layer": {Method.DOT: 1.0}})
    assert not list(tmp_path.iterdir())


def test_another_word_for_a_method_is_still_refused() -> None:
    with pytest.raises(ConstraintError, match="allowed are None and Method"):
        Engine(network(), method="fast")  # type: ignore[arg-type]
