"""Files that other libraries wrote, read here: every count of the library itself, once what a file leaves out is said.

snnTorch is in the extra ``readers``, SpikingJelly in ``bench``.
"""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

import bitspike as bs
from bitspike.errors import ConstraintError, ExportError
from bitspike.integer.network import IntegerNetwork

pytestmark = pytest.mark.filterwarnings("ignore")  # of the other libraries

STEPS = 6
IMAGES = torch.randint(0, 2, (STEPS, 3, 2, 6, 6), generator=torch.Generator().manual_seed(4)).float()


def on_a_grid(model: nn.Module, step: float) -> nn.Module:
    """Draw all weights and biases from multiples of a step."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.dim()):
            parameter.copy_(torch.randint(-8, 9, parameter.shape, generator=draw) * step)
    return model


def counts(net: IntegerNetwork) -> npt.NDArray[np.int64]:
    codes = IMAGES.numpy().astype(np.int64).reshape(STEPS, 3, *net.input.shape)
    (found,) = bs.simulate(net, codes).outputs.values()
    return found


@pytest.mark.parametrize(("step", "threshold"), [(1.0, 4.5), (0.25, 3.0), (0.25, 0.7)])
@pytest.mark.parametrize(("kind", "decay_input"), [("if", False), ("lif", False), ("lif", True)])
def test_a_file_of_spikingjelly_has_its_counts(
    kind: str, decay_input: bool, step: float, threshold: float, tmp_path: Path
) -> None:
    sj = pytest.importorskip(
        "spikingjelly.activation_based", reason="SpikingJelly, which writes this file, comes with the extra bench"
    )
    from spikingjelly.activation_based import functional, layer, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    assert sj

    def fire() -> nn.Module:
        if kind == "if":
            return neuron.IFNode(v_threshold=threshold, v_reset=0.0)
        return neuron.LIFNode(tau=2.0, decay_input=decay_input, v_threshold=threshold, v_reset=0.0)

    model = nn.Sequential(layer.Conv2d(2, 4, 3, padding=1), fire(), layer.Flatten(), layer.Linear(144, 5), fire())
    on_a_grid(model, step)
    path = tmp_path / "net.nir"
    export_to_nir(model, IMAGES[0], save_path=str(path))
    functional.reset_net(model)
    with torch.no_grad():
        wanted = sum(model(x) for x in IMAGES).numpy()
    assert 0 < wanted.mean() < STEPS

    with pytest.raises(ExportError, match=r"the file does not say (dt|the step)"):
        bs.read_nir(path, steps=STEPS, fire="ge", reset="hard")
    net = bs.read_nir(path, steps=STEPS, dt=1e-4, fire="ge", reset="hard")
    assert np.array_equal(counts(net), wanted)
    (note,) = net.notes
    assert "fire at the threshold (given) and are set to v_reset (given), a step of 0.0001 (given)" in note
    with pytest.warns(UserWarning, match="fire above the threshold and are set to v_reset"):
        bs.read_nir(path, steps=STEPS, dt=1e-4)
    with pytest.raises(ExportError, match="and an integer neuron has m / 2"):
        bs.read_nir(path, steps=STEPS, dt=1.7e-5, fire="ge", reset="hard")


@pytest.mark.parametrize(("reset", "mechanism"), [("soft", "subtract"), ("hard", "zero")])
@pytest.mark.parametrize("beta", [0.5, 0.75])
def test_a_file_of_snntorch_has_its_counts(reset: str, mechanism: str, beta: float, tmp_path: Path) -> None:
    snn = pytest.importorskip("snntorch", reason="snnTorch, which writes this file, comes with the extra readers")
    from snntorch import utils
    from snntorch.export_nir import export_to_nir

    def fire(size: int, threshold: float) -> nn.Module:
        # One value for all makes nir refuse what snnTorch exports: a neuron without a shape.
        more = {"reset_mechanism": mechanism, "init_hidden": True, "reset_delay": False}
        return snn.Leaky(beta=torch.full((size,), beta), threshold=torch.full((size,), threshold), **more)

    layers = [nn.Linear(72, 8), fire(8, 6.5 if reset == "soft" else 4.5)]
    layers += [nn.Linear(8, 5, bias=False), fire(5, 0.75)] if reset == "hard" else []
    model = on_a_grid(nn.Sequential(*layers), 0.125)
    path = tmp_path / "net.nir"
    rows = IMAGES.flatten(2)
    nir.write(path, export_to_nir(model, rows[0, 0]))
    utils.reset(model)
    with torch.no_grad():
        wanted = sum(model(x) for x in rows).numpy()
    assert 0 < wanted.mean() < STEPS
    net = bs.read_nir(path, steps=STEPS, dt=1e-4, fire="gt", reset=reset)  # type: ignore[arg-type]
    codes = rows.numpy().astype(np.int64)
    for id, reached in bs.simulate(net, codes).potentials.items():
        # Where a potential stays above the threshold, snnTorch subtracts again before it looks for a spike.
        assert reset == "hard" or (reached <= 2 * net[id].threshold.min()).all()  # type: ignore[attr-defined]
    assert np.array_equal(counts(net), wanted)


def test_what_a_file_says_itself_cannot_be_said_again(tmp_path: Path) -> None:
    from bitspike.integer.examples import one_convolution

    path = bs.write_nir(one_convolution(), tmp_path / "net.nir")
    with pytest.raises(ConstraintError, match="says fire, reset itself"):
        bs.read_nir(path, fire="ge", reset="soft")
    with pytest.raises(ConstraintError, match="fire='>': allowed are ge, gt"):
        bs.read_nir(path, fire=">")  # type: ignore[arg-type]
    with pytest.raises(ConstraintError, match="dt=0: a step is longer than 0"):
        bs.read_nir(path, dt=0)
