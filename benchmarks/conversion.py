"""What a trained network keeps of its accuracy when it is converted without training, by neuron, rule and T.

    python -m benchmarks.conversion run --weights resnet20-12fca82f.th --root DATA    appends a JSON line per result
    python -m benchmarks.conversion defaults --network NAME --weights FILE --root DATA    the same, with the defaults
    python -m benchmarks.conversion table                                             writes document and figure
What a line holds already is not measured again, so that a run that was stopped goes on where it stood.
The networks are those of :mod:`benchmarks.conversion_networks`; the images are what ``bs.data`` finds below ``--root``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import layerwise, machine, quantized_results, staged
from benchmarks.conversion_defaults import ORDER, cell, defaults, seeds
from benchmarks.lines import held_in
from benchmarks.plots import PALETTE, svg
from benchmarks.records import read
from bitspike.recipe import load

HERE = Path(__file__).parent
FOLDER = HERE / "conversions"
LINES = FOLDER / "resnet20-cifar10.jsonl"
DOCUMENT = HERE.parent / "docs" / "conversion-results.md"
FIGURE = HERE.parent / "docs" / "figures" / "conversion.svg"
CALIBRATION = 1024
TUNED = "resnet20-cifar10-w"
"""How the names of the recipes begin that fine-tune the network."""
TARGETS = {64: 0.7, 32: 2.0, 16: 6.0}
"""By T, how many points below the float network are asked for at most."""


@dataclass(frozen=True)
class Way:
    """One way to convert; several corrections are made in turn."""

    neuron: str
    threshold: str
    correct: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What a line and a row of the table call it."""
        if self.threshold == "default":
            return "default" if self.correct else "default, correct=None"
        corrected = f", {' and '.join(self.correct)} corrected" if self.correct else ""
        return f"{self.neuron}, {_RULES[self.threshold]}{corrected}"

    def choices(self) -> dict[str, Any]:
        """Return the arguments of ``bs.convert``."""
        import bitspike as bs

        if self.threshold == "default":
            return {} if self.correct else {"correct": None}
        rules = {
            "max": bs.MaxThreshold(),
            "percentile": bs.PercentileThreshold(99.9),
            "mse": bs.MSEThreshold(),
            "mse per channel": bs.MSEThreshold(per_channel=True),
        }
        return {
            "neuron": {"IF": bs.IF, "SignedIF": bs.SignedIF}[self.neuron],
            "threshold": rules[self.threshold],
            "correct": self.correct or None,
        }


_RULES = {
    "max": "largest activation",
    "percentile": "percentile 99.9",
    "mse": "least squared error",
    "mse per channel": "least squared error per channel",
}
DEFAULTS = (Way("IF", "default", ("auto",)), Way("IF", "default"))
"""``bs.convert`` with no argument but steps, and what it would be without a correction."""
LIGHT, POTENTIAL, ADVANCED = ("bias",), ("potential",), ("weights", "potential")
WAYS = tuple(
    Way(neuron, threshold, correct)
    for neuron in ("IF", "SignedIF")
    for threshold, correct in (
        ("max", ()),
        ("percentile", ()),
        ("mse", ()),
        ("mse per channel", ()),
        ("mse", LIGHT),
        ("mse", POTENTIAL),
        ("mse", ADVANCED),
    )
)


def wanted(only: str) -> list[Way]:
    """Return the ways of a name, or those whose names begin with it."""
    return [way for way in WAYS if way.name == only] or [way for way in WAYS if way.name.startswith(only)]


def measured(
    network: str, weights: Path, root: Path, todo: list[tuple[Way, int, int]], images: int = 1000
) -> Iterator[dict[str, Any]]:
    """Convert, lower, prove on 20 images and measure; one line for each way, T and seed."""
    import torch

    import bitspike as bs
    from benchmarks.conversion_networks import NETWORKS
    from bitspike.integer.values import decode

    entry = NETWORKS[network]
    model = entry.trained(weights)
    tested, labels = entry.images(root, "test", slice(images))
    with torch.inference_mode():
        exact = torch.cat([model(part).argmax(1) for part in tested.split(250)])
    float_accuracy = float((exact == labels).double().mean())
    place = machine.describe()
    for way, t, seed in todo:
        start, busy = time.perf_counter(), time.process_time()
        data = entry.calibration(root, CALIBRATION, seed)
        snn = bs.convert(model, data[:1], calibrate=data, steps=t, seed=seed, **way.choices())
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        net = bs.lower(snn, data[:1])
        engine, output = bs.Engine(net), net.outputs[0]
        certificate = bs.verify(net, tested[:20], engine=True)
        found = [
            torch.from_numpy(decode(output, engine.predict(bs.encode(net, part))[output.id])).argmax(1)
            for part in tested.split(100)
        ]
        accuracy = float((torch.cat(found) == labels).double().mean())
        yield {
            "run": datetime.now(UTC).isoformat(timespec="seconds"),
            "network": entry.title,
            "way": way.name,
            "steps": t,
            "seed": seed,
            "bits": 8,
            "accuracy": accuracy,
            "float_accuracy": float_accuracy,
            "images": len(labels),
            "calibration_images": CALIBRATION,
            "corrected": [*snn.conversion.correction["kinds"], snn.conversion.correction["samples"]],
            "certificate": certificate.equal,
            "lowering_notes": len(net.notes),
            "convert_seconds": round(seconds, 1),
            "convert_cpu_seconds": round(busy, 1),
            "seconds": round(time.perf_counter() - start, 1),
            **{name: place[name] for name in ("hardware", "versions", "commit")},
        }


