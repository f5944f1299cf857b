"""An ordinary network as a quantized one that trains as before: relus count to 2**bits - 1, weights are codes.

Every relu that a neuron will take the place of becomes a :class:`~bitspike.nn.QuantReLU` of its own, whose levels are
the spike counts of a neuron in T = 2**bits - 1 steps. Weights get a scheme, norms stay as they are and go on learning.
The result is a plain module: any loop, any loss, any optimizer; ``bs.convert`` then takes its clips as thresholds.
"""

from __future__ import annotations

import copy
import glob
from collections.abc import Collection, Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, fx, nn

from bitspike.arguments import checked_last
from bitspike.conversion.calibrate.feed import Batches
from bitspike.conversion.finetune.sums import on_operations
from bitspike.conversion.finetune.weight_grids import ends_of
from bitspike.conversion.fold.fold import fold
from bitspike.conversion.fold.relus import relus_before_max_pools
from bitspike.conversion.quantized.clips import least_error_clips
from bitspike.conversion.quantized.network import Quantized
from bitspike.conversion.quantized.one_pass import in_one_pass
from bitspike.conversion.quantized.schemes import FLOAT, Schemes, schemes_of
from bitspike.conversion.region.choose import region
from bitspike.conversion.region.cut import core_of
from bitspike.conversion.region.rules import raise_if, violations
from bitspike.errors import ConstraintError
from bitspike.graph.capture.agree import agree
from bitspike.graph.capture.from_module import capture
from bitspike.graph.capture.guests import take_modes
from bitspike.graph.capture.live import in_evaluation
from bitspike.graph.flow import neurons, ties
from bitspike.graph.ir import WEIGHTED, Graph, Op
from bitspike.graph.rebuild import rebuild
from bitspike.nn.activation import QuantReLU
from bitspike.nn.trace import evaluation
from bitspike.ops.wrappers import unwrapped
from bitspike.patterns import Patterns, matching, outer
from bitspike.weights import attach, detach
from bitspike.weights.path import path_of
from bitspike.weights.schemes.learned import ClippedWeight


