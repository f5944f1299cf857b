"""What cells of a memory technology cost: how they conduct, what reading them takes, how large they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitspike.errors import ConstraintError, short
from bitspike.hardware.toml_file import find, names_in, read_toml

TABLES = Path(__file__).parent / "tables"
FORMAT = 1
PAIR = 2
"""Cells of a weight: a pair, of which one conducts for a positive weight and the other for a negative one (P. Yao et
al., Fully hardware-implemented memristor convolutional neural network, Nature 577, 2020)."""
_KEYS = {
    "cell": ("on_ohm", "off_ohm", "read_volt", "read_second", "area_f2"),
    "sram": ("area_f2",),
    "array": ("rows", "conversion_pj", "conversion_bits"),
}
_COPY = f"a copy of {TABLES / 'rram-1t1r.toml'}, changed line by line"


@dataclass(frozen=True, kw_only=True)
class Devices:
    """Cells that hold weights as conductances, and the arrays that they stand in.

    Args:
        name: of the table.
        process: in words.
        sources: where the figures come from.
        on_ohm, off_ohm: resistance of a cell that conducts the most, and the least, Ohm.
        read_volt, read_second: of the pulse that reads a row.
        cell_f2, sram_f2: area of a cell and of a bit of SRAM, in squares of the feature size.
        rows: of an array, read at once; what a column adds up is converted to a number.
        conversion_pj: energy of one conversion, pJ.
        conversion_bits: the bits of its result.

    Raises:
        ConstraintError: a figure is not above 0, or ``off_ohm`` is below ``on_ohm``.
    """

    name: str
    process: str
    sources: tuple[str, ...]
    on_ohm: float
    off_ohm: float
    read_volt: float
    read_second: float
    cell_f2: float
    sram_f2: float
    rows: int
    conversion_pj: float
    conversion_bits: int

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            if key in ("name", "process", "sources"):
                continue
            whole = key in ("rows", "conversion_bits")
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not 0 < value < 1e18:
                raise ConstraintError(
                    f"devices {self.name!r}: {key} is {short(value)}; a {'whole ' * whole}number above 0 is needed",
                    fix=_COPY,
                )
        if self.off_ohm < self.on_ohm:
            raise ConstraintError(
                f"devices {self.name!r}: off_ohm {self.off_ohm:g} is below on_ohm {self.on_ohm:g}, so that a cell "
                "that is off conducts more than one that is on",
                fix=f"on_ohm = {self.off_ohm:g}, off_ohm = {self.on_ohm:g}",
            )

    def pulse_pj(self, magnitude: float) -> float:
        """Return the energy of one pulse on the pair of cells of a weight, V**2 * G * t, pJ.

        One cell of the pair conducts in proportion to the weight, the other is off:
        G = 2 * G_off + (G_on - G_off) * magnitude.

        Args:
            magnitude: of the weight over the largest one of its layer, 0 to 1.

        Example:
            >>> devices = load("rram-1t1r")
            >>> round(devices.pulse_pj(1.0), 4), round(devices.pulse_pj(0.0), 4)  # 0.25 V**2 * 10 ns / 6 kOhm
            (0.4194, 0.0056)
        """
        on, off = 1 / self.on_ohm, 1 / self.off_ohm
        return self.read_volt**2 * self.read_second * (2 * off + (on - off) * magnitude) * 1e12


def names() -> list[str]:
    """Return the names of the tables that ship.

    Example:
        >>> names()
        ['rram-1t1r']
    """
    return names_in(TABLES)


def load(devices: str | Path | Devices) -> Devices:
    """Return devices by the name of a shipped table, or from a TOML file of the same form.

    Raises:
        ConstraintError: there is no such table or file, or it cannot be read.
    """
    if isinstance(devices, Devices):
        return devices
    path = find(devices, TABLES, "devices", noun="table of devices")
    values = read_toml(path, "devices")
    if values.get("format") != FORMAT:
        raise ConstraintError(
            f"devices {path}: format = {short(values.get('format'))}; this version reads format = {FORMAT}",
            fix=f"format = {FORMAT}",
        )
    allowed = ("format", "name", "process", "sources", *_KEYS)
    if unknown := [key for key in values if key not in allowed]:
        raise ConstraintError(
            f"devices {path}: unknown {', '.join(unknown)}; allowed are {', '.join(allowed)}",
            fix=f"leave {unknown[0]} out",
        )
    parts = {part: _part(path, values, part) for part in _KEYS}
    return Devices(
        name=str(values.get("name", path.stem)),
        process=str(values.get("process", "")),
        sources=tuple(map(str, values.get("sources", ()))),
        cell_f2=parts["cell"].pop("area_f2"),
        sram_f2=parts["sram"].pop("area_f2"),
        **parts["cell"],
        **parts["array"],
    )


def _part(path: Path, values: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Return the keys of one section, all of them and no other."""
    section, keys = values.get(part), _KEYS[part]
    if not isinstance(section, dict) or set(section) != set(keys):
        have = ", ".join(section) if isinstance(section, dict) else short(section)
        raise ConstraintError(f"devices {path}: [{part}] has {have or 'no key'}; it needs {', '.join(keys)}", fix=_COPY)
    return dict(section)
