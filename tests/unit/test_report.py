"""The report is whole, self-contained, safe against what it shows, and drawn from whatever there is."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_record import confusion, detail, metrics, record

from bitspike.analysis.drawing.copying import SCRIPT
from bitspike.analysis.report.facts import ImageShown, ReportDetail, Trajectory
from bitspike.analysis.report.report import render, summary, write_report
from bitspike.errors import RunError
from bitspike.recipe import load

VOID = {"meta", "img", "br"}


class Outline(HTMLParser):
    """Check that tags nest, and collect headings, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.headings: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "action"}]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "h2":
            self.headings.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"style", "script"} & set(self.open):
            return
        self.text += data
        if "h2" in self.open:
            self.headings[-1] += data


def assert_only_our_script(page: str) -> None:
    """The page runs what copies, and a browser runs nothing else there and loads nothing."""
    assert page.count("<script") == 1
    assert f"<script>{SCRIPT}</script>" in page
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in page


def test_rows_of_another_kind_are_left_out() -> None:
    row = {"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5}
    whole = render({}, [row, {**row, "epoch": 2}])
    assert render({}, [row, "loss", None, 3, ["epoch", 2], {**row, "epoch": 2}]) == whole  # type: ignore[list-item]
    assert render({}, 7) == render({}, [])  # type: ignore[arg-type]
    assert render({}, [{**row, "train_loss": 10**400}, {"epoch": []}])


def test_a_full_report_has_every_section_and_needs_nothing_else() -> None:
    page = render(record(), metrics(), detail())
    outline = Outline(page)
    assert outline.headings == [
        "The answer",
        "✓Certificate: 100 % equal",
        "Against the training graph",
        "Learning, and accuracy against time",
        "Early exit",
        "2 images, spike by spike",
        "Firing rates",
        "Weight codes",
        "What is taken for what",
        "Sizes",
        "Run it again",
        "The words of this page",
    ]
    links = [address for address in outline.addresses if not address.startswith(("data:", "#"))]
    assert links == ["https://example.org/spikes"]  # the paper: followed by a click, never fetched
    assert_only_our_script(page)
    assert len(re.findall("https?:(?!//www.w3.org/2000/svg)", page)) == 2  # the link, and the recipe as text
    assert "@import" not in page
    for words in (
        "Do 2-bit weights and four time steps suffice",
        "98.06 % of the 360 test images are recognized with 2-bit weights and 4 time steps",
        "0.56 points above the published 97.50 % and 1.06 points above the 97.00 % that the recipe expects",
        "Doe et al. 2020, table 3",
        "567,360 spikes",
        "100 % of the spikes",
        "16.0 times smaller than float32",
        "bitspike run recipe.yaml",
        "learning_rate: 0.002",
        "AMD EPYC",
    ):
        assert words in outline.text


def test_the_command_that_repeats_a_run_is_right_from_anywhere() -> None:
    run = "bitspike run '/data/my runs/q/recipe.yaml' --out '/data/my runs/q-again'"
    text = Outline(render(record() | {"again": run}, metrics())).text
    assert f"To repeat it:{run}" in " ".join(text.split())
    assert "bitspike verify '/data/my runs/q/network'" in text
    assert "put its new place for /data/my runs/q." in " ".join(text.split())
    for earlier in ("bitspike run recipe.yaml --out ../q-again", "an open ' quotation"):
        said = Outline(render(record() | {"again": earlier}, metrics())).text
        assert "To repeat it, in the folder of this report:" in said
        assert "bitspike verify network" in said


def test_the_same_record_gives_the_same_page() -> None:
    assert render(record(), metrics(2), detail()) == render(json.loads(json.dumps(record())), metrics(2), detail())


def test_a_failed_certificate_names_the_first_difference() -> None:
    bad = record()
    bad["certificate"] |= {
        "equal": False,
        "first_difference": {
            "layer": "features.4",
            "step": 2,
            "index": [17, 3],
            "quantity": "membrane",
            "expected": -12,
            "found": -11,
        },
    }
    outline = Outline(page := render(bad, metrics(), detail()))
    assert '<section class="bad">' in page
    assert '<section class="good">' not in page
    for words in ("features.4", "[17, 3]", "membrane", "-12", "-11", "do not put it on a device"):
        assert words in outline.text
    assert "NOT EQUAL" in summary(bad)
    assert "first at layer features.4, step 2, index [17, 3], quantity membrane: expected -12, found -11" in summary(
        bad
    )
    bad["certificate"]["first_difference"] = None
    assert "was not recorded" in render(bad, [], None)


@pytest.mark.parametrize("equal", [False, None, "yes", 1])
def test_nothing_but_true_is_a_certificate(equal: object) -> None:
    assert '<section class="good">' not in render({"certificate": {"equal": equal, "samples": 3}}, [], None)


@pytest.mark.parametrize("missing", sorted(record()))
def test_any_part_of_the_record_may_be_missing_or_null(missing: str) -> None:
    without = {key: value for key, value in record().items() if key != missing}
    Outline(render(without, [], detail()))
    Outline(render(without | {missing: None}, [], detail()))
    assert summary(without) == summary(without | {missing: None})


def test_an_empty_record_still_gives_a_page() -> None:
    outline = Outline(render({}, []))
    assert outline.headings == ["The answer", "No certificate", "Run it again", "The words of this page"]
    assert summary({}).splitlines()[0] == "run: weights"


def test_gaps_inside_the_parts_are_bridged() -> None:
    holes = record()
    holes["accuracy"] = {"test": float("nan"), "by_step": [None, 0.9]}
    holes["activity"] = {"2": {"rate": None}, "4": None}
    holes["widths"] = [{"layer": "2"}]
    holes["bytes"] = {"package": 10}
    holes["published"] = {"value": None, "source": "a paper"}
    del holes["expected"]  # as reports of earlier versions, which ask the recipe
    holes["recipe"] = {
        "name": "holes",
        "expect": {"test_accuracy": 0.9},
        "paper": {"title": "t", "url": "javascript:x"},
    }
    outline = Outline(
        render(
            holes,
            [{"epoch": 1, "train_loss": None}],
            replace(detail(), images=[replace(detail().images[0], pixels=None)]),
        )
    )
    assert not any("javascript" in address for address in outline.addresses)
    assert "expected        at least 90.00 %" in summary(holes)


def test_a_layer_that_never_fires_or_always_does_is_named_in_page_and_summary() -> None:
    bad = record()
    bad["activity"]["4"] |= {"silent": 1.0, "rate": 0.0, "by_step": [0.0] * 4}
    bad["activity"]["6"] |= {"saturated": 1.0}
    outline = Outline(render(bad, metrics(), detail()))
    assert "A layer that tells nothing" in outline.headings
    said = "4 never fires; 6 always fires on the test images: nothing about the input passes through"
    assert said in outline.text
    assert f"  FIRING          {said}\n" in summary(bad)
    assert "FIRING" not in summary(record())
    assert "A layer that tells nothing" not in Outline(render(record(), metrics(), detail())).headings
    # What is the same for every image was compared with itself: that is no certificate in green.
    assert "Certificate: equal, but a layer tells nothing" in outline.headings
    assert '<section class="good">' not in render(bad, metrics(), detail())


def test_the_certificate_of_a_network_that_sent_nothing_is_not_green() -> None:
    silent = record()
    silent["certificate"]["spikes_fired"] = 0
    outline = Outline(page := render(silent, metrics(), detail()))
    assert "Certificate: equal, but nothing fired" in outline.headings
    assert '<section class="good">' not in page
    assert "no neuron fired" in outline.text
    assert "567,360 spikes, none of them fired, and" in summary(silent)
    silent["certificate"] |= {"spikes_compared": 0}  # no neurons, so nothing that could have fired
    assert "✓Certificate: 100 % equal" in Outline(render(silent, metrics(), detail())).headings


def test_the_certificate_of_a_network_that_always_fired_is_not_green() -> None:
    always = record()
    always["certificate"]["spikes_fired"] = always["certificate"]["spikes_compared"]
    outline = Outline(page := render(always, metrics(), detail()))
    assert "Certificate: equal, but a layer tells nothing" in outline.headings
    assert '<section class="good">' not in page
    assert "every neuron fired at every step" in outline.text
    assert "567,360 spikes, all of them fired, and" in summary(always)


def test_checks_that_failed_are_listed_first() -> None:
    bad, of_name = record(), "the integers differ first at layer 2"
    bad["checks"] = [
        {"name": "certificate", "passed": False, "message": of_name},
        {"name": "firing", "passed": True, "message": "every layer fires"},
    ]
    outline = Outline(render(bad, metrics(), detail()))
    assert outline.headings[0] == "✗This run fails"
    assert "1 of its 2 checks failed; bitspike run ends with exit code 1." in outline.text
    assert of_name in outline.text
    assert "every layer fires" not in outline.text
    bad["checks"][0]["passed"] = True
    assert Outline(render(bad, metrics(), detail())).headings[0] == "The answer"


def test_rates_by_step_are_drawn_and_read_out() -> None:
    page = render(record(), metrics(), detail())
    assert page.count('class="steps"') == 3 + 2  # layers, and rules of early exit
    assert "4: 0 % at the first of 4 steps, 22.2 % at the last" in page
    older = record()
    for layer in older["activity"].values():
        del layer["by_step"]
    assert render(older, metrics(), detail()).count('class="steps"') == 2


def test_early_exit_has_a_curve_for_every_rule_shares_by_exit_and_gains_over_time() -> None:
    page = render(record(), metrics(), detail())
    text = Outline(page).text
    for words in (
        "a fixed step",
        "gains of all norms",
        "1.80",
        "97.50 %",
        "-0.56 points",
        "the gain of each norm through time",
        "Choose a confidence or an epsilon by validation images",
    ):
        assert words in text, words
    assert "exit at" in page
    without = record()
    without["exits"]["gammas"] = {}
    assert "the gain of each norm through time" not in Outline(render(without, metrics(), detail())).text
    for nothing in (None, {}, {"results": "x"}, {"results": [{"rule": "fixed"}]}):
        assert "Early exit" not in Outline(render(record() | {"exits": nothing}, metrics(), detail())).headings


def test_a_single_step_is_said_instead_of_drawn() -> None:
    one = record()
    one["accuracy"]["by_step"] = [0.9]
    one["recipe"]["model"]["steps"] = 1
    assert "a single time step" in render(one, metrics(), detail())


def test_without_codes_the_widths_are_listed() -> None:
    plain = record() | {"bits": {"conv": 32}}
    outline = Outline(render(plain, metrics(), replace(detail(), code_histograms={})))
    assert "Weights" in outline.headings
    assert "with float32 weights" in outline.text


def _hostile(value: Any) -> Any:
    if isinstance(value, dict):
        return {f"{key}": _hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_hostile(item) for item in value]
    return f"{value}\"><script>&'{{x}}" if isinstance(value, str) else value


def test_several_images_have_a_strip_and_a_potential_for_each_layer() -> None:
    shown = detail()
    page = render(record(), metrics(), shown)
    layers = sum(len(image.spikes) for image in shown.images)
    assert page.count('<svg class="raster"') == page.count('<svg class="membrane"') == layers
    assert "Another test image, “1”" in page
    assert "The network sees “0”; it is “1”." in page
    assert "The network sees “0”, and that is right." in page
    assert "thinner and in the second color" in page
    alone = replace(shown, images=[replace(shown.images[0], potentials={})])
    page = render(record(), metrics(), alone)
    assert "One image, spike by spike" in page
    assert '<svg class="membrane"' not in page
    assert "potential of one neuron" not in page


def test_everything_is_escaped() -> None:
    evil = "<script>alert(1)</script>\"'{x}"
    bad = _hostile(record())
    for part in ("bits", "activity", "environment", "bytes"):
        bad[part][evil] = next(iter(bad[part].values()))
    bad["certificate"] = {"equal": False, "first_difference": {"layer": evil, "found": evil}}
    bad["command"] = evil
    shown = detail({evil: 10})
    shown = replace(
        shown,
        images=[replace(image, label=evil, prediction=evil) for image in shown.images],
        code_histograms={evil: {0: 1}},
        exhibits=confusion(np.full((10, 10), 1), [evil] * 10),
    )
    page = render(bad, metrics(), shown)
    assert_only_our_script(page)
    Outline(page)


def test_a_network_of_forty_layers_and_a_hundred_classes_stays_small() -> None:
    layers = {f"block{i // 4}.{i % 4}.neuron": 256 for i in range(40)}
    big = record() | {"activity": {name: {"rate": 0.5, "silent": 0, "saturated": 0} for name in layers}}
    rng = np.random.default_rng(0)
    noisy = {name: rng.integers(-1, 2, (64, 256), dtype=np.int8) for name in layers}
    paths = {name: Trajectory(rng.normal(size=64), np.ones(64), noisy[name][:, 0]) for name in layers}
    photo = rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)
    shown = replace(
        detail(classes=100),
        images=[ImageShown(photo, "a", "b", noisy, paths)] * 3,
        code_histograms={name: dict.fromkeys(range(-3000, 3000), 3) for name in layers},
        exhibits=confusion(np.random.default_rng(0).integers(0, 9, (100, 100))),
    )
    page = render(big, metrics(300), shown)
    assert len(page.encode()) < 1_500_000
    assert "28 more layers" in Outline(page).text


