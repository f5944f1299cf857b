"""A network that spikes in part, with its spiking part in integers: how far is it from the one in floats?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.graph.conversion import conversion_of, spiking_part
from bitspike.graph.trace import evaluation
from bitspike.integer.agreement import Agreement, Tally, recorded
from bitspike.integer.engine import TorchEngine
from bitspike.integer.host import counted_codes, decode
from bitspike.integer.network import IntegerNetwork
from bitspike.ops.entering import Clipped


@torch.no_grad()
def compare_core(
    network: nn.Module, net: IntegerNetwork, batches: Iterable[tuple[Tensor, Tensor]], *, seed: int = 0
) -> Agreement:
    """Run a network twice, with its spiking part in floats and in integers; the real part runs as it is.

    Args:
        network: converted in part; class scores leave it.
        net: its spiking part, lowered.
        batches: inputs and labels, as the whole network takes them.
        seed: of the random coder, where the spiking part has one; both sides see the same spikes.

    Raises:
        DataError: there is no sample.
    """
    core, record, engine = spiking_part(network), conversion_of(network), TorchEngine(net)
    tally = Tally()
    home = next((p.device for p in [*network.parameters(), *network.buffers()]), torch.device("cpu"))
    for number, (x, y) in enumerate(batches):
        x = x.to(home)
        traces = []

        def integers(_module: nn.Module, inputs: tuple[Tensor, ...], out: Any) -> Any:
            generator = torch.Generator().manual_seed(seed + number)  # noqa: B023
            row = record.pack(inputs, tally.clipped)
            count = tally.clipped if len(inputs) == 1 else Clipped()  # a row holds codes, which were counted just now
            traces.append(engine.run(counted_codes(net, row, count, generator=generator)))  # noqa: B023
            results = [torch.from_numpy(decode(o, traces[-1].outputs[o.id])).to(inputs[0]) for o in net.outputs]  # noqa: B023
            return results[0] if isinstance(out, Tensor) else tuple(results)

        with evaluation(network), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + number)
            with recorded(core) as spikes:
                answers = network(x).argmax(1)
            handle = core.register_forward_hook(integers)
            try:
                lowered = network(x).argmax(1)
            finally:
                handle.remove()
        tally.spikes(net, spikes, traces[-1].spikes)
        tally.answers(answers.cpu().numpy(), lowered.cpu().numpy(), y.cpu().numpy())
    return tally.result()
