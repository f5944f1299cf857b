"""Bits per layer against the same bits everywhere, at equal training, on the same images.

    python -m benchmarks.mixed run --weights resnet20-12fca82f.th --root DATA --out DIR    both networks, a JSON line
    python -m benchmarks.mixed run --bits 2.75 ...                    a mixture of fewer bytes than the uniform network
    python -m benchmarks.mixed table                                  writes the table into docs/mixed-precision.md

Without ``--bits`` both networks have equal bytes. What lies below ``--out`` already is not made again. What a line
compares is paired: every image is answered by both networks, and the standard error is that of the differences.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks import machine
from benchmarks.lines import add_to, held_in
from benchmarks.markers import put

HERE = Path(__file__).parent
LINES = HERE / "records" / "mixed.jsonl"
DOCUMENT = HERE.parent / "docs" / "mixed-precision.md"
BEGIN, END = "<!-- mixed: python -m benchmarks.mixed table writes this -->", "<!-- /mixed -->"
RECIPE, NETWORK = "resnet20-cifar10-w4-t4", "ResNet-20 (option A), pretrained, CIFAR-10"
UNIFORM, STEPS, HELD_OUT, RATE = 3, 8, 5000, 3e-4
"""Bits everywhere of the network to compare with, T, the last training images, which no epoch sees, and the learning
rate of AdamW: with few epochs a third of that of the recipe leaves both networks nearer to the public weights."""

Line = Mapping[str, Any]


def changes(epochs: int, seed: int) -> tuple[str, ...]:
    """Return what the recipe is changed to: fewer epochs than it has, none over time, images held out."""
    return (
        f"convert.bits={UNIFORM}",
        f"convert.steps={STEPS}",
        f"finetune.epochs={epochs}",
        f"finetune.optimizer.lr={RATE}",
        "over_time=null",
        f"data.validation={HELD_OUT}",
        "data.validation_last=true",
        "evaluation.proof=20",
        "evaluation.by_step=false",
        "published=null",
        "expect=null",
        f"seed={seed}",
    )


def measured(
    weights: Path,
    root: Path,
    out: Path,
    *,
    epochs: int,
    seed: int,
    bits: float | None = None,
    more: Sequence[str] = (),
) -> dict[str, Any]:
    """Make what is missing of the search and the two networks, and return the line; ``more`` are further changes.

    The mixture has ``bits`` a weight in the mean over the layers whose bits are chosen; None is the bytes of the
    uniform network.
    """
    import bitspike as bs
    from bitspike.recipe import load
    from bitspike.runs.sketch import sketch

    words = [f"model.weights={weights.resolve()}", f"data.root={root.resolve()}", *changes(epochs, seed), *more]
    uniform = load(RECIPE, words)
    name = "mixed" if bits is None else f"mixed-{bits:g}"
    recipe, found = out / f"{name}.yaml", out / f"{name}.json"
    if not found.is_file():
        recipe.unlink(missing_ok=True)
        equal = sketch(uniform).net.weight_bytes() if bits is None else None
        mixture = bs.mix(uniform, bytes=equal, bits=bits, out=recipe)
        found.write_text(json.dumps(mixture.to_dict()), encoding="utf-8")
    networks = {"uniform": tuned(uniform, out / "uniform"), "mixed": tuned(load(recipe), out / name)}
    place = machine.describe()
    return {
        **line(networks, json.loads(found.read_text(encoding="utf-8")), epochs=epochs, seed=seed, budget=bits),
        **{name: place[name] for name in ("hardware", "threads", "versions", "commit")},
    }


def tuned(recipe: Any, folder: Path) -> dict[str, Any]:
    """Fine-tune and convert the network of a recipe, prove some images, and return which ones it answers rightly.

    Epochs that are done are not trained again, and what ``answers.json`` in the folder holds is not measured again.
    """
    from bitspike.runs.construct.words import build
    from bitspike.runs.job import Job
    from bitspike.train import fit

    kept = folder / "answers.json"
    if not kept.is_file():
        job, words = Job(recipe), recipe.finetune
        history = fit(
            job.model,
            job.data.training_batches("finetune"),
            epochs=words.epochs,
            seed=recipe.seed,
            optimizer=build(words.optimizer),
            schedule=build(words.schedule),
            loss=build(words.loss),
            clip_gradient=words.clip_gradient,
            precision=words.precision,
            device=words.device,
            keep=words.keep,
            folder=folder,
            resume=folder.is_dir(),
        )
        kept.write_text(json.dumps(answered(job) | {"train_seconds": round(history.seconds)}), encoding="utf-8")
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def answered(job: Any) -> dict[str, Any]:
    """Return which images a fine-tuned network answers rightly, before and after its conversion, and its proof."""
    import torch

    import bitspike as bs

    network, data = job.spiking.network.eval(), job.data
    assert data.validation is not None
    sets = {"test": job.test, "held_out": data.batches(data.validation)}
    net = bs.lower(network, next(iter(job.test))[0][:1])
    certificate = bs.verify(net, job.proof)
    right: dict[str, dict[str, list[int]]] = {}
    with torch.inference_mode():
        for name, model in (("finetuned", job.model.eval()), ("spiking", network)):
            right[name] = {
                images: [int(r) for x, y in batches for r in model(x).argmax(1) == y]
                for images, batches in sets.items()
            }
    return {
        **right,
        "bits": net.weight_bits(),
        "bytes": net.weight_bytes(),
        "certificate": certificate.equal,
        "proven": certificate.samples,
    }


def line(
    networks: Mapping[str, Line], mixture: Line, *, epochs: int, seed: int, budget: float | None
) -> dict[str, Any]:
    """Return what is kept of the search and of the answers of the two networks."""
    kinds, sets = ("finetuned", "spiking"), ("test", "held_out")
    mixed, uniform = networks["mixed"], networks["uniform"]
    return {
        "run": datetime.now(UTC).isoformat(timespec="seconds"),
        "network": NETWORK,
        "epochs": epochs,
        "seed": seed,
        "budget": budget,
        "steps": STEPS,
        **{
            name: {
                **{key: x[key] for key in ("bits", "bytes", "certificate", "proven", "train_seconds")},
                **{kind: {images: mean(x[kind][images]) for images in sets} for kind in kinds},
            }
            for name, x in networks.items()
        },
        "paired": {
            kind: {images: paired(mixed[kind][images], uniform[kind][images]) for images in sets} for kind in kinds
        },
        "search": {
            name: mixture[name] for name in ("mean_bits", "loss", "uniform", "images", "passes", "seconds", "share")
        },
    }


def mean(right: Sequence[int]) -> float:
    """Return the share of images that are answered rightly."""
    return sum(right) / len(right)


def paired(a: Sequence[int], b: Sequence[int]) -> dict[str, float]:
    """Return how much more of the same images ``a`` answers rightly than ``b``, and the standard error of that.

    Example:
        >>> paired([1, 1, 1, 0], [1, 1, 0, 0])
        {'difference': 0.25, 'error': 0.25, 'images': 4}
    """
    differences = [int(x) - int(y) for x, y in zip(a, b, strict=True)]
    n, middle = len(differences), sum(differences) / len(differences)
    variance = sum((d - middle) ** 2 for d in differences) / (n - 1)
    return {"difference": middle, "error": (variance / n) ** 0.5, "images": n}


def latest(path: Path = LINES) -> list[dict[str, Any]]:
    """Return the kept lines, the last one of each number of epochs, budget and seed, in their order."""
    return [x for _, x in sorted({(*_setting(x), x["seed"]): x for x in held_in(path)}.items())]


def _setting(line: Line) -> tuple[int, float]:
    """Return the epochs and the bits in the mean that a line was asked for; those of equal bytes come last."""
    return line["epochs"], line["budget"] or float(UNIFORM)


def document(text: str, lines: Sequence[Line]) -> str:
    """Return a document with the table of the lines between its markers."""
    return put(text, "\n".join(["", *(table(lines) if lines else []), ""]), BEGIN, END)


def table(lines: Sequence[Line]) -> list[str]:
    """Return what the lines say."""
    first, settings = lines[0], dict[tuple[int, float], list[Line]]()
    for x in lines:
        settings.setdefault(_setting(x), []).append(x)
    tests, held = (first["paired"]["spiking"][name]["images"] for name in ("test", "held_out"))
    again = "python -m benchmarks.mixed run --weights resnet20-12fca82f.th --root DATA --out runs/mixed"
    return [
        f"{first['network']}, T = {first['steps']}, signed neurons, first and last layer 8 bits, weights fine-tuned "
        f"with their codes (`bs.prepare`, AdamW, learning rate {RATE:g}), no epochs over time; both networks alike. "
        "Accuracy in per cent before the conversion (levels) and after it (spikes), on "
        f"{tests:,} test images and on the last {held:,} training images, which the fine-tuning did not see but the "
        "public weights did. In parentheses: how much more of the same images the mixture answers rightly, with the "
        "standard error of the difference of pairs.",
        "",
        "| weights | epochs | seed | bytes | test, levels | test, spikes | held out, levels | held out, spikes "
        "| proof |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        *(row for x in lines for row in _rows(x)),
        "",
        *(sentence for several in settings.values() for sentence in (_summary(several), "")),
        f"{first['hardware']}, {first['threads']} thread; bitspike {first['versions']['bitspike']}, torch "
        f"{first['versions']['torch']}; commits {', '.join(sorted({x['commit'] for x in lines}))}. Made again by",
        "",
        "```",
        *(
            f"{again}-{x['epochs']}-{x['seed']} --epochs {x['epochs']} --seed {x['seed']}"
            + (f" --bits {x['budget']:g}" if x["budget"] else "")
            for x in lines
        ),
        "python -m benchmarks.mixed table",
        "```",
    ]


def _rows(x: Line) -> Iterator[str]:
    """Yield the two rows of a line of the records."""
    labels = {"uniform": f"{UNIFORM} bits everywhere", "mixed": f"{x['search']['mean_bits']:.2f} bits"}
    for name, label in labels.items():
        cells = [label, str(x["epochs"]), str(x["seed"]), f"{x[name]['bytes']:,}"]
        for images in ("test", "held_out"):
            cells += [_cell(x, name, kind, images) for kind in ("finetuned", "spiking")]
        yield f"| {' | '.join([*cells, 'equal' if x[name]['certificate'] else 'NOT EQUAL'])} |"


def _summary(lines: Sequence[Line]) -> str:
    """Return what the seeds of one budget have in common, and the bits that were chosen for the first of them."""
    gains = [100 * x["paired"]["spiking"]["test"]["difference"] for x in lines]
    spread = f" ± {stdev(gains):.1f}" if len(gains) > 1 else ""
    seeds = f"mean and standard deviation of {len(gains)} seeds" if len(gains) > 1 else "one seed"
    x = lines[0]
    bits = ", ".join(f"`{path}` {b}" for path, b in x["mixed"]["bits"].items())
    shares = ", ".join(f"{x['search']['share']:.1%}" for x in lines)
    return (
        f"**{x['search']['mean_bits']:.2f} bits, {x['mixed']['bytes'] / x['uniform']['bytes']:.0%} of the bytes, "
        f"{x['epochs']} epoch{'s' * (x['epochs'] != 1)}:** {fmean(gains):+.1f}{spread} points of the test images as "
        f"spikes ({seeds}). Bits that were chosen (seed {x['seed']}): {bits}. The search took {shares} of the "
        "passes of the training."
    )


def _cell(x: Line, name: str, kind: str, images: str) -> str:
    accuracy = f"{100 * x[name][kind][images]:.1f}"
    if name == "uniform":
        return accuracy
    gain = x["paired"][kind][images]
    return f"**{accuracy}** ({100 * gain['difference']:+.1f} ± {100 * gain['error']:.1f})"


def main(words: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixed", description=__doc__)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--weights", type=Path, help="the public weights")
    parser.add_argument("--root", type=Path, help="the folder of the images")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="the folder of the runs")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bits", type=float, help="of a weight of the mixture, in the mean; default: equal bytes")
    args = parser.parse_args(words)
    if args.what == "table":
        DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8"), latest()), encoding="utf-8")
        return 0
    if args.weights is None or args.root is None:
        parser.error("run needs --weights and --root")
    args.out.mkdir(parents=True, exist_ok=True)
    found = measured(args.weights, args.root, args.out, epochs=args.epochs, seed=args.seed, bits=args.bits)
    add_to(LINES, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
