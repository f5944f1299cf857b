"""Products of a signal and a constant matrix: linear layers that are written as ``x @ W``, ``addmm`` or ``einsum``."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.graph.capture.handlers.table import handles, need_image, need_vector
from bitspike.graph.capture.site import NotUnderstood, Ref, Site
from bitspike.graph.plain import CONVOLUTIONS, layer_of


@handles("matmul", "mm", "imatmul")
def product(site: Site, input: Any, other: Any) -> Ref:
    """X @ W for x [N, F] and W [F, O]: a linear layer."""
    if isinstance(input, Ref) and isinstance(other, Ref):
        raise NotUnderstood("it multiplies two signals")
    if not isinstance(input, Ref):
        raise NotUnderstood("the constant comes before the signal; F.linear(x, W), which is x @ W.T, is a layer")
    return _linear(site, input, other, None)


@handles("addmm")
def product_and_sum(site: Site, input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Ref:
    """Beta * b + alpha * x @ W: a linear layer with a bias."""
    if isinstance(input, Ref) or not isinstance(mat1, Ref):
        raise NotUnderstood("it is a linear layer only as addmm(bias, signal, weight)")
    weight = _matrix(mat2)
    if not isinstance(input, Tensor) or input.numel() not in (1, weight.shape[1]):
        raise NotUnderstood(f"what it adds is no constant of {weight.shape[1]} values")
    bias = input.detach().reshape(-1).expand(weight.shape[1]) * beta
    return _linear(site, mat1, mat2, _as_trained(bias, input), alpha)


@handles("bmm", "baddbmm")
def batched(site: Site, *signals: Any, **options: Any) -> Ref:
    """A product of matrices sample by sample, which no layer computes."""
    del site, signals, options
    raise NotUnderstood("it multiplies matrices sample by sample; of a constant W, x @ W is a layer")


@handles("einsum")
def einsum(site: Site, equation: Any, *operands: Any) -> Ref:
    """A sum over the channels of a signal with a constant matrix: a linear layer, or a convolution of width 1."""
    terms = tuple(operands[0]) if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    refused = NotUnderstood(f"its equation {equation!r} is no linear layer over the channels, such as 'bi,io->bo'")
    if not isinstance(equation, str) or len(terms) != 2 or isinstance(terms[0], Ref) == isinstance(terms[1], Ref):
        raise refused
    inputs, _, result = equation.replace(" ", "").partition("->")
    letters = inputs.split(",")
    at = 0 if isinstance(terms[0], Ref) else 1
    signal, matrix = letters[at], letters[1 - at]
    weight, x = _matrix(terms[1 - at]), terms[at]
    reads = signal[1:2]
    makes = matrix.replace(reads, "") if reads else ""
    plain = len(matrix) == 2 and len(makes) == 1 and makes not in signal and len(set(signal)) == len(signal)
    if not plain or result != signal[:1] + makes + signal[2:] or not result.replace(",", "").isalpha():
        raise refused
    if matrix[0] == makes:
        weight = weight.t()
    dims = len(signal) - 2
    if dims == 0:
        return _linear(site, x, _as_trained(weight, terms[1 - at]), None)
    if dims not in CONVOLUTIONS:
        raise refused
    need_image(x, dims)
    turned = weight.detach().t().reshape(weight.shape[1], weight.shape[0], *[1] * dims)
    kernel = _as_trained(turned, terms[1 - at])
    make = partial(layer_of, CONVOLUTIONS[dims], kernel, None, *reversed(kernel.shape[:2]), 1)
    return site.emit("convolution", x, module=site.layer(terms[1 - at], make))


def _linear(site: Site, input: Ref, weight: Any, bias: Tensor | None, factor: Any = 1) -> Ref:
    """Emit a linear layer for x [N, F] and a constant [F, O]."""
    matrix = _matrix(weight)
    need_vector(input)
    rows, columns = matrix.shape

    def make() -> nn.Module:
        turned = _as_trained(matrix.detach().t().contiguous() * factor, matrix)
        return layer_of(nn.Linear, turned, bias, rows, columns)

    return site.emit("linear", input, module=site.layer(weight, make))


def _as_trained(value: Tensor, source: Tensor) -> Tensor:
    """Return a value computed from a parameter as a parameter that trains where that one does; any other as it is."""
    return nn.Parameter(value.detach(), source.requires_grad) if isinstance(source, nn.Parameter) else value


def _matrix(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise NotUnderstood("its matrix follows from the data")
    if value.ndim != 2 or not torch.is_floating_point(value):
        raise NotUnderstood(f"its constant of shape {list(value.shape)} is no matrix [inputs, outputs]")
    return value
