"""Whatever the device, the same network: what a CUDA device computes, next to plain torch on the CPU.

The laws are tested on the CPU everywhere, where the fused kernels stand against the plain loops; on a machine with a
CUDA device each of them is tested on it as well.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bitspike as bs
from bitspike.data import Batches, Flip, ImageSet, PixelGrid, Shift, load
from bitspike.integer.engine import TorchEngine
from bitspike.kernels.triton import support as triton_support
from bitspike.models import digits_net, resnet, vgg9
from bitspike.nn.clip_floor_shift import ClipFloorShift
from bitspike.ops.precision import full_precision
from bitspike.train import AdamW, evaluate, fit

DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available()]
DTYPES = [torch.float32, torch.bfloat16]
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
DIGITS = load("digits")
TRAIN, TEST = DIGITS.subset(range(600)), load("digits", "test").subset(range(120))
GRID = PixelGrid(1 / 16)


@pytest.fixture(autouse=True)
def _as_users_run_it() -> Iterator[None]:
    """Without torch's deterministic mode, which refuses some of its CUDA operations; Triton may not be given up."""
    torch.use_deterministic_algorithms(False)
    with full_precision():
        yield
    if torch.cuda.is_available():
        assert triton_support.status().startswith("triton: fused")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(mine: Tensor, plain: Tensor, share: float) -> None:
    mine, plain = mine.detach().double().cpu(), plain.detach().double().cpu()
    assert mine.shape == plain.shape
    assert (mine - plain).abs().max() <= share * plain.abs().max().clamp(min=1e-6)


