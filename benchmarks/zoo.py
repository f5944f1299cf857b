"""Put a trained network into the zoo of the package.

    python -m benchmarks.zoo RUN NAME --about TEXT --licence TEXT [--set data.root=DATA ...]

RUN is the finished run of a shipped recipe, or of one of its stages, that changed nothing but its seed. Its integers
are saved anew, with golden vectors that anybody can make again, and that package is proven on the images on which the
run was. Paths of the machine are taken out of recipe and report.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bitspike as bs
from benchmarks.records import RecordError, digest
from bitspike import digests, zoo
from bitspike.recipe import dump, load, recipe_of
from bitspike.runs.folder import RECIPE, REPORT
from bitspike.runs.job import finished
from bitspike.runs.saved import read_network
from bitspike.zoo.catalog import LIST
from bitspike.zoo.shelf import FILES, MODEL, NETWORK

SHELF = Path(zoo.__file__).parent / "networks"


def put(run: Path, name: str, *, about: str, licence: str, set: Sequence[str] = (), shelf: Path = SHELF) -> Path:
    """Write the file of a network and its row in the list, and return the file.

    Raises:
        RecordError: the run is not that of a shipped recipe, or its integers are not equal to its training graph.
    """
    job, report = finished(run, set)
    if digest(job.recipe) != digest(load(job.recipe.name)):
        raise RecordError(f"{run}: this run changed the recipe {job.recipe.name!r} in more than its seed")
    with tempfile.TemporaryDirectory() as scratch:
        package = bs.save(read_network(run), Path(scratch) / NETWORK)
        certificate = bs.verify(package, ((job.spiking.enter(x), y) for x, y in job.proof))
        if not certificate.equal:
            raise RecordError(f"{run}: the certificate fails at {certificate.first_difference}")
        report |= {"certificate": certificate.to_dict()}
        contents = {
            MODEL: (run / MODEL).read_bytes(),
            **{f"{NETWORK}/{file.name}": file.read_bytes() for file in package.iterdir()},
            **without_places(report),
        }
    shelf.mkdir(parents=True, exist_ok=True)
    path = shelf / f"{name}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in FILES:
            archive.writestr(zipfile.ZipInfo(file, (1980, 1, 1, 0, 0, 0)), contents[file], zipfile.ZIP_DEFLATED, 9)
    _list(shelf / LIST, name, about=about, licence=licence, sha256=digests.of_file(path))
    return path


def without_places(report: Mapping[str, Any]) -> dict[str, bytes]:
    """Return recipe and report of a run without what only its machine knows: folders, command, kernel."""
    recipe = json.loads(json.dumps(report["recipe"]))
    if "root" in recipe["data"]:
        recipe["data"]["root"] = None
    if recipe["model"].get("weights"):
        recipe["model"]["weights"] = Path(recipe["model"]["weights"]).name
    stage = "" if recipe.get("stage") is None else f" --set stage={recipe['stage']}"
    words = f"bitspike run {recipe['name']}{stage} --set seed={recipe['seed']}"
    place = {key: value for key, value in report["environment"].items() if key != "platform"}
    clean = {**report, "recipe": recipe, "command": words, "environment": place}
    return {RECIPE: dump(recipe_of(recipe)).encode(), REPORT: (json.dumps(clean, indent=1) + "\n").encode()}


def _list(path: Path, name: str, **row: str) -> None:
    """Write a row of the list of networks, in alphabetical order."""
    rows = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    rows[name] = row
    blocks = [
        "\n".join(
            [f"[{key}]", *(f"{word} = {json.dumps(text, ensure_ascii=False)}" for word, text in rows[key].items())]
        )
        for key in sorted(rows)
    ]
    path.write_text("# Written by python -m benchmarks.zoo\n\n" + "\n\n".join(blocks) + "\n", encoding="utf-8")


def main(words: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--about", required=True, help="one sentence")
    parser.add_argument("--licence", required=True, help="of the weights")
    parser.add_argument("--set", action="append", default=[], help="change a value of the recipe")
    args = parser.parse_args(words)
    print(put(args.run, args.name, about=args.about, licence=args.licence, set=args.set))
    return 0


if __name__ == "__main__":
    sys.exit(main())
