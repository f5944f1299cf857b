"""The pretrained ResNet-20 in memory devices: what variation costs it on many chips, and what SRAM gives back.

    python -m benchmarks.hybrid_resnet20 run --weights resnet20-12fca82f.th --root DATA --out DIR
    python -m benchmarks.hybrid_resnet20 table             writes what was measured into docs/memory-devices.md

An ordinary network, so its chips run by torch. Every stage starts from the one before; epochs that are done are not
trained again, and chips that were measured are not measured again: the command may be stopped at any time.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.lines import add_to, held_in
from benchmarks.markers import put

HERE = Path(__file__).parent
LINES = HERE / "records" / "hybrid-resnet20.jsonl"
DOCUMENT = HERE.parent / "docs" / "memory-devices.md"
BEGIN, END = (
    "<!-- hybrid-resnet20: python -m benchmarks.hybrid_resnet20 table writes this -->",
    "<!-- /hybrid-resnet20 -->",
)
RECIPE, NETWORK = "resnet20-cifar10-w4-t4", "ResNet-20 (option A), pretrained, CIFAR-10"
"""The recipe gives the images, their augmentation and the network; nothing is converted."""
BITS, SCALE, SRAM = 4, 2.0, 2
CONVOLUTIONS = ("conv1", "layer*")
"""What lies in devices: all convolutions, as in the paper. The last layer stays in floating point."""
IMAGES, RATE = 10_000, 1e-3
"""Training images, and the learning rate of AdamW."""
STAGES = {"quantized": 1, "aware": 2, "recovered": 3}
"""Epochs of every stage: without variation, with it, and of the SRAM next to cells that are frozen."""
CHIPS = 100
PUBLISHED = "published for an ANN, of the same network: up to 21.9 points (Krishnan et al., IEEE TCAD 2022, abstract)"

Line = Mapping[str, Any]


def attached(network: Any, name: str) -> Any:
    """Give the convolutions of a network the weight paths of a stage, on top of those of the stages before."""
    import bitspike as bs
    from bitspike.weights.scales import MSE

    if name == "quantized":
        return bs.attach(network, quantize=bs.Uniform(BITS, per_channel=True, scale=MSE()), include=CONVOLUTIONS)
    if name == "aware":
        return bs.attach(network, vary=bs.Lognormal.for_bits(BITS, SCALE), include=CONVOLUTIONS)
    store = bs.Uniform(SRAM, per_channel=True, scale=MSE())
    return bs.attach(network, recover=bs.SRAM(SRAM, quantize=store), include=CONVOLUTIONS)


def measured(
    weights: Path, root: Path, out: Path, *, chips: int = CHIPS, seed: int = 0, changes: Sequence[str] = ()
) -> dict[str, Any]:
    """Train and measure what is missing, and return the line; ``changes`` are made to the recipe."""
    from bitspike.recipe import load
    from bitspike.runs.construct.factory import build_network
    from bitspike.runs.job import Job
    from bitspike.train import evaluate

    words = (
        f"model.weights={weights.resolve()}",
        f"data.root={root.resolve()}",
        f"data.limit={IMAGES}",
        f"seed={seed}",
    )
    job = Job(load(RECIPE, (*words, *changes)))
    network, began = build_network(job.recipe, weights=True), _cpu()
    found: dict[str, Any] = {"float": evaluate(network, job.test).accuracy}
    for name, epochs in STAGES.items():
        if name == "aware":  # the network of the stage before, on chips that it was not trained for
            found["untrained"] = _chips(attached(network, name), job, chips, out / "untrained")
        else:
            attached(network, name)
        _train(network, job, epochs, out / name)
        if name != "quantized":
            found[name] = _chips(network, job, chips, out / name / "chips")
    place = machine.describe()
    return {
        "run": datetime.now(UTC).isoformat(timespec="seconds"),
        "network": NETWORK,
        "seed": seed,
        "bits": BITS,
        "scale": SCALE,
        "sram": SRAM,
        "epochs": dict(STAGES),
        "train_images": len(job.data.train),
        **found,
        "sitting_cpu_seconds": round(_cpu() - began),
        **{name: place[name] for name in ("hardware", "threads", "versions", "commit")},
    }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _train(network: Any, job: Any, epochs: int, folder: Path) -> None:
    import bitspike as bs
    from bitspike.train import AdamW

    bs.fit(
        network,
        job.data.training_batches("finetune"),
        epochs=epochs,
        seed=job.recipe.seed,
        optimizer=AdamW(lr=RATE),
        keep="last",
        folder=folder,
        resume=folder.is_dir(),
    )


def _chips(network: Any, job: Any, chips: int, out: Path) -> dict[str, Any]:
    """Measure the chips that are missing, and return their figures and how long one takes."""
    import bitspike as bs

    before = len(_measured(out))
    began, wall = _cpu(), time.perf_counter()
    result = bs.yield_(network, job.test, chips=chips, resolution=None, out=out)
    new, kept = chips - before, out / "seconds.json"
    if new <= 0 and not kept.is_file():  # stopped after its last chip, and before its time was written: one more tells
        new, began, wall = 1, _cpu(), time.perf_counter()
        bs.yield_(network, job.test, chips=1, resolution=None)
    # What a sitting without new chips took is no time of a chip; that of an earlier sitting is kept next to them.
    if new > 0:
        spent = {"chips": new, "cpu": _cpu() - began, "wall": time.perf_counter() - wall}
        kept.write_text(json.dumps(spent), encoding="utf-8")
    spent = json.loads(kept.read_text(encoding="utf-8"))
    return {
        "clean": result.ideal,
        "mean": result.statistics.mean.to_dict(),
        "deviation": result.statistics.deviation.value,
        "worst": result.statistics.worst,
        "chips": chips,
        "images": result.samples,
        "by": result.by,
        "seconds_per_chip": {name: spent[name] / spent["chips"] for name in ("cpu", "wall")},
    }


def _measured(out: Path) -> list[str]:
    file = out / "chips.jsonl"
    return file.read_text(encoding="utf-8").splitlines()[1:] if file.is_file() else []


def latest(path: Path = LINES) -> list[dict[str, Any]]:
    """Return the kept lines, the last one of each seed."""
    return list({x["seed"]: x for x in held_in(path)}.values())


def document(text: str, lines: Sequence[Line]) -> str:
    """Return a document with the tables of the lines between its markers."""
    return put(text, "\n".join(["", *(part for x in lines for part in (*table(x), ""))]), BEGIN, END)


def table(x: Line) -> list[str]:
    """Return what one line says."""
    names = {
        "untrained": f"{BITS}-bit weights, on chips that it was not trained for",
        "aware": "trained with variation",
        "recovered": f"recovered by SRAM of {SRAM} bits",
    }
    clean = x["untrained"]["clean"]
    lost, back = (
        100 * (a - b) for a, b in ((clean, _mean(x, "untrained")), (_mean(x, "recovered"), _mean(x, "untrained")))
    )
    rows = [
        f"| {said} | {100 * x[name]['clean']:.1f} | {100 * _mean(x, name):.1f} ± {100 * x[name]['deviation']:.1f} "
        f"| {100 * x[name]['worst']:.1f} |"
        for name, said in names.items()
    ]
    seconds = [x[name]["seconds_per_chip"] for name in names]
    cpu, wall = (max(s[kind] for s in seconds) for kind in ("cpu", "wall"))
    epochs = ", ".join(f"{name} {number}" for name, number in x["epochs"].items())
    return [
        f"{x['network']}: {100 * x['float']:.1f} % with float weights on {x['untrained']['images']:,} test images. "
        f"Its convolutions in RRAM of {x['bits']} bits at scale {x['scale']:g}; {x['untrained']['chips']} chips, "
        "accuracy in per cent ± their standard deviation.",
        "",
        "| network | without variation | mean of the chips | worst |",
        "| --- | ---: | ---: | ---: |",
        *rows,
        "",
        f"Variation costs {lost:.1f} points; {SRAM} bits of SRAM, after training with variation, give {back:.1f} of "
        f"them back ({back / lost:.0%}; {PUBLISHED}). Trained {epochs} epochs on "
        f"{x['train_images']:,} images, seed {x['seed']}. A chip takes {cpu:.1f} s of the processor and, next to "
        f"other work, {wall:.1f} s. {x['hardware']}, {x['threads']} thread{'s' * (x['threads'] != 1)}; bitspike "
        f"{x['versions']['bitspike']}, torch {x['versions']['torch']}; commit {x['commit']}. Made again by",
        "",
        "```",
        "python -m benchmarks.hybrid_resnet20 run --weights resnet20-12fca82f.th --root DATA --out runs/resnet20",
        "python -m benchmarks.hybrid_resnet20 table",
        "```",
    ]


def _mean(x: Line, name: str) -> float:
    value: float = x[name]["mean"]["value"]
    return value


def main(words: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hybrid_resnet20", description=__doc__)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--weights", type=Path, help="the public weights")
    parser.add_argument("--root", type=Path, help="the folder of the images")
    parser.add_argument("--out", type=Path, default=Path("runs/resnet20"), help="the folder of the stages")
    parser.add_argument("--chips", type=int, default=CHIPS)
    args = parser.parse_args(words)
    if args.what == "table":
        DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8"), latest()), encoding="utf-8")
        return 0
    if args.weights is None or args.root is None:
        parser.error("run needs --weights and --root")
    args.out.mkdir(parents=True, exist_ok=True)
    line = measured(args.weights, args.root, args.out, chips=args.chips)
    add_to(LINES, line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
