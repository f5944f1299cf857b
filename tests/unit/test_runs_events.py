"""Recipes of event sets: frames, counts and their grid, batches, what is refused, one whole run from files."""

from __future__ import annotations

from pathlib import Path

import event_files as files
import pytest
import torch

import bitspike as bs
from bitspike.data import Batches, Compose, EventSet, Flip, PixelGrid, Shift, SomeFrames, describe_events
from bitspike.data.events.augment import SomeFrames as Drawn
from bitspike.data.picture import picture
from bitspike.errors import ConstraintError, RecipeError
from bitspike.ops.grids import Grid
from bitspike.recipe import load
from bitspike.recipe.words import events as words
from bitspike.runs.construct.data import build_data
from bitspike.runs.kinds.train import build_model
from bitspike.runs.sketch import blank, sketch

SMALL = ["data.limit=60", "model.width=0.125", "training.epochs=1", "training.batch_size=25"]


def recordings(count: int = 6, steps: int = 4) -> EventSet:
    """Return recordings whose frame t of recording n holds 10 n + t everywhere."""
    values = (10 * torch.arange(count)[:, None] + torch.arange(steps)).to(torch.uint8)
    frames = values[:, :, None, None, None].expand(-1, -1, 3, 5, 2).contiguous()
    return EventSet(frames, torch.arange(count) % 2, ("a", "b"), "tiny")


def test_counts_become_inputs_on_a_grid_as_wide_as_they_are() -> None:
    data = build_data(load("digits-events", SMALL))
    assert (data.train.shape, len(data.test)) == ((16, 16, 2), 60)
    largest = max(data.train.brightest(), data.test.brightest())
    assert data.grid == Grid(1.0, 0, 2 ** largest.bit_length() - 1)
    x, y = next(iter(data.test_batches()))
    assert (x.shape, x.dtype, y.shape) == ((60, 6, 2, 16, 16), torch.float32, (60,))
    assert torch.equal(x, data.test.first(60).permute(0, 1, 4, 2, 3).float())
    assert not data.notes


def test_most_cuts_counts_and_says_so() -> None:
    data = build_data(load("digits-events", [*SMALL, "data.most=2", "data.pixels.scale=0.5"]))
    assert data.grid == Grid(0.5, 0, 2)
    assert data.notes[0].endswith("data.most cuts counts to 2")
    x, _ = next(iter(data.test_batches()))
    assert x.unique().tolist() == [0, 0.5, 1]
    assert build_data(load("digits-events", [*SMALL, "data.most=999"])).grid == Grid(1.0, 0, 999)


@pytest.mark.parametrize("framing", ["{kind: by_time}", "{kind: by_time, window: 9000}", "{kind: by_number}"])
def test_every_framing_makes_as_many_frames_as_the_network_has_steps(framing: str) -> None:
    recipe = load("digits-events", [*SMALL, f"data.frames={framing}", "model.steps=3"])
    data = build_data(recipe)
    net = build_model(recipe, data.train)
    assert net(next(iter(data.training_batches("training")))[0]).shape == (25, 10)
    assert isinstance(net.encoder, bs.Frames)
    assert data.train.steps == 3


def test_all_frames_of_a_recording_are_changed_alike() -> None:
    events = recordings()
    batches = Batches(events, 6, pixel_grid=PixelGrid(scale=1.0), augment=(Shift(1), Flip()), shuffle=True)
    x, y = next(iter(batches))
    for recording, label in zip(x, y, strict=True):
        inside = recording[:, :, 1, 2]
        assert torch.equal(inside[:, 0] - inside[0, 0], torch.arange(4.0))
        assert int(inside[0, 0]) // 10 % 2 == label
        shown = recording > 0
        assert all(torch.equal(shown[1], frame) for frame in shown[1:])  # the border comes in at the same side
    plain = Shift(1).apply(events.frames[:, 2], torch.tensor([[0, 2]] * 6), blank=(0,))
    framed = Compose(Shift(1)).apply(events.frames, torch.tensor([[0, 2]] * 6), blank=(0,))
    assert torch.equal(framed[:, 2], plain)
    filled = Compose(Shift(1, fill=(7, 9))).apply(events.frames, torch.tensor([[0, 2]] * 6), blank=(0,))
    assert filled[:, :, 0, 0].unique(dim=1).tolist() == [[[7, 9]]] * 6  # as many values as a frame has channels


def test_some_frames_are_drawn_in_order_and_all_equally_often() -> None:
    events, word = recordings(1, 5), SomeFrames(2, of=5)
    every = torch.cartesian_prod(*(torch.arange(n) for n in word.choices))
    kept = word.apply(events.frames.expand(len(every), -1, -1, -1, -1), every, blank=(0,))[..., 0, 0, 0]
    pairs = [tuple(row) for row in kept.tolist()]
    assert {pairs.count(pair) for pair in pairs} == {2}
    assert set(pairs) == {(a, b) for a in range(5) for b in range(a + 1, 5)}
    assert torch.equal(Drawn(5, of=5).apply(events.frames, torch.zeros(1, 5).long(), blank=(0,)), events.frames)
    for make in (lambda: SomeFrames(0, of=4), lambda: SomeFrames(5, of=4)):
        with pytest.raises(ConstraintError, match="some of the frames"):
            make()
    with pytest.raises(ConstraintError, match="gets 5 frames"):
        SomeFrames(2, of=4).apply(events.frames, torch.zeros(1, 2).long(), blank=(0,))
    with pytest.raises(ConstraintError, match="gets no recordings"):
        SomeFrames(2, of=4).apply(events.frames[:, 0], torch.zeros(1, 2).long(), blank=(0,))