def derived(run: Callable[[Tensor], Tensor], x: Tensor, parameters: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return what ``run`` gives, and the gradients of a fixed weighted sum of it."""
    leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    out = run(leaf)
    weight = torch.cos(torch.arange(out.numel(), dtype=torch.float32) * 0.7).view(out.shape).to(out.device, out.dtype)
    return out.detach(), list(torch.autograd.grad((out * weight).float().sum(), [leaf, *parameters]))


NEURONS: dict[str, Callable[[], bs.Neuron]] = {
    "IF": lambda: bs.IF(0.7),
    "IF, hard reset": lambda: bs.IF(0.7, reset="hard", fire="gt", v_reset=-0.1),
    "LIF": lambda: bs.LIF(0.5, 0.6),
    "LIF, hard reset": lambda: bs.LIF(0.3, 0.6, reset="hard", detach_reset=True, surrogate=bs.Rectangle()),
    "LIF, leak behind": lambda: bs.LIF(0.5, 0.6, leak="after", decay_input=True, surrogate=bs.Triangle()),
    "LIF, resolution": lambda: bs.LIF(0.5, 0.6, resolution=2**-6, surrogate=bs.Sigmoid()),
    "LIF, thresholds": lambda: bs.LIF(0.5, torch.linspace(0.4, 0.9, 16), surrogate=bs.PiecewiseExponential()),
    "PLIF": lambda: bs.PLIF(2.0, 0.5),
    "SignedIF": lambda: bs.SignedIF(0.6),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("steps", [1, 4, 12])
@pytest.mark.parametrize("name", NEURONS)
def test_a_neuron_gives_the_spikes_of_the_plain_loop(name: str, steps: int, dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(0)
    neuron = NEURONS[name]()
    there = copy.deepcopy(neuron).to(device)
    x = (noise(steps, 4, 16, 9, 10) + 0.3).to(dtype)
    for laid in (x, x.movedim(2, -1).contiguous().movedim(-1, 2)):
        # A learned decay is a sigmoid, whose last bit is the device's own: there the plain loop runs next to it.
        plain = there if isinstance(neuron, bs.PLIF) else neuron
        place = device if plain is there else "cpu"
        wanted, gradients = derived(lambda x, n=plain: n.scan(x)[0], laid.to(place), list(plain.parameters()))
        found, mine = derived(there, laid.to(device), list(there.parameters()))
        assert torch.equal(found.cpu(), wanted.cpu())
        assert 0.01 < wanted.float().abs().mean() < 0.98
        for a, b in zip(mine, gradients, strict=True):
            close(a, b, TOLERANCE[dtype] * (1 if a.dim() else 10))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_norm_and_neuron_as_one(residual: bool, training: bool, device: str) -> None:
    torch.manual_seed(0)
    layer = bs.TimeDistributed(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
    plain = nn.ModuleList([layer, bs.LIF(0.5, 0.8)]).train(training)
    there = copy.deepcopy(plain).to(device)
    x, more = noise(4, 8, 3, 12, 12), noise(4, 8, 16, 12, 12, seed=1)

    def apart(x: Tensor) -> Tensor:
        value = plain[0](x) + (more if residual else 0.0)
        spikes: Tensor = plain[1].scan(value)[0]
        return spikes

    def joined(x: Tensor) -> Tensor:
        return bs.fire(there[0], there[1], x, residual=more.to(device) if residual else None)

    wanted, gradients = derived(apart, x, list(plain.parameters()))
    found, mine = derived(joined, x.to(device), list(there.parameters()))
    assert (found.cpu() != wanted).float().mean() < 1e-3  # sums in another order decide a potential at the threshold
    for a, b in zip(mine, gradients, strict=True):
        close(a, b, 5e-2)
    for a, b in zip(there.buffers(), plain.buffers(), strict=True):
        close(a, b, 1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("last", [False, True])
def test_activations_and_pools(last: bool, dtype: torch.dtype, device: str) -> None:
    x = (noise(6, 16, 8, 8) * 2).to(dtype)
    if last:
        x = x.to(memory_format=torch.channels_last)
    for layer in (
        bs.QuantReLU(3, 1.5),
        ClipFloorShift(7, 1.5),
        bs.TimeDistributed(nn.AvgPool2d(2)),
        bs.TimeDistributed(nn.MaxPool2d(2)),
    ):
        there = copy.deepcopy(layer).to(device)
        given = x[None] if isinstance(layer, bs.TimeDistributed) else x
        with without_the_interpreter():
            wanted, gradients = derived(layer, given, list(layer.parameters()))
        found, mine = derived(there, given.to(device), list(there.parameters()))
        assert found.dtype == wanted.dtype
        close(found, wanted, 1e-6)
        assert (found.cpu() != wanted).float().mean() < 1e-3
        for a, b in zip(mine, gradients, strict=True):
            close(a, b, 10 * TOLERANCE[dtype])


@contextmanager
def without_the_interpreter() -> Iterator[None]:
    """Run plain torch on the CPU, whatever TRITON_INTERPRET says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TRITON_INTERPRET", raising=False)
        yield


SCHEMES: dict[str, Any] = {
    "uniform": bs.Uniform(bits=4),
    "uniform per channel": bs.Uniform(bits=4, per_channel=True),
    "dyadic": bs.Uniform(bits=4, scale=bs.Dyadic()),
    "midrise": bs.Midrise(bits=2),
    "ternary": bs.Ternary(),
    "binary": bs.Binary(),
    "dorefa": bs.DoReFa(bits=3),
    "apot": bs.APoT(bits=4),
    "power of two": bs.PowerOfTwo(bits=4),
    "learned clip": bs.LearnedClip(bits=4, statistics="trained"),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", SCHEMES)
def test_weights_stay_on_their_grid(name: str, device: str) -> None:
    torch.manual_seed(0)
    conv = bs.attach(nn.Conv2d(8, 16, 3, bias=False), quantize=SCHEMES[name]).to(device)
    home = copy.deepcopy(conv).to("cpu")
    close(conv.weight, home.weight, 1e-5)
    for layer in (conv, home):
        assert len(layer.weight.detach().abs().unique()) <= 2**4 * (16 if "channel" in name else 1)
    conv(noise(2, 8, 6, 6).to(device)).square().mean().backward()
    home(noise(2, 8, 6, 6)).square().mean().backward()
    for a, b in zip(conv.parameters(), home.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        close(a.grad, b.grad, 1e-3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("make", [vgg9, resnet])
def test_a_step_of_a_whole_model(make: Any, device: str) -> None:
    torch.manual_seed(0)
    model = make(steps=2, width=0.25)
    x, y = noise(8, 3, 32, 32), torch.arange(8)
    losses = []
    for place in ("cpu", device):
        net = copy.deepcopy(model).to(place)
        loss = F.cross_entropy(net(x.to(place)), y.to(place))
        loss.backward()
        losses.append(loss.item())
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
        assert {p.device.type for p in net.parameters()} == {place}
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)


def digits(part: ImageSet = TRAIN, **options: Any) -> Batches:
    return Batches(part, 50, pixel_grid=GRID, **options)


def net_of_digits() -> nn.Module:
    torch.manual_seed(0)
    return bs.attach(digits_net(steps=4, width=0.5), quantize=bs.Ternary())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_trained_on_a_device_is_proven(precision: Any, device: Any, tmp_path: Path) -> None:
    model = net_of_digits()
    batches = digits(shuffle=True, augment=[Shift(1)])
    history = fit(
        model, batches, epochs=4, optimizer=AdamW(lr=0.01), precision=precision, device=device, folder=tmp_path
    )
    assert (history.device, history.precision) == (device, precision)
    assert history.epochs[-1].train_loss < 0.8 * history.epochs[0].train_loss
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    images = torch.cat([x for x, _ in digits(TEST)])
    net = bs.lower(model, images[:1])
    assert bs.verify(net, images)
    assert bs.verify(net, images.to(device))
    assert bs.verify(net, images, engine=True)
    here = evaluate(model, digits(TEST))
    there = evaluate(model.to(device), digits(TEST))
    assert abs(here.accuracy - there.accuracy) <= 2 / len(TEST)
    codes = bs.encode(net, images.to(device))
    wanted = bs.simulate(net, codes)
    found = TorchEngine(net, device=device).run(codes)
    for a, b in ((found.spikes, wanted.spikes), (found.potentials, wanted.potentials), (found.outputs, wanted.outputs)):
        assert all(np.array_equal(a[id], b[id]) for id in b)


@pytest.mark.parametrize("device", DEVICES)
def test_a_network_is_lowered_where_it_is(device: str) -> None:
    model = net_of_digits().to(device).eval()
    images = torch.cat([x for x, _ in digits(TEST)]).to(device)
    net = bs.lower(model, images[:1])
    assert bs.verify(net, images)
    agreement = bs.compare(model, net, ((x.to(device), y.to(device)) for x, y in digits(TEST)))
    assert agreement.spikes > 0.999
    assert {p.device.type for p in model.parameters()} == {torch.device(device).type}


def ordinary() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 10)),
    )


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    model = ordinary()
    fit(model, digits(shuffle=True), epochs=6, optimizer=AdamW(lr=0.01), device="cpu", precision="fp32")
    return model.eval()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("correct", [None, "light", "advanced"])
