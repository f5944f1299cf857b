"""Plain layers of torch with given weights, in the place of layers that compute theirs or share them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

CONVOLUTIONS: dict[int, type[Any]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[Any]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def is_transposed(layer: nn.Module) -> bool:
    """Tell whether a layer is a transposed convolution."""
    return isinstance(layer, tuple(TRANSPOSED.values()))


def layer_of(kind: type[Any], weight: Tensor, bias: Tensor | None, *args: Any, **options: Any) -> nn.Module:
    """Return a layer of torch in evaluation mode with given weights; no random number is drawn."""
    layer: nn.Module = kind(*args, bias=bias is not None, device="meta", **options)
    layer.weight = nn.Parameter(weight.detach(), weight.requires_grad or not isinstance(weight, nn.Parameter))
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach(), bias.requires_grad or not isinstance(bias, nn.Parameter))
    return layer.eval()


def trains(layer: nn.Module, name: str) -> bool:
    """Tell whether a tensor of a layer trains: itself, or what a parametrization makes it of.

    A missing bias is frozen where the weight is.

    Example:
        >>> layer = nn.Linear(2, 2, bias=False).requires_grad_(False)
        >>> trains(layer, "weight"), trains(layer, "bias"), trains(nn.Linear(2, 2, bias=False), "bias")
        (False, False, True)
    """
    own = layer._parameters.get(name)
    if own is not None:
        return own.requires_grad
    made_of = [p.requires_grad for path, p in layer.named_parameters() if name in path]
    return any(made_of) if made_of else name == "weight" or trains(layer, "weight")


def like(layer: Any, weight: Tensor, bias: Tensor | None, **changes: Any) -> nn.Module:
    """Return a plain layer of the same kind with other weights, and other options where they are given.

    Args:
        layer: a convolution, transposed convolution or linear layer, of a class of its own too, as parametrizations
            make it.
        weight, bias: the values; they take dtype and device of the layer's weight, and are frozen where its own are.
        changes: of the options, such as ``padding=0``.

    Example:
        >>> import torch
        >>> layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 2, 3, stride=2))
        >>> like(layer, layer.weight, layer.bias)
        Conv2d(1, 2, kernel_size=(3, 3), stride=(2, 2))
    """
    old = layer.weight
    weight = nn.Parameter(weight.detach().to(old), trains(layer, "weight"))
    bias = None if bias is None else nn.Parameter(bias.detach().to(old), trains(layer, "bias"))
    if isinstance(layer, nn.Linear):
        return layer_of(nn.Linear, weight, bias, layer.in_features, layer.out_features)
    names = ("stride", "padding", "dilation", "groups", *(["output_padding"] if is_transposed(layer) else []))
    kind = (TRANSPOSED if is_transposed(layer) else CONVOLUTIONS)[weight.ndim - 2]
    options = {name: getattr(layer, name) for name in names} | changes
    return layer_of(kind, weight, bias, layer.in_channels, layer.out_channels, layer.kernel_size, **options)
