"""Frames of events: every event counted once, by number and by time; voxel grids."""

from __future__ import annotations

import event_files as files
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitspike.data import ByNumber, ByTime, Events, counts, voxels
from bitspike.errors import ConstraintError


def stream(times: list[int], seed: int = 0) -> Events:
    draw = np.random.default_rng(seed)
    x, y, p = (draw.integers(0, n, len(times)) for n in (5, 3, 2))
    return Events.of(times, x=x, y=y, p=p, size=(3, 5))


def by_hand(events: Events, edges: list[tuple[int, int]]) -> np.ndarray:
    """Count one event after the other; frame j holds those from ``edges[j]``, positions in the stream."""
    frames = np.zeros((len(edges), events.height, events.width, 2), np.int64)
    for j, (start, end) in enumerate(edges):
        for n in range(start, end):
            frames[j, events.y[n], events.x[n], events.p[n]] += 1
    return frames


def test_cbp_check_11_frames_hold_every_event_once_and_the_last_one_the_remainder() -> None:
    t, x, y, p = zip(*files.some_events(1003, size=(128, 128)), strict=True)
    events = Events.of(t, x=x, y=y, p=p, size=(128, 128))
    frames = counts(events, ByNumber(16))
    assert frames.shape == (16, 128, 128, 2)
    assert frames.sum() == 1003
    assert frames.sum((1, 2, 3)).tolist() == [62] * 15 + [62 + 11]
    assert frames[..., 1].sum() == events.p.sum()
    assert (frames == by_hand(events, [(62 * j, 62 * (j + 1) if j < 15 else 1003) for j in range(16)])).all()


@given(st.lists(st.integers(0, 10**6), max_size=60), st.integers(1, 9))
def test_no_event_is_lost_whatever_the_order_of_the_times(times: list[int], frames: int) -> None:
    events = stream(times)
    for framing in (ByNumber(frames), ByTime(frames)):
        counted = counts(events, framing)
        assert counted.shape == (frames, 3, 5, 2)
        assert counted.sum() == len(times)
    assert (counts(events, ByNumber(1)) == counts(events, ByTime(1))).all()


@given(st.lists(st.integers(0, 999), min_size=1, max_size=40), st.integers(1, 7))
def test_frames_by_time_have_equal_durations(times: list[int], frames: int) -> None:
    events = stream(times)
    at = ByTime(frames).frame_of(events)
    length = (max(times) - min(times) + 1) / frames
    assert all(j * length <= t - min(times) < (j + 1) * length for j, t in zip(at.tolist(), times, strict=True))


def test_windows_of_time_leave_out_what_comes_later() -> None:
    events = stream([10, 19, 20, 29, 30, 99])
    assert counts(events, ByTime(2, window=10)).sum((1, 2, 3)).tolist() == [2, 2]
    assert counts(events, ByTime(20, window=10)).sum((1, 2, 3)).tolist() == [2, 2, 1, *[0] * 5, 1, *[0] * 11]


def test_a_voxel_grid_is_what_its_formula_says() -> None:
    events = stream(sorted(np.random.default_rng(3).integers(0, 1000, 50).tolist()))
    for bins in (1, 2, 5):
        expected = np.zeros((bins, 3, 5))
        for t, x, y, p in zip(events.t, events.x, events.y, events.p, strict=True):
            at = (bins - 1) * (t - events.t[0]) / (events.t[-1] - events.t[0])
            for b in range(bins):
                expected[b, y, x] += (2 * p - 1) * max(0.0, 1 - abs(b - at))
        assert np.allclose(voxels(events, bins), expected)
        rounded = voxels(events, bins, fraction_bits=3) * 8
        assert (rounded == rounded.round()).all()
        assert rounded.sum() == 8 * (2 * events.p - 1).sum()
    assert voxels(stream([]), 4).shape == (4, 3, 5)
    assert abs(voxels(stream([7, 7]), 4)).sum() > 0


def test_framings_refuse_what_has_no_meaning() -> None:
    for make in (lambda: ByNumber(0), lambda: ByTime(1.5), lambda: voxels(stream([1]), 0)):  # type: ignore[arg-type]
        with pytest.raises(ConstraintError, match="frames are"):
            make()
    with pytest.raises(ConstraintError, match="window is in microseconds"):
        ByTime(2, window=0)
    with pytest.raises(ConstraintError, match="fraction_bits=25"):
        voxels(stream([1]), 2, fraction_bits=25)