def test_a_network_on_a_device_is_converted_there(trained: nn.Module, correct: Any, device: str) -> None:
    ann = copy.deepcopy(trained).to(device)
    example = next(iter(digits(TEST)))[0][:1].to(device)
    for calibrate in (digits(), torch.cat([x for x, _ in digits()]).to(device)):
        snn = bs.convert(ann, example, calibrate=calibrate, steps=8, bits=4, correct=correct)
        assert {p.device.type for p in [*snn.parameters(), *snn.buffers()]} == {torch.device(device).type}
        assert evaluate(snn, digits(TEST)).accuracy > evaluate(ann, digits(TEST)).accuracy - 0.15
        net = bs.lower(snn, example)
        assert bs.verify(net, torch.cat([x for x, _ in digits(TEST)]).to(device))


@pytest.mark.parametrize("device", DEVICES)
def test_fine_tuning_on_a_device(trained: nn.Module, device: Any) -> None:
    ann = copy.deepcopy(trained).to(device)
    example = next(iter(digits(TEST)))[0][:1].to(device)
    prepared = bs.prepare(ann, example, calibrate=digits(), bits=4, steps=4)
    fit(prepared, digits(shuffle=True), epochs=1, optimizer=AdamW(lr=1e-3), device=device, keep="last")
    timed = bs.over_time(prepared, neuron=bs.SignedIF)
    fit(timed, digits(shuffle=True), epochs=1, optimizer=AdamW(lr=1e-4), device=device, keep="last")
    assert {p.device.type for p in prepared.parameters()} == {torch.device(device).type}
    snn = bs.finish(prepared, example, neuron=bs.SignedIF, data=digits())
    assert evaluate(snn, digits(TEST)).accuracy > evaluate(ann, digits(TEST)).accuracy - 0.1
    assert bs.verify(bs.lower(snn, example), torch.cat([x for x, _ in digits(TEST)]))


@pytest.mark.parametrize("device", DEVICES)
def test_images_on_a_device_give_the_batches_of_the_cpu(device: str) -> None:
    there = ImageSet(TRAIN.images.to(device), TRAIN.labels.to(device), TRAIN.classes, TRAIN.name)
    options: dict[str, Any] = {"shuffle": True, "seed": 3, "augment": [Shift(1), Flip()]}
    for (x, y), (mine, labels) in zip(digits(**options), digits(there, **options), strict=True):
        assert mine.device.type == torch.device(device).type
        assert torch.equal(mine.cpu(), x)
        assert torch.equal(labels.cpu(), y)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("recompute", [False, True])
def test_checkpointed_layers_give_the_same_gradients(recompute: bool, device: str) -> None:
    torch.manual_seed(0)
    model = vgg9(steps=2, width=0.25).to(device)
    x, y = noise(4, 3, 32, 32).to(device), torch.arange(4).to(device)
    grads = []
    for saving in (False, True):
        net = copy.deepcopy(model)
        if saving:
            bs.checkpoint_layers(net, recompute=recompute)
        F.cross_entropy(net(x), y).backward()
        grads.append([p.grad for p in net.parameters()])
    for a, b in zip(*grads, strict=True):
        assert a is not None
        assert b is not None
        close(a, b, 1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_a_loop_of_ones_own_with_autocast(device: str) -> None:
    model = net_of_digits().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses = []
    for epoch in range(3):
        batches = digits(shuffle=True)
        batches.set_epoch(epoch)
        for x, y in batches:
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16):
                loss = F.cross_entropy(model(x.to(device)), y.to(device))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    model.eval()
    assert bs.verify(bs.lower(model.cpu(), torch.zeros(1, 1, 8, 8)), torch.cat([x for x, _ in digits(TEST)]))


@pytest.mark.parametrize("device", DEVICES)
def test_a_recipe_runs_where_it_is_told_to(device: str, tmp_path: Path) -> None:
    changes = ("model.width=0.5", "data.limit=400", "training.epochs=3", "expect=null", f"training.device={device}")
    report = bs.run("quickstart", set=changes, out=tmp_path / "run")
    assert (report["environment"]["device"] == "cpu") == (device == "cpu")
    assert all(check["passed"] for check in report["checks"])
    assert bs.verify(tmp_path / "run" / "network")
