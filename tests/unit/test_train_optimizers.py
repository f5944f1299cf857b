"""Optimizers in one pass: the updates of torch's plain loops, whatever the layout of weights, gradients and state."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from bitspike.train.optimizers import SGD, AdamW, Optimizer

PLAIN = {
    SGD: lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, foreach=False),
    AdamW: lambda groups: torch.optim.AdamW(groups, lr=0.1, foreach=False),
}
CHOICES = [SGD(lr=0.1, weight_decay=0.02, nesterov=True), AdamW(lr=0.1, weight_decay=0.02)]


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator)  # contiguous, however the parameter lies
    optimizer.step()


@pytest.mark.parametrize("choice", CHOICES, ids=["SGD", "AdamW"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_updates_equal_those_of_the_plain_loops(choice: Optimizer, layout: torch.memory_format) -> None:
    plain = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Conv2d(5, 4, 2))
    model = copy.deepcopy(plain).to(memory_format=layout)
    ours = choice.build(model)
    assert all(group["fused"] for group in ours.param_groups)
    groups = [{"params": [p for p in plain.parameters() if (p.dim() > 1) == wide]} for wide in (True, False)]
    theirs = PLAIN[type(choice)]([g | {"weight_decay": d} for g, d in zip(groups, (0.02, 0.0), strict=True)])
    for seed in range(4):
        step(plain, theirs, seed)
        step(model, ours, seed)
    for one, other in zip(plain.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("choice", CHOICES, ids=["SGD", "AdamW"])
def test_a_state_goes_on_in_another_layout(choice: Optimizer) -> None:
    first = nn.Conv2d(3, 5, 3)
    optimizer = choice.build(first)
    step(first, optimizer, 0)
    second = copy.deepcopy(first).to(memory_format=torch.channels_last)
    other = choice.build(second)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for seed in (1, 2):
        step(first, optimizer, seed)
        step(second, other, seed)
    torch.testing.assert_close(second.weight, first.weight, rtol=1e-6, atol=1e-7)


def test_parameters_without_such_an_update_are_updated_plainly() -> None:
    optimizer = SGD().build(nn.Linear(2, 2, device="meta"))
    assert not any(group["fused"] for group in optimizer.param_groups)
