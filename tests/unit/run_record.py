"""A made-up but realistic run record: what a training run hands to the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bitspike.analysis.report.facts import ImageShown, ReportDetail, Trajectory
from bitspike.tasks.classify import Classification
from bitspike.tasks.report import Exhibit

LAYERS = {"2": 256, "4": 128, "6": 10}


def record() -> dict[str, Any]:
    """Return a finished run as ``report.json`` holds it."""
    return {
        "schema": 1,
        "recipe": {
            "name": "quickstart",
            "question": "Do 2-bit weights and four time steps suffice to read handwritten digits?",
            "paper": {
                "title": "Spikes of few bits",
                "authors": "Doe and others",
                "venue": "Journal of Examples 2020",
                "url": "https://example.org/spikes",
            },
            "seed": 0,
            "model": {"kind": "digits_net", "steps": 4, "width": 1.0},
            "data": {"kind": "digits", "validation": 0.1, "augment": [{"kind": "shift", "pixels": 1}]},
            "weights": {"quantize": {"kind": "uniform", "bits": 2}},
            "training": {"epochs": 20, "batch_size": 64, "optimizer": {"kind": "adamw", "learning_rate": 0.002}},
        },
        "accuracy": {
            "test": 353 / 360,
            "validation": 0.9861,
            "by_step": [0.8944, 0.9611, 0.9778, 353 / 360],
            "lowered": 353 / 360,
        },
        "published": {"value": 0.975, "source": "Doe et al. 2020, table 3", "setting": "4 bit, T = 8"},
        "expected": {"test_accuracy": 0.97},
        "certificate": {
            "equal": True,
            "samples": 360,
            "spikes_compared": 567_360,
            "membranes_compared": 567_360,
            "first_difference": None,
        },
        "agreement": {"spikes": 1.0, "accuracy_difference": 0.0, "samples": 360},
        "bits": {"1.0": 2, "3.0": 2, "5.1": 2},
        "bytes": {"weights_packed": 5_216, "weights_float32": 83_456, "package": 71_220},
        "widths": [
            {"layer": "2", "accumulator_bits": 11, "membrane_bits": 13},
            {"layer": "4", "accumulator_bits": 10, "membrane_bits": 12},
            {"layer": "6", "accumulator_bits": 9, "membrane_bits": None},
        ],
        "exits": {
            "results": [
                {"rule": "fixed", "value": t, "accuracy": a, "steps": float(t), "shares": {str(t): 1.0}}
                for t, a in enumerate([0.8944, 0.9611, 0.9778, 353 / 360], start=1)
            ]
            + [
                {
                    "rule": "confidence",
                    "value": 0.9,
                    "accuracy": 0.975,
                    "steps": 1.8,
                    "shares": {"1": 0.5, "2": 0.2, "3": 0.3},
                },
                {"rule": "gamma", "value": 0.1, "accuracy": 0.9611, "steps": 2.0, "shares": {"2": 1.0}},
            ],
            "gammas": {"1.1": [1.0, 0.05, 0.02, 0.01], "3.1": [0.9, 0.08, 0.07, 0.01]},
            "samples": 360,
        },
        "activity": {
            "2": {"rate": 0.231, "silent": 0.0313, "saturated": 0.0, "by_step": [0.2, 0.24, 0.24, 0.244]},
            "4": {"rate": 0.148, "silent": 0.0781, "saturated": 0.0078, "by_step": [0.0, 0.16, 0.21, 0.222]},
            "6": {"rate": 0.102, "silent": 0.6, "saturated": 0.1, "by_step": [0.0, 0.0, 0.2, 0.208]},
        },
        "seconds": {"train": 24.2, "evaluate": 0.6, "lower": 0.1, "verify": 1.4, "total": 27.9},
        "seed": 0,
        "environment": {
            "bitspike": "0.1.0",
            "torch": "2.15.0",
            "python": "3.11.2",
            "platform": "Linux x86_64",
            "cpu": "AMD EPYC 9B14",
            "threads": 2,
            "device": "cpu",
        },
        "finished": "2026-11-21T02:14:09+00:00",
    }


def metrics(epochs: int = 20) -> list[dict[str, Any]]:
    """Return one record per epoch, as ``metrics.jsonl`` holds them."""
    return [
        {
            "epoch": epoch,
            "seconds": 1.2,
            "learning_rate": 0.002,
            "train_loss": 0.12 + 2.0 * 0.8**epoch,
            "train_accuracy": 0.993 - 0.6 * 0.72**epoch,
            "validation_loss": 0.15 + 2.0 * 0.79**epoch + 0.02 * (epoch % 3),
            "validation_accuracy": 0.986 - 0.55 * 0.7**epoch - 0.003 * (epoch % 3),
        }
        for epoch in range(1, epochs + 1)
    ]


SPIKES = np.array([-1, 0, 1], np.int8)


def confusion(matrix: NDArray[np.int64], names: Sequence[str] = ()) -> tuple[Exhibit, ...]:
    """Return what a report shows of a confusion of classes; without names they are called by their numbers."""
    return Classification().exhibits(torch.from_numpy(matrix), names)


def detail(layers: dict[str, int] | None = None, *, steps: int = 4, classes: int = 10, codes: int = 4) -> ReportDetail:
    """Return the pictures of a run of any size."""
    rng = np.random.default_rng(0)
    found = LAYERS if layers is None else layers
    yy, xx = np.mgrid[-1:1:8j, -1:1:8j]
    ring = np.exp(-(((np.hypot(xx, yy) - 0.65) / 0.25) ** 2))
    matrix = np.diag(np.full(classes, 36)).astype(np.int64)
    for _ in range(7):
        true, taken = rng.choice(classes, 2, replace=False)
        matrix[true, true] -= 1
        matrix[true, taken] += 1
    low = -(codes // 2)
    bell = np.exp(-(((np.arange(codes) + low) / (codes / 4)) ** 2))
    return ReportDetail(
        images=[
            ImageShown(
                pixels=(255 * ring).astype(np.uint8),
                label=label,
                prediction="0",
                spikes={name: rng.choice(SPIKES, (steps, width), p=(0.05, 0.75, 0.2)) for name, width in found.items()},
                potentials={name: Trajectory(rng.normal(size=steps), np.ones(steps), SPIKES[:1]) for name in found},
            )
            for label in ("0", "1")
        ],
        code_histograms={
            name: {low + i: int(n) for i, n in enumerate(rng.multinomial(2304, bell / bell.sum()))}
            for name in ("1.0", "3.0", "5.1")
        },
        exhibits=confusion(matrix),
        samples=int(matrix.sum()),
    )
