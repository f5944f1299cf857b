"""The report of a network in memory, as a finished run has one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from bitspike.analysis.report.of_network import NetworkReport
from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.integer.network import IntegerNetwork
from bitspike.runs.in_memory import InMemory
from bitspike.tasks.classify import Classification
from bitspike.tasks.task import Task
from bitspike.train import History


@checked
def report(
    model: nn.Module,
    net: IntegerNetwork,
    data: Iterable[tuple[Any, Any]] | tuple[Tensor, Tensor],
    *,
    name: str = "network",
    history: History | None = None,
    samples: int | None = None,
    seed: int = 0,
    task: Task = Classification(),
) -> NetworkReport:
    """Measure a network and its integers on test data: accuracy, certificate, agreement, sizes, rates, energy.

    Args:
        model: the spiking network, trained or converted.
        net: what ``bs.lower`` made of it.
        data: batches of inputs and labels, such as a loader, or one pair of tensors.
        name: what the network is called in tables: ``bs.compare`` puts reports of the same name and different seeds
            into one row.
        history: what ``bs.fit`` returned, for the curves of the training.
        samples: how many of the data are measured and proven, the first ones; None is all.
        seed: of random coders, and of the training if you gave it one.
        task: says which answers are right.

    Returns:
        the report: ``print`` shows it, ``.save(folder)`` writes a page like that of a run with the integers next to it,
        ``.latex()`` and ``.markdown()`` are rows for a paper, ``.certificate`` and ``.agreement`` the results
        themselves. ``bs.compare`` takes reports as it takes folders of runs.

    Raises:
        ConstraintError: one of the two is no network, or not that of the other. DataError: there is no sample, or a
            batch is no pair.

    Example:
        >>> import torch
        >>> import bitspike as bs
        >>> model = nn.Sequential(bs.Repeat(steps=2), bs.TimeDistributed(nn.Linear(4, 3)), bs.IF(), bs.SumReadout())
        >>> x, y = torch.eye(4), torch.tensor([0, 1, 2, 0])
        >>> small = report(model, bs.lower(model, x[:1]), (x, y), name="small")
        >>> small.certificate.equal, small.record["certificate"]["samples"]
        (True, 4)
    """
    for value, kind, way in (
        (model, nn.Module, "bs.report(model, net, data): the network that was lowered comes first"),
        (net, IntegerNetwork, "net = bs.lower(model, images[:1])"),
    ):
        if not isinstance(value, kind):
            raise ConstraintError(f"report: a {type(value).__name__} stands where {_words(kind)} is needed", fix=way)
    if samples is not None and samples < 1:
        raise ConstraintError(f"report(samples={samples}): at least one is needed", fix="samples=1000")
    return InMemory(model, net, data, name, seed, task, history, samples).report()


def _words(kind: type) -> str:
    return "an integer network" if kind is IntegerNetwork else "a network of torch"
