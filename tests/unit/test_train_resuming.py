"""A damaged checkpoint is refused by name, never resumed in silence; an undamaged one goes on to the same weights."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from bitspike import digests
from bitspike.errors import PackageError, RunError
from bitspike.train import SGD, AdamW, Observer, fit
from bitspike.train.checkpoint import MODEL, OPTIMIZER, STATE

BATCHES = [(torch.rand(8, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2)]


class StopAfter(Observer):
    """Stops a run after an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.heard = epoch, list[str]()

    def epoch_done(self, record: Any) -> None:
        if record.epoch == self.epoch:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        self.heard.append(text)


def train(folder: Path, optimizer: SGD | AdamW = SGD(lr=0.1), *, stop: int = 0, resume: bool = False) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    fit(
        model, BATCHES, epochs=3, validation=BATCHES, optimizer=optimizer, folder=folder, resume=resume,
        observer=StopAfter(stop), device="cpu", precision="fp32",
    )  # fmt: skip
    return model


@pytest.fixture(scope="module", params=[SGD(lr=0.1), AdamW(lr=0.1)], ids=["SGD", "AdamW"])
def stopped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SGD | AdamW]:
    folder = tmp_path_factory.mktemp("run") / "run"
    with pytest.raises(KeyboardInterrupt):
        train(folder, request.param, stop=2)
    return folder, request.param


def flip(path: Path, place: float) -> None:
    """Flip one bit at a share of a file's length."""
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 4
    path.write_bytes(data)


