"""What enters the integers is on its grid, or it is refused, or it is clipped, counted and said."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.transforms import Normalize

import bitspike as bs
from bitspike.errors import ConstraintError, DataError, PackageError
from bitspike.integer.border import Border
from bitspike.integer.examples import one_convolution
from bitspike.nn.entering import counted_inputs
from bitspike.nn.firing import Recorder
from bitspike.ops.entering import Clipped, put
from bitspike.ops.grids import Grid
from bitspike.train import evaluate

IMAGES = Grid(1 / 255, 0, 255)


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()


def pixels(n: int = 16) -> Tensor:
    return torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8)


def of_images(**choices: object) -> tuple[nn.Module, bs.IntegerNetwork]:
    x = pixels().float() / 255
    snn = bs.convert(small(), x[:1], calibrate=x, steps=4, **choices)
    return snn, bs.lower(snn, x[:1])


def labels(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.long)


# ---- images -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_codes_of_an_image_are_its_bytes(dtype: torch.dtype) -> None:
    _, net = of_images()
    x = pixels(8)
    assert np.array_equal(bs.encode(net, x.to(dtype) / 255)[0], x.numpy())
    crossed = (x.to(dtype) / 255).transpose(2, 3)
    assert np.array_equal(bs.encode(net, crossed)[0], x.transpose(2, 3).numpy())  # not contiguous
    assert bs.encode(net, torch.full((1, 1, 8, 8), -0.0)).tolist() == np.zeros((1, 1, 1, 8, 8), int).tolist()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int64, torch.bool])
def test_integers_for_a_grid_of_real_values_are_refused_everywhere(dtype: torch.dtype) -> None:
    snn, net = of_images()
    x = pixels(4).to(dtype)
    ways = [
        lambda: bs.encode(net, x),
        lambda: bs.verify(net, x),
        lambda: bs.compare(snn, net, [(x, labels(4))]),
        lambda: evaluate(snn, [(x, labels(4))]),
        lambda: snn(x),
    ]
    for way in ways:
        with pytest.raises(ConstraintError, match=r"inputs are torch\.\w+, needed are real numbers from 0 to 1") as e:
            way()
        assert "x.float() / 255" in str(e.value)


def test_bytes_as_floats_are_refused_everywhere() -> None:
    snn, net = of_images()
    x = pixels(4).float()
    x[x < 200] = 0  # few strokes on black, as of digits
    x[:, 0, 0, 0] = 255
    ways = [
        lambda: bs.encode(net, x),
        lambda: bs.verify(net, [x]),
        lambda: bs.compare(snn, net, [(x, labels(4))]),
        lambda: evaluate(snn, [(x, labels(4))]),
    ]
    for way in ways:
        with pytest.raises(ConstraintError, match="inputs reach from 0 to 255, and the grid of the input from 0 to 1"):
            way()
    assert bs.verify(net, x / 255).inputs_clipped == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_refused(bad: float) -> None:
    snn, net = of_images()
    x = torch.rand(2, 1, 8, 8)
    x[1, 0, 3, 3] = bad
    for way in (lambda: bs.encode(net, x), lambda: bs.verify(net, x), lambda: evaluate(snn, [(x, labels(2))])):
        with pytest.raises(ConstraintError, match="NaN or infinity"):
            way()


def test_a_few_values_beyond_are_clipped_counted_and_said_once() -> None:
    snn, net = of_images()
    x = torch.rand(8, 1, 8, 8)
    x[0, 0, 0, :3] = torch.tensor([1.2, -0.1, 1.5])  # 3 of 512
    with pytest.warns(UserWarning, match=r"0\.59% of the input values were clipped.*from -0\.1.* to 1\.5") as said:
        codes = bs.encode(net, x)
    assert [w.filename for w in said] == [__file__]
    assert codes[0, 0, 0, 0, :3].tolist() == [255, 0, 255]
    with pytest.warns(UserWarning, match="clipped") as said:
        certificate = bs.verify(net, x.split(2))
    assert [w.filename for w in said] == [__file__]
    assert (certificate.equal, certificate.inputs_clipped) == (True, 3)
    assert "3 input values clipped to their grid" in str(certificate)
    assert certificate.to_dict()["inputs_clipped"] == 3
    with pytest.warns(UserWarning, match="clipped") as said:
        found = bs.compare(snn, net, [(part, labels(2)) for part in x.split(2)])
    assert ([w.filename for w in said], found.inputs_clipped, found.spikes) == ([__file__], 3, 1.0)
    with pytest.warns(UserWarning, match="clipped") as said:
        measured = evaluate(snn, [(part, labels(2)) for part in x.split(2)])
    assert (len(said), measured.inputs_clipped) == (1, 3)


def test_one_value_in_a_thousand_is_counted_and_not_said() -> None:
    _, net = of_images()
    x = torch.rand(125, 1, 8, 8)  # 8,000 values
    x[7, 0, 0] = 1.1  # 8 of them
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bs.encode(net, x)
        assert bs.verify(net, x).inputs_clipped == 8
    x[9, 0, 0, 0] = 1.1
    with pytest.warns(UserWarning, match=r"0\.11% of the input values were clipped"):
        bs.encode(net, x)


def test_half_a_step_beyond_the_last_code_is_rounding_and_no_clipping() -> None:
    count = Clipped()
    assert put(torch.tensor([255.4 / 255, -0.4 / 255]), IMAGES, count).tolist() == [255, 0]
    assert (count.values, count.total) == (0, 2)


@given(
    scale=st.sampled_from([1 / 255, 1 / 16, 0.0188, 0.5, 3.0]),
    low=st.sampled_from([-127, -1, 0]),
    high=st.sampled_from([1, 15, 127, 255]),
    codes=st.lists(st.floats(-400, 400, width=32), min_size=1, max_size=40),
)
def test_codes_are_the_nearest_and_every_value_beyond_is_counted_or_refused(
    scale: float, low: int, high: int, codes: list[float]
) -> None:
    x, width, count = np.asarray(codes) * scale, high - low, Clipped()
    nearest = np.rint(x / scale)
    far = ((nearest < low - width) | (nearest > high + width)).mean()
    if far > 0.01:
        with pytest.raises(ConstraintError, match="further out"):
            put(torch.from_numpy(x), Grid(scale, low, high), count)
        return
    assert np.array_equal(put(torch.from_numpy(x), Grid(scale, low, high), count), np.clip(nearest, low, high))
    assert (count.values, count.total) == (((nearest < low) | (nearest > high)).sum(), len(x))


def test_one_value_far_out_is_clipped_and_many_are_another_unit() -> None:
    x = torch.rand(1000)
    x[:10] = 50.0
    count = Clipped()
    put(x, IMAGES, count)
    assert (count.values, count.high) == (10, 50.0)
    x[:11] = 50.0
    with pytest.raises(ConstraintError, match="1% of the values lie further out than the grid is wide"):
        put(x, IMAGES, Clipped())


def test_wrong_channels_and_arrays_are_refused() -> None:
    _, net = of_images()
    with pytest.raises(ConstraintError, match=r"shape \[2, 3, 8, 8\], needed is \[N, 1, 8, 8\]"):
        bs.encode(net, torch.rand(2, 3, 8, 8))
    with pytest.raises(ConstraintError, match=r"ndarray.*\n  fix: torch.from_numpy"):
        bs.encode(net, np.zeros((2, 1, 8, 8)))  # type: ignore[arg-type]
    with pytest.raises(ConstraintError, match=r"are a list.*\n  fix: of a loader the first batch"):
        bs.encode(net, [(torch.rand(2, 1, 8, 8), torch.zeros(2))])  # type: ignore[arg-type]


@pytest.mark.parametrize("coding", ["rate", "bernoulli"])
def test_spike_coders_say_what_is_beyond_a_rate_of_1(coding: str) -> None:
    snn, net = of_images(coding=coding)
    x = torch.rand(4, 1, 8, 8)
    x[0, 0, 0, 0] = 1.5
    with pytest.warns(UserWarning, match=r"0\.39% of the input values were clipped"):
        bs.encode(net, x, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ConstraintError, match="inputs reach from"):
        bs.encode(net, pixels(4).float())
    with pytest.raises(ConstraintError, match=r"torch\.uint8"):
        bs.encode(net, pixels(4))
    if coding == "rate":
        with pytest.raises(ConstraintError, match="inputs reach from"):
            evaluate(snn, [(pixels(4).float(), labels(4))])


def test_listening_leaves_no_trace() -> None:
    snn, _ = of_images()
    with counted_inputs(snn) as clipped:
        snn(torch.full((1, 1, 8, 8), 1.5))
    assert (clipped.values, clipped.total) == (64, 64)
    snn(torch.full((1, 1, 8, 8), 1.5))
    assert clipped.total == 64


@pytest.mark.parametrize("padding", [(1, 1), (2, 0)])
def test_a_border_that_the_host_puts_around_comes_from_the_network(padding: tuple[int, int], tmp_path: Path) -> None:
    layers = (Normalize([0.4, 0.6], [0.2, 0.3]), nn.Conv2d(2, 3, 3, padding=padding), nn.ReLU(), nn.Flatten())
    images, edge = torch.rand(16, 2, 6, 6), [round(0.4 * 255), round(0.6 * 255)]
    ann = nn.Sequential(*layers, nn.LazyLinear(4)).eval()
    ann(images)
    snn = bs.convert(ann, images[:1], calibrate=images, steps=4)
    net = bs.load(bs.save(bs.lower(snn, images[:1]), tmp_path / "net"))
    assert net.border == Border(padding, padding, tuple(edge))
    codes = bs.encode(net, images)
    assert np.array_equal(codes, bs.encode(net, snn.conversion.packed(images)))  # with the border it is taken as well
    assert codes[0, 0, :, 0, 0].tolist() == edge
    assert bs.verify(net, images).equal
    with pytest.raises(ConstraintError, match=r"\[16, 2, 5, 6\], needed is"):
        bs.encode(net, images[:, :, 1:])


@pytest.mark.parametrize("coding", ["bernoulli", "rate"])
def test_a_border_that_is_drawn_as_spikes_is_asked_for_with_the_call_that_makes_it(coding: str) -> None:
    layers = (Normalize([0.4], [0.2]), nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(192, 4))
    images = pixels().float() / 255
    snn = bs.convert(nn.Sequential(*layers).eval(), images[:1], calibrate=images, steps=4, coding=coding)
    net = bs.lower(snn, images[:1])
    asked = (
        r"needed is \[N, 1, 10, 10\]; the host computes before the spikes: .* \(a border of 1, 1 around the input: 0.4"
    )
    with pytest.raises(ConstraintError, match=asked) as caught:
        bs.verify(net, images)
    assert caught.value.fix is not None
    assert caught.value.fix.startswith("snn.conversion.packed(images)")
    assert bs.verify(net, snn.conversion.packed(images)).equal


@pytest.mark.parametrize("mean", [120.0, 123.675, 0.3])
def test_a_border_around_bytes_is_a_byte(mean: float) -> None:
    layers = (Normalize([mean], [60.0]), nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(192, 4))
    images = pixels().float()
    snn = bs.convert(nn.Sequential(*layers).eval(), images[:1], calibrate=images, steps=4)
    net = bs.lower(snn, images[:1])
    assert net.input.grid == Grid(1.0, 0, 255)
    assert net.border == Border((1, 1), (1, 1), (round(mean),))
    assert np.array_equal(bs.encode(net, images), bs.encode(net, snn.conversion.packed(images)))
    assert bs.verify(net, images).equal
    batches = [(images, labels(16))]
    assert bs.compare(snn, net, batches).inputs_clipped == evaluate(snn, batches).inputs_clipped == 0


@pytest.mark.parametrize(
    "said",
    ["", "[]", "{}",
     '{"before": [1], "after": [1, 1], "codes": [1]}', '{"before": [4, 4], "after": [4, 4], "codes": [1]}',
     '{"before": [-1, 1], "after": [1, 1], "codes": [1]}', '{"before": [1, 1], "after": [1, 1], "codes": [1, 2]}',
     '{"before": [1, 1.0], "after": [1, 1], "codes": [1]}', '{"before": [1, 1], "after": [1, 1], "codes": 1}'],
)  # fmt: skip
def test_a_border_that_fits_no_image_is_refused(said: str) -> None:
    net = replace(one_convolution(), source={"border": said})
    with pytest.raises(PackageError, match=r"says a border of .*, which is none around \[1, 4, 4\]"):
        bs.encode(net, torch.ones(1, 1, 4, 4))


def test_several_inputs_are_counted_each_on_its_own_grid() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = nn.Linear(4, 8), nn.Linear(3, 8), nn.Linear(8, 2)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.out(torch.relu(self.a(a) + self.b(b)))  # type: ignore[no-any-return]

    a, b = torch.rand(32, 4), 3 * torch.randn(32, 3)
    snn = bs.convert(Two().eval(), (a[:1], b[:1]), calibrate=[(a, b)], steps=4)
    a = a.clone()
    a[0, 0] = 1.25
    with pytest.warns(UserWarning, match=r"0\.45% of the input values"):  # 1 of 32 * 7
        row = snn.conversion.packed(a, b)
    assert row[0, 0] == 255
    assert bs.verify(bs.lower(snn, (a[:1], b[:1])), row).equal
    with pytest.raises(ConstraintError, match="lie further out than the grid is wide"):
        snn.conversion.packed(a * 255, b)


# ---- no samples -------------------------------------------------------------------------------------------------


def used_up() -> object:
    batches = iter([(torch.rand(2, 1, 8, 8), labels(2))])
    next(batches)
    return batches


def test_evidence_over_no_sample_is_an_error() -> None:
    snn, net = of_images()
    nothing = torch.empty(0, 1, 8, 8)
    with pytest.raises(DataError, match=r"nothing to prove.*\n  fix: pass the loader itself"):
        bs.verify(net, used_up())  # type: ignore[arg-type]
    for batches in (nothing, [nothing], [(nothing, labels(0))]):
        with pytest.raises(DataError, match="nothing to prove"):
            bs.verify(net, batches)
        with pytest.raises(DataError, match="nothing to prove"):
            bs.verify(net, batches, engine=True)
    for pairs in (used_up(), [], [(nothing, labels(0))]):
        with pytest.raises(DataError, match="nothing to compare"):
            bs.compare(snn, net, pairs)  # type: ignore[arg-type]
        with pytest.raises(DataError, match="nothing to evaluate"):
            evaluate(snn, [(nothing, labels(0))])
    for batches in ([], [nothing]):
        with Recorder(snn) as recorder:
            for batch in batches:
                snn(batch)
        with pytest.raises(DataError, match="shown no sample"):
            recorder.layers()
    with pytest.raises(DataError, match="no sample"):
        bs.energy(net, bs.simulate(net, bs.encode(net, nothing)))
    with pytest.raises(DataError, match="yielded none"):
        bs.analyze(snn, nothing)


def test_an_activity_that_is_no_mean_is_refused() -> None:
    _, net = of_images()
    (neuron,) = net.neurons
    with pytest.raises(ConstraintError, match="NaN, infinity or a number below 0"):
        bs.energy(net, {neuron.id: np.full(neuron.shape, np.nan)})
    with pytest.raises(DataError, match=r"samples=0.*at least one"):
        bs.energy(net, {neuron.id: np.ones(neuron.shape)}, samples=0)


def test_golden_vectors_of_no_sample_prove_nothing(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from bitspike.errors import PackageError
    from bitspike.integer.saved.vectors import golden

    net = one_convolution()
    vectors = golden(net)
    none = {k: v if k == "potential_steps" else v[:, :0] for k, v in vectors.items() if "output" not in k}
    none |= {k: v[:0] for k, v in vectors.items() if k.endswith((".output", ".counts"))}
    folder = bs.save(net, tmp_path / "network", vectors=none)
    for engine in (False, True):
        with pytest.raises(PackageError, match=r"no sample|0 samples"):
            bs.verify(folder, engine=engine)
