"""Give the layers of any model their weight paths, take them away again, and reach what is inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

from bitspike.arguments import checked
from bitspike.calls import refusing
from bitspike.errors import ConstraintError
from bitspike.ops.wrappers import read_wrapped_states, unwrapped
from bitspike.patterns import Patterns, matching
from bitspike.weights.codes import WeightCodes
from bitspike.weights.loading import take_float_states
from bitspike.weights.path import SLOTS, WeightPath, path_of, paths
from bitspike.weights.schemes import Scheme
from bitspike.weights.stage import ChannelPlan, HasProblem, Stage, StagePlan

M = TypeVar("M", bound=nn.Module)
Choice = Scheme | StagePlan | Stage


@checked
def attach(
    model: M,
    *,
    quantize: Choice | None = None,
    vary: Choice | None = None,
    recover: Choice | None = None,
    prune: Choice | None = None,
    bias: Scheme | None = None,
    include: Patterns = ("*",),
    skip: Patterns = (),
) -> M:
    """Put stages into the weight paths of a model's layers, in place, and return the model.

    Reaches every convolution, transposed convolution and linear layer, subclasses too, wherever it stands. Later calls
    fill other slots of the same layers. Each layer gets a stage of its own. A per-channel scale runs over output
    channels: axis 0 of a weight, axis 1 for a transposed convolution. Load and initialize weights before: ``nn.init``
    on ``layer.weight`` would change a temporary result afterwards (``layer.weight = w`` works).

    A checkpoint of the network without paths can still be loaded: its weights become the latent ones. Names with the
    prefixes of wrappers, such as ``module.``, are understood. A wrapper around the model (``torch.compile``, data
    parallelism) stays where it is, and names are those of the network inside.

    Args:
        model: any module; it is changed.
        quantize: a scheme, or a stage with ``encode``.
        vary: device variation.
        recover: an exact correction of what varies; where it has memory of its own (``SRAM``) the weights that vary are
            frozen.
        prune: a mask. ``GroupLasso`` leaves the first layer of the model alone unless it says ``first=True``.
        bias: a scheme for the biases of those matched layers that have one.
        include: patterns over module names as in file names: ``"layer1.*"``.
        skip: patterns of layers to leave out.

    Raises:
        ConstraintError: nothing to attach; a pattern matches no layer; a slot is filled already; the weight carries
            another parametrization or has no shape yet; a per-channel scale meets a grouped transposed convolution.
            Nothing has been changed then.

    Example:
        >>> from bitspike.weights import Uniform
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4, 2))
        >>> list(codes(attach(model, quantize=Uniform(bits=4), skip="2")))
        ['0']
    """
    slots = {"quantize": quantize, "vary": vary, "recover": recover, "prune": prune}
    chosen = {slot: choice for slot, choice in slots.items() if choice is not None}
    if not chosen and bias is None:
        raise ConstraintError("attach: no stage is given", fix="attach(model, quantize=Uniform(bits=4))")
    for slot, choice in {**chosen, "bias": bias}.items():
        _check_choice(slot, choice)
    inner = unwrapped(model)
    layers = _matched(inner, include, skip)
    spared = _spared(inner, prune)
    biased = {name: layer for name, layer in layers.items() if bias is not None and layer.bias is not None}
    if bias is not None and not biased:
        raise ConstraintError(
            f"attach(bias={bias!r}): none of the layers {_listed(layers)} has a bias",
            fix="leave bias= out, or build the layers with bias=True",
        )
    problems = [p for name, layer in layers.items() for p in _problems(name, layer, chosen)]
    problems += [p for name, layer in biased.items() for p in _problems(name, layer, {"quantize": bias}, "bias")]
    if problems:
        message = "\n  ".join(["attach cannot go on, and nothing has been changed:", *problems])
        raise ConstraintError(message, fix="do what each line says, then attach again")
    for name, layer in layers.items():
        own = {slot: choice for slot, choice in chosen.items() if not (slot == "prune" and layer is spared)}
        if own:
            axis = 1 if isinstance(layer, _ConvTransposeNd) else 0
            _fill(layer, "weight", axis, name, own)
    for name, layer in biased.items():
        _fill(layer, "bias", 0, f"{name}.bias", {"quantize": bias})
    read_wrapped_states(inner)
    return model


@checked
def detach(model: M, *, keep: Literal["decoded", "latent"] = "decoded") -> M:
    """Take all weight paths away, in place, and return the model, which has plain parameters again.

    Args:
        model: a model, or a single layer of one.
        keep: ``"decoded"`` leaves the weights of the forward pass without device variation, ``"latent"`` the float
            masters.

    Raises:
        ConstraintError: there is no weight path, or ``keep`` is neither of the two.
    """
    if keep not in ("decoded", "latent"):
        raise ConstraintError(
            f"detach(keep={keep!r}): 'decoded' or 'latent' is allowed", fix="detach(model) keeps the decoded weights"
        )
    attached = list(paths(model))
    if not attached:
        raise ConstraintError(
            f"detach: {type(model).__name__} has no weight path", fix="leave detach out: its weights are plain already"
        )
    with torch.no_grad():  # all of them first: a weight that two layers share is decoded once
        values = [path.ideal(latent).clone() if keep == "decoded" else latent for _, _, _, path, latent in attached]
    for _, _, _, path, latent in attached:
        if path.freezes:
            latent.requires_grad_(path.trained)
    taken: dict[int, Tensor] = {}
    for (_, module, tensor, _, latent), value in zip(attached, values, strict=True):
        _own_class(module)
        parametrize.remove_parametrizations(module, tensor, leave_parametrized=False)
        if not torch.equal(taken.setdefault(id(latent), value), value):  # shared, and decoded in two ways
            setattr(module, tensor, nn.Parameter(value, latent.requires_grad))
        elif value is not latent:
            latent.data.copy_(value)
    return model


@checked
def codes(model: nn.Module) -> dict[str, WeightCodes]:
    """Return the codes of every layer whose weight is quantized, by module name; device variation is left out."""
    attached = paths(unwrapped(model))
    results = {n: path.codes(latent, n or type(m).__name__) for n, m, t, path, latent in attached if t == "weight"}
    return {name: result for name, result in results.items() if result is not None}


def weight_codes(module: nn.Module) -> WeightCodes | None:
    """Return the codes of one layer's weight, on a chip those of its cells; None where it is not quantized."""
    return _codes_of(module, "weight")


