"""Apply planned repairs to a model: fewer bits, groups with a channel shuffle, partial sums, fewer input channels.

What ``bitspike.hardware.chips.plan`` decides on numbers is done here to the modules, on a copy, so that the new
network starts from the weights of the old one. A grouped convolution keeps, for every group of output channels, the
input channels whose weights are largest. Where the layers around it allow it (they stand in a plain chain), channels
are reordered for the best match; two grouped layers in a row get a shuffle between them, so that groups mix. Partial
sums are made by :mod:`bitspike.surgery.partial_sums`.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError, LoweringError
from bitspike.nn import OverTime, TimeDistributed
from bitspike.surgery.channels import Link, can_follow, energy, latent, links, select, set_latent
from bitspike.surgery.partial_sums import Shuffle, cut, shuffle_over_time, split
from bitspike.weights.attach import attach
from bitspike.weights.path import Quantize, path_of
from bitspike.weights.schemes import Scheme, Uniform

M = TypeVar("M", bound=nn.Module)
_ROUNDS = 4


class Repair(Protocol):
    """What is read of a planned repair; ``bitspike.hardware.chips.plan_repairs.Repair`` is one."""

    @property
    def path(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def bits(self) -> int: ...
    @property
    def groups(self) -> int: ...
    @property
    def keep(self) -> tuple[int, ...]: ...
    @property
    def parts(self) -> int: ...
    @property
    def source_shape(self) -> tuple[int, ...]: ...


def apply(model: M, repairs: Iterable[Repair]) -> M:
    """Return a copy of a model with repairs applied, ready for finetuning.

    Args:
        model: a spiking network or one without time, before its layers get variation, recovery or pruning.
        repairs: of ``bitspike.hardware.chips.plan``, in the order of data flow; a layer whose kind is ``real`` is
            left alone.

    Raises:
        ConstraintError: a path names no layer, a kind is unknown or cannot be applied to this layer, or channels cannot
            be taken away because more than one layer reads or makes them.

    Example:
        >>> from bitspike.hardware.chips.plan_repairs import Repair as Planned
        >>> model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        >>> fitted = apply(model, [Planned(path="2", kind="groups", bits=1, groups=4, inputs=8, outputs=8)])
        >>> fitted(torch.zeros(1, 4, 9, 9)).shape, latent(fitted[2]).shape
        (torch.Size([1, 8, 5, 5]), torch.Size([8, 2, 3, 3]))
    """
    result = copy.deepcopy(model)
    moved: dict[str, str] = {}
    for repair in repairs:
        if repair.kind == "real":
            continue
        path = moved.get(repair.path, repair.path)
        _layer(result, path)
        made: tuple[str, ...] = (path,)
        if repair.kind == "groups":
            made = (_group(result, path, repair),)
        elif repair.kind == "split":
            made = split(result, path, parts=repair.parts, source_shape=repair.source_shape)
        elif repair.kind == "prune":
            _prune(result, path, repair.keep)
        elif repair.kind != "bits":
            raise ConstraintError(
                f"{repair.path}: there is no repair {repair.kind!r}", fix="bits, groups, split, prune or real"
            )
        moved[repair.path] = made[0]
        for each in made:
            _set_bits(result, each, _layer(result, each), repair.bits)
    return result


def _layer(model: nn.Module, path: str) -> nn.Module:
    try:
        layer = model.get_submodule(path)
    except AttributeError:
        raise ConstraintError(f"repair of {path!r}: the model has no such module") from None
    if not isinstance(layer, nn.modules.conv._ConvNd | nn.Linear):
        raise ConstraintError(f"repair of {path!r}: a {type(layer).__name__} is no layer with weights")
    found = path_of(layer)
    if found is not None and (slots := [slot for slot, _ in found[0].stages() if slot != "quantize"]):
        raise ConstraintError(
            f"repair of {path!r}: its weight has {', '.join(slots)} already, made for its old shape",
            fix="repair first, then attach(model, vary=..., recover=..., prune=...)",
        )
    return layer


def _set_bits(model: nn.Module, path: str, layer: nn.Module, bits: int) -> None:
    """Give a layer's scheme another width; a scheme that has only one becomes ``Uniform``."""
    found = path_of(layer)
    stage = None if found is None else found[0].quantize
    if found is None or stage is None:
        attach(model, quantize=Uniform(bits=bits), include=path)
        return
    if not isinstance(stage, Quantize):
        raise ConstraintError(f"repair of {path!r}: its quantizer {type(stage).__name__} has no width to choose")
    if stage.scheme.bits == bits:
        return
    scheme: Scheme = Uniform(bits=bits, per_channel=stage.scheme.per_channel)
    if any(f.name == "bits" and f.init for f in dataclasses.fields(stage.scheme)):  # type: ignore[arg-type]
        with contextlib.suppress(ConstraintError):  # the scheme may not exist at this width
            scheme = dataclasses.replace(stage.scheme, bits=bits)  # type: ignore[type-var]
    found[0].fill("quantize", scheme, path, found[1].detach())


def _links(model: nn.Module) -> dict[str, Link]:
    """Return the free orders of channels; none in a model that cannot be followed."""
    try:
        return links(model)
    except LoweringError:
        return {}


def _prune(model: nn.Module, path: str, keep: Sequence[int]) -> None:
    link = next((link for link in _links(model).values() if link.reader == path), None)
    maker = None if link is None else model.get_submodule(link.layer)
    if link is None or not can_follow(model, link) or getattr(maker, "groups", 1) > 1:
        raise ConstraintError(
            f"repair of {path!r}: its input channels are made or read by more than one layer, so none can be left out",
            fix="plan(net, chip, ways=('bits', 'groups'))",
        )
    select(model, link, torch.as_tensor(keep, dtype=torch.long))