def file_of(network: str) -> Path:
    """Return where the lines of a network's defaults are kept."""
    return FOLDER / f"defaults-{network}.jsonl"


def latest(file: Path = LINES) -> list[dict[str, Any]]:
    """Return the kept lines, the last one of each way, T and seed."""
    order = {way.name: i for i, way in enumerate(WAYS)}
    last = {(line["way"], line["steps"], line["seed"]): line for line in held_in(file)}
    return sorted(last.values(), key=lambda x: (order.get(x["way"], len(WAYS)), x["steps"], x["seed"]))


def document(lines: list[dict[str, Any]]) -> str:
    """Return the document that the lines make."""
    if not lines:
        return ""
    first = lines[0]
    steps = sorted({line["steps"] for line in lines})
    asked = ", ".join(f"T = {t}: {points:g}" for t, points in sorted(TARGETS.items()))
    done = {(line["way"], line["steps"]) for line in lines}
    missing = {way.name: [t for t in sorted(TARGETS) if (way.name, t) not in done] for way in WAYS}
    text = [
        "# A pretrained network, converted without training",
        "",
        f"{first['network']}, CIFAR-10, {first['images']:,} test images, {first['calibration_images']:,} training "
        f"images for calibration, {first['bits']}-bit weights. Float network: {first['float_accuracy']:.1%}. "
        "Accuracy in per cent, measured on the integers; every network was proven equal to the definition on 20 "
        f"images, and lowering rounded nothing. Seeds choose the calibration images: {seeds(lines)}. "
        "One image is 0.1 points. "
        "Corrections (docs/conversion.md) are measured on 256 of the training images; bias corrected thresholds of "
        "least squared error are the light pipeline of SNN Calibration, weights and potential the advanced one (Li et "
        "al., ICML 2021, arXiv 2106.06984).",
        "",
        "| | " + " | ".join(f"T = {t}" for t in steps) + " |",
        "| --- |" + " ---: |" * len(steps),
    ]
    for way in dict.fromkeys(line["way"] for line in lines):
        cells = [cell([x for x in lines if (x["way"], x["steps"]) == (way, t)]) for t in steps]
        text.append(f"| {way} | " + " | ".join(cells) + " |")
    if any(missing.values()):
        parts = [f"{name} (T = {', '.join(map(str, at))})" for name, at in missing.items() if at]
        text += ["", f"Not measured yet: {'; '.join(parts)}."]
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    commits = ", ".join(sorted({line["commit"] for line in lines}))
    text += [
        "",
        f"Asked for at most so many points below the float network: {asked}. Published for this network without "
        "spikes of -1, after fine-tuning with float weights: 89.55 at T = 8, 83.75 at T = 4 (QCFS, Bu "
        "et al., ICLR 2022, arXiv 2303.04347).",
        "",
        "![accuracy over T](figures/conversion.svg)",
        "",
        f"{first['hardware']}; {versions}; commits {commits}. Made again by",
        "",
        "```",
        "python -m benchmarks.conversion run --weights resnet20-12fca82f.th --root DATA",
        "python -m benchmarks.conversion table",
        "```",
        "",
        *defaults({name: latest(file_of(name)) for name in ORDER}),
        *tuned([entry for entry in read() if entry["name"].startswith(TUNED)]),
        *staged.section(read()),
        *layerwise.section(layerwise.latest()),
        *quantized_results.section(quantized_results.latest()),
    ]
    return "\n".join(text)


