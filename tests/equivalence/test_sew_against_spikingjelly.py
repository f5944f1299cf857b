"""SEW-ResNets against those of SpikingJelly, which the paper's authors write: equal outputs and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bitspike.models import sew_resnet

functional = pytest.importorskip(
    "spikingjelly.activation_based.functional", reason="the extra bench, with SpikingJelly, is not installed"
)
pytestmark = pytest.mark.filterwarnings("ignore")  # of the other library


def pair(depth: int, connect: str) -> tuple[nn.Module, nn.Module]:
    """Return our network and theirs with the same weights, in double precision, spikes in every layer."""
    from spikingjelly.activation_based import neuron, surrogate
    from spikingjelly.activation_based.model import sew_resnet as peers

    torch.manual_seed(0)
    ours = sew_resnet(depth=depth, steps=3, num_classes=10, connect=connect, image_size=32)
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if ".norm." in name:
                parameter.uniform_(0.8, 2.0) if name.endswith("weight") else parameter.uniform_(0.0, 0.8)
    options = {"surrogate_function": surrogate.ATan(), "detach_reset": True, "num_classes": 10}
    make = getattr(peers, f"sew_resnet{depth}")
    theirs = make(cnf=connect.upper(), spiking_neuron=neuron.IFNode, **options)
    functional.set_step_mode(theirs, "m")
    # By order, as the page for users of CBP-QSNN takes over a published state.
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    return ours.double(), theirs.double()


@pytest.mark.parametrize(("depth", "connect"), [(18, "add"), (18, "and"), (18, "iand"), (34, "add")])
def test_outputs_and_gradients_are_theirs(depth: int, connect: str) -> None:
    x = torch.rand((3, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for training in (False, True):
        ours, theirs = (net.train(training) for net in pair(depth, connect))
        found, wanted = ours(x), theirs(x.expand(3, *x.shape)).mean(0)
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
        assert wanted.std() > 1e-3
        found.square().sum().backward()
        wanted.square().sum().backward()
        for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, other.grad, rtol=1e-6, atol=1e-9, msg=name)
