"""Float checkpoints into layers whose weights have paths: ``weight`` is read as the latent weight of the path."""

from __future__ import annotations

from typing import Any

from torch import nn

from bitspike.errors import warn
from bitspike.weights.path import path_of


def take_float_states(layer: nn.Module) -> None:
    """Let a parametrized layer's ``load_state_dict`` read the state of the same layer without paths.

    The class of a parametrized layer is its own, and goes with the last of its paths.
    """
    kind: Any = type(layer)
    if "_load_from_state_dict" in vars(kind):
        return
    plain = kind._load_from_state_dict

    def load(self: nn.Module, state: dict[str, Any], prefix: str, *more: Any) -> None:
        _latent(self, state, prefix)
        plain(self, state, prefix, *more)

    kind._load_from_state_dict = load


def _latent(module: nn.Module, state: dict[str, Any], prefix: str) -> None:
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
            warn(
                f"a float state was loaded for {plain}; {', '.join(learned)} is no part of it and stays as it was made "
                "from the weights before: attach the path after loading, which makes it anew"
            )
