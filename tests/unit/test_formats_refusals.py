"""What an export refuses: all nodes at once, with names and the way out; a missing package in one sentence."""

from __future__ import annotations

import errno
import importlib
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from bitspike.errors import ConstraintError, ExportError, PackageError
from bitspike.formats.c.write import write_c
from bitspike.formats.nir.write import read_nir, write_nir
from bitspike.formats.onnx.write import Mode, write_onnx
from bitspike.integer.examples import one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Burst, MaxPool, Node
from bitspike.integer.saved.folder import save
from bitspike.ops.grids import Dyadic
from bitspike.verbs.export import export


def changed(net: IntegerNetwork, id: str, **values: object) -> IntegerNetwork:
    return replace(net, nodes=tuple(replace(n, **values) if n.id == id else n for n in net.nodes))  # type: ignore[arg-type]


def inserted(net: IntegerNetwork, node: Node, before: str) -> IntegerNetwork:
    """Put a node of the same shape before another one's first source."""
    nodes: list[Node] = []
    for n in net.nodes:
        if n.id == before:
            nodes += [node, replace(n, sources=(node.id, *n.sources[1:]))]
        else:
            nodes.append(n)
    return replace(net, nodes=tuple(nodes))


def test_a_step_does_not_gather_what_comes_later(tmp_path: Path) -> None:
    net = one_convolution()
    late = inserted(net, Burst(id="burst", path="late", sources=("neuron",), shape=(1, 4, 4)), before="flat")
    with pytest.raises(ExportError, match=r"mode 'step'(?s:.*)late  Burst burst: it gathers(?s:.*)mode=\"sequence\""):
        write_onnx(late, tmp_path / "net.onnx")
    early = inserted(net, Burst(id="burst", path="early", sources=("conv",), shape=(1, 4, 4)), before="neuron")
    assert write_onnx(early, tmp_path / "net.onnx").is_file()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"leak": Dyadic(1, 1)}, "leaks by 0.5; .*"),
        ({"reset": "hard"}, "resets to a value; .*"),
        ({"signed": True}, "takes spikes back; .*"),
        ({"right_shift": 1}, "shifts its charge right by 1 .*"),
        ({"floor": -4}, "has a floor of -4; .*"),
        ({"width": 8}, "saturates at 8 bits; .*"),
        ({"threshold": np.array([[1], [2], [3], [4]])}, "has thresholds that change over time; .*"),
        ({"gains": (np.array([[1], [2], [3], [4]]),)}, "has gains that change over time; .*"),
        ({"threshold": np.zeros((1, 1), np.int64), "fire": "gt"}, "has a threshold of 0; .*"),
    ],
)
def test_counts_need_neurons_that_have_a_formula(values: dict[str, Any], reason: str, tmp_path: Path) -> None:
    net = changed(one_convolution(), "neuron", **values)
    with pytest.raises(ExportError, match=rf"1 of 5 nodes\n  neuron  Neuron neuron: {reason}\n  fix:"):
        write_onnx(net, tmp_path / "net.onnx", mode="count")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("format", "reader", "fix"),
    [
        ("ONNX", None, r"--format onnx"),
        ("nri", None, r"--format nir"),
        ("verilgo", None, r"--format verilog"),
        ("nir", "Norse", r"--for norse"),
        ("nir", "snn-torch", r"--for snntorch"),
        ("nir", "nengo", r"leave reader \(--for\) away"),
        ("onnx", "norse", r"--format nir"),
    ],
)
def test_a_word_that_does_not_exist_is_answered_by_the_nearest(
    format: str, reader: str | None, fix: str, tmp_path: Path
) -> None:
    with pytest.raises(ConstraintError) as refused:
        export(one_convolution(), format, tmp_path / "net", reader=reader)
    assert re.search(fix, str(refused.value.fix))


@pytest.mark.parametrize(("fire", "first", "starts"), [("ge", 3, 0), ("gt", 3, 1)])
def test_a_first_potential_is_told_beside_that_of_the_reader(
    fire: str, first: int, starts: int, tmp_path: Path
) -> None:
    """Over whole potentials, v > theta is v - 1 >= theta, so a reader that starts v - 1 at 0 starts v at 1."""
    net = changed(one_convolution(), "neuron", fire=fire, initial=np.array([first]))
    with pytest.raises(ExportError, match=rf"starts at {first}, and sinabs starts at {starts}\n"):
        write_nir(net, tmp_path / "net.nir", reader="sinabs")


