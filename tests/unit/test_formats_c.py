"""A network as C text: what is refused and named, what is written, and what is left alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bitspike.errors import ExportError
from bitspike.formats.c.bench import readme_text
from bitspike.formats.c.layout import lay_out
from bitspike.formats.c.program import program
from bitspike.formats.c.text import Tables, array, integer, plain
from bitspike.formats.c.types import bounds_of
from bitspike.formats.c.weights import pack
from bitspike.formats.c.write import c_memory, write_c
from bitspike.integer.bounds.widths import widths
from bitspike.integer.examples import convolution_and_pool, one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Burst, Convolution, Input, Linear, MaxPool, Neuron, Node, Readout, Reshape, Weight
from bitspike.integer.saved.vectors import golden
from bitspike.ops.grids import Grid

ONE = np.ones((1, 1), np.int64)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def replaced(net: IntegerNetwork, id: str, **changes: object) -> IntegerNetwork:
    return replace(net, nodes=tuple(replace(n, **changes) if n.id == id else n for n in net.nodes))


def test_the_folder_holds_what_a_firmware_needs_and_the_bench(tmp_path: Path) -> None:
    net = convolution_and_pool()
    plain_folder = write_c(net, tmp_path / "plain", name="net", bench=False)
    assert sorted(contents(plain_folder)) == ["Makefile", "README.md", "net.c", "net.h"]
    whole = write_c(net, tmp_path / "whole", name="net")
    assert contents(whole) == contents(write_c(net, tmp_path / "again", name="net", vectors=golden(net)))
    assert sorted(contents(whole)) == ["Makefile", "README.md", "net.c", "net.h", "net_test.c", "net_vectors.h"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "plain", "whole"]
    for name in ("net.c", "net.h"):
        assert (plain_folder / name).read_bytes() == (whole / name).read_bytes()


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (write_c(n, tmp_path / p, vectors=golden(n)) for n, p in ((convolution_and_pool(), p) for p in "ab"))
    assert contents(one) == contents(two)


def test_the_program_has_no_floats_asks_for_no_memory_and_is_ascii(tmp_path: Path) -> None:
    net = replaced(convolution_and_pool(), "neuron", path='läyer "1" */ int x; /* \\')
    folder = write_c(net, tmp_path / "c", vectors=golden(net))
    for name in ("network.h", "network.c"):
        text = (folder / name).read_bytes().decode("ascii")
        words = set(text.replace("(", " ").replace("*", " ").split())
        assert not words & {"float", "double", "malloc", "calloc", "math.h", "<math.h>"}
        assert text.count("/*") == text.count("*/")
    assert "l_yer _1_ _ int x; _ _" in (folder / "network.c").read_text()


def test_the_header_says_how_to_call_and_what_it_costs(tmp_path: Path) -> None:
    header = (write_c(one_convolution(), tmp_path / "c") / "network.h").read_text()
    for line in (
        "#define NETWORK_STEPS 4",
        "#define NETWORK_INPUT_CONSTANT 1 /* the same codes at every step */",
        "#define NETWORK_INPUT_SIZE 16 /* codes of one step: [1, 4, 4] */",
        "#define NETWORK_OUT_readout 16 /* readout: Readout [16] */",
        "typedef uint8_t network_input;",
        "void network_run(network_state *s, const network_input *input, int64_t *out_readout);",
        "int network_step(network_state *s, const network_input *input);",
    ):
        assert f"{line}\n" in header
    memory = c_memory(one_convolution())
    assert f" * {memory}.\n" in header
    assert (memory.weights, memory.state) == (4, 68)


def test_the_memory_of_the_layers_adds_up_to_the_whole() -> None:
    for net in (one_convolution(), convolution_and_pool(), burst()):
        memory = c_memory(net)
        assert memory.weights == sum(m.weights for m in memory.layers) > 0
        assert memory.tables == sum(m.tables for m in memory.layers)
        assert memory.state == memory.wires + sum(m.state for m in memory.layers)
        assert memory.codes == net.input.shape[0] * 16 * (1 if net.input.constant else net.steps)
    assert {m.path for m in memory.layers} == {n.path for n in (*net.weighted, *net.neurons, *net.outputs)}
    assert str(memory.table()) in bench_readme(net)


def test_the_readme_says_what_the_host_does() -> None:
    net = one_convolution()
    text = bench_readme(net)
    assert "hands over 16 codes of one step, the same ones at every step, [1, 4, 4]" in text
    assert "whole numbers from 0 to 8 as they are" in text
    assert (
        "4 rows of 4 pixels of 1 byte each, in the order of cameras and image files; what is above 8 becomes 8" in text
    )
    assert "The output `readout` is [16] of int64_t; one is worth 1.0, so the largest integer is" in text
    for changes, said in (
        ({"grid": Grid(1 / 255, 0, 255)}, "the bytes of an 8-bit image as they are"),
        ({"grid": Grid(0.5, -7, 7)}, "round(x / 0.5) of a real value x, ties to the even number, not below -7 and not"),
        ({"coding": "rate", "constant": False, "grid": Grid(1.0, 0, 1)}, "the n = round(x * T) spikes"),
        ({"coding": "bernoulli", "constant": False, "grid": Grid(1.0, -1, 1), "divisor": 2.0}, "min(|x| / 2.0, 1)"),
    ):
        assert said in bench_readme(replaced(net, "input", **changes))
    assert "4 rows" not in bench_readme(replaced(net, "input", grid=Grid(0.5, -7, 7)))  # signed: no packed pixels
    per_channel = replaced(net, "readout", scale=np.arange(1.0, 17.0))
    assert "one is worth, channel by channel, 1.0, 2.0, 3.0," in bench_readme(per_channel)
    host = "before the spikes: stem (Conv2d); after the spikes: head (Softmax)"
    words = bench_readme(replace(net, source={"host": host}))
    assert "Before the codes it computes, in real numbers: stem (Conv2d).\n" in words
    assert "After the outputs it computes, in real numbers: head (Softmax).\n" in words
    assert "network_pack" not in words  # what enters is no image any more


def bench_readme(net: IntegerNetwork) -> str:
    return readme_text(net, program(net, "network"), bench=True)


def test_the_types_follow_from_the_proven_bounds(tmp_path: Path) -> None:
    header = (write_c(one_convolution(threshold=100), tmp_path / "a") / "network.h").read_text()
    assert "int8_t v_n2_neuron[16]; /* potential of neuron, 0 to 99 */" not in header  # 32 is the most in 4 steps
    assert "int8_t v_n2_neuron[16]; /* potential of neuron, 0 to 32 */" in header
    header = (write_c(one_convolution(threshold=2000, steps=400), tmp_path / "b") / "network.h").read_text()
    assert "int16_t v_n2_neuron[16]; /* potential of neuron, 0 to 2007 */" not in header
    assert "int16_t v_n2_neuron[16]; /* potential of neuron, 0 to 1999 */" in header


def test_the_bounds_hold_those_of_the_widths() -> None:
    for net in (one_convolution(), convolution_and_pool(steps=11)):
        found = bounds_of(net)
        for known in widths(net):
            (node,) = [n for n in net.nodes if n.path == known.layer]
            work = found[node.id].work
            assert work[0] <= min(known.accumulator[0], known.membrane[0])
            assert work[1] >= max(known.accumulator[1], known.membrane[1])


def test_wires_that_are_never_needed_together_share_memory() -> None:
    layers: list[Node] = [Input(id="input", path="input", shape=(100,), grid=Grid(1.0, 0, 1), constant=False)]
    for i in range(6):
        fire = Neuron(
            id=f"n{i}", path=f"n{i}", sources=(layers[-1].id,), shape=(100,), gains=(ONE,), bias=0 * ONE,
            threshold=ONE, initial=np.zeros(1, np.int64), unit=np.ones(1),
        )  # fmt: skip
        layers.append(fire)
    layers.append(Readout(id="out", path="out", sources=("n5",), shape=(100,), gains=(ONE,), bias=0 * ONE))
    net = IntegerNetwork(3, tuple(layers))
    made = lay_out(net, bounds_of(net))
    assert made.arenas == {8: 200}
    starts = [made.addresses[f"n{i}"].start for i in range(6)]
    assert all(a != b for a, b in pairwise(starts))


def test_what_does_not_change_is_computed_once(tmp_path: Path) -> None:
    text = (write_c(one_convolution(), tmp_path / "c") / "network.c").read_text()
    assert "    if (t == 0)\n        convolve_uint8_int8(&shape_n1_conv, &weights_n1_conv, x, s->wires8 + " in text


def burst() -> IntegerNetwork:
    net = convolution_and_pool()
    nodes = list(net.nodes)
    nodes.insert(4, Burst(id="burst", path="layers.burst", sources=("pool",), shape=(1, 2, 2)))
    nodes[5] = replace(nodes[5], sources=("burst",))
    return replace(net, nodes=tuple(nodes))


def test_a_burst_has_no_door_for_single_steps_and_is_named(tmp_path: Path) -> None:
    folder = write_c(burst(), tmp_path / "c")
    header = (folder / "network.h").read_text()
    assert "#define NETWORK_STEPWISE 0" in header
    assert "no door for single steps: layers.burst needs all steps" in header
    assert "network_step(" not in header
    assert "layers.burst needs all of them" in (folder / "README.md").read_text()
    assert len(lay_out(burst(), bounds_of(burst())).phases) == 2


def test_the_codes_are_the_bit_stream_of_the_package() -> None:
    random = np.random.default_rng(0)
    for bits in (2, 3, 4, 5, 7):
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        codes = random.integers(low, high + 1, (3, 7))
        found = pack(Weight(codes=codes, step=np.ones(1), bits=bits, low=low, high=high), codes)
        assert found is not None
        assert found.data[-1] == 0
        stream = np.unpackbits(found.data[:-1], bitorder="little")[: codes.size * bits].reshape(3, 7, bits)
        stored = stream.astype(np.int64) @ (1 << np.arange(bits))  # the lowest bit of a code comes first
        assert np.array_equal(
            np.take(found.levels, stored) if found.levels else np.where(stored > high, stored - (1 << bits), stored),
            codes,
        )


# --- what is refused ---------------------------------------------------------------------------------------------


class Softmax(Node):
    """A node that nobody knows."""


def test_everything_that_c_cannot_hold_is_named_at_once(tmp_path: Path) -> None:
    weight = Weight(codes=np.ones((1, 1, 1, 2, 2, 2), np.int64), step=np.ones(1), bits=1, low=-1, high=1)
    conv = Convolution(
        id="conv", path="features.conv", sources=("pool",), shape=(1, 2, 1, 1, 1), stride=(1,) * 4, padding=(0,) * 4,
        dilation=(1,) * 4, weight=weight,
    )  # fmt: skip
    fat = Weight(codes=np.array([[2**40, 1]]), step=np.ones(1), bits=42, low=-(2**40), high=2**40)
    nodes = (
        Input(id="input", path="input", shape=(1, 2, 2, 2, 2), grid=Grid(1.0, 0, 8)),
        Input(id="other", path="side", shape=(1,), grid=Grid(1.0, 0, 8)),
        MaxPool(
            id="pool", path="features.pool", sources=("input",), shape=(1, 2, 2, 2, 2), kernel=(1,) * 4,
            stride=(4, 1, 1, 1), padding=(2, 0, 0, 0),
        ),
        conv,
        Reshape(id="flat", path="flat", sources=("conv",), shape=(2,)),
        Linear(id="fc", path="classifier.fc", sources=("flat",), shape=(1,), weight=fat),
        Readout(id="out", path="out", sources=("fc",), shape=(1,), gains=(ONE,), bias=0 * ONE),
    )  # fmt: skip
    with pytest.raises(ExportError) as caught:
        write_c(IntegerNetwork(2, nodes), tmp_path / "c")
    text = str(caught.value)
    for part in (
        "C cannot hold 4 of 7 nodes",
        "side  Input other: a program reads one input",
        "features.pool  MaxPool pool: a window that sees only padding has no largest value",
        "features.conv  Convolution conv: 4 axes; 1 to 3 are possible",
        "classifier.fc  Linear fc: weight codes of more than 32 bits",
    ):
        assert part in text
    assert list(tmp_path.iterdir()) == []


def test_a_sum_beyond_64_bits_is_named(tmp_path: Path) -> None:
    net = replaced(one_convolution(), "neuron", gains=(2**62 * ONE,))
    with pytest.raises(ExportError, match=r"1 of 5 nodes may need more\n  neuron  Neuron neuron: from 0 to"):
        write_c(net, tmp_path / "c")


@pytest.mark.parametrize("name", ["", "2x", "a-b", "Net", "string", "stdint", "é", "a" * 32, 5])
def test_a_name_that_c_cannot_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportError, match="lower-case letters, digits and underscores"):
        write_c(one_convolution(), tmp_path / "c", name=name)


@pytest.mark.parametrize("vectors", [np.zeros((1, 1, 1, 4, 4), np.int64), {"input_codes": [[1]]}])
def test_what_holds_no_arrays_is_no_vectors(vectors: object, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no golden vectors(?s:.*)input_codes is missing"):
        write_c(one_convolution(), tmp_path / "c", vectors=vectors)  # type: ignore[arg-type]


def test_vectors_of_another_network_are_refused_with_everything_that_is_wrong(tmp_path: Path) -> None:
    net = convolution_and_pool()
    vectors = dict(golden(net))
    del vectors["pooled.spikes"]
    vectors["neuron.spikes"] = vectors["neuron.spikes"][:-1]
    vectors["readout.output"] = vectors["readout.output"].astype(np.float32)
    with pytest.raises(ExportError) as caught:
        write_c(net, tmp_path / "c", vectors=vectors)
    for part in (
        "pooled.spikes is missing",
        "neuron.spikes has the shape [3, 6, 1, 4, 4]",
        "readout.output is float32",
    ):
        assert part in str(caught.value)
    vectors = {**golden(net), "input_codes": golden(net)["input_codes"] + np.int8(100)}
    with pytest.raises(ExportError, match="input_codes reach from 100 to 108, the grid from 0 to 8"):
        write_c(net, tmp_path / "c", vectors=vectors)


# --- what is left alone ------------------------------------------------------------------------------------------


def test_an_older_export_is_replaced_with_what_its_makefile_built(tmp_path: Path) -> None:
    net = convolution_and_pool()
    folder = write_c(net, tmp_path / "c", vectors=golden(net), name="old")
    (folder / "old_test").write_bytes(b"\x7fELF")
    (folder / "old.o").write_bytes(b"\x7fELF")
    write_c(net, folder, name="new", bench=False)
    assert sorted(contents(folder)) == ["Makefile", "README.md", "new.c", "new.h"]


@pytest.mark.parametrize("other", ["notes.md", "network.c", "Makefile"])
def test_what_somebody_else_wrote_is_left_alone(tmp_path: Path, other: str) -> None:
    folder = write_c(one_convolution(), tmp_path / "c")
    (folder / other).write_text("mine\n")
    before = contents(folder)
    with pytest.raises(ExportError, match=f"holds {other}; it was left alone"):
        write_c(convolution_and_pool(), folder)
    assert contents(folder) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ExportError, match="is a file; it was left alone"):
        write_c(one_convolution(), tmp_path / "file")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_midway_leaves_the_old_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    folder = write_c(one_convolution(), tmp_path / "c")
    before, write, left = contents(folder), Path.write_bytes, iter(range(2))

    def full(path: Path, data: bytes) -> int:
        if next(left, None) is None:
            raise error
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ExportError if isinstance(error, OSError) else KeyboardInterrupt):
        write_c(convolution_and_pool(), folder)
    assert contents(folder) == before
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


# --- text --------------------------------------------------------------------------------------------------------


def test_integers_and_comments_are_c() -> None:
    assert integer(2**31 - 1) == "2147483647"
    assert integer(-(2**63)) == "(-INT64_C(9223372036854775807) - 1)"
    assert plain("a*/b/*c\\\n'\"") == "a_b_c____"
    assert "static const int64_t x[1] = {\n    INT64_C(2147483648)\n};" in array("int64_t", "x", np.array([2**31]), "x")


def test_equal_tables_are_kept_once() -> None:
    tables = Tables()
    assert tables.add("bias_a", np.array([1, 2]), "first") == "bias_a"
    assert tables.add("bias_b", np.array([1, 2]), "again") == "bias_a"
    assert tables.add("bias_c", np.array([1, 2]), "wider", ctype="int32_t") == "bias_c"
    assert tables.add("theta_b", np.array([1, 2]), "of another kind") == "theta_b"
    assert (len(tables.texts), tables.size) == (3, 2 + 8 + 2)