@torch.inference_mode(False)  # what is quantized is trained
@checked_last
def quantize(
    model: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    *,
    bits: int = 4,
    weights: Schemes | Literal["float"] | Mapping[str, Schemes | Literal["float"]] | None = None,
    first_bits: int | None = 8,
    last_bits: int | None = 8,
    clip: float = 6.0,
    calibrate: Batches | None = None,
    samples: int = 1024,
    seed: int = 0,
    include: Patterns = ("*",),
    skip: Patterns = (),
) -> nn.Module:
    """Make a network quantized, so that it can be trained and then converted with T = 2**bits - 1.

    Parameters keep their names, values and whether they train; norms and dropout go on as they were. New are the clips:
    ``<relu>.clip`` of each quantized relu (of a function the name is that of the module around it and the function's,
    such as ``layer1.0.relu.clip``), and ``<layer>.parametrizations.weight.0.quantize.clip`` of a learned weight grid.

    Of what runs in training alone only dropout stays; auxiliary classifiers, for example, are left out.
    Weights in half precision become single precision, which the inputs need as well.
    A relu after a max pool is computed before it, which is the same and gives the pool spikes to read.
    Relus whose results are concatenated share one clip, because the layer that reads them has one value of a spike.

    A network that is quantized already is quantized again from its float masters: it keeps those, its norms, the clip
    of every relu, and the clip of every learned weight grid with the same ``normalize``. That is how training goes from
    4 to 3 to 2 bits; ``bits=32`` takes all quantization away.

    Args:
        model: any network that ``bs.convert`` takes; it is not changed.
        example: one or more inputs as the model takes them, batch first.
        bits: of the activations, 1 to 8, and where ``weights`` is None of the weights of all layers but the first and
            the last, which have bits of their own; 32 leaves ReLUs as they are.
        weights: of the layers between the first and the last: ``None`` for ``LearnedClip(bits)``, ``"float"``, any
            scheme, or a mapping from patterns over layers to schemes, of which the last match holds. A pattern other
            than ``"*"`` wins over ``first_bits`` and ``last_bits``.
        first_bits: of the layers that read the input, on a symmetric uniform grid that reaches to the largest weight,
            1 to 16; 32 leaves them float, None treats them as all others.
        last_bits: of the layers whose result leaves the network, in the same way.
        clip: where the clip of a relu starts, at least 2**-10; a ReLU6 starts at 6 at most.
        calibrate: batches of training data, with or without labels. With them every clip starts where the squared error
            of its levels is least, also one that was learned for other bits: a trained network then keeps most of its
            accuracy before any training.
        samples: how many are read of ``calibrate``.
        seed: of that calibration, whose sample is random only where there are very many activations.
        include, skip: patterns over layers, relus and the modules around them: what is quantized, and what of that is
            left as it is.

    Returns:
        the quantized network, in the mode of ``model``.

    Raises:
        ConversionError: the network cannot be followed, or has something that cannot become spiking.
        ConstraintError: a choice outside what is allowed; nothing is left to quantize; a weight has other stages.

    Source: Hu et al. 2023 (Fast-SNN), arXiv 2305.19868, section III; 8-bit first and last layers as in its code.

    Example:
        >>> import bitspike as bs
        >>> ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> qnn = bs.quantize(ann, torch.rand(1, 4), bits=2)
        >>> [name for name in qnn.state_dict() if name.endswith("clip")]
        ['1.clip', '2.parametrizations.weight.0.quantize.clip', '3.clip']
        >>> {name: codes.bits for name, codes in bs.codes(qnn).items()}
        {'0': 8, '2': 2, '4': 8}
    """
    _check_bits(bits)
    model = unwrapped(model)
    source, learned = _with_float_weights(model)
    graph = capture(source, example, keep_live=True)
    # As a conversion does it, so that the quantized network has its neurons at the same places.
    graph = graph if bits == FLOAT else relus_before_max_pools(graph)
    plain = in_evaluation(graph)
    with evaluation(source), torch.no_grad():
        agree(plain, source, example)
    folded = fold(plain)
    chosen = region(folded)
    raise_if(violations(folded, chosen))
    core = core_of(folded, chosen)

    # Folding lifts relus before pools and gives norms that stand alone layers: here only what the network has itself.
    own = {op.id: op.kind for op in graph}
    weighted = [op for op in core if op.kind in WEIGHTED and own.get(op.id) == op.kind]
    at = [core[id] for id in neurons(core) if id in own]
    names = {op.id: (op.id, *outer(op.path)) for op in (*weighted, *at)}
    wanted = set(matching(include, names, argument="include", noun="layer or relu"))
    wanted -= set(matching(skip, names, argument="skip", noun="layer or relu"))
    if not wanted:
        raise ConstraintError(
            f"quantize(include={include!r}, skip={skip!r}): nothing is left to quantize", fix="skip fewer of them"
        )

    at = [op for op in at if op.id in wanted] if bits != FLOAT else []
    clips: Mapping[str, float] = {}
    if calibrate is not None and at:
        ids = [op.id for op in at]
        clips = least_error_clips(model, example, ids, calibrate, bits=bits, samples=samples, seed=seed)
    activations = {op.id: _activation(graph[op.id], bits, clip, clips.get(op.id)) for op in at}
    _share_clips(activations, ties(core))
    others = _other_relus(graph, activations, keep=bits != FLOAT)
    network: fx.GraphModule = in_one_pass(rebuild(graph, {**on_operations(graph, activations), **others}))
    like = next((p for p in model.parameters()), torch.empty(0))
    for activation in (*activations.values(), *others.values()):
        activation.to(device=like.device, dtype=torch.float64 if like.dtype == torch.float64 else torch.float32)

    layers = {op.module: op for op in reversed(weighted) if op.id in wanted and op.module is not None}
    first, last = ends_of(core)
    schemes = schemes_of(layers, weights, bits=bits, first=(first, first_bits), last=(last, last_bits))
    for path, scheme in schemes.items():
        attach(network, quantize=scheme, include=glob.escape(path))
        _take_clip(network, path, learned)
    network = Quantized.of(network) if schemes or any(isinstance(m, QuantReLU) for m in network.modules()) else network
    take_modes(network, model)
    return network


