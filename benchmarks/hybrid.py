"""Weights in memory devices: bits of the cells against their variation, and what training, SRAM and pruning give back.

    python -m benchmarks.hybrid run --out DIR      trains and measures what is missing below DIR, and keeps the lines
    python -m benchmarks.hybrid table              writes the tables into docs/memory-devices.md

Every network is a stage of ``digits-hybrid-memory``, with other bits and another scale of sigma. A stage that is
finished is not trained again, and a chip that was measured not measured again: the command may be stopped at any time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks import machine
from benchmarks.lines import add_to, held_in
from benchmarks.markers import put

HERE = Path(__file__).parent
LINES = HERE / "records" / "hybrid.jsonl"
DOCUMENT = HERE.parent / "docs" / "memory-devices.md"
BEGIN, END = "<!-- hybrid: python -m benchmarks.hybrid table writes this -->", "<!-- /hybrid -->"
RECIPE = "digits-hybrid-memory"
BITS, SCALES, SRAM = (1, 2, 3, 4, 8), (0, 1, 2), (1, 2, 4)
"""Bits of the cells; factors of the sigma that was measured for these; bits of the SRAM next to them."""
PRUNED = 2
"""Bits of the SRAM that is pruned."""
MAIN, SEEDS = 4, (0, 1, 2)
"""The bits that are trained with several seeds; all others are with the first."""
CHIPS, LEAST = 20, 0.03
"""Chips per network, and the cost in accuracy from which recovery is asked to give a share back."""
ASKED = 0.8
"""The share of that cost which recovery is asked to give back at the largest scale."""

Line = Mapping[str, Any]


def name_of(kind: str, scale: int) -> str:
    """Return the name of a stage.

    Example:
        >>> name_of("sram2", 1), name_of("aware", 0)
        ('sram2-scale1', 'baseline')
    """
    return "baseline" if kind == "aware" and scale == 0 else f"{kind}-scale{scale}"


def recipe_of(bits: int, seed: int, changes: Sequence[str] = ()) -> Any:
    """Return the recipe of all networks with cells of so many bits: the shipped one, with other stages."""
    from bitspike.recipe import load
    from bitspike.recipe import recipe_of as checked

    values = load(RECIPE, (f"seed={seed}", f"weights.quantize.bits={bits}", *changes)).model_dump(mode="json")
    given = {stage["name"]: stage.get("weights") for stage in values["stages"]}
    stages = [{"name": "baseline", "weights": values["weights"]}]
    for scale in SCALES:
        vary = {**given["varied"]["vary"], "bits": bits, "scale": float(scale)}
        weights = {**values["weights"], "vary": vary}
        aware = name_of("aware", scale)
        if scale:
            stages.append({"name": aware, "parent": "baseline", "weights": weights})
        for sram in SRAM:
            recover = {**given["recovered"]["recover"], "bits": sram}
            parts = {"name": name_of(f"sram{sram}", scale), "parent": aware, "weights": weights | {"recover": recover}}
            stages.append(parts)
        recover, prune = given["pruned"]["recover"] | {"bits": PRUNED}, given["pruned"]["prune"]
        whole = weights | {"recover": recover, "prune": prune}
        stages.append({"name": name_of("pruned", scale), "parent": aware, "weights": whole})
    return checked({**values, "stages": stages})


def measured(out: Path, bits: int, seed: int, *, chips: int = CHIPS, changes: Sequence[str] = ()) -> dict[str, Any]:
    """Train and measure what is missing of the networks with cells of so many bits, and return their line."""
    import bitspike as bs

    recipe, folder = recipe_of(bits, seed, changes), out / f"{bits}bit-seed{seed}"
    if not (folder / "report.json").is_file():
        bs.run(recipe, out=folder, resume=(folder / "recipe.yaml").is_file())
    place = machine.describe()
    return {
        "run": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": RECIPE,
        "bits": bits,
        "seed": seed,
        "chips": chips,
        "epochs": recipe.training.epochs,
        "steps": recipe.steps,
        "resolution": _resolution(bits),
        "rows": [_row(folder, recipe, bits, scale, chips) for scale in SCALES],
        **{name: place[name] for name in ("hardware", "threads", "versions", "commit")},
    }


def _resolution(bits: int) -> int:
    """Return the bits with which cells are read: enough to tell all levels of a chip without variation apart."""
    return max(7, bits)


def _row(folder: Path, recipe: Any, bits: int, scale: int, chips: int) -> dict[str, Any]:
    """Return what all networks of one scale reach."""
    kinds = {"aware": "aware", **{str(n): f"sram{n}" for n in SRAM}, "pruned": "pruned"}
    names = {key: name_of(kind, scale) for key, kind in kinds.items()}
    untrained = [f"stages.0.weights.vary={{kind: rram, bits: {bits}, scale: {scale}}}"]
    stages = {stage.name: place for place, stage in enumerate(recipe.stages)}
    found = {"untrained": _chips(folder / "baseline", bits, chips, folder / f"untrained-scale{scale}", untrained)}
    for key, name in names.items():
        if name == "baseline":
            found[key] = found["untrained"]
        else:
            found[key] = _chips(folder / name, bits, chips, folder / name / "yield")
        assert name in stages
    return {"scale": scale, **found, "sparsity": _sparsity(folder / names["pruned"])}


def _chips(run: Path, bits: int, chips: int, out: Path, changes: Sequence[str] = ()) -> dict[str, Any]:
    """Measure the chips of a run that are missing, and return their figures next to that without variation."""
    import bitspike as bs

    result = bs.yield_(run, chips=chips, resolution=_resolution(bits), set=changes, out=out)
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    return {
        "clean": result.ideal,
        "mean": result.statistics.mean.to_dict(),
        "deviation": result.statistics.deviation.value,
        "worst": result.statistics.worst,
        "images": result.samples,
        "by": result.by,
        "certificate": report["certificate"]["equal"],
        "seconds": report["seconds"]["total"],
    }


def _sparsity(run: Path) -> dict[str, float]:
    from bitspike.runs.job import finished
    from bitspike.weights import sparsity

    found = sparsity(finished(run)[0].model)
    return {"weights": found.weights, "groups": found.groups}


def latest(path: Path = LINES) -> list[dict[str, Any]]:
    """Return the kept lines, the last one of each number of bits and seed, in their order."""
    return sorted({(x["bits"], x["seed"]): x for x in held_in(path)}.values(), key=lambda x: (x["bits"], x["seed"]))


def document(text: str, lines: Sequence[Line]) -> str:
    """Return a document with the tables of the lines between its markers."""
    return put(text, "\n".join(["", *(tables(lines) if lines else []), ""]), BEGIN, END)


def cost(row: Line) -> float:
    """Return what variation costs a network that was not trained for it, as a fraction."""
    clean: float = row["untrained"]["clean"]
    middle: float = row["untrained"]["mean"]["value"]
    return clean - middle


def returned(row: Line, key: str) -> float:
    """Return the share of that cost which a network gives back that was trained for it.

    Example:
        >>> row = {"untrained": {"clean": 0.9, "mean": {"value": 0.5}}, "2": {"mean": {"value": 0.8}}}
        >>> round(returned(row, "2"), 3)
        0.75
    """
    gain: float = row[key]["mean"]["value"] - row["untrained"]["mean"]["value"]
    return gain / cost(row)


def tables(lines: Sequence[Line]) -> list[str]:
    """Return what the lines say: the grid with the first seed, and the main row with all of them."""
    grid = [x for x in lines if x["seed"] == SEEDS[0]]
    main = [x for x in lines if x["bits"] == MAIN]
    first = grid[0]
    images = first["rows"][0]["untrained"]["images"]
    proven = [row[key]["certificate"] for x in lines for row in x["rows"] for key in _trained(row["scale"])]
    minutes = sum(row[key]["seconds"] for x in lines for row in x["rows"] for key in _trained(row["scale"])) / 60
    places = sorted({f"{x['hardware']}, {x['threads']} thread{'s' * (x['threads'] != 1)}" for x in lines})
    versions = sorted({f"bitspike {x['versions']['bitspike']}, torch {x['versions']['torch']}" for x in lines})
    missing = [str(bits) for bits in BITS if bits not in {x["bits"] for x in grid}]
    return [
        f"Digits of the package, {images} test images, T = {first['steps']}, {first['epochs']} epochs a stage, seed "
        f"{first['seed']}. Mean test accuracy of {first['chips']} chips in per cent, ± their standard deviation. The "
        "first column is the network without variation; `untrained` has it only on its chips; `aware` was trained "
        f"with it; then SRAM of 1, 2 and 4 bits, and {PRUNED} bits pruned, with the share of SRAM weights that pruning "
        "leaves out. `given back` is the best of the SRAM columns: the share of what variation costs the untrained "
        "network. A stage adds its epochs to those of its parent, so that a part of every gain is longer training: at "
        "scale 0, where nothing varies, it is all of it.",
        "",
        f"| bits | scale | clean | untrained | aware | {' | '.join(f'SRAM {n}' for n in SRAM)} | pruned | left out "
        "| given back |",
        f"| ---: | ---: | ---: | ---: | ---: | {'---: | ' * len(SRAM)}---: | ---: | ---: |",
        *(_cells(x, row) for x in grid for row in x["rows"]),
        "",
        _verdict(grid) + (f" Not measured yet: cells of {', '.join(missing)} bits." if missing else ""),
        "",
        *_of_seeds(main),
        f"The integers of {'all' if all(proven) else 'NOT all'} {len(proven)} networks are proven by certificates.",
        f"The trainings took {minutes:.0f} minutes next to other work; {'; '.join([*places, *versions])}; commits "
        f"{', '.join(sorted({x['commit'] for x in lines}))}. Made again by",
        "",
        "```",
        "python -m benchmarks.hybrid run --out runs/hybrid",
        "python -m benchmarks.hybrid table",
        "```",
    ]


_COLUMNS = ("untrained", "aware", *map(str, SRAM), "pruned")


def _trained(scale: int) -> tuple[str, ...]:
    """Return the columns of which each is a training of its own, counted at the first scale that it is shown at."""
    return tuple(key for key in _COLUMNS if key != ("aware" if scale == 0 else "untrained"))


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _cells(x: Line, row: Line) -> str:
    values = [row[key] for key in _COLUMNS]
    given = "" if cost(row) <= LEAST else f"{returned(row, _best(row)):.0%}"
    spread = [_percent(v["mean"]["value"]) + (f" ± {_percent(v['deviation'])}" if row["scale"] else "") for v in values]
    left_out = f"{row['sparsity']['weights']:.1%}"
    cells = [str(x["bits"]), str(row["scale"]), _percent(values[0]["clean"]), *spread, left_out, given]
    return f"| {' | '.join(cells)} |"


def _best(row: Line) -> str:
    return max(map(str, SRAM), key=lambda key: row[key]["mean"]["value"])


def _verdict(grid: Sequence[Line]) -> str:
    """Say in which rows of the largest scale recovery gives back what is asked."""
    asked = [(x, row) for x in grid for row in x["rows"] if row["scale"] == max(SCALES) and cost(row) > LEAST]
    short = [(x, row) for x, row in asked if returned(row, _best(row)) < ASKED]
    missed = ", ".join(f"{x['bits']} bits ({returned(row, _best(row)):.0%})" for x, row in short)
    said = f"missed with {missed}" if short else "reached in all of them"
    return (
        f"Asked for: at least {ASKED:.0%} given back at scale {max(SCALES)} wherever variation costs more than "
        f"{100 * LEAST:.0f} points, which it does in {len(asked)} of {len(grid)} rows; {said}."
    )


def _of_seeds(main: Sequence[Line]) -> Iterator[str]:
    """Yield the table of the bits that were trained with several seeds."""
    if len(main) < 2:
        return
    yield f"Cells of {MAIN} bits, trained with {len(main)} seeds; mean ± standard deviation over the seeds:"
    yield ""
    yield f"| scale | clean | untrained | aware | {' | '.join(f'SRAM {n}' for n in SRAM)} | pruned |"
    yield f"| ---: | ---: | ---: | ---: | {'---: | ' * len(SRAM)}---: |"
    for place, scale in enumerate(SCALES):
        rows = [x["rows"][place] for x in main]
        cells = [_over_seeds([row["untrained"]["clean"] for row in rows])]
        cells += [_over_seeds([row[key]["mean"]["value"] for row in rows]) for key in _COLUMNS]
        yield f"| {' | '.join([str(scale), *cells])} |"
    yield ""


def _over_seeds(values: Sequence[float]) -> str:
    return f"{_percent(mean(values))} ± {_percent(stdev(values))}"


def main(words: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hybrid", description=__doc__)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--out", type=Path, default=Path("runs/hybrid"), help="the folder of the runs")
    parser.add_argument("--chips", type=int, default=CHIPS)
    parser.add_argument("--bits", type=int, nargs="+", choices=BITS, default=BITS, help="only cells of these bits")
    args = parser.parse_args(words)
    if args.what == "table":
        DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8"), latest()), encoding="utf-8")
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    grid = [(bits, SEEDS[0]) for bits in sorted(args.bits, key=lambda bits: bits != MAIN)]
    for bits, seed in [*grid, *((MAIN, seed) for seed in SEEDS[1:] if MAIN in args.bits)]:
        line = measured(args.out, bits, seed, chips=args.chips)
        add_to(LINES, line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
