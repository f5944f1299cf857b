"""A quantized network whose norms are folded into its weights sends the very spikes of the one with live norms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.conversion.fold.fold import fold
from bitspike.conversion.quantized.over_time import QuantNeuron
from bitspike.graph.capture.from_module import capture
from bitspike.graph.rebuild import rebuild
from bitspike.models.spiking.resnet import resnet
from bitspike.nn import QuantReLU


def network(*, quantized_weights: bool) -> nn.Module:
    """Return a residual network in double precision whose norms have gains of both signs."""
    net = resnet(depth=8, steps=None, neuron=nn.ReLU, width=1 / 4, image_size=8)
    net = bs.quantize(net, torch.rand(1, 3, 8, 8), bits=2, weights=None if quantized_weights else "float", clip=2.0)
    net = net.double()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.copy_(torch.randn(module.num_features) + 0.5)
                module.bias.copy_(torch.rand(module.num_features))
                module.momentum = 1.0
        net.train()(torch.rand(32, 3, 8, 8, dtype=torch.float64))
    return net.eval()


def heard(net: nn.Module, x: Tensor, neuron: type[bs.Neuron]) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Return the charges and the spikes of all neurons by path, and the output."""
    twin, charges, spikes = bs.spiking_twin(net, neuron=neuron), dict[str, Tensor](), dict[str, Tensor]()

    def hear(path: str, module: nn.Module) -> None:
        module.register_forward_pre_hook(lambda _module, args: charges.update({path: args[0]}))
        module.register_forward_hook(lambda _module, _args, out: spikes.update({path: out}))

    for path, module in twin.named_modules():
        if isinstance(module, QuantNeuron):
            hear(path, module)
    with torch.no_grad():
        return charges, spikes, twin(x)


@pytest.mark.parametrize("neuron", [bs.IF, bs.SignedIF])
@pytest.mark.parametrize("quantized_weights", [False, True])
def test_qann_check_08_folded_norms_leave_every_spike_as_it_was(
    neuron: type[bs.Neuron], quantized_weights: bool
) -> None:
    net, x = network(quantized_weights=quantized_weights), torch.rand(16, 3, 8, 8, dtype=torch.float64)
    graph = fold(capture(net, x[:1]))
    assert not any(op.kind == "norm" for op in graph)
    folded = rebuild(graph, {op.id: net.get_submodule(op.id) for op in graph if op.kind == "relu"})
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert sum(isinstance(m, QuantReLU) for m in folded.modules()) == 7

    charges, spikes, out = heard(net, x, neuron)
    charges_folded, spikes_folded, out_folded = heard(folded, x, neuron)
    assert spikes.keys() == spikes_folded.keys()
    for path, sent in spikes.items():
        torch.testing.assert_close(charges_folded[path], charges[path], rtol=0, atol=1e-5)
        assert torch.equal(spikes_folded[path], sent), path
    assert sum(int((sent != 0).sum()) for sent in spikes.values()) > 10_000
    torch.testing.assert_close(out_folded, out, rtol=0, atol=1e-5)