def test_more_classes_than_can_be_drawn_leave_the_list_of_errors() -> None:
    outline = Outline(render(record(), [], ReportDetail(exhibits=confusion(np.full((300, 300), 1)))))
    assert "Most frequent errors" in outline.text


def test_the_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_report(tmp_path, record(), metrics(2), detail())
    first = path.read_text(encoding="utf-8")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        write_report(tmp_path, record() | {"seed": 5}, metrics(2), detail())
    assert path.read_text(encoding="utf-8") == first
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_a_missing_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="No such file"):
        write_report(tmp_path / "gone", {}, [])


def test_summary_is_compact_and_plain() -> None:
    text = summary(record())
    assert text.isascii()
    assert len(text.splitlines()) <= 9
    assert text.splitlines()[0] == "quickstart: 2-bit weights and 4 time steps"
    assert "100 % equal: 567,360 spikes and 567,360 membranes of 360 images" in text
    counted = record()
    counted["certificate"]["spikes_fired"] = 60_000
    assert "100 % equal: 567,360 spikes, 60,000 of them fired, and 567,360 membranes" in summary(counted)
    assert "clipped" not in summary(counted) + Outline(render(counted, metrics(), detail())).text
    counted["certificate"]["inputs_clipped"] = 1_234
    assert "of 360 images; 1,234 input values clipped to their grid" in summary(counted)
    assert "1,234 input values were clipped to their grid." in Outline(render(counted, metrics(), detail())).text


def test_weights_trained_as_floats_are_called_so_whatever_their_codes() -> None:
    said = summary({"recipe": {"name": "f", "weights": None, "model": {"steps": 2}}, "bits": {"fc": 16}})
    assert said.splitlines()[0] == "f: float weights (16-bit codes) and 2 time steps"


def test_what_a_recipe_expects_is_read_as_a_run_writes_it() -> None:
    expect = load("quickstart").expect
    assert expect is not None
    said = summary({"expected": expect.model_dump(mode="json"), "accuracy": {"test": 0.98}})
    assert "at least 97.00 %" in said
