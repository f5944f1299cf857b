"""Device, precision and processes are chosen by what is there and what is asked for."""

from __future__ import annotations

import sys
import types

import lightning_fabric
import pytest
import torch
from lightning_fabric.plugins import environments
from torch import nn

from bitspike.errors import RunError
from bitspike.train import launch
from bitspike.train.launch import Workers, rank, world_size


def test_only_torchrun_makes_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert (rank(), world_size()) == (0, 1)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert (rank(), world_size()) == (3, 4)


def test_fabric_is_found_under_both_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch._fabric()[0] is lightning_fabric.Fabric
    fabric, plugins = types.ModuleType("lightning.fabric"), types.ModuleType("lightning.fabric.plugins")
    fabric.Fabric, plugins.environments = lightning_fabric.Fabric, environments  # type: ignore[attr-defined]
    whole = types.ModuleType("lightning")
    whole.fabric = fabric  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    for module in (whole, fabric, plugins):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    assert launch._fabric() == (lightning_fabric.Fabric, environments)


def test_processes_that_would_wait_for_ever_are_refused() -> None:
    workers = Workers("fp32", "cpu")
    assert (workers.count, workers.rank, workers.first) == (1, 0, True)
    assert workers.agreed_length([1, 2]) == 2
    assert workers.agreed_length(iter([])) is None

    class Two:
        def all_reduce(self, own: torch.Tensor, *, reduce_op: str) -> torch.Tensor:
            assert reduce_op == "sum"
            return own + torch.tensor([0, 3])  # what the other one has in its place

    workers.count, workers._fabric = 2, Two()
    with pytest.raises(RunError, match=r"different numbers of batches: \[2, 3\]"):
        workers.agreed_length([1, 2])


def test_bf16_runs_with_channels_last_and_gives_the_weights_back_as_they_came() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    weight, values = model[0].weight, model[0].weight.detach().clone()
    last = torch.channels_last
    for precision, laid in (("bf16", True), ("fp32", False)):
        workers = Workers(precision, "cpu")  # type: ignore[arg-type]
        workers.setup(model, torch.optim.SGD(model.parameters()))
        x = workers.send(torch.randn(2, 3, 4, 4))
        assert x.is_contiguous(memory_format=last) is laid
        assert model[0].weight is weight
        assert weight.is_contiguous(memory_format=last) is laid
        assert workers.send(torch.arange(3)).dtype == torch.int64
        workers.give_back()
        assert weight.is_contiguous()
        assert torch.equal(weight, values)


def test_weights_that_came_channels_last_stay_so() -> None:
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    workers = Workers("bf16", "cpu")
    workers.setup(model, torch.optim.SGD(model.parameters()))
    workers.give_back()
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
