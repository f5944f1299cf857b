"""How the command line behaves: help, quiet, JSON, dry runs, colors, completion, and words that are wrong."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from rich.console import Console
from test_cli_verbs import BATCH, EPOCH, VERBS

import bitspike as bs
from bitspike.cli import main
from bitspike.cli.completion import _paths, recipes
from bitspike.cli.guard import colored, guarded
from bitspike.cli.runs import _of_changes
from bitspike.cli.wrap import wrapped
from bitspike.errors import BitspikeError, RecipeError, RunError
from bitspike.recipe import load
from bitspike.runs.shown import Bar, Lines, shown
from bitspike.train import Observer

SMALL = [w for v in ("model.width=0.125", "data.limit=60", "training.epochs=1", "expect=null") for w in ("--set", v)]


@pytest.fixture(autouse=True)
def _80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_help_is_short_and_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-h"]) == 0
    text = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == text
    assert "..." not in text.partition("Commands:")[2], "what a verb does is said whole"
    for verb in VERBS:
        assert main([verb, "-h"]) == 0
        text += capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80


def test_a_run_answers_in_json_and_quietly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "quickstart", *SMALL, "--out", str(tmp_path / "run"), "--json", "-q"]
    code = main(words)
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report == json.loads((tmp_path / "run" / "report.json").read_text())
    kept = all(check["passed"] for check in report["checks"])
    assert code == (0 if kept else 1)
    assert err == "" if kept else err.startswith("check failed: ")


def test_quiet_shows_no_progress_and_errors_are_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with shown(sys.stderr, quiet=True) as watching:
        assert type(watching) is Observer
    assert main(["run", "quickstart", "--set", "data.limit=0", "-q"]) == 2
    assert capsys.readouterr().err.startswith("error: quickstart.yaml has 1 problem")
    assert main(["resume", str(tmp_path / "gone"), "--quiet", "--json"]) == 2
    assert "error: there is no folder" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "quickstart", "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("quickstart: a run would do this; nothing was written\n  folder          runs/quickstart\n")
    assert "digits: 1,294 to train, 144 for validation, 359 to test" in out
    assert "57,408 parameters, 2-bit weights, T = 4" in out
    assert "30 epochs in batches of 64" in out
    assert max(map(len, out.splitlines())) <= 80
    assert main(["run", "quickstart", "--dry-run", "--json", *SMALL]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["problems"] == []
    assert planned["time"].startswith("not measured; as it is shipped "), "this is another experiment"
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_all_that_keeps_a_run_from_beginning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BITSPIKE_DATA", raising=False)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("")
    words = ["run", "resnet20-cifar10-convert", "--dry-run", "--out", "taken", "--set", "data.root=nowhere"]
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert "  training        none\n" in out
    for said in (
        "taken is not empty and no run of bitspike",
        "the data set 'cifar10' was not found",
        "there is no file resnet20-12fca82f.th",
    ):
        assert f"error: {said}" in err or f"error: model.weights: {said}" in err
    assert main([*words, "--json"]) == 2
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 3
    assert main(["run", "quickstart", "--dry-run", "--seeds", "0,1"]) == 2
    assert "fix: leave --seeds out" in capsys.readouterr().err


def test_colors_are_for_terminals_that_have_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colored("error", "red") == "\x1b[31m\x1b[1merror\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert colored("error", "red") == "error"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert colored("error", "red") == "error"


def test_what_is_piped_has_no_colors(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with pytest.raises(typer.Exit), guarded():
        raise RunError("no", fix="do")
    assert capsys.readouterr().err == "error: no\n  fix: do\n"


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("bitspike.runs.shown.Console", lambda **_: Console(file=io.StringIO(), force_terminal=True))
    with shown(sys.stderr) as watching:
        assert isinstance(watching, Lines)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        (["run", "mnist-stbp-w"], {"mnist-stbp-w2-m2", "mnist-stbp-w4", "mnist-stbp-w8"}),
        (["zoo", "quick"], {"quickstart"}),
        (["check", "quickstart", "--chip", "fan"], {"fanin1024-v1"}),
        (["run", "quickstart", "--set", "training.ep"], {"training.epochs="}),
        (["ev"], {"evaluate"}),
    ],
)
def test_the_shell_is_offered_what_there_is(line: list[str], offered: set[str]) -> None:
    asked = {"_BITSPIKE_COMPLETE": "complete_bash", "COMP_WORDS": f"bitspike {' '.join(line)}"}
    done = subprocess.run(
        [sys.executable, "-m", "bitspike"],
        env={**os.environ, **asked, "COMP_CWORD": str(len(line))},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert set(done.stdout.split()) == offered, done.stderr


def test_files_are_offered_and_folders_that_may_not_be_looked_into_offer_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mine.yaml", ".hidden.yaml", "other.toml"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder").mkdir()
    inside = f"{tmp_path}/"
    assert list(recipes(inside)) == [f"{inside}folder/", f"{inside}mine.yaml"]
    assert list(recipes(f"{inside}mi")) == [f"{inside}mine.yaml"]
    assert list(recipes(f"{inside}gone/")) == list(recipes(f"{inside}mine.yaml/")) == []

    def refused(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "iterdir", refused)
    assert list(_paths(inside, ".yaml")) == []


def test_an_error_of_several_lines_keeps_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), guarded():
        raise RecipeError("a\n  b", fix="c\n       d")
    assert capsys.readouterr().err == "error: a\n  b\n  fix: c\n       d\n"


@pytest.mark.parametrize(
    "words",
    [
        ["pareto", "gone", "--out"],
        ["yield", "gone", "--out"],
        ["analyze", "gone", "--out"],
        ["run", "quickstart", "--dry-run", "--out"],
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_the_work(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "out"
    assert main([*words, str(place)]) == 2
    assert f"error: {place} cannot be written: {tmp_path / 'file'} is a file" in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path.name != "file"]


@pytest.mark.parametrize(
    "verb", ["resume", "evaluate", "analyze", "cost", "yield_", "energy", "verify", "run", "check"]
)
def test_a_number_in_the_place_of_a_folder_is_told(verb: str) -> None:
    more = ("fanin1024-v1",) if verb == "check" else ()
    with pytest.raises(BitspikeError) as error:
        getattr(bs, verb)(5, *more)
    assert "needed" in error.value.message or "neither" in error.value.message
    assert error.value.fix is not None


@pytest.mark.parametrize(
    ("verb", "arguments"), [("new", ("mine",)), ("run", ("quickstart",)), ("pareto", ([5],)), ("pareto", (["runs/a"],))]
)
def test_a_number_in_the_place_of_a_path_is_told(verb: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(BitspikeError, match="5"):
        getattr(bs, verb)(*arguments, out=5)


def test_a_run_goes_on_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    digits = bs.data.load("digits", "train")
    arrays = {f"{split}_{what}": x for split in ("train", "test") for what, x in _arrays(digits).items()}
    (home / "images").mkdir()
    np.savez(home / "images" / "mnist.npz", **arrays)
    monkeypatch.chdir(home)
    changes = ["--set", "data={kind: mnist, root: images, limit: 40}", *SMALL[:2], *SMALL[4:]]
    with monkeypatch.context() as stopped:
        stopped.setattr("bitspike.runs.carry_out.measure", _interrupted)
        assert main(["run", "quickstart", *changes, "--out", "q", "-q"]) == 2
    assert "bitspike resume q" in capsys.readouterr().err
    assert load(home / "q" / "recipe.yaml").data.root == str((home / "images").resolve())
    monkeypatch.chdir(elsewhere)
    assert main(["resume", str(home / "q"), "-q"]) in (0, 1), "so small a network may never fire"
    assert (home / "q" / "report.json").is_file()
    assert list(elsewhere.iterdir()) == []


def _arrays(digits: bs.data.ImageSet) -> dict[str, np.ndarray]:
    """Return the packaged digits as images of 28x28."""
    images = np.zeros((len(digits), 28, 28), np.uint8)
    images[:, 10:18, 10:18] = digits.images[..., 0].numpy() * 15
    return {"images": images, "labels": digits.labels.numpy()}


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_on_a_terminal_prose_is_wrapped_and_tables_and_ways_out_are_not() -> None:
    prose = "error: " + "a word and a/long/path " * 8
    assert max(map(len, wrapped(prose, 80).splitlines())) <= 80
    assert " ".join(wrapped(prose, 80).split()) == prose.strip(), "nothing is lost, and no path is parted"
    assert wrapped(f"  licence      {'word ' * 30}".rstrip(), 80).splitlines()[1].startswith(" " * 15 + "word")
    for whole in ("  layer  weights  cells" + "  12" * 30, "  fix: bitspike run " + "--set a=b " * 20, "x" * 200, ""):
        assert wrapped(whole, 80) == whole
    assert wrapped("short\n  and  so on\n", 80) == "short\n  and  so on\n"
    ways = f"{' ' * 30}fix: 3 bit (864), or groups = 2 (576), or at most 28 input channels, or keep this module real"
    assert max(map(len, wrapped(ways, 80).splitlines())) <= 80
    listed = f"  accuracy    {', '.join(f'M{n} 93.75 %' for n in range(8))}"
    assert [line.strip(" ,") for line in wrapped(listed, 50).splitlines()][1:] == [
        "M3 93.75 %, M4 93.75 %, M5 93.75 %",
        "M6 93.75 %, M7 93.75 %",
    ], "a name and its figure stay on one line"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["zoo", "quick"], "fix: 'quickstart'? 'bitspike zoo' (bs.zoo.names()) lists all"),
        (["zoo", "xyz"], "fix: 'bitspike zoo' (bs.zoo.names()) lists all"),
        (["check", "quickstart", "--chip", "fanin"], "fix: chip='fanin1024-v1', or the path"),
    ],
)
def test_a_name_that_there_is_not_is_told_the_nearest(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_a_network_of_the_zoo_is_told_how_its_energy_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "net"
    assert main(["zoo", "quickstart", "--out", str(place)]) == 0
    assert main(["energy", str(place)]) == 2
    assert f"fix: bitspike energy {place} --samples 100, or bs.energy(" in capsys.readouterr().err


def test_doctor_lays_its_findings_out(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    findings = {"kernels": {"quantized activations": "native", "pools": "native"}, "problems": []}
    findings["devices"] = [{"name": "cpu", "kind": "cpu", "there": True}]
    monkeypatch.setattr("bitspike.verbs.doctor.doctor", lambda: findings)
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "kernels",
        "  quantized activations native",
        "  pools                 native",
        "problems           none",
        "devices",
        "  cpu: kind cpu, there yes",
    ]


@pytest.mark.parametrize("width", [80, 140])
def test_the_bar_has_the_time_that_is_left_on_every_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    terminal = Console(file=stream, force_terminal=True, width=width)
    monkeypatch.setattr("bitspike.runs.shown.Console", lambda **_: terminal)
    with shown(stream) as bar:
        assert isinstance(bar, Bar)
        bar.stage("train")
        bar.epoch_done(EPOCH)
        bar.batch_done(BATCH)
        stream.truncate(0)
        bar._bar.refresh()
        text = stream.getvalue()
    assert "validation 50.0%" in text
    assert "-:--:--" in text
    assert ("images/s" in text) is (width == 140)


def test_a_missed_figure_is_left_behind_by_recipes_with_other_values_alone() -> None:
    own, fewer = {"test_accuracy": 0.9}, {"training.epochs": 1}
    checks = [{"name": "certificate", "passed": True}, {"name": "accuracy", "passed": False}]
    missed = {"recipe": {"expect": own, "changed": fewer}, "expected": own, "checks": checks}
    kept = missed | {"checks": [check | {"passed": check["name"] == "accuracy"} for check in checks]}
    as_shipped = missed | {"recipe": {"expect": own}}
    of_a_stage = missed | {"expected": {"test_accuracy": 0.8}}
    nothing_promised = missed | {"recipe": {"expect": None, "changed": fewer}, "expected": None}
    assert [_of_changes([report]) for report in (kept, as_shipped, of_a_stage, nothing_promised)] == [""] * 4
    assert _of_changes([kept, missed]).endswith("run it with --set expect=null")
