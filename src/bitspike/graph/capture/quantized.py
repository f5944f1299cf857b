"""Networks that torch itself has quantized, or is about to quantize, with float layers in place of the quantized ones.

    quantization-aware training   fused layers are read with their norms folded; fake quantization and observers go
    int8                          weights are codes times a scale, and are read as these real numbers
    graph mode                    calls that quantize and dequantize go; sums and joins of quantized values stay

What torch recorded about activations is left out: calibration finds the values of spikes. ``torch.ao`` is never
imported here, since it is on its way out of torch: its classes are known by their names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from bitspike.errors import ConversionError
from bitspike.graph.plain import CONVOLUTIONS, TRANSPOSED, layer_of, trains

_HOME = "torch.ao."
_GONE = ("QuantStub", "DeQuantStub", "Quantize", "DeQuantize", "Dropout", "NoopObserver")
_WATCHING = (
    "torch.ao.quantization.fake_quantize",
    "torch.ao.quantization.observer",
    "torch.ao.quantization._learnable",
)
_BETWEEN = {"quantize_per_tensor", "quantize_per_channel", "quantize_per_tensor_dynamic", "dequantize"}
_SUMS: dict[str, Callable[..., Any]] = {"add": torch.add, "mul": torch.mul, "cat": torch.cat}


def torch_quantized(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the layers of ``torch.ao`` in a network, each once.

    Example:
        >>> torch_quantized(nn.Sequential(nn.Linear(2, 2)))
        ()
    """
    layers = [m for m in model.modules() if _home(m).startswith(_HOME) and not _home(m).startswith(_WATCHING)]
    names = dict.fromkeys(type(m).__name__ for m in layers)
    return tuple(name for name in names if "PackedParams" not in name)


def float_layers(model: nn.Module) -> nn.Module:
    """Replace every layer of ``torch.ao`` by a float layer, in place, and return the network.

    Raises:
        ConversionError: a quantized layer has no float form here; it is named.
    """
    return _plain(model, "") if torch_quantized(model) or _watched(model) else model


def _home(module: nn.Module) -> str:
    return type(module).__module__


def _watched(model: nn.Module) -> bool:
    return any(_home(m).startswith(_WATCHING) for m in model.modules())


def _plain(module: nn.Module, path: str) -> nn.Module:
    """Return a module, or what takes its place, with every part of it replaced in the same way."""
    for hooks in (module._forward_hooks, module._forward_pre_hooks):
        for key in [key for key, hook in hooks.items() if getattr(hook, "__module__", "").startswith(_HOME)]:
            del hooks[key]
    plain = _float_form(module, path) if _home(module).startswith(_HOME) else module
    for name, child in list(plain.named_children()):
        plain._modules[name] = _plain(child, f"{path}.{name}".strip("."))
    if isinstance(plain, fx.GraphModule):
        _without_calls(plain)
    return plain


def _float_form(module: Any, path: str) -> nn.Module:
    """Return what computes on real values what a module of ``torch.ao`` computes on quantized ones."""
    name, home = type(module).__name__, _home(module)
    if home.startswith(_WATCHING) or name in _GONE:
        return nn.Identity()
    if name in ("QFunctional", "FloatFunctional"):
        return _Functional()
    if hasattr(module, "to_float"):
        layer: nn.Module = module.to_float()
        for part in layer.modules():
            for own in ("weight", "bias"):
                if isinstance(p := part._parameters.get(own), nn.Parameter):
                    p.requires_grad_(trains(module, own))
        return _sequence(layer)
    if isinstance(module, nn.Sequential):
        return _sequence(module)
    if ".quantized." in home or home.endswith(".quantized"):
        return _dequantized(module, name, path)
    result: nn.Module = module
    return result  # containers, such as QuantWrapper, run on float values as well


def _sequence(module: nn.Module) -> nn.Module:
    """Return a fused sequence as a plain one; anything else as it is."""
    return nn.Sequential(*module.children()) if isinstance(module, nn.Sequential) else module


def _dequantized(module: Any, name: str, path: str) -> nn.Module:
    """Return the float layer of a quantized one."""
    base = name.replace("ReLU", "") if name.startswith(("Conv", "Linear", "BN")) else name
    layer: nn.Module | None = None
    if base == "ReLU6":
        layer = nn.ReLU6()
    elif base in ("BN2d", "BN3d", "BatchNorm2d", "BatchNorm3d"):
        layer = _norm(module, nn.BatchNorm3d if "3" in base else nn.BatchNorm2d)
    elif base == "Linear":
        weight, bias = _weights(module)
        layer = layer_of(nn.Linear, weight, bias, weight.shape[1], weight.shape[0])
    elif base.rstrip("123d").rstrip() in ("Conv", "ConvTranspose") and module.padding_mode == "zeros":
        weight, bias = _weights(module)
        turned = "Transpose" in base
        kind = (TRANSPOSED if turned else CONVOLUTIONS)[weight.ndim - 2]
        names = ("stride", "padding", "dilation", "groups", *(["output_padding"] if turned else []))
        options = {n: getattr(module, n) for n in names}
        layer = layer_of(kind, weight, bias, module.in_channels, module.out_channels, module.kernel_size, **options)
    if layer is None:
        raise ConversionError(
            f"{path or type(module).__name__}: {name} is a quantized layer of torch without a float form here",
            fix="convert the float network, with its weights from before the quantization",
        )
    return nn.Sequential(layer, nn.ReLU()) if base != name else layer


def _weights(module: Any) -> tuple[Tensor, Tensor | None]:
    """Return weights and bias of a quantized layer as real numbers."""
    if hasattr(module, "get_weight"):  # a reference layer holds real numbers and their grid
        return module.get_weight().detach(), module.bias
    bias = module.bias()
    return module.weight().dequantize().detach().float(), None if bias is None else bias.detach().float()


def _norm(module: Any, kind: type[Any]) -> nn.Module:
    norm: nn.Module = kind(module.num_features, eps=module.eps)
    norm.load_state_dict({key: value for key, value in module.state_dict().items() if key in norm.state_dict()})
    return norm.eval()


class _Functional(nn.Module):
    """The functions of quantized values, on real values."""

    add = add_scalar = staticmethod(torch.add)
    mul = mul_scalar = staticmethod(torch.mul)
    cat = staticmethod(torch.cat)

    def add_relu(self, a: Any, b: Any) -> Any:
        """Return the rectified sum."""
        return F.relu(torch.add(a, b))


def _without_calls(module: fx.GraphModule) -> None:
    """Take the calls that quantize out of a graph, and let sums of quantized values be sums."""
    graph = module.graph
    for node in list(graph.nodes):
        name = str(getattr(node.target, "__name__", node.target))
        quantized = "quantized." in str(getattr(node.target, "_qualified_op_name", "")).replace("::", ".")
        if node.op in ("call_function", "call_method") and name in _BETWEEN:
            node.replace_all_uses_with(node.args[0])
        elif quantized and node.op == "call_function":
            _real(graph, node, name)
        else:
            continue
        graph.erase_node(node)
    graph.eliminate_dead_code()
    module.recompile()


def _real(graph: fx.Graph, node: fx.Node, name: str) -> None:
    function = _SUMS.get(name.removesuffix("_relu"))
    if function is None:
        raise ConversionError(
            f"{node.name}: quantized.{name} is an operation on quantized values without a float form here",
            fix="convert the float network, with its weights from before the quantization",
        )
    with graph.inserting_before(node):
        result = graph.call_function(function, tuple(node.args[:2]))
        result = graph.call_function(F.relu, (result,)) if name.endswith("_relu") else result
    node.replace_all_uses_with(result)
