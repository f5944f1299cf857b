"""What torch's own modules mean, and functional layers whose weights are parameters or constants.

A module with parameters is kept with its path; a functional layer becomes a new module.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.graph.capture.handlers import functions as f
from bitspike.graph.capture.handlers import products as _products  # noqa: F401  enters its handlers
from bitspike.graph.capture.handlers import shapes as s
from bitspike.graph.capture.handlers import windows as w
from bitspike.graph.capture.handlers.table import (
    ACTIVATIONS,
    HANDLERS,
    Handler,
    data,
    handles,
    need_image,
    need_vector,
    sizes,
)
from bitspike.graph.capture.handlers.transforms import is_normalize, normalize
from bitspike.graph.capture.site import NotUnderstood, Ref, Site
from bitspike.graph.ir import Shape
from bitspike.graph.plain import CONVOLUTIONS, TRANSPOSED, layer_of
from bitspike.nn.activation import FLOOR, QuantReLU, clip_in_use
from bitspike.nn.norms.base import AffineNorm, affine

NORMS: dict[int, type[Any]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def is_layer(module: nn.Module) -> bool:
    """Tell whether a module computes what one of torch's layers does, even one of a derived class."""
    return _handler_of_torch(module) is not None or isinstance(module, AffineNorm | QuantReLU)


def layer_handler_of(module: nn.Module) -> Handler:
    """Return the handler of a module.

    Raises:
        NotUnderstood: there is none.
    """
    handler = _handler_of_torch(module) or (affine_norm if isinstance(module, AffineNorm) else None)
    if handler is not None:
        return handler
    name = type(module).__name__
    if isinstance(module, QuantReLU):
        raise NotUnderstood(
            "it is a QuantReLU with levels of its own; a neuron counts in equal steps from 0 to the clip", "E101"
        )
    if any(name.lower() == word.replace("_", "") for word in ACTIVATIONS) or name == "Softmax2d":
        raise NotUnderstood("it is an activation that no neuron computes", "E101")
    raise NotUnderstood("it is not understood")


def _handler_of_torch(module: nn.Module) -> Handler | None:
    if is_normalize(module):
        return normalize
    of_kind = ((kind, handler) for kind, handler in LAYERS.items() if isinstance(module, kind))
    return next((handler for kind, handler in of_kind if type(module).forward is kind.forward), None)


# Layers with weights


def convolution(site: Site, module: Any, input: Any) -> Ref:
    """A convolution; padding by words becomes numbers."""
    n = module.weight.ndim - 2
    need_image(input, n)
    if module.padding_mode != "zeros":
        raise NotUnderstood(f"it pads in mode {module.padding_mode!r}; allowed are zeros")
    if isinstance(module.padding, str):
        before, after = _same(module.padding, module.kernel_size, module.dilation)
        even = before == after
        key = site.own(padding=before if even else (0,) * n)
        # "same" of an even kernel pads one row more after the image than before it.
        return site.emit("convolution", input if even else s.padded(site, input, before, after, "pad"), module=key)
    return site.emit("convolution", input, module=site.own())


def transposed(site: Site, module: Any, input: Any, output_size: Any = None) -> Ref:
    """A transposed convolution."""
    need_image(input, module.weight.ndim - 2)
    if output_size is not None:
        raise NotUnderstood("its output_size comes with the call; give the layer an output_padding")
    return site.emit("convolution", input, module=site.own())


def linear_layer(site: Site, module: Any, input: Any) -> Ref:
    """A linear layer on a vector."""
    need_vector(input)
    del module
    return site.emit("linear", input, module=site.own())


def norm(site: Site, module: Any, input: Any) -> Ref:
    """A batch norm with its running statistics."""
    if module.running_mean is None or module.running_var is None:
        raise NotUnderstood("it has no running statistics; every batch has its own")
    return site.emit("norm", data(input), module=site.own())


