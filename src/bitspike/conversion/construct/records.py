"""What a spiking network is built from and what became of it: records that corrections and the ledger read too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, fx

from bitspike.conversion.construct.units import Charge


@dataclass(frozen=True, eq=False)
class LayerReport:
    """What one neuron or read-out became.

    Args:
        id: of the relu or of the weighted operation.
        path: module path.
        kind: ``neuron``, ``pool`` (a neuron of an average pool) or ``readout``.
        source: id of the operation whose value the neuron rectifies, or of the read-out's own.
        weights: paths of the weighted layers that feed it.
        wanted: lambda that calibration found, [1] or [C]; empty for a read-out.
        value: lambda_eff, what a spike is worth.
        unit: real value of one count of the synaptic sum.
        threshold: in counts of ``unit / 2**fraction_bits``.
        fraction_bits: k.
        exponent: the torch network's potentials are counts times ``2**-exponent``.
        inputs: by weighted layer the real value of its input spikes, broadcastable against one sample.
        split_over: T where ``coding="split"`` and the neuron reads what enters, of which a step brings the T-th part;
            all other codes of the neuron, its bias and its threshold are divided by it. Else 1.
        notes: codes W2xx.
    """

    id: str
    path: str
    kind: str
    source: str
    weights: tuple[str, ...]
    wanted: Tensor
    value: Tensor
    unit: Tensor
    threshold: Tensor
    fraction_bits: int
    exponent: int
    inputs: Mapping[str, Tensor]
    split_over: int = 1
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its module in the spiking network."""
        return layer_name(self.id, self.kind)


@dataclass(frozen=True, eq=False)
class Spikes:
    """A wire of spikes or codes: its node, and the real value of one of them, broadcastable against one sample."""

    node: fx.Node
    value: Tensor


@dataclass
class Built:
    """A spiking network and how it came about.

    Args:
        network: the module.
        layers: by id of relu or read-out.
        wires: by operation, the spikes that stand for its value: fx node name and real value of one.
        charges: by id of the relu, what its neuron adds up.
    """

    network: fx.GraphModule
    layers: dict[str, LayerReport]
    wires: dict[str, tuple[str, Tensor]]
    charges: dict[str, Charge] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Shifts:
    """Corrections, real values.

    Args:
        bias: by relu, float64 [C], added to the bias of every step.
        initial: by relu, float64 [C], added to the first potential.
        weights: by weighted operation, what takes the place of its weights.
    """

    bias: Mapping[str, Tensor] = field(default_factory=dict)
    initial: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)


def module_name(id: str) -> str:
    """Return the name that the module of an operation has in the spiking network.

    Example:
        >>> module_name("relu#1")
        'relu_1'
    """
    return id.replace("#", "_")


def layer_name(id: str, kind: str) -> str:
    """Return what a neuron or read-out is called in the spiking network, its integers, the report and the ledger.

    Example:
        >>> layer_name("relu#1", "neuron"), layer_name("head", "readout")
        ('relu_1', 'head_readout')
    """
    return f"{module_name(id)}_readout" if kind == "readout" else module_name(id)
