"""Orders of channels in which every group of outputs reads the inputs that it weighs most."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

_ROUNDS = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Matched:
    """New orders of the input and output channels, and the share of the squared weights that the groups keep."""

    inputs: Tensor
    outputs: Tensor
    kept: float


def match(between: Tensor, groups: int, factor: int, *, inputs_free: bool, outputs_free: bool) -> Matched:
    """Find orders of channels so that groups of outputs read the inputs they weigh most.

    Outputs and inputs are assigned in turn, each to the group where its weights are largest, groups being filled
    equally. After a shuffle by ``factor`` the members of one group of the layer before stay members of it, so they are
    shared out equally.

    Args:
        between: squared weights, [C_out, C_in].
        groups: of the layer.
        factor: of the shuffle before it.
        inputs_free, outputs_free: which channels may be reordered.
    """
    out, into = between.shape
    place = torch.empty(into, dtype=torch.long)  # of every channel after the shuffle
    place[shuffled(into, factor)] = torch.arange(into)
    slot_group = place // (into // groups)
    inputs, outputs = torch.arange(into), torch.arange(out)
    output_group = torch.arange(out) // (out // groups)
    best = Matched(inputs, outputs, _kept(between, slot_group, output_group))
    free = inputs_free and into % (factor * groups) == 0
    if not (free or outputs_free):
        return best

    def share_out(scores: Tensor) -> Tensor:
        each = into // factor
        return torch.cat([_assign(scores[j * each : (j + 1) * each], each // groups) for j in range(factor)])

    starts = [slot_group, share_out(_unlike(between, groups).t())] if free else [slot_group]
    # Alternate until nothing improves much: outputs to the inputs they weigh most, then inputs to these outputs.
    for of_input in starts:
        of_output = output_group
        for _ in range(_ROUNDS):
            if outputs_free:
                of_output = _assign(_onto(between, of_input, groups), out // groups)
            if free:
                of_input = share_out(_onto(between.t(), of_output, groups))
            kept = _kept(between, of_input, of_output)
            if kept > best.kept:
                best = Matched(_order(of_input, slot_group, factor), torch.argsort(of_output, stable=True), kept)
    return best


def shuffled(channels: int, factor: int) -> Tensor:
    """Return which channel stands at each place after a shuffle.

    Example:
        >>> shuffled(6, 2).tolist()
        [0, 3, 1, 4, 2, 5]
    """
    return torch.arange(channels).view(factor, -1).t().reshape(-1)


def _unlike(between: Tensor, groups: int) -> Tensor:
    """Return rows that are as unlike each other as possible, [groups, C_in]: seeds of the groups."""
    rows = nn.functional.normalize(between, dim=1)
    chosen = [int(between.sum(1).argmax())]
    nearest = rows @ rows[chosen[0]]
    while len(chosen) < groups:
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, rows @ rows[chosen[-1]])
    return rows[chosen]


def _kept(between: Tensor, of_input: Tensor, of_output: Tensor) -> float:
    """Return the squared weights between inputs and outputs of the same group."""
    same = of_output[:, None] == of_input[None]
    return float((between * same).sum())


def _onto(between: Tensor, of_column: Tensor, groups: int) -> Tensor:
    """Return the squared weights of every row with every group of columns, [rows, groups]."""
    onto = torch.zeros(len(between), groups, dtype=between.dtype, device=between.device)
    return onto.index_add(1, of_column.to(between.device), between)


def _assign(scores: Tensor, each: int) -> Tensor:
    """Give every row a group, the clearest choices first, until a group has ``each`` rows.

    Example:
        >>> _assign(torch.tensor([[3.0, 0.0], [5.0, 1.0], [4.0, 4.0], [9.0, 0.0]]), each=2).tolist()
        [1, 0, 1, 0]
    """
    # How much better a group is than the row's average: rows with a clear favorite choose first.
    gain = scores - scores.mean(1, keepdim=True)
    room = [each] * scores.shape[1]
    chosen = [-1] * len(scores)
    for flat in torch.argsort(gain.flatten(), descending=True, stable=True).tolist():
        row, group = divmod(flat, scores.shape[1])
        if chosen[row] < 0 and room[group]:
            chosen[row] = group
            room[group] -= 1
    return torch.tensor(chosen)


def _order(of_input: Tensor, slot_group: Tensor, factor: int) -> Tensor:
    """Return an order of channels in which every channel comes to a slot of its group, within its own part."""
    each = len(of_input) // factor
    order = torch.empty_like(of_input)
    for j in range(factor):
        part = slice(j * each, (j + 1) * each)
        slots, channels = torch.argsort(slot_group[part], stable=True), torch.argsort(of_input[part], stable=True)
        order[part][slots] = channels + j * each
    return order
