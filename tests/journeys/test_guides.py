"""The guides, run: their Python as it stands, their commands on small images in the place of the large ones.

A page that another test runs is named in ``ELSEWHERE``, a command that no test runs in ``NOT_RUN``, with the reason.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from journey_parts import is_silent_alone, lay_out_photos, sets
from torch import Tensor, nn

import bitspike as bs
from bitspike.recipe import load, shipped
from bitspike.recipe.kinds.convert import ConvertRecipe
from bitspike.recipe.kinds.progressive import ProgressiveRecipe
from equivalence.c_programs import needs_compiler
from pages import blocks_of

ROOT = Path(__file__).parents[2]
Bitspike = Callable[..., tuple[int, str, str]]
Names = dict[str, Any]

ELSEWHERE = {
    "README.md": "tests/journeys/test_readme.py",
    "docs/events.md": "tests/journeys/test_tutorials.py",
    "docs/extending.md": "tests/journeys/test_tutorials.py",
    "docs/memory-devices.md": "tests/journeys/test_memory_devices.py",
    "docs/from/bntt.md": "tests/journeys/test_from_bntt.py",
    "docs/from/cbp-qsnn.md": "tests/journeys/test_from_cbp_qsnn.py",
    "docs/from/hybrid-memory.md": "tests/journeys/test_from_hybrid_memory.py",
    "docs/from/nb-snn.md": "tests/journeys/test_from_nb_snn.py",
    "docs/from/stbp.md": "tests/journeys/test_from_stbp.py",
}
"""Pages whose blocks another test runs, next to the tutorials: the test takes them out of the page by its name."""

NOT_RUN = {
    r"vgg11-cifar10-convert|runs/fitted|fitted\.yaml": "hours on CIFAR-10; test_fitted_record holds what they made",
    r"model\.weights=FILE|nb-snn-resnet20-pretrained": "start from a file of weights that others trained",
    r"runs/NAME": "needs the run of an image set; tests/equivalence/test_formats_qonnx.py writes and cleans such files",
    r"^bitspike run mine\.yaml .*(stage=2|--resume)": "tests/journeys/test_progressive_journey.py stops and resumes",
    r" --rtl$": "needs a simulator of hardware; tests/equivalence/test_verilog_against_simulator.py runs one",
    r"^bitspike mix RECIPE": "words in capitals; the page gives a recipe below",
}
"""Commands of the guides that no test runs as they stand, and why."""


def blocks_in(page: str) -> list[tuple[str, str]]:
    """Return language and text of the blocks of a page."""
    return blocks_of((ROOT / page).read_text(encoding="utf-8"))


def python_of(page: str) -> list[str]:
    return [text for language, text in blocks_in(page) if language == "python"]


def commands_of(page: str) -> list[str]:
    """Return the commands of Bitspike in the blocks of a page; what stands after many blanks explains one."""
    texts = (text.replace("\\\n", " ") for language, text in blocks_in(page) if language in ("", "bash"))
    lines = [re.split(r" {3,}(?=\S)(?!--)| #", line)[0].strip() for text in texts for line in text.splitlines()]
    return [line for line in lines if line.startswith("bitspike ")]


PAGES = [str(path.relative_to(ROOT)) for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]]
TUTORIALS = {page for page in PAGES if page.startswith("docs/tutorials/")}


class Plain(nn.Module):
    """An ordinary network with two layers that a user may name."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())
        self.head = nn.Linear(4 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer2(self.layer1(x)).flatten(1))


