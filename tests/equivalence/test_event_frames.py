"""Counts of events enter as whole numbers: network, integers, engine, C, ONNX and NIR agree spike for spike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import ConstraintError, LoweringError
from bitspike.integer.network import IntegerNetwork
from equivalence.c_programs import CProgram, needs_compiler
from properties.onnx_runs import open_file, run_steps

COUNTS = bs.Grid(1.0, 0, 300)


def counts(samples: int = 5, frames: int = 4, *, seed: int = 0) -> Tensor:
    """Return frames of counts, most of them small and some above a byte: float32 [N, T, 2, 6, 6]."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 4, (samples, frames, 2, 6, 6), generator=generator).float()
    x[0, :, 0, 3, 3] = 300
    return x


def network(steps: int = 4) -> nn.Module:
    """Return a network in which every recording makes neurons fire."""
    torch.manual_seed(1)
    model = nn.Sequential(
        bs.Frames(steps),
        bs.TimeDistributed(nn.Conv2d(2, 6, 3, bias=False), bs.ShiftBatchNorm(6)),
        bs.LIF(decay=0.5, threshold=1.0),
        bs.TimeDistributed(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 3, bias=False)),
        bs.RateReadout(),
    )
    for _ in range(20):
        model(counts(20, steps)[1:])  # a norm that knew the pixel of 300 events would keep all others silent
    bs.attach(model, quantize=bs.Uniform(bits=4, scale=bs.Dyadic()))
    return model.eval()


def lowered(model: nn.Module, steps: int = 4) -> IntegerNetwork:
    return bs.lower(model, counts(1, steps), grid=COUNTS)


@pytest.mark.parametrize("steps", [1, 4])
def test_counts_are_exact_in_integers(steps: int) -> None:
    model, x = network(steps), counts(7, steps)
    assert model(x).any(dim=1).all()  # no recording is silent
    net = lowered(model, steps)
    assert not net.notes  # nothing was rounded
    assert (net.input.coding, net.input.constant, net.input.shape) == ("frames", False, (2, 6, 6))
    for engine in (False, True):
        certificate = bs.verify(net, x, batch_size=3, engine=engine)
        assert (certificate.equal, certificate.samples) == (True, 7)
    agreed = bs.compare(model, net, [(x[:4], torch.zeros(4)), (x[4:], torch.zeros(3))])
    assert (agreed.spikes, agreed.samples) == (1.0, 7)
    outputs = bs.decode(net.outputs[0], bs.simulate(net, bs.encode(net, x)).outputs[net.outputs[0].id])
    assert np.array_equal(outputs, model(x).detach().numpy())


def test_the_steps_of_integers_are_those_of_frames_one_after_the_other() -> None:
    model, x = network(), counts(3)
    first = nn.Sequential(*list(model)[1:])  # takes [T, N, ...]
    net, timed = lowered(model), bs.lower(first, counts(1).transpose(0, 1), grid=COUNTS)
    codes = bs.encode(net, x)
    assert codes.shape == (4, 3, 2, 6, 6)
    assert np.array_equal(codes, bs.encode(timed, x.transpose(0, 1)))
    assert np.array_equal(codes[2, 1], x[1, 2].long().numpy())


def test_a_saved_network_takes_the_frames_that_the_trained_one_takes(tmp_path: Path) -> None:
    net = lowered(network())
    bs.save(net, tmp_path / "network")
    again, x = bs.load(tmp_path / "network"), counts(2)
    assert again.input.coding == "frames"
    assert np.array_equal(bs.encode(again, x), bs.encode(net, x))
    assert np.array_equal(bs.encode(again, x.to(torch.int16)), bs.encode(net, x))
    assert bs.verify(tmp_path / "network").equal


@needs_compiler
def test_counts_enter_the_c_program(tmp_path: Path) -> None:
    net = lowered(network())
    codes = bs.encode(net, counts())
    expected, found = bs.simulate(net, codes), CProgram(net, tmp_path).run(codes)
    assert all(np.array_equal(found.spikes[id], spikes) for id, spikes in expected.spikes.items())
    assert all(np.array_equal(found.outputs[id], output) for id, output in expected.outputs.items())
    header = next(tmp_path.rglob("network.h")).read_text()
    assert "typedef uint16_t network_input;" in header  # up to 300 events of a pixel do not fit into a byte


def test_counts_enter_onnx_and_nir(tmp_path: Path) -> None:
    net = lowered(network())
    codes = bs.encode(net, counts())
    expected = bs.simulate(net, codes).outputs[net.outputs[0].id]
    bs.write_onnx(net, tmp_path / "net.onnx")
    bs.write_nir(net, tmp_path / "net.nir")
    again = bs.read_nir(tmp_path / "net.nir")
    assert again.input.coding == "frames"
    assert np.array_equal(bs.simulate(again, codes).outputs[again.outputs[0].id], expected)
    assert np.array_equal(run_steps(open_file(tmp_path / "net.onnx"), codes).sums[net.outputs[0].id], expected)


def test_frames_run_their_first_steps() -> None:
    model, x = network(), counts(3, 6)
    assert torch.equal(model(x), model(x[:, :4]))
    with bs.set_steps(model, 2):
        short = model(x)
        assert torch.equal(short, model(x[:, :2]))
        net = bs.lower(model, x[:1], grid=COUNTS)
    assert bs.verify(net, x).equal
    assert not torch.equal(short, model(x))
    assert net.steps == 2


def test_training_takes_fewer_frames_and_evaluation_does_not() -> None:
    model = network()
    for few in (counts(2, 3), counts(2, 1)):
        model.train()
        model(few).sum().backward()
        model.eval()
        with pytest.raises(ConstraintError, match=r"Frames\(steps=4\) gets \[2, [13], 2, 6, 6\]"):
            model(few)
    with pytest.raises(ConstraintError, match=r"gets \[2, 6\], needed is \[N, T, ...\]"):
        model(torch.zeros(2, 6))


def test_what_is_no_recording_is_refused() -> None:
    model = network()
    net = lowered(model)
    for wrong in (counts(4, 3), counts(2, 4)[:, 0], counts(2, 4)[..., :5]):
        with pytest.raises(ConstraintError, match=r"needed is \[N, T >= 4, 2, 6, 6\]"):
            bs.encode(net, wrong)
    for wrong, message in ((counts(1) + 0.5, "whole"), (counts(1) * 2, "beyond|300")):
        with pytest.raises(ConstraintError, match=message):
            bs.encode(net, wrong)
    with pytest.raises(LoweringError, match="4 frames or more"):
        bs.lower(model, counts(1, 3), grid=COUNTS)
    with pytest.raises(LoweringError, match="without a declared grid") as caught:
        bs.lower(model, counts(1))
    assert "bs.Grid(scale=1.0, low=0, high=300)" in str(caught.value.fix)
    empty = bs.encode(net, counts(1)[:0])
    assert empty.shape == (4, 0, 2, 6, 6)
