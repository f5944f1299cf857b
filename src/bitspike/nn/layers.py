"""Call torch's own layers, by a faster computation of the same result where nothing could observe the difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from bitspike.kernels.pool import fused_pool
from bitspike.ops import pixels_first
from bitspike.ops.convolution import convolve, has_matrix_units, ways


def call(layer: nn.Module, x: Tensor) -> Tensor:
    """Return ``layer(x)``; convolutions may run as matrix products or on every stride-th pixel, pools through a kernel.

    Every layer of ``TimeDistributed`` and ``Chain`` is called here. The other way is taken for plain CPU tensors only,
    and never past a hook, a tracer, or a forward of the user's own.

    Example:
        >>> call(nn.Flatten(), torch.zeros(2, 3, 4)).shape
        torch.Size([2, 12])
    """
    other = _OTHER_WAYS.get(type(layer).forward)
    fast = other(layer, x) if other is not None and plain(x) and bare(layer) else None
    result: Tensor = layer(x) if fast is None else fast
    return result


def plain(x: object) -> bool:
    """Tell whether ``x`` is a tensor to compute with now, not a stand-in of a tracer or compiler."""
    return (
        type(x) is Tensor
        and torch._C._get_tracing_state() is None
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
    )


_HOOKS_OF_ALL = (
    "_global_forward_pre_hooks",
    "_global_forward_hooks",
    "_global_backward_pre_hooks",
    "_global_backward_hooks",
)


def bare(*modules: nn.Module) -> bool:
    """Tell whether no hook listens to the calls of these modules and none has a forward set on the instance."""
    # Asked by name, as torch's own question "is there any" is younger than the oldest torch that is supported.
    heard = any(getattr(torch_module, name) for name in _HOOKS_OF_ALL)
    return not heard and not any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks or "forward" in vars(m)
        for m in modules
    )


def takes_pixels_first(layer: nn.Conv2d, x: Tensor) -> bool:
    """Tell whether ``layer(x)`` is to be computed by :mod:`bitspike.ops.pixels_first`."""
    return layer.padding_mode == "zeros" and pixels_first.concerns(x, layer.kernel_size, layer.stride, layer.padding)


def _convolution(layer: nn.Module, x: Tensor) -> Tensor | None:
    """Run a convolution by the way that is safe or faster, where that is not torch's own; None for any other."""
    assert isinstance(layer, nn.Conv2d)
    if takes_pixels_first(layer, x):
        return pixels_first.convolve(x, layer.weight, layer.bias, layer.stride, layer.groups)
    return _product(layer, x)


def _product(layer: nn.Module, x: Tensor) -> Tensor | None:
    """Run a convolution whose passes are, at least in part, faster as matrix products; None for any other."""
    assert isinstance(layer, nn.Conv2d)
    if x.device.type != "cpu" or x.dim() != 4 or layer.bias is not None or layer.groups != 1:
        return None
    (k, k2), (s, s2), p = layer.kernel_size, layer.stride, layer.padding
    if k != k2 or s != s2 or isinstance(p, str) or p[0] != p[1] or layer.dilation != (1, 1):
        return None
    if layer.padding_mode != "zeros" or x.shape[1] != layer.in_channels or x.numel() == 0:
        return None
    mixed = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if mixed else x.dtype
    shape = torch.Size((layer.out_channels, layer.in_channels, k, k))
    chosen = ways(x.shape, shape, s, dtype, has_matrix_units())
    if not any(chosen) or min(side + 2 * p[0] for side in x.shape[2:]) < k:
        return None
    weight = layer.weight
    if not mixed and weight.dtype != dtype:
        return None
    return convolve(x.to(dtype), weight.to(dtype), s, p[0], chosen)


def _pool(layer: nn.Module, x: Tensor) -> Tensor | None:
    """Run a pool of square windows side by side; None for any other."""
    assert isinstance(layer, nn.AvgPool2d | nn.MaxPool2d)
    largest, size = isinstance(layer, nn.MaxPool2d), _square(layer.kernel_size)
    if size is None or _square(layer.stride) != size or _square(layer.padding) != 0 or layer.ceil_mode:
        return None
    if isinstance(layer, nn.MaxPool2d):
        if layer.return_indices or _square(layer.dilation) != 1:
            return None
    elif layer.divisor_override is not None:
        return None
    return fused_pool(x, size, largest=largest)


def _square(size: Any) -> int | None:
    """Return the number that holds for both axes, or None."""
    both = (size, size) if isinstance(size, int) else tuple(size)
    return int(both[0]) if both == (both[0],) * 2 else None


_OTHER_WAYS: dict[Any, Callable[[nn.Module, Tensor], Tensor | None]] = {
    nn.Conv2d.forward: _convolution,
    nn.AvgPool2d.forward: _pool,
    nn.MaxPool2d.forward: _pool,
}
