"""What is said of a network of the zoo: all of it comes from the report of its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bitspike.analysis.drawing.words import percent
from bitspike.recipe import AnyRecipe, recipe_of
from bitspike.tables import Table


@dataclass(frozen=True)
class Entry:
    """A network of the zoo.

    Args:
        name: of the network.
        about: one sentence.
        licence: of the weights, and whose they were where training began.
        report: of the run that made it, as ``report.json`` has it.
    """

    name: str
    about: str
    licence: str
    report: Mapping[str, Any] = field(repr=False)

    @property
    def recipe(self) -> AnyRecipe:
        """The recipe of the run."""
        return recipe_of(self.report["recipe"])

    @property
    def accuracy(self) -> float:
        """On the test images, as spikes, between 0 and 1."""
        value: float = self.report["accuracy"]["test"]
        return value

    @property
    def packed_bytes(self) -> int:
        """Of all codes of its weights, each in its own number of bits."""
        value: int = self.report["bytes"]["weights_packed"]
        return value

    @property
    def steps(self) -> int:
        """Time steps, T."""
        return self.recipe.steps

    @property
    def bits(self) -> tuple[int, ...]:
        """The widths of weight codes that occur in it, in ascending order."""
        return tuple(sorted(set(self.report["bits"].values())))

    @property
    def digest(self) -> str:
        """Of the package of its integers, which the certificate names."""
        value: str = self.report["certificate"]["digest"]
        return value

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        certificate = self.report["certificate"]
        return {
            "name": self.name,
            "about": self.about,
            "data": self.recipe.data.kind,
            "steps": self.steps,
            "bits": list(self.bits),
            "accuracy": self.accuracy,
            "samples": certificate["samples"],
            "weights_packed": self.packed_bytes,
            "certificate": dict(certificate),
            "licence": self.licence,
            "command": self.report["command"],
            "seed": self.report["seed"],
            "environment": dict(self.report["environment"]),
            "finished": self.report["finished"],
        }

    def __str__(self) -> str:
        plain = self.to_dict()
        certificate, place = plain["certificate"], plain["environment"]
        spikes = f"{certificate['spikes_compared']:,} spikes of {certificate['samples']:,} images"
        rows = (
            ("data", f"{plain['data']}; accuracy {percent(self.accuracy)} as spikes"),
            ("steps", f"T = {self.steps}"),
            ("weights", f"{_bits(self.bits)}, {self.packed_bytes / 1024:.1f} KiB packed"),
            ("certificate", f"{'equal' if certificate['equal'] else 'NOT EQUAL'}: {spikes}"),
            ("package", f"digest {self.digest[:16]}..."),
            ("made by", plain["command"]),
            ("on", f"{place['cpu']}, torch {place['torch']}, bitspike {place['bitspike']}, {plain['finished'][:10]}"),
            ("licence", self.licence),
        )
        lines = [f"{self.name}: {self.about}", *(f"  {label:<12} {text}" for label, text in rows)]
        return "\n".join(lines)


def table_of(entries: list[Entry]) -> Table:
    """Return the entries as a table."""
    rows = [
        (e.name, e.recipe.data.kind, str(e.steps), _bits(e.bits), f"{e.packed_bytes / 1024:.1f}", percent(e.accuracy))
        for e in entries
    ]
    return Table("", ("network", "data", "T", "weights", "KiB", "test"), rows)


def _bits(bits: tuple[int, ...]) -> str:
    return f"{' and '.join(map(str, bits))} bit{'s' * (bits != (1,))}"