def weight_without_codes(module: nn.Module) -> Tensor:
    """Return a layer's weight as integers are made of it: that of a chip whose levels are codes, else what varies not.

    Example:
        >>> from bitspike.weights import Lognormal
        >>> layer = attach(nn.Linear(2, 1), vary=Lognormal(0.5))
        >>> torch.equal(weight_without_codes(layer), layer.parametrizations.weight.original)
        True
    """
    if (path_and_latent := path_of(module)) is None:
        return cast(nn.Linear, module).weight.detach()
    path, latent = path_and_latent
    with torch.no_grad():
        return path(latent) if path.on_chip else path.ideal(latent)


def bias_codes(module: nn.Module) -> WeightCodes | None:
    """Return the codes of one layer's bias; None where it is not quantized."""
    return _codes_of(module, "bias")


@refusing
def penalties(model: nn.Module) -> Tensor:
    """Return the sum of all terms that stages add to the loss, a scalar; zero where there are none."""
    terms = [term for _, _, _, path, latent in paths(model) for term in path.penalties(latent)]
    if terms:
        return torch.stack(terms).sum()
    first = next(model.parameters(), None)
    return torch.zeros(()) if first is None else first.new_zeros(())


def after_step(model: nn.Module) -> None:
    """Tell every stage that the optimizer has made a step."""
    with torch.no_grad():
        for _, _, _, path, latent in paths(model):
            path.after_step(latent)


def after_epoch(model: nn.Module, *, objective: float | None = None) -> None:
    """Tell every stage that an epoch is over.

    Args:
        model: any model.
        objective: the sum over all batches of what was minimized, penalties included; of all processes together where
            there are several, so that all decide alike. Stages that decide by it need it: ``Constrained``.

    Raises:
        ConstraintError: a stage needs the objective, and it is None or not finite.
    """
    with torch.no_grad():
        for _, _, _, path, latent in paths(model):
            path.after_epoch(latent, objective)


def learning_rate_factor(model: nn.Module) -> float:
    """Return the factor, in (0, 1], that stages want on all learning rates; 1 where none wants another."""
    return min((path.learning_rate_factor for _, _, _, path, _ in paths(model)), default=1.0)


def _codes_of(module: nn.Module, tensor: str) -> WeightCodes | None:
    if (path_and_latent := path_of(module, tensor)) is None:
        return None
    path, latent = path_and_latent
    return path.codes(latent, f"{type(module).__name__}.{tensor}", chip=True)


def _check_choice(slot: str, choice: object) -> None:
    if isinstance(choice, type):
        name = choice.__name__
        raise ConstraintError(f"attach({slot}={name}): this is the class", fix=f"{slot}={name}(...) makes one of it")
    scheme, stage = isinstance(choice, Scheme), isinstance(choice, StagePlan | Stage)
    fits, wanted = {
        "quantize": (scheme or stage, "a scheme or a stage"),
        "bias": (scheme, "a scheme"),
    }.get(slot, (stage, "a stage"))
    if not (choice is None or fits):
        fix = f"quantize={choice!r}" if scheme else f"{slot}=Uniform(bits=4)"
        if slot not in ("quantize", "bias") and not scheme:
            fix = f"{slot}= a function that takes the weight and returns a tensor of its shape"
        raise ConstraintError(f"attach({slot}={choice!r}): {wanted} is needed", fix=fix)


