"""Layer-wise fine-tuning of the pretrained network at T = 3: the counts that its spikes miss, before and after.

    python -m benchmarks.layerwise run --stage RUN/2bit --root DATA --weights resnet20-12fca82f.th --out DIR
    python -m benchmarks.conversion table                             writes what was measured, among other results

``RUN`` is a run of the staged recipe. Its network of 2 bits, as it was before any epoch over time, is converted as it
is, and once more after its layers were tuned. What lies below ``--out`` already is not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import machine, staged
from benchmarks.lines import add_to, held_in

LINES = Path(__file__).parent / "records" / "layerwise.jsonl"
BITS, SAMPLES, IMAGES = 2, 5000, 1000
"""Bits of the stage, training images that tune a layer, and test images whose counts are compared."""
QUANTIZED = "ann.safetensors"
"""What a stage keeps of its network before epochs over time."""
WAYS = {"converted": 0, "tuned": 1}
"""Epochs of every layer, by the name of the stage."""

Line = Mapping[str, Any]


def recipe_of_stage(stage: Path, words: Sequence[str], tune_epochs: int, name: str) -> Any:
    """Return the staged recipe with one more stage, which only converts, or tunes layers and converts."""
    from bitspike.recipe import load, recipe_of

    values = load(staged.RECIPE).model_dump(mode="json")
    values["stages"].append(
        {"bits": BITS, "name": name, "parent": BITS, "epochs": 0, "over_time_epochs": 0, "tune_epochs": tune_epochs}
    )
    values["tune"] = {"epochs": 1, "samples": SAMPLES}
    values["evaluation"]["mismatch"] = IMAGES
    return load(recipe_of(values), (*words, f"stage={name}", f"init={stage / QUANTIZED}"))


def measured(stage: Path, words: Sequence[str], out: Path) -> dict[str, Any]:
    """Run what is missing and return the line."""
    import bitspike as bs

    reports = {}
    for name, epochs in WAYS.items():
        folder = out / name
        if not (folder / "report.json").is_file():
            bs.run(recipe_of_stage(stage, words, epochs, name), out=folder, resume=folder.is_dir())
        reports[name] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    place = machine.describe()
    return {**line(reports), **{name: place[name] for name in ("hardware", "threads", "versions", "commit")}}


def line(reports: Mapping[str, Line]) -> dict[str, Any]:
    """Return what is kept of the two reports."""
    plain, tuned = (reports[name]["stage"] for name in WAYS)
    return {
        "run": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": reports["tuned"]["seed"],
        "steps": plain["steps"],
        "samples": tuned["tuning"]["samples"],
        "judged": tuned["tuning"]["judged"],
        "images": plain["mismatch"]["images"],
        "quantized": plain["accuracy"]["ann"],
        **{
            name: {
                "accuracy": {images: reports[name]["accuracy"][images] for images in ("validation", "test")},
                "missed": {path: x["share"] for path, x in reports[name]["stage"]["mismatch"]["after"].items()},
                "certificate": reports[name]["certificate"]["equal"],
                "proven": reports[name]["certificate"]["samples"],
            }
            for name in WAYS
        },
        "kept": {layer["path"]: layer["epochs_kept"] > 0 for layer in tuned["tuning"]["layers"]},
    }


def latest(path: Path = LINES) -> list[dict[str, Any]]:
    """Return the kept lines, the last one of each seed, by seed."""
    return [x for _, x in sorted({x["seed"]: x for x in held_in(path)}.items())]


def section(lines: Sequence[Line]) -> list[str]:
    """Return what the document says about the lines."""
    if not lines:
        return []
    first = lines[0]
    return [
        f"### Tuned layer by layer, T = {first['steps']}",
        "",
        "The network of 2 bits before its epochs over time, converted as it is and after `bs.tune_layers` "
        f"({first['samples']:,} training images, one epoch a layer, kept where the accuracy on {first['judged']:,} "
        "images held out of the training does not fall). Accuracy in per cent.",
        "",
        "| seed | | test | held out | counts missed | epochs kept | proof |",
        "| ---: | --- | ---: | ---: | ---: | ---: | --- |",
        *(_row(x, name) for x in lines for name in WAYS),
        "",
        f"Share of spike counts on {first['images']:,} test images that are not the level of the quantized network "
        f"(which answers {fmean(100 * x['quantized']['test'] for x in lines):.1f} % of them), in per cent, by layer:",
        "",
        f"| layer | {' | '.join(WAYS)} |",
        "| --- | ---: | ---: |",
        *(f"| `{path}` | {' | '.join(_missed(lines, name, path) for name in WAYS)} |" for path in _paths(first)),
        "",
        f"{first['hardware']}, {first['threads']} thread; torch {first['versions']['torch']}; commits "
        f"{', '.join(sorted({x['commit'] for x in lines}))}. Made again by `python -m benchmarks.layerwise run --stage "
        "RUN/2bit --root DATA --weights resnet20-12fca82f.th --out DIR`.",
        "",
    ]


def _paths(line: Line) -> list[str]:
    """Return the layers that can miss a count: those whose inputs are spikes already."""
    return list(line["converted"]["missed"])[1:]


def _missed(lines: Sequence[Line], name: str, path: str) -> str:
    return f"{fmean(100 * x[name]['missed'][path] for x in lines):.1f}"


def _row(x: Line, name: str) -> str:
    found = x[name]
    cells = [
        str(x["seed"]),
        name,
        f"{100 * found['accuracy']['test']:.1f}",
        f"{100 * found['accuracy']['validation']:.1f}",
        f"{fmean(100 * found['missed'][path] for path in _paths(x)):.1f} %",
        f"{sum(x['kept'].values())} of {len(x['kept'])}" if WAYS[name] else "",
        "equal" if found["certificate"] else "NOT EQUAL",
    ]
    return f"| {' | '.join(cells)} |"


def main(words: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layerwise", description=__doc__)
    parser.add_argument("what", choices=["run"])
    parser.add_argument("--stage", type=Path, required=True, help="the folder of the 2-bit stage of a run")
    parser.add_argument("--weights", type=Path, required=True, help="the public weights")
    parser.add_argument("--root", type=Path, required=True, help="the folder of the images")
    parser.add_argument("--out", type=Path, default=Path("runs/layerwise"), help="the folder of the two runs")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(words)
    places = (f"model.weights={args.weights.resolve()}", f"data.root={args.root.resolve()}", f"seed={args.seed}")
    add_to(LINES, measured(args.stage.resolve(), places, args.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
