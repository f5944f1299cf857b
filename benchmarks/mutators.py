"""Seeded damage of files: JSON, text, safetensors, HDF5, torch's archives, and plain bytes.

Every mutator takes a random generator and changes one place, as a slip of the hand, a faulty disk or another tool
would.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

Place = tuple[str | int, ...]

NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 2, 3, 7, 0.5, -0.5, 1.5, 1e-300, 1e300, 1e308, -1e308, 2**31, 2**40, 2**62, 2**63, 2**64, 10**30,
    -(10**30), 10**400, 1.0, True, False, float("nan"), float("inf"),
)  # fmt: skip
OTHERS: tuple[Any, ...] = (
    None, "", "x", "0", "1", [], {}, [[]], [0], {"a": 1}, ["a"], "é\u0000", "../../x", "a" * 300, [[[[[[[[1]]]]]]]],
    *NUMBERS,
)  # fmt: skip


def bytes_of(data: bytes, r: random.Random) -> bytes:
    """Flip a bit, change, cut out, repeat or put in some bytes, or cut the end off."""
    if not data:
        return b"\0"
    at, length = r.randrange(len(data)), r.choice((1, 2, 4, 8, 64))
    changed = bytearray(data)
    match r.randrange(7):
        case 0 | 1:
            changed[at] ^= 1 << r.randrange(8)
        case 2:
            changed[at] = r.choice((0, 255, r.randrange(256)))
        case 3:
            changed[at : at + length] = r.randbytes(length)
        case 4:
            del changed[at : at + length]
        case 5:
            changed[at:at] = data[at : at + length] if r.random() < 0.5 else r.randbytes(length)
        case _:
            del changed[at:]
    return bytes(changed)


def places(value: Any, at: Place = ()) -> list[Place]:
    """Return every place in plain values."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(p for key, part in inner for p in places(part, (*at, key)))]


def json_of(text: str, r: random.Random) -> str:
    """Change one place of a JSON document, or its text."""
    if r.random() < 0.1:
        return bytes_of(text.encode(), r).decode("utf-8", "replace")
    value = json.loads(text)
    place = r.choice(places(value)[1:] or [()])
    if not place:
        return json.dumps(r.choice(OTHERS))
    holder = value
    for part in place[:-1]:
        holder = holder[part]
    _change(holder, place[-1], r)
    return json.dumps(value)