def test_a_recipe_trains_on_some_frames_and_measures_on_all() -> None:
    recipe = load("digits-events", [*SMALL, "data.augment=[{kind: some_frames, frames: 4, of: 6}]"])
    data = build_data(recipe)
    net = build_model(recipe, data.train)
    x, _ = next(iter(data.training_batches("training")))
    assert x.shape[1] == 4
    assert net(x).shape == (25, 10)
    assert next(iter(data.test_batches()))[0].shape[1] == 6
    for wrong in ("frames: 6, of: 6", "frames: 2, of: 4"):
        with pytest.raises(RecipeError, match=r"of is model\.steps, 6, and frames are fewer"):
            load("digits-events", [f"data.augment=[{{kind: some_frames, {wrong}}}]"])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("digits-events", "model.encoder={kind: repeat}", "recordings of events need {kind: frames}"),
        ("quickstart", "model.encoder={kind: frames}", "frames are for recordings"),
        ("digits-events", "data.pixels.offset=[3]", r"a pixel without events is 0"),
        ("digits-events", "data.most=0", "most"),
        ("digits-events", "data.most=40000", "most"),
        ("digits-events", "data.frames={kind: by_magic}", "by_magic"),
        ("digits-events", "data.augment=[{kind: random_crop}]", "random_crop"),
        ("digits-convert", "data={kind: digits_events}", "a recipe of kind convert takes images"),
        ("digits-progressive", "data={kind: digits_events}", "a recipe of kind progressive takes images"),
    ],
)
def test_what_does_not_go_together_is_refused_on_load(name: str, change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load(name, [change])


@pytest.mark.parametrize("kind", ["nmnist", "cifar10_dvs", "dvs_gesture"])
def test_a_network_for_recordings_is_sketched_without_them(kind: str) -> None:
    recipe = load("digits-events", [f"data.kind={kind}", "data.root=/nowhere", "model.width=0.05", "model.steps=1"])
    net = sketch(recipe).net
    assert net.input.shape == (2, *describe_events(kind).size)  # type: ignore[misc]
    assert net.input_grid == Grid(1.0, 0, 255)
    wide = load("digits-events", [f"data.kind={kind}", "data.most=300", "model.width=0.05", "model.steps=1"])
    assert sketch(wide).net.input_grid.high == 300


def test_a_folder_of_recordings_is_sketched_if_its_shape_is_known(tmp_path: Path) -> None:
    (tmp_path / "train" / "up").mkdir(parents=True)
    change = f"data={{kind: event_folder, root: '{tmp_path}'"
    with pytest.raises(RecipeError, match=r"data.size is null") as caught:
        sketch(load("digits-events", [change + "}"]))
    assert "data.size=[480,640]" in str(caught.value.fix)
    net = sketch(load("digits-events", [change + ", size: [8, 12]}", "model.width=0.1"])).net
    assert net.input.shape == (2, 8, 12)
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    assert len(blank(load("digits-events", [change + ", size: [8, 12]}"])).classes) == 1  # as many as are read
    (tmp_path / "train" / "up").rmdir()
    with pytest.raises(RecipeError, match="no folders of classes"):
        sketch(load("digits-events", [change + ", size: [8, 12]}"]))


def test_every_kind_of_events_is_a_set_of_the_package() -> None:
    kinds = {word.model_fields["kind"].annotation.__args__[0] for word in words.AnyEvents.__args__}  # type: ignore[union-attr]
    assert kinds == set(bs.data.EVENT_SETS)


def test_a_picture_shows_all_frames_at_once() -> None:
    frames = torch.zeros(1, 3, 2, 2, 2, dtype=torch.uint8)
    frames[0, :, 0, 1, 1] = 2  # brighter
    frames[0, 0, 1, 0, 0] = 3  # darker
    shown = picture(EventSet(frames, torch.tensor([0]), ("a",), "tiny"))
    assert shown.tolist() == [[[0, 0, 0], [255, 0, 0]], [[0, 0, 127], [0, 0, 0]]]


def test_a_run_learns_from_files_and_proves_its_integers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("Train", "Test"):
        for digit in range(10):
            for n in range(3):
                path = tmp_path / "N-MNIST" / split / str(digit) / f"{n:05d}.bin"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(files.nmnist(files.some_events(200, size=(34, 34), seed=7 * digit + n)))
    data = f"data={{kind: nmnist, root: '{tmp_path}', cache: '{tmp_path / 'kept'}', validation: 0.34}}"
    changes = [data, "model.width=0.1", "model.steps=2", "training.epochs=1"]
    report = bs.run("digits-events", set=changes, out=tmp_path / "run")
    assert report["certificate"]["equal"]
    assert report["certificate"]["samples"] == 30
    assert report["agreement"]["spikes"] == 1.0
    assert len(report["accuracy"]["by_step"]) == 2
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    again = bs.evaluate(tmp_path / "run", steps=1)
    assert again["accuracy"] == report["accuracy"]["by_step"][0]
    net = bs.load(tmp_path / "run" / "network")
    assert net.input.coding == "frames"
    assert bs.verify(tmp_path / "run" / "network").equal