def tuned(records: list[dict[str, Any]]) -> list[str]:
    """Return what the document says about runs of recipes that fine-tune the same network."""
    if not records:
        return []
    rows = []
    for entry in sorted(records, key=lambda r: (r["steps"], r["name"], r["seed"])):
        accuracy, recipe = entry["accuracy"], load(entry["name"])
        widths = sorted(set(entry["bits"].values()))
        cells = [
            f"`{entry['name']}`",
            str(entry["seed"]),
            str(entry["steps"]),
            {"if": "IF", "signed_if": "SignedIF"}[recipe.convert.neuron],
            ", ".join(map(str, widths)),
            f"{100 * accuracy['float']:.1f}",
            f"**{100 * accuracy['test']:.1f}**",
            f"{100 * entry['published']['value']:.2f}",
            f"{recipe.finetune.epochs} + {recipe.over_time.epochs}",
            f"{entry['seconds']['train'] / 60:.0f} min, {entry['environment']['threads']}",
            "equal" if entry["certificate"]["equal"] else "NOT EQUAL",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    machines = sorted({f"{r['environment']['cpu']}, torch {r['environment']['torch']}" for r in records})
    commits = sorted({r["commit"] for r in records})
    return [
        "## Fine-tuned",
        "",
        "The same network with weights of few bits and few steps, by recipes: epochs of levels (`bs.prepare`) and then "
        "epochs over time (`bs.over_time`) on all 50,000 training images, synchronous schedule. First and "
        "last layer have the wider codes. Published: QCFS, float weights, IF. The certificate is over all test images. "
        "Training shared the processor with other work, except for seed 1 of `resnet20-cifar10-w4-t8`, "
        "which had both cores to itself.",
        "",
        "| recipe | seed | T | neuron | bits | float | spiking | published | epochs | training, threads | proof |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        *rows,
        "",
        f"{'; '.join(machines)}; commits {', '.join(commits)}. Made again by `bitspike run RECIPE --set seed=SEED "
        "--set data.root=DATA --set model.weights=resnet20-12fca82f.th`, kept by `scripts/record`.",
        "",
    ]


def figure(lines: list[dict[str, Any]]) -> str | None:
    """Draw accuracy over T, by way; one panel per neuron."""
    if not lines:
        return None
    steps = sorted({line["steps"] for line in lines})
    rules = list(dict.fromkeys(line["way"].partition(", ")[2] for line in lines))

    def draw(axes: Any) -> None:
        from matplotlib import colormaps

        for ax, neuron in zip(axes, ("IF", "SignedIF"), strict=True):
            for n, rule in enumerate(rules):
                points: dict[int, list[float]] = {}
                for line in lines:
                    if line["way"] == f"{neuron}, {rule}":
                        points.setdefault(line["steps"], []).append(100 * line["accuracy"])
                if points:
                    t, accuracy = zip(*sorted((t, sum(v) / len(v)) for t, v in points.items()), strict=True)
                    shade = colormaps["viridis"](0.95 - 0.95 * n / max(1, len(rules) - 1))
                    ax.plot(t, accuracy, color=shade, marker="os^vDPX*"[n % 8], label=rule)
            ax.axhline(100 * lines[0]["float_accuracy"], color=PALETTE["ink"], linewidth=1)
            ax.set_title(neuron)
            ax.set_xscale("log", base=2)
            ax.set_xticks(steps, [str(t) for t in steps])
            ax.set_xlabel("T")
            ax.set_ylim(25, 95)
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=8)
        axes[0].set_ylabel("accuracy, % (line: the float network)")

    return svg(draw, columns=2, size=(9.0, 5.6))


def main(words: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conversion", description=__doc__)
    parser.add_argument("what", choices=["run", "defaults", "table"])
    parser.add_argument("--network", default="resnet20", choices=ORDER, help="for defaults")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", help="[16 32 64], of defaults [4 8 16 32 64]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the calibration images")
    parser.add_argument("--only", default="", help="one way, or those whose names begin with it")
    parser.add_argument("--images", type=int, help="the first so many test images, to try it; nothing is kept")
    parser.add_argument("--again", action="store_true", help="measure what there are lines of too")
    args = parser.parse_args(words)
    if args.what == "table":
        DOCUMENT.write_text(document(latest()), encoding="utf-8")
        FIGURE.write_text(figure(latest()) or "", encoding="utf-8")
        return 0
    if args.weights is None or args.root is None:
        parser.error(f"{args.what} needs --weights and --root")
    if args.what == "run":
        network, file, ways, steps = "resnet20", LINES, wanted(args.only), [16, 32, 64]
    else:
        network, file, steps = args.network, file_of(args.network), [4, 8, 16, 32, 64]
        ways = [way for way in DEFAULTS if args.only in ("", way.name)]
    kept = set() if args.again or args.images else {(x["way"], x["steps"], x["seed"]) for x in latest(file)}
    todo = [(way, t, seed) for seed in args.seeds for way in ways for t in args.steps or steps]
    todo = [(way, t, seed) for way, t, seed in todo if (way.name, t, seed) not in kept]
    file.parent.mkdir(exist_ok=True)
    for line in measured(network, args.weights, args.root, todo, args.images or 1000):
        text = json.dumps(line, ensure_ascii=False)
        print(text, flush=True)
        if not args.images:
            with file.open("a", encoding="utf-8") as kept_lines:
                kept_lines.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