LEAKS = changed(one_convolution(), "neuron", leak=Dyadic(1, 1))
WIDE = changed(one_convolution(), "neuron", bias=np.full((1, 1), 2**52))


@pytest.mark.parametrize(
    ("net", "mode", "ways"),
    [
        (LEAKS, "count", ["step", "sequence"]),
        (LEAKS, "qonnx", ["step", "sequence"]),
        (LEAKS, "qonnx-readouts", ["step", "sequence"]),
        (WIDE, "qonnx", ["count", "step"]),
    ],
)
def test_the_modes_that_a_refusal_names_hold_the_network(
    net: IntegerNetwork, mode: Mode, ways: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ExportError) as refused:
        write_onnx(net, tmp_path / "net.onnx", mode=mode)
    assert re.findall(r"\(--form (\S+)\)", str(refused.value.fix)) == ways
    for way in ways:
        assert write_onnx(net, tmp_path / f"{way}.onnx", mode=cast(Mode, way)).is_file()


@pytest.mark.parametrize(
    ("number", "way"),
    [
        (errno.ENOSPC, "room"),
        (errno.EFBIG, "ulimit -f unlimited"),
        (errno.EACCES, "may write"),
        (errno.EROFS, "may write"),
    ],
)
def test_the_way_out_of_a_failed_write_fits_its_cause(
    number: int, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", fails)
    for write, error in (
        (lambda net: write_nir(net, tmp_path / "net.nir"), ExportError),
        (lambda net: write_onnx(net, tmp_path / "net.onnx"), ExportError),
        (lambda net: write_c(net, tmp_path / "c"), ExportError),
        (lambda net: save(net, tmp_path / "network"), PackageError),
    ):
        with pytest.raises(error, match="could not be written") as refused:
            write(one_convolution())
        assert way in str(refused.value.fix)
    assert not list(tmp_path.iterdir())


def test_counts_need_maxima_of_counts(tmp_path: Path) -> None:
    window = {"kernel": (1, 1), "stride": (1, 1), "padding": (0, 0)}
    net = inserted(
        one_convolution(), MaxPool(id="max", path="pool", sources=("neuron",), shape=(1, 4, 4), **window), before="flat"
    )
    with pytest.raises(ExportError, match=r"pool  MaxPool max: .*CountMaxPool"):
        write_onnx(net, tmp_path / "net.onnx", mode="count")


def test_a_mode_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConstraintError, match="mode='steps': allowed are step, count, sequence"):
        write_onnx(one_convolution(), tmp_path / "net.onnx", mode="steps")  # type: ignore[arg-type]


def test_numbers_beyond_64_bits_are_refused(tmp_path: Path) -> None:
    net = changed(one_convolution(), "neuron", bias=np.full((1, 1), 2**62))
    with pytest.raises(ExportError, match="more than 64 bits hold"):
        write_onnx(net, tmp_path / "net.onnx")


@pytest.mark.parametrize("write", [write_nir, write_onnx])
def test_a_path_that_is_a_folder_or_lies_in_none_is_said(
    write: Callable[[IntegerNetwork, Path], object], tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=r"could not be written: the folder .*nowhere does not exist"):
        write(one_convolution(), tmp_path / "nowhere" / "net")
    with pytest.raises(ExportError, match="could not be written: it is a folder"):
        write(one_convolution(), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("write", [write_nir, write_onnx])
def test_a_write_that_fails_midway_leaves_the_older_file(
    write: Callable[[IntegerNetwork, Path], object],
    problem: BaseException,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "net").write_text("older")

    def fails(handle: int) -> None:  # the file next to the older one is written by then
        raise problem

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(KeyboardInterrupt if isinstance(problem, KeyboardInterrupt) else ExportError):
        write(one_convolution(), tmp_path / "net")
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
    assert (tmp_path / "net").read_text() == "older"


@pytest.mark.parametrize(
    ("call", "package", "extra"),
    [(write_nir, "nir", "nir"), (write_onnx, "onnx", "onnx"), (lambda _, path: read_nir(path), "nir", "nir")],
)
def test_a_missing_package_is_one_helpful_sentence(
    call: Callable[[IntegerNetwork, Path], object],
    package: str,
    extra: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = importlib.import_module

    def absent(name: str, *rest: Any) -> Any:
        if name == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ExportError, match=rf"'{package}' is not installed\n  fix: pip install \"bitspike\[{extra}\]\""):
        call(one_convolution(), tmp_path / "net")
