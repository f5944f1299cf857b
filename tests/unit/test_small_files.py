"""Small files that ask for endless work, or claim what they cannot hold: one clear error at once, from every reader."""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from bitspike.data.images.arrays import read_arrays
from bitspike.data.images.folders import read_folders
from bitspike.errors import BitspikeError, ConstraintError, DataError, ExportError, RecipeError
from bitspike.formats.nir.reading.hdf5_guard import refuse_damage, sealed
from bitspike.formats.nir.reading.hdf5_walk import walk
from bitspike.formats.nir.write import read_nir, write_nir
from bitspike.hardware.chips import chip
from bitspike.hardware.chips.expression import Expression
from bitspike.hardware.energy import technology
from bitspike.integer.examples import convolution_and_pool
from bitspike.recipe.load import load
from bitspike.recipe.text import parse, parse_value

BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefghijklmno", "bcdefghijklmnop", strict=True)
)


@pytest.fixture(autouse=True)
def quick() -> object:
    """A second of this processor's time is enough for every one of these; the process is not measured by a clock."""
    start = time.process_time()
    yield
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "more than 10,000 values, those of aliases included"),
        ("a: &a [*a]", "nested too deeply"),
        ("a: &a {b: *a}", "nested too deeply"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: " + "{a: " * 5000, "nested too deeply"),
        ("- " * 5000, "nested too deeply"),
        ("a: &a {b: 1}\nc:\n  <<: [" + ",".join(["*a"] * 9000) + "]", "more than 10,000 values"),
        ("a: " + "x" * 70_000, "70,003 characters; a recipe has at most 65,536"),
        ("a: " + "9" * 5000, "a value cannot be read"),
        ("a: !!timestamp 2001-99-99", "a value cannot be read: month must be in"),
        ("a: !!int many", "a value cannot be read"),
    ],
)
def test_yaml(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse(text, "x.yaml")
    with pytest.raises(RecipeError, match=message):
        parse_value(text)
    if "\n" not in text:
        with pytest.raises(RecipeError, match=rf"^--set name: .*({message})"):
            load("quickstart", [f"name={text}"])


def test_a_date_is_the_text_that_was_written() -> None:
    assert load("quickstart", ["name=2024-01-01"]).name == "2024-01-01"


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9**9",
        "((9**64)**64)**64",
        "2**64**64",
        "(2**64)**(2**64)",
        "1/(9**64)**64",
        "log2(9**64**9)",
        "bits**64**64",
    ],
)
def test_powers_of_powers(text: str) -> None:
    with pytest.raises(ConstraintError, match=r"has no value|is no expression"):
        Expression(text)(bits=9)


CHIP = 'format = 1\nname = "x"\n'
RULE = '[[rules]]\nname = "r"\ncost = "bits"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CHIP + RULE + "limit = inf", "inf is no limit; finite numbers"),
        (CHIP + RULE + "limit = nan", "nan is no limit; finite numbers"),
        (CHIP + RULE + f"limit = {10**400}", "is no limit; finite numbers"),
        (CHIP + RULE + "allowed = [1, 1e999]", "inf is no limit"),
        (CHIP + f"weight_bits = [{10**30}]", "weight_bits = .*1 to 1024 are possible"),
        (CHIP + f"potential_bits = {10**30}", "potential_bits = 1000.*1 to 1024 are possible"),
        (CHIP + "wire_bits = 1979-05-27", "wire_bits = datetime.date.*a whole number is needed"),
        ("format = 1\nname = 1979-05-27", "name = datetime.date.*text is needed"),
        (CHIP + "x = " + "[" * 5000, "cannot be read"),
        (CHIP + ".".join(["a"] * 16_000) + " = 1", "nested more than 8 deep"),
        (CHIP + "x = " + "9" * 5000, "cannot be read"),
        (CHIP + "x = '" + "y" * 300_000 + "'", "bytes, at most 32,768 are read"),
        (CHIP + "".join(f"k{i} = 1\n" for i in range(900)), "and 880 more"),
    ],
)
def test_chips(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(ConstraintError, match=message):
        chip.load(tmp_path / "x.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("int8 = 0.03", "int8 = 'low'", "cannot be read"),
        ("int8 = 0.03", "int8 = inf", "must be above 0 and at most"),
        ("int8 = 0.03", "int8 = 0.03\nintx = 1", "'intx'; integers are int1 to int9999"),
        ("width = 64", "width = 0", "whole numbers of at least 1"),
        ("access_pj = 10.0", "access_pj = nan", "whole numbers of at least 1 and an energy"),
        ("[add_pj]", "[add]", "unknown add"),
    ],
)
def test_technologies(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (technology.TABLES / "horowitz-45nm.toml").read_text()
    (tmp_path / "x.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(ConstraintError, match=message):
        technology.load(tmp_path / "x.toml")


def chunk(name: bytes, data: bytes, length: int | None = None) -> bytes:
    length = len(data) if length is None else length
    return struct.pack(">I", length) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, *more: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, width, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(more)
        + chunk(b"IDAT", zlib.compress(bytes(9 * 9)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png(8, chunk(b"iCCP", b"x", 2**31 - 8)), r"its chunk b'iCCP' claims 2,147,483,640 bytes, the file has"),
        (png(9000), "claims 9000 x 9000 pixels, at most 67,108,864 are read"),
        (png(2**30), "is damaged"),
        (b"P6 90000 90000 255\n", "is damaged"),
        (b"\xff\xd8\xff\xe0", "is damaged"),
    ],
)
def test_images(tmp_path: Path, content: bytes, message: str) -> None:
    for split in ("train", "test"):
        (tmp_path / split / "cat").mkdir(parents=True)
        (tmp_path / split / "cat" / "1.png").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_folders(tmp_path, "train")


def test_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train_images=np.zeros((2, 8, 8), np.uint8), train_labels=np.arange(2))
    content = (tmp_path / "x.npz").read_bytes()
    assert b"(2, 8, 8), }       " in content
    (tmp_path / "x.npz").write_bytes(content.replace(b"(2, 8, 8), }       ", b"(9000000, 8, 8), } "))
    with pytest.raises(DataError, match=r"x\.npz is damaged"):
        read_arrays(tmp_path / "x.npz", "train")


