"""The page for users of the hybrid RRAM/SRAM program: its commands, run in order on a few small images."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from journey_parts import is_silent_alone, sets

from bitspike.recipe import load, shipped
from bitspike.recipe.kinds.train import TrainRecipe

PAGE = (Path(__file__).parents[2] / "docs" / "from" / "hybrid-memory.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S) for line in block.splitlines() if line]
COMMANDS = [line for line in LINES if not line.startswith("#")]
SMALL = (
    *("data.limit=24", "training.batch_size=12", "model.width=0.03", "model.steps=2", "expect=null"),
    *("evaluation.batch_size=24", "norm.momentum=1.0", "training.epochs=1"),
)
FLAGS = """
seed num_steps batch_size lr leak_mem arch dataset num_epochs num_workers train_display_freq test_display_freq
quant sram sram_bit shift shift_bit load_sram_w load_rram_w sram_init0 sram_noqt no_var var_scale ct eva swp
group lamda ratio th noprune1 tern Dorefa XNORBP model_name log_name load_rram load_sram ngpu gpu_id
"""
"""Of the program, all that it has."""
Bitspike = Callable[..., tuple[int, str, str]]
DONE: dict[Path, int] = {}
"""How many commands have run, by folder."""


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory: pytest.TempPathFactory, cifar10_root: Path) -> Path:
    """Return the folder in which the commands of the page run."""
    folder = tmp_path_factory.mktemp("hybrid-page")
    (folder / "data").symlink_to(cifar10_root)
    return folder


def small(line: str) -> list[str]:
    """Return the words of a command, shrunk where it trains or measures."""
    program, *words = shlex.split(line.replace("--chips 20", "--chips 2").replace("--adapt 500", "--adapt 24"))
    assert program == "bitspike"
    if words[0] != "run":
        return words
    # A stage that says how long it trains says it for itself.
    return [
        *words,
        *sets(*SMALL, *(("stages.2.epochs=1", "stages.3.epochs=1") if words[1].startswith("hybrid") else ())),
    ]


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=[f"{n}-{c.split()[1]}" for n, c in enumerate(COMMANDS)])
def test_the_commands_run_in_their_order(
    number: int, page_folder: Path, monkeypatch: pytest.MonkeyPatch, bitspike: Bitspike
) -> None:
    monkeypatch.chdir(page_folder)
    for line in COMMANDS[DONE.get(page_folder, 0) : number + 1]:
        code, out, err = bitspike(*small(line))
        assert code == 0 or (line.startswith("bitspike run") and is_silent_alone(code, err)), f"{line}\n{out}{err}"
        DONE[page_folder] = DONE.get(page_folder, 0) + 1
    line = COMMANDS[number]
    if line.startswith("bitspike run"):
        folder = Path(line.split("--out ")[1]) if "--out" in line else Path("runs/hybrid-vgg9-cifar10")
        report = json.loads((folder / "report.json").read_text())
        assert report["certificate"]["equal"]
        weights = report["recipe"]["weights"]
        if "--set stage=" in line:
            assert weights["recover"]
            assert bool(weights.get("prune")) == ("stage=pruned" in line)
            start = re.search(r"--set init=(runs/r\w+)", line)
            assert start is not None
            # A run keeps the whole path, so that it goes on from anywhere.
            assert report["stage"]["start"]["source"] == str(page_folder.resolve() / start[1] / "model.safetensors")
    if line.startswith("bitspike yield"):
        place = Path(line.split("--out ")[1]) if "--out" in line else Path(line.split()[2]) / "yield"
        result = json.loads((place / "yield.json").read_text())
        assert result["chips"] == 2
        assert result["by"] == ("torch" if "--adapt" in line else "integers")
    if line.startswith("bitspike export"):
        assert Path("c/network.c").is_file()


def words_of(line: str) -> dict[str, str]:
    """Return the options of a command of the program that have a value."""
    return dict(re.findall(r"--(\w+) \"?(-?\w[\w.]*)", line))


def test_every_command_of_the_program_has_one_of_bitspike_under_it() -> None:
    theirs = [i for i, line in enumerate(LINES) if line.startswith("# ")]
    assert len(theirs) == 3 + 2 + 4 + 4
    for i in theirs:
        assert LINES[i + 1].startswith("bitspike ")
        assert ("--eva" in LINES[i] or ".ipynb" in LINES[i]) == (LINES[i + 1].split()[1] in ("evaluate", "yield"))


def test_the_commands_say_what_the_documented_ones_say() -> None:
    compared = 0
    for line, command in itertools.pairwise(LINES):
        if not line.startswith("# python train.py") or "--eva" in line:
            continue
        words, parts = words_of(line), shlex.split(command)
        recipe = load(parts[2], [parts[n + 1] for n, part in enumerate(parts) if part == "--set"])
        assert isinstance(recipe, TrainRecipe)
        weights, training = recipe.weights, recipe.training
        assert weights is not None
        if "..." not in line:
            assert (recipe.model.steps, recipe.data.kind, recipe.neuron.decay) == (20, "cifar10", 0.95)
            assert f"vgg{recipe.model.depth}" == words["arch"]
            assert (training.optimizer.lr, training.batch_size) == (0.1, 128)
            assert training.epochs == int(words["num_epochs"])
            assert training.schedule.milestones == tuple(training.epochs * part / 10 for part in (5, 7, 9))
            compared += 1
        if "quant" in words:
            assert weights.quantize.bits == int(words["quant"])
        varies = weights.vary
        assert (varies is None) == ("--no_var" in line)
        if varies is not None and "quant" in words:
            assert varies.bits == int(words["quant"])
            assert varies.scale == float(words.get("var_scale", 1))
        recover = weights.recover
        assert (recover is not None) == ("--sram " in line)
        if recover is not None:
            assert recover.bits == (32 if "--sram_noqt" in line else int(words["sram_bit"]))
            assert recover.shift == int(words.get("shift_bit", 0))
            start = "zero" if "--sram_init0" in line else "runs/r1_tfs" if "--load_sram_w" in line else "rram"
            assert recover.start == start
        assert (weights.prune is not None) == ("--swp" in line)
        if "stage=recovered" in command and "epochs" not in command:
            assert training.epochs == 50
    assert compared == 4


def test_the_page_names_every_option_and_the_recipes_of_the_program() -> None:
    table = PAGE.partition("## Options")[2].partition("## What differs")[0]
    named = set(re.findall(r"`--(\w+)`", table))
    assert named - {"set", "out"} == set(FLAGS.split())
    recipes = {name for name in shipped() if name.startswith("hybrid-")}
    assert recipes
    assert all(name in PAGE for name in recipes)
