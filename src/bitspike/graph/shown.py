"""A network as a table of its layers: what is seen where a network of thousands of lines is printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from bitspike.nn import Neuron
from bitspike.tables import Table, times
from bitspike.weights.path import path_of

Part = tuple[str, nn.Module]
_WIDE = 56
"""How many letters of a layer's settings are shown."""


def parts(model: nn.Module, path: str = "") -> Iterator[Part]:
    """Yield the layers of a network with their paths: neurons, and every module that holds no others.

    Example:
        >>> [path for path, _ in parts(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU())))]
        ['0', '1.0']
    """
    inside = [] if isinstance(model, Neuron) else [(n, m) for n, m in model.named_children() if n != "parametrizations"]
    if not inside:
        yield path, model
    for name, module in inside:
        yield from parts(module, f"{path}.{name}" if path else name)


def kind_of(module: nn.Module) -> str:
    """Return the class of a layer; that of its own where its weight is parametrized."""
    return type_before_parametrizations(module).__name__


def latent_of(module: nn.Module) -> Tensor | None:
    """Return the weight of a layer that multiplies by weights; None of other modules, norms among them."""
    at = path_of(module)
    weight = getattr(module, "weight", None) if at is None else at[1]
    return weight if isinstance(weight, Tensor) and weight.dim() > 1 else None


def bits_of(module: nn.Module) -> str:
    """Return the bits of a layer's weights: those of its codes, or of its floats."""
    at, weight = path_of(module), latent_of(module)
    if weight is None:
        return ""
    bits = None if at is None else getattr(at[0].quantize, "bits", None)
    if bits is not None:
        return str(bits)
    return str(weight.dtype).removeprefix("torch.")


def layers_said(layers: Sequence[Part]) -> str:
    """Say how many layers there are."""
    return f"{len(layers)} layer{'s' * (len(layers) != 1)}"


def settings_of(module: nn.Module) -> str:
    """Return how a module of Bitspike is set, shortened."""
    said = module.extra_repr() if type(module).__module__.startswith("bitspike") or isinstance(module, Neuron) else ""
    said = " ".join(said.split())
    return said if len(said) <= _WIDE else f"{said[: _WIDE - 3]}..."


def layers_table(model: nn.Module, title: str = "", below: Sequence[str] = ()) -> Table:
    """Return the layers of a network: what they are, their weights with shape and bits, how they are set.

    Args:
        model: any module; nothing is run.
        title: stands before the number of weights; the class of the module if empty.
        below: lines after the table.

    Example:
        >>> print(layers_table(nn.Sequential(nn.Linear(4, 2), nn.ReLU())))
        Sequential: 2 layers, 8 weights
          layer  kind    weights  bits
          0      Linear  2 x 4    float32
          1      ReLU
    """
    layers = list(parts(model))
    rows = [
        (path, kind_of(m), "" if (w := latent_of(m)) is None else times(w.shape), bits_of(m), settings_of(m))
        for path, m in layers
    ]
    count = sum(w.numel() for _, m in layers if (w := latent_of(m)) is not None)
    head = f"{title or type(model).__name__}: {layers_said(layers)}, {count:,} weights"
    return Table(head, ("layer", "kind", "weights", "bits", "settings"), rows, below)


class ShownNetwork:
    """The base of networks that show themselves as a table of their layers; it has no public name of its own.

    A network may have a module of any name, so nothing else is added to it.
    """

    def _shown(self) -> Table:
        assert isinstance(self, nn.Module)
        return layers_table(self)

    def __repr__(self) -> str:
        return str(self._shown())

    def __str__(self) -> str:
        return repr(self)

    def _repr_html_(self) -> str:
        return self._shown().html()