def test_a_damaged_nir_file_never_reaches_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_nir(convolution_and_pool(), tmp_path / "x.nir")
    content = path.read_bytes()
    assert read_nir(path).steps == 4
    monkeypatch.setattr(h5py, "File", None)
    for place in (0, 9, 700, len(content) // 2, len(content) - 200, len(content) - 30):
        damaged = bytearray(content)
        damaged[place] ^= 16
        path.write_bytes(damaged)
        with pytest.raises(
            ExportError, match=r"is damaged: its bytes differ|does not begin as HDF5 does|is no NIR file"
        ):
            refuse_damage(path)


def test_a_nir_file_that_was_edited_says_so(tmp_path: Path) -> None:
    path = write_nir(convolution_and_pool(), tmp_path / "x.nir")
    with h5py.File(path, "r+") as file:
        weight = file["node/nodes/conv/weight"]
        weight[...] = -weight[()]
    with pytest.raises(ExportError, match=r"is not what bs\.write_nir wrote: its digest is"):
        read_nir(path)
    with h5py.File(path, "r+") as file:
        del file["node/metadata/snn.digest"]
    assert read_nir(path).steps == 4


def test_files_of_others_are_walked_through_in_a_process_of_their_own(tmp_path: Path) -> None:
    def made(name: str, fill: object) -> Path:
        with h5py.File(tmp_path / name, "w") as file:
            fill(file.create_group("node"))  # type: ignore[operator]
        return tmp_path / name

    def loop(group: h5py.Group) -> None:
        group["again"] = group

    def claim(group: h5py.Group) -> None:
        group.create_dataset("x", shape=(10**12,), chunks=(10**6,), dtype="f8")

    def many(group: h5py.Group) -> None:
        for place in (f"a{i}" for i in range(12)):
            inner = group.create_group(place)
            for name in ("l", "r"):
                inner[name] = group

    for fill, message in (
        (loop, "nested more than 12 deep"), (claim, "more than the file can hold"), (many, "more than 20,000 objects"),
    ):  # fmt: skip
        path = made(f"{fill.__name__}.nir", fill)
        assert message in walk(path)
        with pytest.raises(ExportError, match=message):
            read_nir(path, steps=4)
    sound = made("sound.nir", lambda group: group.create_dataset("x", data=np.arange(5)))
    assert walk(sound) == "sound"
    with pytest.raises(ExportError, match="is no NIR file"):
        read_nir(sound, steps=4)
    (tmp_path / "text.nir").write_text("mine")
    with pytest.raises(ExportError, match="does not begin as HDF5 does"):
        read_nir(tmp_path / "text.nir")
    assert issubclass(ExportError, BitspikeError)
    assert sealed(b"")[-64:].decode().startswith("e3b0c442")
