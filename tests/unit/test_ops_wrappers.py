"""What training puts around a network comes off in one place; of a sharded network the way out works."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn

import bitspike as bs
from bitspike.errors import ConstraintError
from bitspike.ops.wrappers import layers_of, strip_prefixes, unwrapped, wrappers


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


X = torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """One process that is a whole group."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_wrappers_come_off_from_the_outermost_on() -> None:
    net = network()
    around = nn.DataParallel(torch.compile(net, backend="eager"))  # type: ignore[arg-type]
    assert unwrapped(around) is net
    assert wrappers(around) == ("DataParallel", "OptimizedModule")
    assert layers_of(net) == [net]


def test_a_part_called_module_is_no_wrapper() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(2, 2)

    own = Own()
    assert unwrapped(own) is own
    state = {f"module.{key}": value for key, value in own.module.state_dict().items()}
    strip_prefixes(own._modules, state, "")
    assert set(state) == {"module.weight", "module.bias"}


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda part: torch.compile(part, backend="eager")])
@pytest.mark.parametrize("inner", [False, True])
def test_a_part_in_a_wrapper_is_lowered_and_compared_as_the_part(wrap: Any, inner: bool) -> None:
    torch.manual_seed(0)
    time = bs.TimeDistributed
    parts = [bs.Repeat(2), time(nn.Flatten(), nn.Linear(16, 4)), bs.LIF(0.5), time(nn.Linear(4, 3)), bs.RateReadout()]
    plain = nn.Sequential(parts[0], nn.Sequential(*parts[1:4]), parts[4]).eval()
    wrapped = nn.Sequential(parts[0], wrap(nn.Sequential(*parts[1:4])), parts[4]).eval()
    if inner:
        plain, wrapped = nn.Sequential(*parts).eval(), nn.Sequential(parts[0], wrap(parts[1]), *parts[2:]).eval()
    names = [name for name, _ in wrapped.named_modules()]
    net = bs.lower(wrapped, X[:1])
    assert [node.id for node in net.nodes] == [node.id for node in bs.lower(plain, X[:1]).nodes]
    labels = torch.zeros(8, dtype=torch.long)
    assert bs.compare(wrapped, net, [(X, labels)]) == bs.compare(plain, net, [(X, labels)])
    assert [name for name, _ in wrapped.named_modules()] == names


def test_a_spiking_network_in_half_precision_says_what_its_integers_are_equal_to() -> None:
    torch.manual_seed(0)
    time = bs.TimeDistributed
    model = nn.Sequential(bs.Repeat(4), time(nn.Flatten(), nn.Linear(16, 4)), bs.LIF(0.5), time(nn.Linear(4, 3)))
    model = bs.attach(nn.Sequential(*model, bs.RateReadout()), quantize=bs.Uniform(bits=4)).eval().bfloat16()
    net = bs.lower(model, X[:1].bfloat16())
    assert "bfloat16" in net.notes[0]
    assert "model.float()" in net.notes[0]
    assert bs.compare(model.float(), net, [(X, torch.zeros(8, dtype=torch.long))]).spikes == 1


@pytest.mark.usefixtures("alone")
def test_a_network_in_distributed_data_parallel_is_the_network_inside() -> None:
    net = network()
    wrapped = nn.parallel.DistributedDataParallel(net)
    assert unwrapped(wrapped) is net
    snn = bs.convert(wrapped, X[:1], calibrate=X, steps=4)
    assert torch.equal(snn(X), bs.convert(net, X[:1], calibrate=X, steps=4)(X))


def sharded(how: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch: one process is no group, and one kind is on its way out
        if how == "FullyShardedDataParallel":
            from torch.distributed.fsdp import FullyShardedDataParallel

            return FullyShardedDataParallel(network(), device_id=torch.device("cpu"))
        from torch.distributed.device_mesh import init_device_mesh

        fully_shard: Any = __import__("torch.distributed.fsdp", fromlist=["fully_shard"]).fully_shard
        return fully_shard(network(), mesh=init_device_mesh("cpu", (1,)))  # type: ignore[no-any-return]


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("how", ["FullyShardedDataParallel", "fully_shard"])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")  # of torch
def test_a_sharded_network_is_refused_and_the_way_out_works(how: str) -> None:
    model = sharded(how)
    with pytest.raises(ConstraintError, match=how) as caught:
        bs.convert(model, X[:1], calibrate=X)
    assert "get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))" in str(caught.value)

    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    plain = network(seed=1)
    plain.load_state_dict(get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)))
    assert torch.equal(plain(X), network()(X))
    assert bs.convert(plain, X[:1], calibrate=X)(X).shape == (8, 3)
