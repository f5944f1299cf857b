"""The kernel loss of TSSL-BP: what it wants, what it is given, and where it is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import ConstraintError, DataError
from bitspike.train import SpikeTrains
from bitspike.train.evaluate import evaluate
from bitspike.train.optimizers import AdamW


def network(steps: int = 5) -> nn.Module:
    torch.manual_seed(0)
    linear = nn.Linear(4, 3, bias=False)
    nn.init.normal_(linear.weight, std=2.0)
    layers = bs.TimeDistributed(linear), bs.SpikeTimeLIF(), bs.Synapse(), bs.SumReadout()
    return nn.Sequential(bs.Repeat(steps), bs.Synapse(), *layers)


def batch(samples: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(samples, 4, generator=generator) * 3, torch.arange(samples) % 3


def test_the_wanted_train_passes_the_synapse_as_often_as_stated() -> None:
    once = bs.Synapse()(torch.tensor([0.0, 1, 1, 1, 1]).view(5, 1)).flatten()
    assert SpikeTrains(passes=1).wanted(5).tolist() == pytest.approx(once.tolist())
    twice = bs.Synapse()(once.view(5, 1)).flatten()
    assert SpikeTrains().wanted(5).tolist() == pytest.approx(twice.tolist())


def test_from_ten_steps_on_every_second_step_is_wanted_and_of_one_step_that_one() -> None:
    bare = SpikeTrains(synapse_decay=0.0)
    assert bare.wanted(10).tolist() == [0, 1] * 5
    assert bare.wanted(9).tolist() == [0] + [1] * 8
    assert bare.wanted(1).tolist() == [1]


def test_no_step_at_all_is_refused() -> None:
    with pytest.raises(ConstraintError, match="0 steps have no train"):
        SpikeTrains()(torch.zeros(0, 2, 3), torch.tensor([2, 0]))
    with pytest.raises(ConstraintError, match="-1 steps have no train"):
        SpikeTrains().wanted(-1)


def test_the_loss_is_half_the_squares_summed_over_classes_and_steps() -> None:
    a = torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(5, 2, 3)
    y[:, 0, 2] = y[:, 1, 0] = SpikeTrains().wanted(5).float()
    expected = 0.5 * (a - y).square().sum() / 2
    labels = torch.tensor([2, 0])
    assert SpikeTrains()(a, labels).item() == pytest.approx(expected.item())
    assert SpikeTrains(scale=2.0)(a, labels).item() == pytest.approx(2 * expected.item())
    assert SpikeTrains()(a, nn.functional.one_hot(labels, 3).float()).item() == pytest.approx(expected.item())


def test_training_reads_the_currents_of_every_step_and_learns() -> None:
    net, (x, y) = network(), batch()
    data = [(x * 2, y)]
    before = evaluate(net, data, loss=SpikeTrains())
    with torch.no_grad():
        currents = net[:5](data[0][0])
    assert before.loss == pytest.approx(SpikeTrains()(currents, data[0][1]).item())
    history = bs.fit(net, data, epochs=15, loss=SpikeTrains(), optimizer=AdamW(lr=0.02), precision="fp32", device="cpu")
    assert history.epochs[0].train_loss == pytest.approx(before.loss)
    assert history.epochs[-1].train_loss < 0.8 * before.loss
    assert not net[-1]._forward_pre_hooks


def test_a_teacher_may_stand_by() -> None:
    history = bs.fit(
        network(), [batch()], epochs=1, loss=SpikeTrains(), teacher=nn.Sequential(nn.Linear(4, 3)), device="cpu"
    )
    assert history.epochs[0].train_loss > 0


def test_a_network_without_one_read_out_is_refused() -> None:
    with pytest.raises(ConstraintError, match=r"Linear has 0 read-outs(.|\n)*bs.SumReadout"):
        bs.fit(nn.Linear(4, 3), [batch()], epochs=1, loss=SpikeTrains(), device="cpu")


def test_labels_that_are_no_classes_are_refused() -> None:
    x, _ = batch()
    with pytest.raises(DataError, match="class"):
        bs.fit(network(), [(x, torch.full((12,), 7))], epochs=1, loss=SpikeTrains(), device="cpu")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"synapse_decay": 1.0}, r"lie in \[0, 1\)"), ({"passes": 0}, "at least 1"), ({"scale": 0.0}, "above 0")],
)
def test_wrong_numbers_say_what_is_allowed(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ConstraintError, match=said):
        SpikeTrains(**wrong)  # type: ignore[arg-type]
