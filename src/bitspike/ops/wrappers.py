"""Take off what training puts around a network: torch.compile, data parallelism, averaged weights.

A wrapper computes what the network inside computes, so that the network inside can take its place. Sharded networks
are the exception: no process holds their weights.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar, cast

from torch import nn
from torch.optim.swa_utils import AveragedModel

from bitspike.errors import ConstraintError

M = TypeVar("M", bound=nn.Module)

# Attributes that hold the network inside, by the name of the wrapper's class where that is no public type of torch.
_INSIDE = {"OptimizedModule": "_orig_mod", "_FabricModule": "_original_module"}
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
PREFIXES = ("module.", "_orig_mod.", "_original_module.", "_forward_module.")
"""Prefixes that wrappers give the names in a state_dict."""


def unwrapped(model: M) -> M:
    """Return the network inside all wrappers, or the model itself.

    Raises:
        ConstraintError: the network is sharded over processes, so that its weights are not all here.

    Example:
        >>> inner = nn.Linear(2, 2)
        >>> unwrapped(nn.DataParallel(inner)) is inner, unwrapped(inner) is inner
        (True, True)
    """
    inner = layers_of(model)[-1]
    _refuse_shards(inner)
    return cast(M, inner)


def wrappers(model: nn.Module) -> tuple[str, ...]:
    """Return the class names of the wrappers around a network, the outermost first.

    Example:
        >>> wrappers(nn.DataParallel(nn.Linear(2, 2))), wrappers(nn.Linear(2, 2))
        (('DataParallel',), ())
    """
    return tuple(type(layer).__name__ for layer in layers_of(model)[:-1])


def layers_of(model: nn.Module) -> list[nn.Module]:
    """Return a model, what it wraps, and so on to the network inside."""
    layers = [model]
    while (inner := _inside(layers[-1])) is not None:
        layers.append(inner)
    return layers


@contextmanager
def bare(model: nn.Module) -> Iterator[nn.Module]:
    """Give the network inside all wrappers, its parts without theirs for the length of a block.

    Example:
        >>> model = nn.DataParallel(nn.Sequential(nn.DataParallel(nn.Linear(2, 2))))
        >>> with bare(model) as network:
        ...     print([path for path, _ in network.named_modules()])
        ['', '0']
        >>> [path for path, _ in model.named_modules()]
        ['', 'module', 'module.0', 'module.0.module']
    """
    network = unwrapped(model)
    taken = [
        (module, name, child)
        for module in network.modules()
        for name, child in module.named_children()
        if _inside(child) is not None
    ]
    for module, name, child in taken:
        module._modules[name] = layers_of(child)[-1]
    try:
        yield network
    finally:
        for module, name, child in taken:
            module._modules[name] = child


def strip_prefixes(own: Collection[str], state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Take the prefixes of wrappers off the names of a state_dict that is being loaded, in place.

    A name in ``own``, of a part of the module, is no prefix. A ``prefix`` says that the module is inside of what is
    loaded, and only the whole has a wrapper.

    Example:
        >>> state = {"module.0.weight": 1, "module.0.bias": 2}
        >>> strip_prefixes(["0"], state, ""), state
        (None, {'0.weight': 1, '0.bias': 2})
    """
    words = [word for word in PREFIXES if word[:-1] not in own]
    while state and not prefix and (word := next((w for w in words if all(k.startswith(w) for k in state)), None)):
        named = {key.removeprefix(word): value for key, value in state.items()}
        state.clear()
        state.update(named)


def read_wrapped_states(module: nn.Module) -> None:
    """Let a module's ``load_state_dict`` read the state of the module in a wrapper; once is enough."""
    hooks = (getattr(hook, "hook", None) for hook in module._load_state_dict_pre_hooks.values())
    if not any(getattr(hook, "func", None) is strip_prefixes for hook in hooks):
        # The hook holds names, not the module: copies of a module outlive it.
        hook = partial(strip_prefixes, frozenset(name for name, _ in module.named_children()))
        module._register_load_state_dict_pre_hook(hook)  # type: ignore[no-untyped-call]


def _inside(model: nn.Module) -> nn.Module | None:
    # A compiled module answers for attributes of the one inside, so only what it holds itself counts.
    return model._modules.get(_INSIDE.get(type(model).__name__, "module" if isinstance(model, _WRAPPERS) else ""))


def _refuse_shards(model: nn.Module) -> None:
    whole = type(model).__name__ == "FullyShardedDataParallel"
    if whole or any(type(p).__name__ == "DTensor" for p in model.parameters()):
        how = "FullyShardedDataParallel" if whole else "fully_shard (DTensor)"
        raise ConstraintError(
            f"{type(model).__name__}: its weights are shards of {how}, so that this process does not hold the network",
            fix="a plain copy of the network, with the whole weights: from torch.distributed.checkpoint.state_dict "
            "import StateDictOptions, get_model_state_dict; plain.load_state_dict(get_model_state_dict(model, "
            "options=StateDictOptions(full_state_dict=True)))",
        )
