"""Constrained backpropagation, measured: four networks with binary and ternary weights, and five ways to ternary ones.

    python -m benchmarks.constrained run --out DIR [RECIPE...] [--seeds 0 1 2]     trains what is missing, and keeps it
    python -m benchmarks.constrained keep RUN...                                   keeps runs that are finished already
    python -m benchmarks.constrained table                  writes the tables into docs/from/cbp-qsnn.md

A run that was stopped goes on where it was; what lies below ``--out`` already is not trained again.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.lines import add_to, held_in
from benchmarks.markers import put
from benchmarks.records import commit_of, digest
from bitspike.recipe import AnyRecipe, load, names, recipe_of

HERE = Path(__file__).parent
LINES = HERE / "records" / "constrained.jsonl"
DOCUMENT = HERE.parent / "docs" / "from" / "cbp-qsnn.md"
BEGIN = "<!-- constrained: python -m benchmarks.constrained table writes this -->"
END = "<!-- /constrained -->"
NETWORKS = {
    "cbp-calibration-digits": "SNN calibration, ResNet-8, digits",
    "cbp-stbp-digits": "STBP, digits",
    "cbp-tssl-digits": "TSSL-BP, digits",
    "cbp-sew-digits-events": "SEW-ResNet, digits before a simulated event camera",
    "cbp-mnist-stbp": "STBP, MNISTNet, MNIST",
    "cbp-resnet20-cifar10-bin": "SNN calibration, the public ResNet-20, CIFAR-10",
    "cbp-resnet20-cifar10-ter": "SNN calibration, the public ResNet-20, CIFAR-10",
}
"""Recipes with a network in floats and, from it, in binary and ternary weights."""
COMPARISONS = ("cbp-comparison-digits", "cbp-comparison-resnet20")
METHODS = {
    "one-shot": "rounded at once, not trained",
    "ternary": "TWN",
    "qat": "rounding in the loop",
    "dorefa": "DoReFa",
    "cbp": "constrained backpropagation",
}
LEVELS = {2: "binary", 3: "ternary"}

Line = Mapping[str, Any]


def run(name: str, seed: int, out: Path, *, more: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Train what is missing of a recipe with a seed, and return a line for each of its stages."""
    import bitspike as bs

    folder = out / f"{name}-seed{seed}"
    if not (folder / "report.json").is_file():
        bs.run(name, set=[f"seed={seed}", *more], out=folder, resume=folder.is_dir())
    return lines_of(folder)


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """Return what is kept of a finished run: a line for each of its stages, or one for a run that is a stage."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    recipe = recipe_of(report["recipe"])
    if recipe.name not in names() or digest(recipe) != digest(load(recipe.name, stage_of(recipe))):
        raise ValueError(f"{folder}: the run changed its recipe in more than the seed")
    return [line(folder / part) for part in recipe.parts] if recipe.parts else [line(folder)]


def stage_of(recipe: AnyRecipe) -> list[str]:
    """Return the change that chooses the stage that a recipe was run for."""
    stage = getattr(recipe, "stage", None)
    return [] if stage is None else [f"stage={stage}"]


def line(folder: Path) -> dict[str, Any]:
    """Return what is kept of a stage: its accuracy, its size, its proof, and how far its weights are from levels."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    recipe = recipe_of(report["recipe"])
    return {
        "recipe": recipe.name,
        "stage": str(getattr(recipe, "stage", "")),
        "seed": recipe.seed,
        "experiment": digest(recipe),
        "steps": recipe.steps,
        "epochs": sum(section.epochs for section in recipe.trainings.values()),
        "accuracy": {name: report["accuracy"][name] for name in ("test", "validation")},
        "images": report["certificate"]["samples"],
        "equal": report["certificate"]["equal"],
        "bytes": report["bytes"]["weights_packed"],
        "constraints": constraints(folder),
        "seconds": report["seconds"]["total"],
        **{name: report["environment"][name] for name in ("cpu", "threads", "torch", "bitspike")},
        "commit": commit_of(report),
    }


def constraints(folder: Path) -> dict[str, Any] | None:
    """Return how far the weights of a stage are from their levels, and what their projection changes; None without any.

    ``levels`` and ``latent`` are the accuracies on the test images of the trained network, with the weights on their
    levels and with those that the optimizer moved.
    """
    import bitspike as bs
    from bitspike.runs.job import finished
    from bitspike.train import evaluate
    from bitspike.weights import detach
    from bitspike.weights.constraints.backprop import ConstrainedWeight
    from bitspike.weights.path import paths

    job, _ = finished(folder)
    failure = bs.constraint_failure(job.model)
    if failure is None:
        return None
    levels = {
        len(path.quantize.plan.levels)
        for *_, path, _ in paths(job.model)
        if isinstance(path.quantize, ConstrainedWeight)
    }
    latent = copy.deepcopy(job.model)
    for _, module, tensor, path, _ in list(paths(latent)):
        if tensor == "weight" and isinstance(path.quantize, ConstrainedWeight):
            detach(module, keep="latent")
    scores = {
        name: evaluate(network, job.test, seed=job.recipe.seed, task=job.task).accuracy
        for name, network in (("levels", job.model), ("latent", latent))
    }
    return {**failure.to_dict(), "values": max(levels), **scores}