def _check_bits(bits: int) -> None:
    if isinstance(bits, Mapping):
        raise ConstraintError(
            f"quantize(bits={dict(bits)!r}): all activations have one number of bits, because 2**bits - 1 is the "
            "number of steps of the spiking network",
            fix="bits=4, and weights={pattern: LearnedClip(2), ...} for weights of different bits",
        )
    whole = isinstance(bits, int) and not isinstance(bits, bool)
    if not whole or not (1 <= bits <= 8 or bits == FLOAT):
        raise ConstraintError(
            f"quantize(bits={bits!r}): 1 to 8 are allowed, and 32 for a network that is not quantized", fix="bits=4"
        )


def _with_float_weights(model: nn.Module) -> tuple[nn.Module, dict[str, ClippedWeight]]:
    """Return a copy whose weights are the float masters, and the learned grids that they had, by layer."""
    source, learned = copy.deepcopy(model), dict[str, ClippedWeight]()
    paths = {(name, tensor): path_of(m, tensor) for name, m in source.named_modules() for tensor in ("weight", "bias")}
    there = {key: own[0] for key, own in paths.items() if own is not None}
    for (name, tensor), path in there.items():
        if others := [slot for slot, _ in path.stages() if slot != "quantize"]:
            raise ConstraintError(
                f"quantize: {name}.{tensor} has a {others[0]} stage, which no quantized network keeps",
                fix="bs.detach(model) first, and bs.attach the stage to the result again",
            )
        if isinstance(path.quantize, ClippedWeight) and tensor == "weight":
            learned[name] = path.quantize
    return detach(source, keep="latent") if there else source, learned


def _activation(op: Op, bits: int, clip: float, calibrated: float | None) -> QuantReLU:
    """Return the quantized relu of an operation with its calibrated clip, the one that it has learned, or the start."""
    if calibrated is not None:
        return QuantReLU(bits, calibrated)
    before = op.attrs.get("clip")
    if before is not None:
        clip = before if "levels" in op.attrs else min(clip, before)
    return QuantReLU(bits, clip)


def _share_clips(activations: Mapping[str, QuantReLU], tied: Iterable[Collection[str]]) -> None:
    """Give neurons that are concatenated one clip: the layer that reads them has one value of a spike."""
    for group in tied:
        members = [activations[id] for id in activations if id in group]
        if members:
            shared = max((m.clip for m in members), key=lambda clip: float(clip.detach()))
            for member in members:
                member.clip = shared  # one parameter, not equal ones: training keeps it the same for all


def _other_relus(graph: Graph, taken: Mapping[str, nn.Module], *, keep: bool) -> dict[str, nn.Module]:
    """Return modules of all other relus, so that they keep their names; with ``keep`` quantized ones stay quantized."""
    others: dict[str, nn.Module] = {}
    for op in graph:
        if op.kind == "relu" and op.id not in taken:
            limit, levels = op.attrs["clip"], op.attrs.get("levels")
            if levels is not None and keep:
                others[op.id] = QuantReLU((levels + 1).bit_length() - 1, limit)
            else:
                others[op.id] = nn.ReLU() if limit is None or levels is not None else nn.Hardtanh(0.0, limit)
    return others


def _take_clip(network: nn.Module, path: str, learned: Mapping[str, ClippedWeight]) -> None:
    """Give the grid of a layer the clip that its grid of before had learned, where both count in the same units."""
    own = path_of(network.get_submodule(path))
    assert own is not None, path
    stage, before = own[0].quantize, learned.get(path)
    if before is not None and isinstance(stage, ClippedWeight) and before.plan.normalize == stage.plan.normalize:
        with torch.no_grad():
            stage.clip.copy_(before.clip)
