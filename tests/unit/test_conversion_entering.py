"""The grid of what enters is that of the calibration data: its range, its whole numbers, its spikes and counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bitspike as bs
from bitspike.conversion.calibrate.find import calibrate
from bitspike.conversion.fold.fold import fold
from bitspike.errors import ConstraintError, DataError
from bitspike.graph.capture.from_module import capture


def normalized(n: int = 32) -> Tensor:
    """Normalized images of which the first has little contrast."""
    x = torch.rand(n, 3, 8, 8)
    x[0] = 0.45 + 0.1 * (x[0] - 0.5)
    return (x - 0.45) / 0.22


def of_three() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()


def of_two() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()


def grid_of(network: nn.Module) -> bs.Grid:
    (grid,) = network.conversion.grids.values()
    return grid


def reach(x: Tensor) -> bs.Grid:
    """The symmetrical grid of 8 bits up to the largest magnitude."""
    return bs.Grid(float(x.abs().max()) / 127, -127, 127)


# ---- fine-tuned networks ----------------------------------------------------------------------------------------


def test_finish_takes_the_range_that_prepare_saw() -> None:
    x = normalized()
    tuned = bs.prepare(of_three(), x[:1], calibrate=x, steps=8)
    snn = bs.finish(tuned, x[:1])
    assert grid_of(snn) == reach(x)
    assert grid_of(bs.finish(tuned, x[:1], data=x)) == reach(x)
    assert not [note for note in snn.conversion.notes if "W206" in note]
    with torch.no_grad():
        apart = ((snn(x) - bs.finish(tuned, x[:1], data=x)(x)).norm() / tuned(x).norm()).item()
    assert apart == 0


def test_a_loader_that_is_read_once_is_enough_for_prepare() -> None:
    x = normalized()
    once = bs.prepare(of_three(), x[:1], calibrate=iter(x.split(8)), steps=8)
    assert grid_of(bs.finish(once, x[:1])) == reach(x)


def test_finish_in_part_remembers_what_enters_the_region() -> None:
    x = normalized()
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    tuned = bs.prepare(model.eval(), x[:1], calibrate=x, steps=8, include=["2", "3"])
    with torch.no_grad():
        entering = torch.tanh(model[0](x))
    snn = bs.finish(tuned, x[:1])
    assert grid_of(snn) == reach(entering)
    (note,) = [note for note in snn.conversion.notes if "W206" in note]
    assert "before these were trained" in note
    assert "data=loader" in note
    assert not [note for note in bs.finish(tuned, x[:1], data=x).conversion.notes if "W206" in note]


def test_finish_of_several_inputs_has_the_grid_of_each() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = nn.Linear(4, 8), nn.Linear(3, 8), nn.Linear(8, 2)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.out(torch.relu(self.a(a) + self.b(b)))  # type: ignore[no-any-return]

    a, b = torch.rand(32, 4), 3 * torch.randn(32, 3)
    b[0] = 0.1
    tuned = bs.prepare(Two().eval(), (a[:1], b[:1]), calibrate=[(a, b)], steps=8)
    assert list(bs.finish(tuned, (a[:1], b[:1])).conversion.grids.values()) == [bs.Grid(1 / 255, 0, 255), reach(b)]


def test_corrections_on_the_example_alone_are_noted() -> None:
    x = normalized()
    tuned = bs.prepare(of_three(), x[:1], calibrate=x, steps=8)
    noted = [n for n in bs.finish(tuned, x[:1], correct="bias").conversion.notes if "W206" in n]
    assert noted == ["W206: corrections were measured on the example alone; data=loader would do better"]
    assert not [n for n in bs.finish(tuned, x[:1], data=x, correct="bias").conversion.notes if "W206" in n]


# ---- given values of spikes -------------------------------------------------------------------------------------


def test_given_values_say_that_the_grid_is_of_one_example() -> None:
    x = normalized()
    values = bs.convert(of_three(), x[:1], calibrate=x, steps=8).conversion.lambdas
    snn = bs.convert(of_three(), x[:1], calibrate=dict(values), steps=8)
    assert grid_of(snn) == reach(x[:1])
    (note,) = [note for note in snn.conversion.notes if "W206" in note]
    assert "the example alone" in note
    assert "clipped" in note
    declared = bs.convert(of_three(), x[:1], calibrate=dict(values), steps=8, input_grid=reach(x))
    assert grid_of(declared) == reach(x)
    assert not [note for note in declared.conversion.notes if "W206" in note]


def test_a_calibration_brings_the_range_that_it_saw() -> None:
    x, model = normalized(), of_three()
    found = calibrate(fold(capture(model, x[:1])), x, steps=8)
    assert grid_of(bs.convert(model, x[:1], calibrate=found, steps=8)) == reach(x)


def test_no_sample_and_one_value_are_told() -> None:
    x = torch.full((8, 3, 8, 8), -1.5)
    values = bs.convert(of_three(), x[:1], calibrate=normalized(), steps=8).conversion.lambdas
    with pytest.raises(ConstraintError, match="samples=0: at least 1"):
        bs.convert(of_three(), x[:1], calibrate=dict(values), steps=8, samples=0)
    with pytest.raises(DataError, match="yielded none"):
        bs.convert(of_three(), x[:1], calibrate=x[:0], steps=8)
    snn = bs.convert(of_three(), x[:1], calibrate=x, steps=8)
    assert [n for n in snn.conversion.notes if "W206" in n and "one value of x only, -1.5" in n.replace("input", "x")]


# ---- whole numbers ----------------------------------------------------------------------------------------------


def test_whole_numbers_stay_what_they_are() -> None:
    x = torch.randint(0, 10, (64, 4)).float()
    ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    snn = bs.convert(ann, x[:1], calibrate=x, steps=8)
    net = bs.lower(snn, x[:1])
    assert net.input_grid == bs.Grid(1.0, 0, 255)
    assert np.array_equal(bs.encode(net, x)[0], x.long().numpy())
    assert np.array_equal(bs.encode(net, x.to(torch.int32))[0], x.long().numpy())
    assert bs.verify(net, x).equal
    with pytest.raises(ConstraintError, match=r"inputs hold \d\.5; .* whole numbers from 0 to 255"):
        bs.encode(net, x + 0.5)
    with pytest.raises(ConstraintError, match=r"reach from 300 (?s:.*)fix: input_grid=bs.Grid\(1.0, 0, 309\)"):
        bs.encode(net, x.clamp(min=0) + 300)


def test_signed_and_wide_whole_numbers() -> None:
    ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    signed = torch.randint(-20, 21, (64, 4)).float()
    assert grid_of(bs.convert(ann, signed[:1], calibrate=signed, steps=8)) == bs.Grid(1.0, -127, 127)
    wide = torch.randint(0, 1001, (64, 4)).float()
    wide[0, 0] = 1000
    snn = bs.convert(ann, wide[:1], calibrate=wide, steps=8)
    assert grid_of(snn) == bs.Grid(1000 / 255, 0, 255)
    assert [note for note in snn.conversion.notes if note.startswith("W207") and "input_bits=10" in note]
    assert grid_of(bs.convert(ann, wide[:1], calibrate=wide, steps=8, input_bits=10)) == bs.Grid(1.0, 0, 1023)


def test_images_of_black_and_white_are_still_images_of_8_bits() -> None:
    x = (torch.rand(16, 2, 8, 8) < 0.5).float()
    assert grid_of(bs.convert(of_two(), x[:1], calibrate=x, steps=8)) == bs.Grid(1 / 255, 0, 255)


# ---- spikes and counts ------------------------------------------------------------------------------------------


def spikes(n: int = 64) -> Tensor:
    return (torch.rand(4, n, 2, 8, 8) < 0.3).float()


def by_events(calibrate: object, example: Tensor, **choices: object) -> nn.Module:
    return bs.convert(of_two(), example, calibrate=calibrate, steps=4, coding="events", **choices)


@pytest.mark.parametrize("frames", [False, True])
def test_spikes_have_codes_of_0_and_1(frames: bool) -> None:
    events = spikes()
    snn = by_events(events if frames else events.mean(0), events[0, :1])
    net = bs.lower(snn, events[:, :1])
    assert net.input_grid == bs.Grid(1.0, 0, 1)
    assert np.array_equal(bs.encode(net, events), events.long().numpy())
    assert np.array_equal(bs.encode(net, events.bool()), events.long().numpy())
    assert bs.verify(net, events).equal
    assert bs.compare(snn, net, [(events, torch.zeros(64, dtype=torch.long))]).spikes == 1.0
    assert bs.compare(snn, net, [(events.bool(), torch.zeros(64, dtype=torch.long))]).spikes == 1.0
    doubled = events.clone()
    doubled[2, 5, 0, 1, 1] = 2
    with pytest.raises(ConstraintError, match=r"(?s)from 0 to 2; .* from 0 to 1\n.*Grid\(1.0, 0, 2\).*calibrate"):
        bs.encode(net, doubled)
    with pytest.raises(ConstraintError, match=r"inputs hold 0\.5"):
        bs.verify(net, events / 2)
    with pytest.raises(ConstraintError, match=r"from -1 to 0; (?s:.*)Grid\(1.0, -1, 1\)"):
        bs.encode(net, -events)
    assert bool([n for n in snn.conversion.notes if "W208" in n]) != frames


def test_counts_have_the_bits_of_the_largest_one() -> None:
    frames = torch.poisson(torch.full((4, 64, 2, 8, 8), 0.6))
    most = int(frames.max())
    snn = by_events([(frames, torch.zeros(64))], frames[0, :1].clamp(max=1))
    net = bs.lower(snn, frames[:, :1].clamp(max=1))
    assert net.input_grid == bs.Grid(1.0, 0, 2 ** most.bit_length() - 1)
    assert [n for n in snn.conversion.notes if n.startswith("W208") and f"reached {most}" in n]
    found = bs.Engine(net).predict(bs.encode(net, frames))
    with torch.no_grad():
        torch.testing.assert_close(
            torch.as_tensor(bs.decode(net.outputs[0], found[net.outputs[0].id])).float(), snn(frames)
        )
    assert bs.verify(net, frames).equal
    assert bs.verify(net, frames, engine=True).equal
    with pytest.raises(ConstraintError, match="whole numbers from 0 to"):
        bs.encode(net, frames + 100)


def test_frames_calibrate_as_their_rates_do() -> None:
    frames = torch.poisson(torch.full((4, 64, 2, 8, 8), 0.6))
    torch.manual_seed(1)
    model = of_two()
    choices = {"steps": 4, "coding": "events"}
    by_frames = bs.convert(model, frames[0, :1], calibrate=[frames[:, :32], frames[:, 32:].int()], **choices)
    by_rates = bs.convert(model, frames[0, :1], calibrate=frames.mean(0), **choices)
    assert {k: v.tolist() for k, v in by_frames.conversion.lambdas.items()} == {
        k: v.tolist() for k, v in by_rates.conversion.lambdas.items()
    }


def test_rates_above_1_tell_of_counts_that_a_frame_may_hold() -> None:
    rates = torch.zeros(8, 2, 8, 8)
    rates[0, 0, 0, 0] = 1.25  # five events in four steps, perhaps all of them at once
    snn = by_events(rates, torch.zeros(1, 2, 8, 8))
    assert grid_of(snn) == bs.Grid(1.0, 0, 7)
    (note,) = [note for note in snn.conversion.notes if "W208" in note]
    assert "rates of up to 1.25, so counts up to 5" in note


def test_an_example_with_counts_widens_the_grid() -> None:
    events = spikes()
    example = events[0, :1].clone()
    example[0, 0, 0, 0] = 3
    assert grid_of(by_events(events, example)) == bs.Grid(1.0, 0, 3)


def test_signed_events_have_a_signed_grid() -> None:
    events = spikes() * torch.where(torch.rand(4, 64, 2, 8, 8) < 0.5, -1.0, 1.0)
    assert grid_of(by_events(events, events[0, :1])) == bs.Grid(1.0, -1, 1)


def test_frames_that_are_no_counts_are_refused() -> None:
    with pytest.raises(ConstraintError, match=r"spikes and counts are whole numbers.*\n  fix: .*coding='direct'"):
        by_events(torch.rand(4, 64, 2, 8, 8), torch.zeros(1, 2, 8, 8))
    with pytest.raises(ConstraintError, match=r"whole numbers\n  fix: bs.Grid\(1.0, 0, 1\)"):
        by_events(spikes(), torch.zeros(1, 2, 8, 8), input_grid=bs.Grid(1 / 255, 0, 255))
    assert grid_of(by_events(spikes(), torch.zeros(1, 2, 8, 8), input_grid=bs.Grid(1.0, 0, 9))) == bs.Grid(1.0, 0, 9)


def test_frames_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match=r"\[4, 64, 2, 8, 8\], and the network runs 8 steps.*\n  fix: steps=4"):
        bs.convert(of_two(), torch.zeros(1, 2, 8, 8), calibrate=spikes(), steps=8, coding="events")
    with pytest.raises(DataError, match="at least one sample"):
        by_events(spikes(0), torch.zeros(1, 2, 8, 8))


def test_another_coding_is_another_calibration() -> None:
    events, x = spikes(), normalized()
    with pytest.raises(ConstraintError, match=r"build\(coding='direct'\)(?s:.*)fix: bs.convert"):
        by_events(events, events[0, :1]).conversion.build(coding="direct")
    snn = bs.convert(of_three(), x[:1], calibrate=x, steps=4)
    for coding in ("events", "rate", "bernoulli"):
        with pytest.raises(ConstraintError, match=f"coding='{coding}'"):
            snn.conversion.build(coding=coding)
    assert grid_of(snn.conversion.build(coding="split")) == reach(x)
    assert grid_of(by_events(events, events[0, :1]).conversion.build(steps=4)) == bs.Grid(1.0, 0, 1)


def test_a_network_without_an_encoder_reads_spikes_as_spikes() -> None:
    from bitspike.nn import IF, RateReadout, TimeDistributed

    model = nn.Sequential(TimeDistributed(nn.Linear(3, 2, bias=False)), IF(1.0), RateReadout())
    events = (torch.rand(4, 8, 3) < 0.5).float()
    events[0, 0] = torch.tensor([0.0, 1.0, 1.0])
    assert bs.lower(model, events[:, :1]).input_grid == bs.Grid(1.0, 0, 1)
    assert bs.lower(model, torch.rand(4, 1, 3)).input_grid == bs.Grid(1 / 255, 0, 255)
    with pytest.raises(bs.LoweringError, match=r"grid=bs.Grid\(scale=1.0, low=0, high=3\)"):
        bs.lower(model, 3 * events[:, :1])


# ---- what they cost ---------------------------------------------------------------------------------------------


def additions(frames: Tensor) -> float:
    """One addition per event and synapse: what a convolution of ones makes of all events, per sample."""
    return F.conv2d(frames.flatten(0, 1), torch.ones(4, 2, 3, 3)).sum().item() / frames.shape[1]


def first_line(net: bs.IntegerNetwork, frames: Tensor):  # type: ignore[no-untyped-def]
    codes = bs.encode(net, frames)
    report = bs.energy(net, bs.simulate(net, codes), codes=codes)
    return report.layers[0], report


def test_a_spike_costs_one_addition_per_synapse() -> None:
    events = spikes()
    net = bs.lower(by_events(events, events[0, :1]), events[:, :1])
    line, _ = first_line(net, events)
    assert (line.kind, line.operations) == ("sop", pytest.approx(additions(events), rel=1e-12))
    assert line.operation_pj == pytest.approx(0.03)  # an 8-bit addition at 45 nm
    with pytest.raises(ConstraintError, match="carries spikes"):
        bs.energy(net, bs.simulate(net, bs.encode(net, events)))


def test_a_count_costs_as_many_additions_as_it_counts() -> None:
    frames = torch.poisson(torch.full((4, 32, 2, 8, 8), 0.2))
    net = bs.lower(by_events(frames, frames[0, :1]), frames[:, :1])
    assert net.input_grid.high > 1
    line, _ = first_line(net, frames)
    assert (line.kind, line.operations) == ("sop", pytest.approx(additions(frames), rel=1e-12))


def test_large_counts_are_multiplied_where_that_is_cheaper() -> None:
    frames = torch.randint(100, 200, (4, 8, 2, 8, 8)).float()  # as good as bytes: 150 additions each
    net = bs.lower(by_events(frames, frames[0, :1]), frames[:, :1])
    line, _ = first_line(net, frames)
    assert (line.kind, line.input_bits) == ("mac", 8)
    assert line.operations == 4 * (4 * 6 * 6) * (2 * 3 * 3)  # at every step: outputs times window
    assert line.operations * line.operation_pj < additions(frames) * 0.03


@pytest.mark.parametrize(("own", "other"), [(torch.float32, torch.float64), (torch.float64, torch.float32)])
def test_data_of_another_precision_than_the_weights_are_refused(own: torch.dtype, other: torch.dtype) -> None:
    model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).to(own), torch.rand(16, 4)
    for call in (bs.convert, bs.prepare):
        with pytest.raises(DataError, match=f"data of {other}: the network computes in {own}"):
            call(model, x[:1].to(own), calibrate=x.to(other), steps=4)
    assert bs.convert(model, x[:1].to(own), calibrate=x.to(own), steps=4)(x.to(own)).dtype == own


def test_one_batch_by_name_is_no_loader() -> None:
    model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.rand(16, 4)
    with pytest.raises(DataError, match=r"(?s)mapping with the keys 'input'.*\[batch\]"):
        bs.prepare(model, x[:1], calibrate={"input": x}, steps=4)
    assert bs.prepare(model, x[:1], calibrate=[{"input": x}], steps=4)(x).shape == (16, 2)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.float16])
def test_a_network_of_events_runs_counts_of_any_type(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).eval()
    frames = torch.randint(0, 4, (4, 8, 2, 4, 4))
    snn = bs.convert(model, frames[0, :1].float(), calibrate=frames, steps=4, coding="events")
    assert torch.equal(snn(frames.to(kind)), snn(frames.float()))
    assert torch.equal(snn(frames > 0), snn((frames > 0).float()))


def test_events_are_not_given_to_layers_that_stay_real() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    ).eval()
    frames = spikes()
    with pytest.raises(ConstraintError, match="computed by layers that stay real") as caught:
        bs.convert(net, frames[0, :1], calibrate=frames, steps=4, coding="events", exclude=["0"])
    assert "coding='direct'" in str(caught.value)
    summed = frames.sum(0)
    snn = bs.convert(net, summed[:1], calibrate=summed, steps=4, exclude=["0"])  # the way out
    assert snn(summed).shape == (64, 3)
