"""The test bench of a C program: golden vectors, the program that compares (``replay.c``), a Makefile, a README.

Spikes are kept as bits, all of them, so that the first difference has a layer, a step and an index; spike counts follow
from them. A signed neuron has a second set of bits for the spikes that it takes back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bitspike.errors import ExportError
from bitspike.formats.c.host import duties, packing_of
from bitspike.formats.c.program import Program
from bitspike.formats.c.templates import filled
from bitspike.formats.c.text import MARK, array, plain
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Input, Node

Vectors = Mapping[str, npt.NDArray[Any]]

_FAR = "FAR_ROM "
_PLACES = (
    "#ifdef __MEMX /* avr-gcc: flash within 64 KiB, and all of it */",
    "#define ROM __flash",
    "#define FAR_ROM __memx",
    "#endif",
    "#ifndef ROM",
    "#define ROM",
    "#endif",
    "#ifndef FAR_ROM",
    "#define FAR_ROM ROM",
    "#endif",
)
"""Words for where a table lies, of compilers that need one."""


def vectors_text(net: IntegerNetwork, program: Program, vectors: Vectors) -> str:
    """Return the golden vectors as C, or refuse them with all that is missing or has another shape.

    Read are ``input_codes`` [T or 1, N, ...], ``<neuron>.spikes`` [T, N, ...] and ``<readout>.output`` [N, ...].
    """
    samples = check_vectors(net, vectors)
    position = {node.id: i for i, node in enumerate(net.nodes)}
    codes = np.moveaxis(vectors["input_codes"].astype(np.int64), 1, 0)
    lead = "[samples][1 step]" if net.input.constant else "[samples][steps]"
    texts = [
        f"/* {MARK}: inputs of the network with every spike and output that belongs to them. Do not edit. */",
        f"#define SAMPLES {samples}",
        "",
        *_PLACES,
        "",
        array(program.input_type, "sample_codes", codes, f"codes {lead}{list(net.input.shape)}", place=_FAR),
    ]
    neurons, outputs = [], []
    for node in net.neurons:
        spikes = np.moveaxis(vectors[f"{node.id}.spikes"], 1, 0).reshape(samples, net.steps, -1)
        row = -(-math.prod(node.shape) // 8)
        name = f"spikes_{position[node.id]}"
        note = f"{plain(node.path)}: spikes [samples][steps][{row} bytes], the lowest bit first"
        texts.append(array("uint8_t", name, _bits(spikes > 0), note, place=_FAR))
        back = "0"
        if node.signed:
            back = f"back_{position[node.id]}"
            texts.append(
                array("uint8_t", back, _bits(spikes < 0), f"{plain(node.path)}: spikes taken back", place=_FAR)
            )
        neurons.append(f"    {{{_layer(texts, node, position[node.id])}, {name}, {back}}}")
    for output in net.outputs:
        values = vectors[f"{output.id}.output"].astype(np.int64)
        name = f"output_{position[output.id]}"
        note = f"{plain(output.path)}: outputs [samples]{list(output.shape)}"
        texts.append(array("int64_t", name, values, note, place=_FAR))
        outputs.append(f"    {{{_layer(texts, output, position[output.id])}, {name}}}")
    rows = ",\n".join(neurons) if neurons else "    {0, 0, 0, 0, 0, 0, 0}"
    texts += [
        "struct neurons { const ROM char *path; uint32_t position, axes; const ROM uint32_t *shape; uint32_t size;",
        "                 const FAR_ROM uint8_t *spikes, *back; };",
        f"static const ROM struct neurons neurons[] = {{\n{rows}\n}};",
        "struct outputs { const ROM char *path; uint32_t position, axes; const ROM uint32_t *shape; uint32_t size;",
        "                 const FAR_ROM int64_t *values; };",
        "static const ROM struct outputs outputs[] = {\n" + ",\n".join(outputs) + "\n};",
        f"#define NEURON_LAYERS {len(neurons)}",
        "static const uint32_t neuron_layers = NEURON_LAYERS;",
        f"#define OUTPUTS {len(outputs)}",
        *_image(net, vectors),
    ]
    return "\n".join(texts) + "\n"


def _image(net: IntegerNetwork, vectors: Vectors) -> list[str]:
    """Return an image and its codes, to try the function that packs: the last sample, one pixel as high as can be."""
    packing = packing_of(net)
    if packing is None:
        return []
    (channels, height, width), (top, left) = packing.image, packing.before
    codes = vectors["input_codes"][0, -1].astype(np.int64).reshape(packing.around)
    pixels = codes[:, top : top + height, left : left + width].transpose(1, 2, 0).copy()
    pixels[0, 0, 0] = packing.highest
    note = f"[{height} rows][{width} pixels][{channels} numbers]"
    return [
        "",
        array(packing.ctype, "image_pixels", pixels, f"an image {note}", place=_FAR),
        array("int32_t", "image_codes", packing(pixels), f"the codes of it {list(packing.around)}", place=_FAR),
    ]


def _bits(spikes: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    return np.packbits(spikes, axis=-1, bitorder="little")


def _layer(texts: list[str], node: Node, position: int) -> str:
    shape = f"shape_{position}"
    texts.append(array("uint32_t", shape, np.array(node.shape), f"{plain(node.path)}: shape", place="ROM "))
    texts.append(f'static const ROM char path_{position}[] = "{plain(node.path)}";\n')
    return f"path_{position}, {position}, {len(node.shape)}, {shape}, {math.prod(node.shape)}"


def check_vectors(net: IntegerNetwork, vectors: Vectors) -> int:
    """Return the number of samples; refuse vectors that are incomplete or of another network."""
    if not isinstance(vectors, Mapping) or not all(isinstance(array, np.ndarray) for array in vectors.values()):
        vectors = {}
    codes = vectors.get("input_codes")
    samples = codes.shape[1] if codes is not None and codes.ndim > 1 else 0
    wanted: dict[str, tuple[int, ...]] = {}
    for node in net.nodes:
        if isinstance(node, Input):
            wanted["input_codes"] = (1 if node.constant else net.steps, samples, *node.shape)
    wanted |= {f"{n.id}.spikes": (net.steps, samples, *n.shape) for n in net.neurons}
    wanted |= {f"{n.id}.output": (samples, *n.shape) for n in net.outputs}
    problems = []
    for name, shape in wanted.items():
        if name not in vectors:
            problems.append(f"{name} is missing")
        elif vectors[name].shape != shape:
            problems.append(f"{name} has the shape {list(vectors[name].shape)}, needed is {list(shape)}")
        elif not np.issubdtype(vectors[name].dtype, np.integer):
            problems.append(f"{name} is {vectors[name].dtype}, needed are integers")
    if not problems and samples == 0:
        problems.append("there is no sample in them")
    grid = net.input.grid
    if not problems and codes is not None and (codes.min() < grid.low or codes.max() > grid.high):
        problems.append(
            f"input_codes reach from {codes.min()} to {codes.max()}, the grid from {grid.low} to {grid.high}"
        )
    if problems:
        message = "\n  ".join(["these are no golden vectors of the network", *problems])
        raise ExportError(message, fix="write_c(net, path, vectors=golden(net)), of bitspike.integer.saved.vectors")
    return samples


def bench_text(net: IntegerNetwork, program: Program) -> str:
    """Return the program that compares every spike and output with the golden vectors."""
    return filled("replay.c", caller_words(net, program))


def caller_words(net: IntegerNetwork, program: Program) -> dict[str, object]:
    """Return the words of a file that calls the program: its names, arrays for the outputs, the type of a pixel."""
    packing = packing_of(net)
    return {
        "NAMES": ", ".join(f"out_{n.id}" for n in net.outputs),
        "NAME": program.name,
        "UPPER": program.name.upper(),
        "OUTS": "\n".join(f"static int64_t out_{n.id}[{math.prod(n.shape)}];" for n in net.outputs),
        "PIXEL": "" if packing is None else packing.ctype,
    }


def makefile_text(program: Program, *, bench: bool) -> str:
    """Return a Makefile that runs the test bench or, without one, compiles the program."""
    name = program.name
    head = [
        f"# {MARK}: make check compares the program with its golden vectors, make size says how much flash it takes.",
        "# For another target: make check CC=arm-linux-gnueabihf-gcc RUN='qemu-arm -L /usr/arm-linux-gnueabihf',",
        "# make size CC=arm-none-eabi-gcc SIZE=arm-none-eabi-size FLAGS='-mcpu=cortex-m4 -mthumb -Os'.",
        "",
        "CFLAGS = -std=c99 -Wall -Wextra -pedantic -O2",
        "SIZE = size\n",
    ]
    compiled = [
        f"{name}.o: {name}.c {name}.h\n\t$(CC) $(CFLAGS) $(FLAGS) -c -o $@ {name}.c\n",
        f"size: {name}.o\n\t$(SIZE) {name}.o\n",
    ]
    if not bench:
        return "\n".join([*head, *compiled, f"clean:\n\trm -f {name}.o\n", ".PHONY: size clean", ""])
    return "\n".join([
        *head,
        f"check: {name}_test\n\t$(RUN) ./{name}_test\n",
        f"{name}_test: {name}_test.c {name}.c {name}.h {name}_vectors.h",
        f"\t$(CC) $(CFLAGS) $(FLAGS) -D{name.upper()}_OBSERVER -o $@ {name}_test.c {name}.c\n",
        *compiled,
        f"clean:\n\trm -f {name}_test {name}.o\n",
        ".PHONY: check size clean",
        "",
    ])  # fmt: skip


def readme_text(net: IntegerNetwork, program: Program, *, bench: bool, said: Sequence[str] = ()) -> str:
    """Return the README of the folder: files, what the host does, memory; ``said`` are lines about its board."""
    name = program.name
    door = f"`{name}_reset`, `{name}_step`, `{name}_read` run it step by step."
    if program.bursts:
        door = f"There are no single steps: {', '.join(map(plain, program.bursts))} needs all of them at once."
    check = f"`make check` compares every spike of the golden vectors in `{name}_vectors.h`."
    if not bench:
        check = "It was written without golden vectors, so there is no test bench."
    return "\n".join([
        f"<!-- {MARK} -->",
        f"# {name}: a spiking network in C99, integers only",
        "",
        f"* A firmware needs `{name}.h` and `{name}.c`; they call nothing but memset and memcpy.",
        f"* `{name}_run` runs all {net.steps} steps. {door}",
        f"* {check}",
        *[f"* {line}" for line in said],
        "",
        "## What the host does",
        "",
        *[f"* {duty}" for duty in duties(net, name)],
        "",
        "## Memory",
        "",
        f"{program.memory}.",
        "",
        "```",
        str(program.memory.table()),
        "```",
        "",
    ])  # fmt: skip