def keep(found: Sequence[Line], path: Path = LINES) -> None:
    """Add lines to those that are kept."""
    add_to(path, *found)


def latest(path: Path = LINES) -> list[dict[str, Any]]:
    """Return the kept lines, the last one of each stage and seed."""
    return list({(x["recipe"], x["stage"], x["seed"]): x for x in held_in(path)}.values())


def current(lines: Sequence[Line]) -> list[Line]:
    """Return the lines whose recipe still asks for the same experiment."""
    shipped_now = set(names())
    return [
        x
        for x in lines
        if x["recipe"] in shipped_now
        and x["experiment"] == digest(load(x["recipe"], [f"stage={x['stage']}"] if x["stage"] else []))
    ]


def document(text: str, lines: Sequence[Line]) -> str:
    """Return a document with the tables of the lines between its markers."""
    parts = [*networks(lines), *(row for name in COMPARISONS for row in comparison(name, lines))]
    return put(text, "\n".join(["", *parts, *made(lines)]), BEGIN, END)


def networks(lines: Sequence[Line]) -> list[str]:
    """Return the table of networks: what they lose with binary and with ternary weights, and how near these are."""
    rows = list[str]()
    for name, title in NETWORKS.items():
        own = [x for x in lines if x["recipe"] == name]
        floats = [x for x in own if x["constraints"] is None]
        for values, word in LEVELS.items():
            some = [x for x in own if x["constraints"] is not None and x["constraints"]["values"] == values]
            if some:
                rows.append(_network(f"`{name}`", title, word, floats, some))
    head = [
        "network", "weights", "T", "seeds", "floats", "test", "points lost", "CFS in units of the scale",
        "weights off their level", "projection moves the accuracy by", "bytes", "proof",
    ]  # fmt: skip
    return ["### Binary and ternary weights", "", _row(head), _row(["---"] * len(head)), *rows, ""] if rows else []


def _network(name: str, title: str, word: str, floats: Sequence[Line], some: Sequence[Line]) -> str:
    tests, at = [100 * x["accuracy"]["test"] for x in some], [x["constraints"] for x in some]
    before = {x["seed"]: 100 * x["accuracy"]["test"] for x in floats}
    lost = [before[x["seed"]] - 100 * x["accuracy"]["test"] for x in some if x["seed"] in before]
    moved = max(abs(c["levels"] - c["latent"]) for c in at)
    return _row(
        [
            f"{title} ({name})",
            word,
            str(some[0]["steps"]),
            str(len(some)),
            spread(list(before.values())) if before else "",
            f"**{spread(tests)}**",
            spread(lost, sign="+") if lost else "",
            f"{max(c['relative'] for c in at):.1e}",
            f"{100 * max(c['off'] for c in at):.2f} %",
            f"{100 * moved:.2f} points",
            f"{some[0]['bytes']:,}",
            "equal" if all(x["equal"] for x in some) else "NOT EQUAL",
        ]
    )


def comparison(name: str, lines: Sequence[Line]) -> list[str]:
    """Return the table of ways to ternary weights, best first, and which one wins by how much."""
    own = [x for x in lines if x["recipe"] == name]
    by_stage = {stage: [x for x in own if x["stage"] == stage] for stage in METHODS}
    order = sorted((s for s in METHODS if by_stage[s]), key=lambda s: -mean(_tests(by_stage[s])))
    if not order:
        return []
    head = ["way", "epochs", "seeds", "test", "validation", "bytes", "proof"]
    floats = [x for x in own if x["stage"] not in METHODS]
    rows = [_way(METHODS[stage], by_stage[stage]) for stage in order]
    rows += [_way(f"floats, 8-bit codes, T = {floats[0]['steps']}", floats)] if floats else []
    return [
        f"### Ways to ternary weights, T = {by_stage[order[0]][0]['steps']} (`{name}`)",
        "",
        _row(head),
        _row(["---"] * len(head)),
        *rows,
        "",
        *([winner(by_stage[order[0]], by_stage[order[1]], order[0], order[1]), ""] if len(order) > 1 else []),
        *([nearness(by_stage["cbp"]), ""] if any(x["constraints"] for x in by_stage["cbp"]) else []),
    ]


