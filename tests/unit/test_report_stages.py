"""The stages of a run in its report: every figure is there, and whatever is missing is left out."""

from __future__ import annotations

import re
from typing import Any

from run_record import metrics, record

from bitspike.analysis.report.report import render, summary


def layer(share: float) -> dict[str, Any]:
    return {"neurons": 1000, "differ": int(1000 * share), "share": share, "mean_difference": share}


def stage(bits: int, steps: int, test: float, **more: Any) -> dict[str, Any]:
    return {
        "folder": f"{bits}bit",
        "bits": bits,
        "start": {"source": "runs/x/4bit/ann.safetensors", "bits": 4, "new": [], "dropped": []} if bits < 4 else None,
        "steps": steps,
        "ann": {"validation": 0.9, "test": test + 0.01},
        "signed": {"validation": 0.89, "test": test},
        "unsigned": {"validation": 0.8, "test": test - 0.1},
        "difference": -0.01,
        "by_step": [test - 0.2, test],
        "mismatch": None,
        "weight_bits": {"conv": bits, "fc": 8},
        "bytes": {"weights_packed": 2048, "weights_float32": 65536},
        "certificate": {"equal": True, "samples": 10, "spikes_compared": 1000},
        "epochs": {"run": 12, "best": 3, "kept": 3},
        "seconds": {"total": 75.0},
        **more,
    }


STAGES = [
    stage(4, 15, 0.95, mismatch={"images": 64, "before": {"relu": layer(0.12)}, "after": {"relu": layer(0.12)}}),
    stage(2, 3, 0.9, mismatch={"images": 64, "before": {"relu": layer(0.3)}, "after": {"relu": layer(0.2)}}),
]


def test_the_page_has_every_stage_next_to_the_others() -> None:
    page = re.sub(r' data-of="[^"]*"', "", render(record() | {"stages": STAGES}, metrics()))
    accuracies = [f"{a} %<br><small>({b} %)" for a, b in (("96.00", "90.00"), ("95.00", "89.00"), ("85.00", "80.00"))]
    figures = [*accuracies, "-1.00 points", "2.0 KiB", "12.00 %"]
    others = ["Stage by stage", 'href="4bit/report.html"', 'href="2bit/report.html"', "64 validation images"]
    for said in [*figures, *others, "30.00 % → 20.00 %"]:
        assert said in page.replace("−", "-"), said
    assert re.search(r"2 bit</a></td><td>4 bit</td>", page), "from the stage that it started from"
    assert re.search(r"4 bit</a></td><td>model</td>", page)
    assert "NOT EQUAL" not in page
    wrong = [STAGES[0], STAGES[1] | {"certificate": {"equal": False}}]
    assert render(record() | {"stages": wrong}, metrics()).count("NOT EQUAL") == 1


def test_fifteen_stages_leave_their_curves_a_place() -> None:
    many = [stage(2, 3, 0.9, name=f"sram4-scale{n}") for n in range(15)]
    assert "sram4-scale14" in render(record() | {"stages": many}, metrics())  # matplotlib warned that axes collapsed


def test_a_run_without_stages_says_nothing_of_them() -> None:
    for none in ({}, {"stages": []}, {"stages": None}, {"stages": "spoilt"}):
        assert "Stage by stage" not in render(record() | none, metrics())
        assert "T = 15" not in summary(record() | none)


def test_a_spoilt_record_is_drawn_as_far_as_it_goes() -> None:
    assert "Stage by stage" in render(record() | {"stages": [{"bits": 4}, {"bits": 2, "mismatch": {"after": 3}}]}, [])


def test_the_terminal_has_a_line_for_every_stage() -> None:
    lines = summary(record() | {"stages": STAGES}).splitlines()
    assert "  4 bit, T = 15   network 96.00 %, spiking 95.00 %, unsigned 85.00 %, certificate equal" in lines
    assert "  2 bit, T = 3    network 91.00 %, spiking 90.00 %, unsigned 80.00 %, certificate equal" in lines


def test_layers_that_tell_nothing_are_named_of_every_stage() -> None:
    rows = [STAGES[0] | {"idle": "relu1 never fires"}, STAGES[1] | {"idle": "relu2 always fires"}]
    last = {"activity": {"relu2": {"silent": 0.0, "saturated": 1.0}}}
    firing = [line for line in summary(record() | last | {"stages": rows}).splitlines() if line.startswith("  FIRING")]
    said = "on the test images: nothing about the input passes through"
    assert firing == [
        f"  FIRING          4bit: relu1 never fires {said}",
        f"  FIRING          2bit: relu2 always fires {said}",
    ]
    assert "FIRING" not in summary(record() | {"stages": [row | {"idle": ""} for row in STAGES]})
    assert f"  FIRING          relu2 always fires {said}" in summary(record() | last | {"stages": STAGES}).splitlines()


def test_what_was_trained_before_it_spikes_has_its_name() -> None:
    trained = record() | {"accuracy": {"test": 0.9, "finetuned": 0.91}}
    assert ("fine-tuned" in summary(trained), "Fine-tuned" in render(trained, [])) == (True, True)
    staged = trained | {"stage": {"bits": 2}}
    assert "quantized       91.00 %" in summary(staged)
    assert "Quantized" in render(staged, [])
    assert "ine-tuned" not in summary(staged) + render(staged, [])
