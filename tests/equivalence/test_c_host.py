"""The host's side of a C program: images are packed as bs.encode does it, and the bench finds wrong codes."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

import bitspike as bs
from bitspike.formats.c.write import write_c
from bitspike.integer.border import Border
from bitspike.integer.examples import one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Input, Linear, Readout, Reshape, Weight
from bitspike.ops.grids import Grid
from equivalence.c_programs import CProgram, bench, needs_compiler

pytestmark = needs_compiler


def with_pixels(shape: tuple[int, ...], border: Border | None, grid: Grid) -> IntegerNetwork:
    """A network that adds up what it reads."""
    ones = np.ones((1, 1), np.int64)
    weight = Weight(codes=np.ones((2, int(np.prod(shape))), np.int64), step=np.ones(1), bits=2, low=-1, high=1)
    nodes = (
        Input(id="input", path="input", shape=shape, grid=grid),
        Reshape(id="flat", path="flat", sources=("input",), shape=(int(np.prod(shape)),)),
        Linear(id="fc", path="fc", sources=("flat",), shape=(2,), weight=weight),
        Readout(id="out", path="out", sources=("fc",), shape=(2,), gains=(ones,), bias=0 * ones),
    )
    return IntegerNetwork(1, nodes, source={} if border is None else border.said())


@pytest.mark.parametrize(
    ("shape", "border", "grid"),
    [
        ((3, 7, 6), Border((1, 2), (1, 1), (124, 116, 104)), Grid(1 / 255, 0, 255)),
        ((3, 4, 3), None, Grid(1 / 255, 0, 255)),
        ((1, 5, 5), Border((1, 1), (0, 0), (3,)), Grid(1 / 16, 0, 16)),
        ((2, 9), Border((2,), (3,), (1, 2)), Grid(1.0, 0, 1000)),
    ],
)
def test_pixels_are_packed_as_encode_does_it(
    shape: tuple[int, ...], border: Border | None, grid: Grid, tmp_path: Path
) -> None:
    net = with_pixels(shape, border, grid)
    image = shape if border is None else border.image(shape)
    pixels = torch.randint(0, grid.high + 1, (1, *image), generator=torch.Generator().manual_seed(1))
    expected = bs.encode(net, pixels * grid.scale)[0, 0]
    made = CProgram(net, tmp_path)
    packed = np.full(shape, 77, made.input_type)
    rows = pixels[0].movedim(0, -1).numpy().astype("uint8" if grid.high < 256 else "uint16")
    made.library.network_pack(*(ctypes.c_void_p(a.ctypes.data) for a in (np.ascontiguousarray(rows), packed)))
    assert np.array_equal(packed, expected)
    done = bench(write_c(net, tmp_path / "c"))
    assert done.returncode == 0, done.stdout


def test_the_bench_finds_a_pixel_that_is_packed_wrongly(tmp_path: Path) -> None:
    net = with_pixels((3, 7, 6), Border((1, 2), (1, 1), (124, 116, 104)), Grid(1 / 255, 0, 255))
    folder = write_c(net, tmp_path / "c")
    text = (folder / "network.c").read_text()
    assert "{124, 116, 104}" in text
    (folder / "network.c").write_text(text.replace("{124, 116, 104}", "{124, 117, 104}"))
    done = bench(folder)
    assert done.returncode == 1
    assert "code 42 of a packed image is 117, expected 116" in done.stdout


def test_make_size_says_what_the_program_takes(tmp_path: Path) -> None:
    for bench_too in (True, False):
        folder = write_c(one_convolution(), tmp_path / "c", bench=bench_too)
        done = subprocess.run(["make", "size"], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "network.o" in done.stdout