def _change(holder: Any, key: Any, r: random.Random) -> None:
    old = holder[key]
    match r.randrange(8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[f"{key}x"] = holder.pop(key)
        case 2:
            holder[key] = r.choice(OTHERS)
        case 3 if isinstance(holder, list):
            holder.insert(key, old)
        case 4 if isinstance(old, list) and old:
            r.shuffle(old)
        case 5 if isinstance(old, str):
            holder[key] = bytes_of(old.encode(), r).decode("utf-8", "replace")
        case 6:
            deep: Any = old
            for _ in range(r.choice((1, 2, 50, 900))):
                deep = [deep]
            holder[key] = deep
        case _ if isinstance(old, int | float) and not isinstance(old, bool):
            holder[key] = r.choice((old + 1, old - 1, -old, 2 * old, old / 2, old + 0.5, str(old), r.choice(NUMBERS)))
        case _:
            holder[key] = r.choice(OTHERS)


def lines_of(text: str, r: random.Random, values: tuple[str, ...], sign: str) -> str:
    """Change one line of a text of keys and values: drop, repeat, move, indent or rename it, or give another value.

    Args:
        text: the document.
        r: the generator.
        values: what a value may become.
        sign: between key and value.
    """
    if r.random() < 0.15:
        return bytes_of(text.encode(), r).decode("utf-8", "replace")
    lines = text.splitlines()
    at = r.randrange(len(lines))
    match r.randrange(8):
        case 0:
            del lines[at]
        case 1:
            lines.insert(r.randrange(len(lines)), lines[at])
        case 2:
            lines[at] = r.choice(("  ", " ", "\t")) + lines[at]
        case 3 if sign in lines[at]:
            key, _, value = lines[at].partition(sign)
            lines[at] = f"{key}x{sign}{value}"
        case _ if sign in lines[at]:
            lines[at] = f"{lines[at].partition(sign)[0]}{sign} {r.choice(values)}"
        case _:
            lines[at] = r.choice(values)
    return "\n".join(lines) + "\n"


YAML: tuple[str, ...] = (
    "2024-01-01", "2001-99-99", "!!timestamp 2001-99-99", "&a [*a]", "*a", "!!int x", "!!python/object:os.system x",
    "null", "[]", "{}", "[[[[[[[[[[1]]]]]]]]]]", "[" * 400, "{a: " * 400, "1e999", ".nan", ".inf", "-1", "0", "1.5",
    "1e30", "9" * 30, "9" * 5000, "'x'", "yes", "{kind: x}", "{kind: [1]}", "[1, 2, 3]", "!!binary zzz",
    "!!set {a, b}", "| x", "1:99:99", "\0", "é", "{1: 2}", "{null: 1}", "<<", "../x", "auto", "cuda",
    "&b [&a [1,1,1,1,1,1,1,1], *a, *a, *a, *a, *a, *a, *a]",
)  # fmt: skip
TOML: tuple[str, ...] = (
    "1979-05-27", "inf", "nan", "-1", "0", "1.5", "1e999", "9" * 30, "9" * 400, "9" * 5000, '"x"', '""', "[]",
    "[1]", '["x"]', "true", "{a = 1}", "{a.b.c.d = 1}", "[" * 400, "[[[[[1]]]]]", '"9**9**9**9"',
    '"((9**64)**64)**64"', '"1/0"', '"log2(0)"', '"bits ** bits ** bits"', '"-(-(-(-1)))"',
    '"' + "(" * 150 + "1" + ")" * 150 + '"', '"__import__"', '"a if b else c"', '"min()"', '"max(1)"',
    '"abs(1, 2)"', '"ceil(2**0.5)"', '"(-8)**0.5"', '"bits and"', '"0**-1"', '"E1"', '"network"', '"layer"',
    '["convolution"]', "1_000", "0x", "'''", "1e300", "-1e300",
)  # fmt: skip


def safetensors_of(data: bytes, r: random.Random) -> bytes:
    """Change the header, the numbers or the length of a safetensors file."""
    (length,) = struct.unpack("<Q", data[:8])
    header, body = data[8 : 8 + length], data[8 + length :]
    match r.randrange(5):
        case 0:
            return bytes_of(data, r)
        case 1:
            return struct.pack("<Q", r.choice((0, 1, length - 1, length + 8, 2**40, 2**63))) + header + body
        case 2 if body:
            return data[: 8 + length] + bytes_of(body, r)
        case 3 if body:
            at = r.randrange(0, len(body), 4)
            value = r.choice((b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\xff\xff\xff\x7f", b"\0\0\0\0"))
            changed = bytearray(body)
            changed[at : at + 4] = value[: len(body) - at]
            return data[: 8 + length] + bytes(changed)
        case _:
            entries = json.loads(header)
            name = r.choice([n for n in entries if n != "__metadata__"])
            entry = entries[name]
            match r.randrange(5):
                case 0:
                    entry["dtype"] = r.choice(
                        ("I8", "U8", "I16", "I32", "I64", "U64", "F16", "BF16", "F32", "F64", "BOOL", "X")
                    )
                case 1:
                    entry["shape"] = r.choice(([], [0], [*entry["shape"], 1], entry["shape"][::-1], [2**62, 4], [-1]))
                case 2:
                    entries[f"{name}x"] = entries.pop(name)
                case 3:
                    other = r.choice([n for n in entries if n != "__metadata__"])
                    entries[name], entries[other] = entries[other], entries[name]
                case _:
                    entry["data_offsets"][r.randrange(2)] = r.choice((0, 1, len(body), len(body) + 1, 2**40))
            new = json.dumps(entries).encode()
            return struct.pack("<Q", len(new)) + new + body


def hdf5_of(path: Path, r: random.Random) -> None:
    """Change one object of an HDF5 file, as another tool would."""
    import h5py
    import numpy as np

    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = r.choice(names)
        parent, _, last = name.rpartition("/")
        group = file[parent] if parent else file
        match r.randrange(7):
            case 0:
                del group[last]
            case 1:
                group.move(last, f"{last}x")
            case 2:
                group[f"{last}_again"] = file[r.choice(names)]
            case 3 if isinstance(group[last], h5py.Group):
                group[last]["loop"] = group
            case 4 if isinstance(group[last], h5py.Dataset) and group[last].dtype.kind in "iuf" and group[last].size:
                values = np.array(group[last][()])
                flat = values.reshape(-1)
                pool = (flat[0] + 1, -flat[0], 0, 2 * flat[0], 127)
                flat[r.randrange(flat.size)] = r.choice(
                    pool if values.dtype.kind != "f" else (*pool, np.nan, np.inf, 0.5)
                )
                group[last][...] = values
            case _:
                kind = r.choice(
                    (
                        0,
                        -1,
                        1.5,
                        np.nan,
                        np.inf,
                        10**15,
                        "text",
                        b"bytes",
                        np.zeros((0,)),
                        np.zeros((2, 2)),
                        np.arange(3),
                        np.full(2, "a"),
                    )
                )
                del group[last]
                if isinstance(kind, np.ndarray) and kind.dtype.kind == "U":
                    kind = kind.astype("S")
                group.create_dataset(last, data=kind)


def torch_of(path: Path, r: random.Random) -> None:
    """Change what torch saved: its bytes, or one value in it."""
    import torch

    if r.random() < 0.5:
        path.write_bytes(bytes_of(path.read_bytes(), r))
        return
    state = torch.load(path, weights_only=True)
    holder, key = _leaf(state, r)
    old = holder[key]
    choices: list[Callable[[], Any]] = [lambda: r.choice(OTHERS), lambda: None, lambda: 3]
    if isinstance(old, torch.Tensor):
        choices += [
            old.double,
            lambda: old.reshape(-1)[:1] * 1,
            lambda: old * torch.nan,
            lambda: old + 1,
            lambda: old.expand(3, *old.shape),
            lambda: old.to(torch.int32),
            lambda: old.to_sparse() if old.dim() else old,
            lambda: torch.zeros(0),
        ]
    if r.random() < 0.15:
        del holder[key]
    else:
        holder[key] = r.choice(choices)()
    torch.save(state, path)


def _leaf(value: Any, r: random.Random) -> tuple[Any, Any]:
    key = r.choice(list(value)) if isinstance(value, dict) else r.randrange(len(value))
    inner = value[key]
    return _leaf(inner, r) if isinstance(inner, dict | list) and inner and r.random() < 0.9 else (value, key)