def _matched(model: nn.Module, include: Patterns, skip: Patterns) -> dict[str, nn.Conv2d]:
    """Return the layers that are meant, by name; a pattern that matches none of the layers is a mistake."""
    # The cast names one of the types that share weight, bias and groups; Linear has no groups and is asked for none.
    layers = {
        name: cast(nn.Conv2d, module)
        for name, module in model.named_modules()
        if isinstance(module, _ConvNd | nn.Linear)
    }
    # A model without layers gets its own message below, not one about the pattern "*".
    names = list(layers)
    kept, left_out = (names and matching(p, names, argument=a) for a, p in (("include", include), ("skip", skip)))
    chosen = {name: layers[name] for name in kept if name not in left_out}
    if not chosen:
        raise ConstraintError(
            f"attach(include={include}, skip={skip}): no layer is left; there are {_listed(layers)}",
            fix="a model with convolution or linear layers" if not layers else "skip= fewer layers",
        )
    return chosen


def _problems(name: str, layer: nn.Conv2d, chosen: Mapping[str, Choice | None], tensor: str = "weight") -> list[str]:
    """Say why this layer cannot take these stages; empty where it can."""
    where = f"{name or type(layer).__name__}.{tensor}"
    if (path_and_latent := path_of(layer, tensor)) is not None:
        path, latent = path_and_latent
        filled = [slot for slot, _ in path.stages() if slot in chosen]
        said = [f"{where}: the {s} slot holds {getattr(path, s)!r} already; detach(layer) first" for s in filled]
        return said or _unfit(where, name, latent, chosen)
    if parametrize.is_parametrized(layer, tensor):
        others = ", ".join(type(p).__name__ for p in layer.parametrizations[tensor])  # type: ignore[index]
        return [
            f"{where}: carries another parametrization ({others}); keep its values first: "
            f"torch.nn.utils.parametrize.remove_parametrizations(layer, {tensor!r})"
        ]
    if not isinstance(layer._parameters.get(tensor), nn.Parameter):
        return [f"{where}: is no parameter (an old weight_norm hook?); remove what replaced it first"]
    if isinstance(layer._parameters[tensor], nn.UninitializedParameter):
        return [f"{where}: has no shape yet; run the lazy model once first"]
    weight = layer._parameters[tensor]
    assert weight is not None
    if said := _unfit(where, name, weight, chosen):
        return said
    scheme = chosen.get("quantize")
    if isinstance(scheme, Scheme | ChannelPlan) and scheme.per_channel:
        if tensor == "bias":
            return [f"{where}: one scale per channel would be one per bias; use FixedPoint(step) or per_channel=False"]
        if isinstance(layer, _ConvTransposeNd) and layer.groups > 1:
            return [
                f"{where}: axis 1 of a transposed convolution with groups={layer.groups} holds channels of all groups, "
                "so there is no scale per channel; use per_channel=False"
            ]
    return []


def _unfit(where: str, name: str, weight: Tensor, chosen: Mapping[str, Choice | None]) -> list[str]:
    """Return what the plans themselves say against this layer."""
    choices: list[object] = list(chosen.values())
    plans = [plan for plan in choices if isinstance(plan, HasProblem)]
    return [f"{where}: {text}" for plan in plans if (text := plan.problem(name, weight)) is not None]


def _fill(layer: nn.Module, tensor: str, axis: int, name: str, chosen: Mapping[str, Choice | None]) -> None:
    there = path_of(layer, tensor)
    path, latent = there or (WeightPath(axis), getattr(layer, tensor))
    for slot in SLOTS:
        if (choice := chosen.get(slot)) is not None:
            path.fill(slot, choice, name, latent.detach())
    if path.freezes and latent.requires_grad:
        path.trained = True
        latent.requires_grad_(False)
    path.train(layer.training)
    if there is None:
        if parametrize.is_parametrized(layer):  # by the path of its other tensor: the class is parametrized already
            _own_class(layer)
        # unsafe leaves out a trial run of the path, which would spend a draw of the noise.
        parametrize.register_parametrization(layer, tensor, path, unsafe=True)
        take_float_states(layer)


def _spared(model: nn.Module, prune: object) -> nn.Module | None:
    """Return the layer that a stage leaves alone: the first of the model where it says so."""
    if getattr(prune, "first", True):
        return None
    return next((module for module in model.modules() if isinstance(module, _ConvNd | nn.Linear)), None)


def _own_class(module: nn.Module) -> None:
    """Give a parametrized module a class that it does not share with its deep copies.

    Parametrizing a tensor makes it a property of the module's class, and a deep copy has the same class: adding or
    removing a second tensor's property on one of them would break the other.
    """
    shared = type(module)
    module.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))


def _listed(layers: dict[str, nn.Conv2d]) -> str:
    names = [repr(name) for name in layers]
    shown = names if len(names) <= 24 else [*names[:20], f"... {len(names) - 20} more"]
    return ", ".join(shown) or "no convolution or linear layers at all"