def _group(model: nn.Module, path: str, repair: Repair) -> str:
    """Replace a dense convolution by a grouped one behind a shuffle, and return its new path."""
    layer = model.get_submodule(path)
    groups, shared = repair.groups, _links(model)
    if not isinstance(layer, nn.modules.conv._ConvNd) or layer.groups != 1:
        raise ConstraintError(f"repair of {path!r}: only a dense convolution can be grouped")
    inputs, outputs = layer.in_channels, layer.out_channels
    if inputs % groups or outputs % groups:
        raise ConstraintError(f"repair of {path!r}: groups={groups} does not divide {inputs} and {outputs} channels")
    before = next((link for link in shared.values() if link.reader == path), None)
    before = before if before is not None and can_follow(model, before) else None
    after = shared.get(path)
    after = after if after is not None and can_follow(model, after) else None
    maker = 1 if before is None else int(getattr(model.get_submodule(before.layer), "groups", 1))
    # A dense layer in front mixes the channels itself; behind a grouped one a shuffle does. Strangers are shuffled too.
    factor = groups if before is None or inputs % (maker * groups) else maker
    matched = _match(
        energy(latent(layer)),
        groups,
        factor,
        inputs_free=before is not None and factor == maker,
        outputs_free=after is not None,
    )
    if before is not None and not torch.equal(matched.inputs, torch.arange(inputs)):
        select(model, before, matched.inputs)
    if after is not None:
        select(model, after, matched.outputs)
    _make_grouped(layer, groups, factor)
    return path if factor == 1 else _put_in_front(model, path, factor, inputs, repair)


def _shuffled(channels: int, factor: int) -> Tensor:
    """Return which channel stands at each place behind a shuffle."""
    return torch.arange(channels).view(factor, -1).t().reshape(-1)


def _make_grouped(layer: nn.modules.conv._ConvNd, groups: int, factor: int) -> None:
    weight = latent(layer)[:, _shuffled(layer.in_channels, factor).to(latent(layer).device)]
    each_in, each_out = weight.shape[1] // groups, weight.shape[0] // groups
    parts = [weight[g * each_out : (g + 1) * each_out, g * each_in : (g + 1) * each_in] for g in range(groups)]
    set_latent(layer, torch.cat(parts))
    layer.groups = groups


def _put_in_front(model: nn.Module, path: str, factor: int, channels: int, repair: Repair) -> str:
    """Put a shuffle in front of a convolution, or of the layers over time that it belongs to; return its new path."""
    parents = [path.rsplit(".", n)[0] for n in range(1, path.count(".") + 1)]
    timed = next((p for p in reversed(parents) if isinstance(model.get_submodule(p), TimeDistributed)), None)
    place = path if timed is None else timed
    module = model.get_submodule(place)
    parts: dict[str, nn.Module] = {}
    if timed is not None or isinstance(module, OverTime):
        if not repair.source_shape:
            raise ConstraintError(f"repair of {path!r}: source_shape is needed for a shuffle over time")
        if timed is not None:
            front, module = cut(module, path[len(place) + 1 :].partition(".")[0])
            parts |= {"front": front} if len(front) else {}
        parts |= shuffle_over_time(factor, (channels, *repair.source_shape[1:]))
    else:
        parts["shuffle"] = Shuffle(factor)
    whole = nn.Sequential(OrderedDict(parts | {"layers": module}))
    parent, _, name = place.rpartition(".")
    setattr(model.get_submodule(parent) if parent else model, name, whole)
    return f"{place}.layers{path[len(place) :]}"


@dataclasses.dataclass(frozen=True, eq=False)
class _Matched:
    """New orders of the input and output channels, and the share of the squared weights that the groups keep."""

    inputs: Tensor
    outputs: Tensor
    kept: float


def _match(between: Tensor, groups: int, factor: int, *, inputs_free: bool, outputs_free: bool) -> _Matched:
    """Find orders of channels so that groups of outputs read the inputs they weigh most.

    Outputs and inputs are assigned in turn, each to the group where its weights are largest, groups being filled
    equally. Behind a shuffle by ``factor`` the members of one group of the layer in front stay members of it, so they
    are shared out equally.

    Args:
        between: squared weights, [C_out, C_in].
        groups: of the layer.
        factor: of the shuffle in front of it.
        inputs_free, outputs_free: which channels may be reordered.
    """
    out, into = between.shape
    place = torch.empty(into, dtype=torch.long)  # of every channel behind the shuffle
    place[_shuffled(into, factor)] = torch.arange(into)
    slot_group = place // (into // groups)
    inputs, outputs = torch.arange(into), torch.arange(out)
    output_group = torch.arange(out) // (out // groups)
    best = _Matched(inputs, outputs, _kept(between, slot_group, output_group))
    free = inputs_free and into % (factor * groups) == 0
    if not (free or outputs_free):
        return best

    def share_out(scores: Tensor) -> Tensor:
        each = into // factor
        return torch.cat([_assign(scores[j * each : (j + 1) * each], each // groups) for j in range(factor)])

    starts = [slot_group, share_out(_unlike(between, groups).t())] if free else [slot_group]
    for of_input in starts:
        of_output = output_group
        for _ in range(_ROUNDS):
            if outputs_free:
                of_output = _assign(_onto(between, of_input, groups), out // groups)
            if free:
                of_input = share_out(_onto(between.t(), of_output, groups))
            kept = _kept(between, of_input, of_output)
            if kept > best.kept:
                best = _Matched(_order(of_input, slot_group, factor), torch.argsort(of_output, stable=True), kept)
    return best


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
