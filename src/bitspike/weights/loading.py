"""Float checkpoints into layers whose weights have paths: ``weight`` is read as the latent weight behind the path."""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn

from bitspike.weights.path import path_of


def take_float_states(layer: nn.Module) -> None:
    """Let a layer's ``load_state_dict`` read the state of the same layer without paths; once is enough."""
    if not any(getattr(hook, "hook", None) is _latent for hook in layer._load_state_dict_pre_hooks.values()):
        layer.register_load_state_dict_pre_hook(_latent)  # type: ignore[no-untyped-call]


def _latent(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Rename a plain tensor to the latent one; what else the path holds, which no float state has, stays as it is."""
    for tensor in ("weight", "bias"):
        plain, inside = f"{prefix}{tensor}", f"{prefix}parametrizations.{tensor}."
        if plain not in state or f"{inside}original" in state or path_of(module, tensor) is None:
            continue
        state[f"{inside}original"] = state.pop(plain)
        parts = module.parametrizations[tensor].state_dict(prefix=inside)  # type: ignore[index,union-attr]
        kept = {key: value for key, value in parts.items() if key not in state}
        state.update(kept)
        if learned := [key for key in kept if not key.endswith("_extra_state")]:
            warnings.warn(
                f"a float state was loaded for {plain}; {', '.join(learned)} is no part of it and stays as it was made "
                "from the weights before: attach the path behind the loading to make it anew",
                stacklevel=2,
            )