def nearness(runs: Sequence[Line]) -> str:
    """Say how near the weights of constrained backpropagation are to their levels, in the worst of the runs."""
    at = [x["constraints"] for x in runs if x["constraints"] is not None]
    moved = max(abs(c["levels"] - c["latent"]) for c in at)
    return (
        f"The weights of constrained backpropagation end with a CFS of {max(c['relative'] for c in at):.1e} times the "
        f"scale, {100 * max(c['off'] for c in at):.2f} % of them off their level; projection moves the accuracy by "
        f"{100 * moved:.2f} points."
    )


def _way(title: str, runs: Sequence[Line]) -> str:
    validation = [100 * x["accuracy"]["validation"] for x in runs if x["accuracy"]["validation"] is not None]
    return _row(
        [
            title,
            str(runs[0]["epochs"]),
            str(len(runs)),
            f"**{spread(_tests(runs))}**",
            spread(validation) if validation else "",
            f"{runs[0]['bytes']:,}",
            "equal" if all(x["equal"] for x in runs) else "NOT EQUAL",
        ]
    )


def winner(first: Sequence[Line], second: Sequence[Line], name: str, other: str) -> str:
    """Say which way is best, and whether it is surely so: by the differences of runs with the same seed.

    Example:
        >>> runs = lambda *tests: [{"seed": n, "accuracy": {"test": t}} for n, t in enumerate(tests)]
        >>> winner(runs(0.95, 0.97), runs(0.94, 0.98), "qat", "cbp")[:61]
        'Rounding in the loop has the best mean, 0.00 ± 1.00 points ('
    """
    tests = {x["seed"]: 100 * x["accuracy"]["test"] for x in second}
    ahead = [100 * x["accuracy"]["test"] - tests[x["seed"]] for x in first if x["seed"] in tests]
    title = METHODS[name][:1].upper() + METHODS[name][1:]
    error = stdev(ahead) / len(ahead) ** 0.5 if len(ahead) > 1 else float("inf")
    sure = "" if abs(mean(ahead)) > 2 * error else ": these seeds do not tell the two apart"
    if not any(ahead):
        return f"{title} and {METHODS[other]} reach the same with every seed."
    by = f"{mean(ahead):.2f}" + (f" ± {error:.2f}" if len(ahead) > 1 else "")
    return f"{title} has the best mean, {by} points (standard error over the seeds) before {METHODS[other]}{sure}."


def _tests(runs: Sequence[Line]) -> list[float]:
    return [100 * x["accuracy"]["test"] for x in runs]


def spread(values: Sequence[float], sign: str = "") -> str:
    """Return mean and standard deviation over the seeds.

    Example:
        >>> spread([97.0, 99.0]), spread([0.5], sign="+")
        ('98.00 ± 1.41', '+0.50')
    """
    return f"{mean(values):{sign}.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def made(lines: Sequence[Line]) -> list[str]:
    """Say what the columns are, and where and by what the runs were made."""
    if not lines:
        return ["Not measured yet."]
    places = sorted({f"{x['cpu']}, {x['threads']} thread{'s' * (x['threads'] > 1)}, torch {x['torch']}" for x in lines})
    commits = ", ".join(sorted({x["commit"] for x in lines}))
    return [
        "Accuracy of the spiking network in per cent after the last epoch, mean ± standard deviation over seeds. "
        "Points lost: between runs of the same seed. CFS: the mean of twice the distance of a weight from its level; "
        "off its level is what is further from it than a thousandth of the scale; of several seeds the worst. "
        "Projection: test accuracy with all weights on their levels against that with the weights that the optimizer "
        "moved. Proof: every spike of the integers equals that of the training graph on the test images.",
        "",
        f"{'; '.join(places)}; bitspike at {commits}. The processor had other work at the same time. Made again by",
        "",
        "```",
        "python -m benchmarks.constrained run --out runs/constrained --seeds 0 1 2",
        "python -m benchmarks.constrained table",
        "```",
    ]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(words: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.constrained", description=__doc__)
    parser.add_argument("what", choices=["run", "keep", "table"])
    parser.add_argument(
        "names", nargs="*", help="run: recipes, all that need no data by default; keep: folders of runs"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs"), help="the folder of the runs")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="where data and weights are")
    args = parser.parse_args(words)
    if args.what == "table":
        DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8"), current(latest())), encoding="utf-8")
        return 0
    if args.what == "keep":
        for folder in args.names:
            keep(lines_of(Path(folder)))
        return 0
    own = [name for name in [*NETWORKS, *COMPARISONS] if "digits" in name and name in names()]
    for name in args.names or own:
        for seed in args.seeds:
            keep(run(name, seed, args.out, more=args.set))
    return 0


if __name__ == "__main__":
    sys.exit(main())