def restate(place: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the state of a checkpoint and write its digest anew, as damage never does: its fields are looked at."""
    state = json.loads((place / STATE).read_text())
    change(state)
    state["files"] = {name: digests.of_file(place / name) for name in state.get("files", {})}
    state.pop("digest")
    (place / STATE).write_text(json.dumps({**state, "digest": digests.of_values(state)}))


def remodel(place: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    weights = safetensors.torch.load_file(place / MODEL)
    change(weights)
    safetensors.torch.save_file(weights, place / MODEL)
    restate(place, lambda state: None)


def restep(place: Path, change: Callable[[dict[str, Any]], object]) -> None:
    state = torch.load(place / OPTIMIZER, weights_only=True)
    change(state)
    torch.save(state, place / OPTIMIZER)
    restate(place, lambda state: None)


def first_moment(state: dict[str, Any]) -> tuple[dict[str, Any], str]:
    held = state["state"][0]
    return held, next(name for name in held if name != "step")


def put(held_and_name: tuple[dict[str, Any], str], make: Callable[[Tensor], Any]) -> None:
    held, name = held_and_name
    held[name] = make(held[name])


Damage = Callable[[Path], object]


def bit(file: str, share: float) -> Damage:
    return lambda checkpoints: flip(checkpoints / file, share)


def stated(change: Callable[[dict[str, Any]], object]) -> Damage:
    return lambda checkpoints: restate(checkpoints / "last", change)


def weighed(change: Callable[[dict[str, Tensor]], object]) -> Damage:
    return lambda checkpoints: remodel(checkpoints / "last", change)


def moved(change: Callable[[dict[str, Any]], object]) -> Damage:
    return lambda checkpoints: restep(checkpoints / "last", change)


def moment(make: Callable[[Tensor], Any]) -> Damage:
    return moved(lambda state: put(first_moment(state), make))


def lacking(name: str) -> Damage:
    return stated(lambda state: state.pop(name))


def restated_files(files: object) -> Damage:
    """Replace the digests of files by something else, with a digest that agrees."""

    def damage(checkpoints: Path) -> None:
        path = checkpoints / "last" / STATE
        state = {**json.loads(path.read_text()), "files": files}
        path.write_text(json.dumps({**state, "digest": digests.of_values(state)}))

    return damage


def undigested(names: tuple[str, ...]) -> Damage:
    """Take the digest of a state away, and some of what came with it."""

    def damage(checkpoints: Path) -> None:
        path = checkpoints / "last" / STATE
        state = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key, value in state.items() if key not in ("digest", *names)}))

    return damage


def spoil_best(checkpoints: Path) -> None:
    shutil.copy(checkpoints / "last" / MODEL, checkpoints / "best" / MODEL)
    flip(checkpoints / "best" / MODEL, 0.9)


SHARES = (0.0, 0.3, 0.7, 1.0)
DAMAGE: dict[str, tuple[Damage, str]] = {
    **{f"a bit of {f} at {p}": (bit(f, p), f) for f in (f"last/{MODEL}", f"last/{OPTIMIZER}") for p in SHARES},
    **{f"a bit of {f} at {p}": (bit(f, p), f) for f in (f"best/{MODEL}", f"last/{STATE}") for p in (0.2, 0.5, 0.9)},
    "best of another run": (spoil_best, f"best/{MODEL}"),
    "best is lost": (lambda c: (c / "best" / MODEL).unlink(), "no such file"),
    "the moments are lost": (lambda c: (c / "last" / OPTIMIZER).unlink(), "cannot be read"),
    **{
        f"no {name}": (lacking(name), f"the field '{name}' is missing")
        for name in ("epoch", "epochs", "seed", "best_epoch", "history")
    },
    "no list of files": (restated_files([]), "its list of files is no mapping"),
    "its digest is lost": (
        undigested(()),
        f"last/{STATE} cannot be read: it lacks its digest, and still has files and",
    ),
    "its digests of files are lost, too": (undigested(("files",)), "lacks its digest, and still has best_digest"),
    "an epoch too many": (stated(lambda s: s.update(epoch=3)), "the history holds 2 epochs"),
    "an epoch beyond counting": (stated(lambda s: s.update(epoch=2**62, epochs=2**62)), "the history holds 2 epochs"),
    "epoch is text": (stated(lambda s: s.update(epoch="2")), "epoch is '2', which is of another kind"),
    "best of no epoch": (stated(lambda s: s.update(best_epoch=9)), "best_epoch is 9, and 2 epochs are done"),
    "a row of another kind": (
        stated(lambda s: s["history"].__setitem__(0, ["loss", 1.0])),
        r"history\[0\]: unknown \['loss', 1.0\]",
    ),
    "a row without loss": (
        stated(lambda s: s["history"][1].pop("train_loss")),
        r"history\[1\]: train_loss is missing",
    ),
    "a loss that is text": (
        stated(lambda s: s["history"][1].update(train_loss="low")),
        "train_loss is 'low', a number was expected",
    ),
    "NaN in last": (weighed(lambda w: w["0.weight"].view(-1)[0].fill_(torch.nan)), "0.weight holds NaN"),
    "half precision": (weighed(lambda w: w.update({"0.bias": w["0.bias"].half()})), "0.bias is torch.float16"),
    "moments of another shape": (moment(lambda t: t[:, :1].clone()), r"parameter 0 is torch.float32 \[4, 1\]"),
    "moments of another type": (moment(Tensor.double), "of parameter 0 is torch.float64"),
    "moments that are NaN": (moment(lambda t: t * torch.nan), "of parameter 0 holds NaN"),
    "moments that are a text": (moment(str), "of parameter 0 is no tensor of floats"),
    "a moment is lost": (moved(lambda s: s["state"][0].popitem()), "parameter 0 has "),
    "no moments": (moved(lambda s: s["state"].clear()), "it holds no moments"),
    "a group is lost": (moved(lambda s: s["param_groups"].pop()), "its groups have"),
    "a setting of another kind": (
        moved(lambda s: s["param_groups"][0].update(maximize=1)),
        "maximize is 1, here it is False",
    ),
    "a setting that nobody chose": (
        moved(lambda s: s["param_groups"][0].update(maximize=True)),
        "maximize is True, here it is False",
    ),
    "a learning rate of another kind": (
        moved(lambda s: s["param_groups"][0].update(lr="fast")),
        "lr is 'fast', here it is 0.1",
    ),
    "a parameter too many": (
        moved(lambda s: s["state"].update({9: s["state"][0]})),
        "it holds something for parameter 9",
    ),
    "no optimizer at all": (moved(dict.clear), "no mapping of state and param_groups"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_checkpoint_is_refused_by_name_with_the_way_out(
    stopped: tuple[Path, SGD | AdamW], tmp_path: Path, name: str
) -> None:
    folder, optimizer = stopped
    shutil.copytree(folder, tmp_path / "run")
    what, message = DAMAGE[name]
    what(tmp_path / "run" / "checkpoints")
    with pytest.raises(PackageError, match=message) as refused:
        train(tmp_path / "run", optimizer, resume=True)
    assert "put an undamaged copy there; or delete" in str(refused.value.fix)


def test_the_way_out_works(stopped: tuple[Path, SGD | AdamW], tmp_path: Path) -> None:
    folder, optimizer = stopped
    shutil.copytree(folder, tmp_path / "run")
    flip(tmp_path / "run" / "checkpoints" / "last" / MODEL, 0.9)
    with pytest.raises(PackageError, match="is not what was written"):
        train(tmp_path / "run", optimizer, resume=True)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert same(train(tmp_path / "run", optimizer, resume=True), train(tmp_path / "whole", optimizer))


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_an_undamaged_one_goes_on_to_the_very_same_weights(stopped: tuple[Path, SGD | AdamW], tmp_path: Path) -> None:
    folder, optimizer = stopped
    shutil.copytree(folder, tmp_path / "run")
    assert same(train(tmp_path / "run", optimizer, resume=True), train(tmp_path / "whole", optimizer))


def test_one_without_digests_goes_on_with_one_clear_line(stopped: tuple[Path, SGD | AdamW], tmp_path: Path) -> None:
    folder, optimizer = stopped
    shutil.copytree(folder, tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    (checkpoints / "best" / STATE).unlink()
    state = json.loads((checkpoints / "last" / STATE).read_text())
    for name in ("digest", "files", "best_digest"):
        del state[name]
    (checkpoints / "last" / STATE).write_text(json.dumps(state))
    with pytest.warns(UserWarning, match="last holds no digests") as heard:
        resumed = train(tmp_path / "run", optimizer, resume=True)
    assert len(heard) == 1
    assert same(resumed, train(tmp_path / "whole", optimizer))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(tmp_path / "run", optimizer, resume=True)
    flip(checkpoints / "best" / MODEL, 0.9)
    with pytest.raises(PackageError, match=f"best/{MODEL}"):
        train(tmp_path / "run", optimizer, resume=True)


def test_killed_between_best_and_last_it_repeats_the_epoch(stopped: tuple[Path, SGD | AdamW], tmp_path: Path) -> None:
    folder, optimizer = stopped
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", optimizer, stop=1)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "best")
    shutil.copytree(folder / "checkpoints" / "best", tmp_path / "run" / "checkpoints" / "best")
    state = json.loads((folder / "checkpoints" / "best" / STATE).read_text())
    assert state["epoch"] in (1, 2)
    assert same(train(tmp_path / "run", optimizer, resume=True), train(tmp_path / "whole", optimizer))


def test_a_run_keeps_its_optimizer(stopped: tuple[Path, SGD | AdamW], tmp_path: Path) -> None:
    folder, optimizer = stopped
    shutil.copytree(folder, tmp_path / "run")
    with pytest.raises(RunError, match=r"made with weight_decay .*, this run has weight_decay 0\.5"):
        train(tmp_path / "run", type(optimizer)(lr=0.1, weight_decay=0.5), resume=True)
    other = AdamW(lr=0.1) if isinstance(optimizer, SGD) else SGD(lr=0.1)
    with pytest.raises(PackageError, match="does not belong to this optimizer"):
        train(tmp_path / "run", other, resume=True)


def test_to_resume_without_a_checkpoint_starts_from_the_first_epoch_and_says_so(tmp_path: Path) -> None:
    heard = StopAfter(1)
    with pytest.raises(KeyboardInterrupt):
        fit(nn.Linear(3, 2), BATCHES, epochs=2, folder=tmp_path, resume=True, observer=heard)
    assert heard.heard == [f"{tmp_path} holds no checkpoint yet: the training starts from its first epoch"]