def spiking(channels: int) -> nn.Module:
    """Return a spiking network; 64 channels of 4 bits are too many for a core of 1024 bits."""
    layers = [
        bs.Repeat(steps=2),
        bs.TimeDistributed(nn.Conv2d(1, channels, 3)),
        bs.LIF(decay=0.5, threshold=0.5),
        bs.TimeDistributed(nn.Conv2d(channels, 4, 3)),
        bs.LIF(decay=0.5, threshold=0.5),
        bs.TimeDistributed(nn.Flatten(), nn.Linear(4 * 16, 3)),
        bs.RateReadout(),
    ]
    return bs.attach(nn.Sequential(*layers), quantize=bs.Uniform(bits=4, scale=bs.Dyadic()))


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished_run: Path) -> Names:
    """Return what pages speak of without making it: images, a network, its integers, a finished run at its place."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished_run, tmp_path / "runs" / "quickstart")
    torch.manual_seed(0)
    images = torch.randint(256, (8, 1, 8, 8)) / 255
    loader = [(images, torch.arange(8) % 3)]
    model = spiking(4)
    net = bs.lower(model, images[:1])
    return {"bs": bs, "nn": nn, "images": images, "example": images[:1], "loader": loader, "model": model, "net": net}


def run(page: str, names: Names, *changes: tuple[str, str], only: str = "") -> None:
    """Run the Python of a page in order, with words exchanged where it names what a machine may not have."""
    ran = 0
    for text in python_of(page):
        for old, new in changes:
            text = text.replace(old, new)
        if only in text:
            exec(compile(text, page, "exec"), names)  # noqa: S102
            ran += 1
    assert ran, page


def test_chips(names: Names) -> None:
    run("docs/chips.md", names, only="report.raise_if_failed()")
    assert names["report"].passed
    names["model"] = spiking(64)
    assert not bs.check(bs.lower(names["model"], names["example"]), "fanin1024-v1").passed
    run("docs/chips.md", names, only="apply(model")
    assert names["fitted"] is not names["model"]


def test_conversion(names: Names) -> None:
    names["model"] = Plain().eval()
    run("docs/conversion.md", names, only="bs.encode")
    assert names["result"].shape == (8, 3)
    names["qnn"] = bs.quantize(Plain().eval(), names["images"][:1], bits=2, calibrate=names["loader"])
    run("docs/conversion.md", names, only="tune_layers")
    assert names["twin"](names["images"]).shape == (8, 3)


def test_energy(names: Names, capsys: pytest.CaptureFixture[str]) -> None:
    run("docs/energy.md", names)
    assert capsys.readouterr().out.count("energy per sample") == 2


@needs_compiler
def test_export_c(names: Names, bitspike: Bitspike) -> None:
    run("docs/export-c.md", names)
    blocks = [text for _, text in blocks_in("docs/export-c.md") if text.startswith("$ ")]
    bench, board = ([line[2:] for line in text.splitlines() if line.startswith("$ ")] for text in blocks)
    done = subprocess.run(*bench, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "network: all equal" in done.stdout
    for line in board[:2]:
        assert bitspike(*shlex.split(line)[1:])[0] == 0
    if shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm"):
        done = subprocess.run(board[2], shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        shown = [line for line in blocks[1].splitlines() if line.startswith("network: ")]
        assert done.stdout.splitlines()[:2] == shown[:2]  # the others are of a compiler
        assert len(done.stdout.splitlines()) == len(shown)


def test_export(names: Names, capsys: pytest.CaptureFixture[str]) -> None:
    nir = pytest.importorskip("nir", reason="NIR comes with the extra nir")
    # As SpikingJelly writes it: its neurons fire at the threshold, go back to 0, and count time in steps.
    neuron = nir.IF(r=np.full(2, 1e4), v_threshold=np.ones(2), v_reset=np.zeros(2))
    nir.write("theirs.nir", nir.NIRGraph.from_list(nir.Linear(np.array([[0.5, -0.25], [0.25, 0.5]])), neuron))
    run("docs/export.md", names, only="read_nir")
    assert "assumed" in capsys.readouterr().out
    assert [type(node).__name__ for node in names["net"].nodes if node.sources][:2] == ["Linear", "Neuron"]


@pytest.mark.parametrize("page", ["docs/membranes.md", "docs/network-format.md", "docs/zoo.md"])
def test_a_page_that_needs_nothing_but_a_run(page: str, names: Names) -> None:
    run(page, names)


def test_photos(names: Names, tmp_path: Path) -> None:
    lay_out_photos(tmp_path / "photos", {"ant": 6, "bee": 6}, {"ant": 2, "bee": 2})
    here = (("/data/imagenet", str(tmp_path / "photos")), ("10_000", "4"), ("256", "4"), ('"cuda"', '"cpu"'))
    run("docs/photos.md", names, *here)
    assert sum(len(labels) for _, labels in names["batches"]) == 8


def test_every_page_with_python_is_run() -> None:
    ours = re.findall(
        r'"(docs/[\w./-]+\.md)"', Path(__file__).read_text(encoding="utf-8").partition("def blocks_in")[2]
    )
    with_python = {page for page in PAGES if python_of(page)}
    assert with_python - {*ours, *ELSEWHERE, *TUTORIALS} == set(), "run them here, or name the test that does"
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8"), f"{test} does not name {page}"


GUIDES = [page for page in PAGES if page not in {*ELSEWHERE, *TUTORIALS} - {"docs/events.md"} and commands_of(page)]


def shrunk(line: str) -> list[str]:
    """Return the words of a command; a training becomes a matter of seconds."""
    _, *words = shlex.split(line)
    if words[0] != "run" or words[1] not in shipped():
        return words
    recipe = load(words[1])
    if isinstance(recipe, ConvertRecipe):
        return [*words, *sets("finetune.epochs=1", "data.limit=100", "expect=null")]
    if isinstance(recipe, ProgressiveRecipe):
        stages = [f"stages.{n}.epochs=1" for n in range(len(recipe.stages))]
        return [*words, *sets(*stages, "training.epochs=1", "data.limit=100", "expect=null")]
    width = 0.06 if recipe.model.kind == "vgg9" else 0.25
    changes = (f"model.width={width}", "training.epochs=1", "data.limit=60", "data.validation=20", "expect=null")
    return [*words, *sets(*changes)]


def elsewhere(line: str) -> str | None:
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, line)), None)


@pytest.mark.parametrize("page", [page for page in GUIDES if not all(map(elsewhere, commands_of(page)))])
def test_the_commands_of_a_guide_run_in_their_order(
    page: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bitspike: Bitspike,
    mnist_root: Path,
    cifar10_root: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ran = 0
    for line in commands_of(page):
        if elsewhere(line) or "=FOLDER" in line:  # an event set of another format: tests/unit/test_events_files.py
            continue
        words = shrunk(line.replace("data.root=DATA", f"data.root={mnist_root}"))
        if words[0] == "run" and words[1] in shipped() and not any("data.root" in word for word in words):
            root = {"mnist": mnist_root, "cifar10": cifar10_root}.get(load(words[1]).data.kind)
            words += sets(f"data.root={root}") if root else []
        code, out, err = bitspike(*words)
        fine = code == 0 or (words[0] == "check" and code == 1) or is_silent_alone(code, err)
        assert fine, f"{line}\n{out}{err}"
        ran += 1
    assert ran


def test_what_is_not_run_is_there() -> None:
    lines = [line for page in GUIDES for line in commands_of(page)]
    for pattern in NOT_RUN:
        assert any(re.search(pattern, line) for line in lines), f"no command of a guide is like {pattern}"