def _same(words: str, kernel: Shape, dilation: Shape) -> tuple[Shape, Shape]:
    """Return the padding before and after the image that "same" and "valid" mean."""
    total = [d * (k - 1) if words == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
    return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)


def affine_norm(site: Site, module: AffineNorm, input: Any) -> Ref:
    """A norm of bitspike's kind, by the gain and the shift that it states."""
    try:
        gain, shift = affine(module)
    except ConstraintError as error:
        raise NotUnderstood(error.message) from error
    if gain.ndim != 1:
        raise NotUnderstood(f"it has a gain for each step, {list(gain.shape)}; a network to convert has no steps yet")
    return site.emit("affine", data(input), gain=gain.detach(), shift=shift.detach())


def quant_relu(site: Site, module: QuantReLU, input: Any) -> Ref:
    """A relu with a clip and the levels up to it."""
    clip = float(clip_in_use(module.clip.detach(), FLOOR))
    return site.emit("relu", data(input), clip=clip, levels=module.levels)


# The same, with the weights as arguments


def functional_convolution(
    site: Site,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Ref:
    """A convolution whose weights are arguments."""
    n = _weights(weight, bias).ndim - 2
    need_image(input, n)
    kernel, stride, dilation = tuple(weight.shape[2:]), sizes(stride, n), sizes(dilation, n)
    if isinstance(padding, str):
        before, after = _same(padding, kernel, dilation)
        if before != after:
            input, before = s.padded(site, input, before, after, "pad"), (0,) * n
        padding = before
    options = {"stride": stride, "padding": sizes(padding, n), "dilation": dilation, "groups": groups}
    channels = (weight.shape[1] * groups, weight.shape[0])
    make = partial(layer_of, CONVOLUTIONS[n], weight, bias, *channels, kernel, **options)
    return site.emit("convolution", input, module=site.layer(weight, make))


def functional_transposed(
    site: Site,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Ref:
    """A transposed convolution whose weights are arguments."""
    n = _weights(weight, bias).ndim - 2
    need_image(input, n)
    names = ("stride", "padding", "output_padding", "dilation")
    values = (stride, padding, output_padding, dilation)
    options = {name: sizes(value, n) for name, value in zip(names, values, strict=True)}
    channels = (weight.shape[0], weight.shape[1] * groups)
    make = partial(layer_of, TRANSPOSED[n], weight, bias, *channels, tuple(weight.shape[2:]), groups=groups, **options)
    return site.emit("convolution", input, module=site.layer(weight, make))


def aten_convolution(
    site: Site, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, turned: bool, *more: Any
) -> Ref:
    """ATen's one convolution for both kinds; last come output_padding and groups."""
    if turned:
        return functional_transposed(site, input, weight, bias, stride, padding, more[0], more[1], dilation)
    return functional_convolution(site, input, weight, bias, stride, padding, dilation, more[1])


@handles("linear")
def functional_linear(site: Site, input: Any, weight: Any, bias: Any = None) -> Ref:
    """A linear layer whose weights are arguments."""
    need_vector(input)
    features = (_weights(weight, bias).shape[1], weight.shape[0])
    return site.emit("linear", input, module=site.layer(weight, partial(layer_of, nn.Linear, weight, bias, *features)))


@handles("batch_norm")
def functional_norm(
    site: Site,
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Ref:
    """A batch norm whose statistics are arguments."""
    if training or not isinstance(running_mean, Tensor) or not isinstance(running_var, Tensor):
        raise NotUnderstood("it has no running statistics; every batch has its own")
    del momentum

    def make() -> nn.Module:
        kind = NORMS[max(1, len(input.inside) - 1)]
        layer: nn.Module = kind(len(running_mean), eps=eps, affine=weight is not None)
        state = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
        with torch.no_grad():
            for name, value in state.items():
                if value is not None:
                    getattr(layer, name).copy_(value)
        return layer.to(running_mean.device, running_mean.dtype).eval()

    return site.emit("norm", data(input), module=site.layer(running_mean, make))


@handles("aten.batch_norm", "aten.batch_norm_with_update")
def aten_norm(site: Site, input: Any, weight: Any, bias: Any, mean: Any, var: Any, *more: Any) -> Ref:
    """ATen's batch norm, which has its arguments in another order; then come training, momentum and eps."""
    return functional_norm(site, input, mean, var, weight, bias, *more[:3])


@handles("aten.native_batch_norm_legit_no_training")
def aten_norm_in_evaluation(
    site: Site, input: Any, weight: Any, bias: Any, mean: Any, var: Any, momentum: float, eps: float
) -> tuple[Ref, None, None]:
    """ATen's batch norm in evaluation, which also returns what nobody reads."""
    site.take_first()
    return functional_norm(site, input, mean, var, weight, bias, False, momentum, eps), None, None


HANDLERS.update({f"conv{n}d": functional_convolution for n in (1, 2, 3)})
HANDLERS.update({f"conv_transpose{n}d": functional_transposed for n in (1, 2, 3)})
HANDLERS["aten.convolution"] = aten_convolution


def _weights(weight: Any, bias: Any) -> Tensor:
    if not isinstance(weight, Tensor) or not (bias is None or isinstance(bias, Tensor)):
        raise NotUnderstood("its weights follow from the data")
    return weight


# Layers without weights


def constant_pad(site: Site, module: Any, input: Any) -> Ref:
    """A border of one value around an image."""
    return w.pad(site, input, module.padding, "constant", module.value)


def _call(function: Handler, *names: str) -> Handler:
    """Return the handler of a module that only calls a function with its attributes."""

    def handler(site: Site, module: Any, input: Any) -> Any:
        return function(site, input, **{name: getattr(module, name) for name in names})

    return handler


_AVG = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
_MAX = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_UPSAMPLE = _call(w.interpolate, "size", "scale_factor", "mode", "align_corners")

LAYERS: dict[type[nn.Module], Handler] = {
    **dict.fromkeys(CONVOLUTIONS.values(), convolution),
    **dict.fromkeys(TRANSPOSED.values(), transposed),
    nn.Linear: linear_layer,
    **dict.fromkeys([*NORMS.values(), nn.SyncBatchNorm], norm),
    nn.ReLU: _call(f.relu),
    QuantReLU: quant_relu,
    nn.ReLU6: _call(f.hardtanh, "min_val", "max_val"),
    nn.Hardtanh: _call(f.hardtanh, "min_val", "max_val"),
    nn.Threshold: _call(f.threshold, "threshold", "value"),
    nn.LeakyReLU: _call(f.leaky_relu, "negative_slope"),
    **dict.fromkeys([nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d], _UPSAMPLE),
    **dict.fromkeys([nn.Flatten, nn.Unflatten], _call(s.reshape)),
    nn.PixelShuffle: _call(s.pixel_shuffle, "upscale_factor"),
    nn.PixelUnshuffle: _call(s.pixel_unshuffle, "downscale_factor"),
    nn.ChannelShuffle: _call(s.channel_shuffle, "groups"),
    **dict.fromkeys([nn.Identity, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Dropout], _call(f.identity)),
}
for _n in (1, 2, 3):
    LAYERS |= {
        getattr(nn, f"AvgPool{_n}d"): _call(partial(w.avg_pool, _n), *_AVG, *["divisor_override"] * (_n > 1)),
        getattr(nn, f"MaxPool{_n}d"): _call(partial(w.max_pool, _n), *_MAX),
        getattr(nn, f"AdaptiveAvgPool{_n}d"): _call(partial(w.adaptive_pool, _n, "avg"), "output_size"),
        getattr(nn, f"AdaptiveMaxPool{_n}d"): _call(
            partial(w.adaptive_pool, _n, "max"), "output_size", "return_indices"
        ),
        getattr(nn, f"Dropout{_n}d"): _call(f.identity),
        getattr(nn, f"ZeroPad{_n}d"): constant_pad,
        getattr(nn, f"ConstantPad{_n}d"): constant_pad,
    }
