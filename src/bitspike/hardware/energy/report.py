"""The energy report: lines per layer, totals with their band, the networks without spikes, and a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from bitspike.hardware.text import columns, pj

EXCLUDED = (
    "routing of spikes between cores, and the addresses that they carry",
    "clock, control and leakage power",
    "maximum pools, copies and reshapes; the read-out's sums; what the host computes",
    "savings from zero weights: they are counted like others",
    "of the network without spikes: activation functions, biases and requantization",
)
"""What no number of the report holds."""

ASSUMPTIONS = (
    "an addition is billed by the width of what is added, the weight of a spike or the product of a multiplication; "
    "the upper end of a band bills the width of the worst-case sum instead",
    "other integer widths than the published ones: additions linear in the width, multiplications in the product of "
    "both widths",
    "a value of several bits between layers counts as so many single spikes",
)


_EVERY_STEP = ("mac", "synapse")
"""Kinds of operations that happen whether something fires or not."""


@dataclass(frozen=True, kw_only=True)
class LayerEnergy:
    """Synaptic operations of one layer, per sample.

    Args:
        path, call: of the module.
        kind: ``mac`` reads codes of several bits, ``sop`` spikes; ``pool`` gathers a window; ``skip`` is spikes that
            enter a neuron with a gain; ``synapse`` is the leak of currents and what is added to them.
        weight_bits, input_bits, sum_bits: widths of a weight, of what it meets, of the sum in the worst case.
        spikes: that arrive.
        rate: spikes per place and step that arrive; 1 for codes.
        macs: multiplications of one dense pass, padding included.
        in_bounds: of these, the ones that do not fall on padding.
        operations: that happen: additions for spikes; multiplications for codes, computed once where the codes are
            constant in time.
        repeated: the same with constant codes multiplied at every step.
        approximate: the common approximation rate * T * MACs.
        operation_pj, operation_high_pj: energy of one operation, by its operands and by the widest sum, pJ.
        memory_pj: of all weights fetched, pJ.
    """

    path: str
    call: int
    kind: str
    weight_bits: int
    input_bits: int
    sum_bits: int
    spikes: float
    rate: float
    macs: int
    in_bounds: float
    operations: float
    repeated: float
    approximate: float
    operation_pj: float
    operation_high_pj: float
    memory_pj: float

    @property
    def ratio(self) -> float:
        """The approximation over the exact count; above 1 where padding is read, 1 where nothing happens."""
        exact = self.repeated
        return self.approximate / exact if exact else 1.0

    @property
    def energy_pj(self) -> float:
        """Energy of the operations, pJ."""
        return self.operations * self.operation_pj


@dataclass(frozen=True, kw_only=True)
class NeuronEnergy:
    """What a layer of neurons does besides its synapses, per sample.

    Args:
        path, call: of the module.
        neurons: how many.
        potential_bits: width of the potential in the worst case.
        rate: firing ratio, spikes / (T * neurons).
        updates: T per neuron: the current added and the threshold compared, with the leak where there is one.
        bias_additions: one per neuron and step with a bias.
        resets: subtractions of the threshold, one per spike.
        update_pj, bias_pj, reset_pj: energy of one, pJ.
        memory_pj: of all potentials read and written, pJ.
    """

    path: str
    call: int
    neurons: int
    potential_bits: int
    rate: float
    updates: float
    bias_additions: float
    resets: float
    update_pj: float
    bias_pj: float
    reset_pj: float
    memory_pj: float

    @property
    def energy_pj(self) -> float:
        """Energy of updates, biases and resets, pJ."""
        return self.updates * self.update_pj + self.bias_additions * self.bias_pj + self.resets * self.reset_pj


@dataclass(frozen=True, kw_only=True)
class Ann:
    """The same layers as a quantized network without spikes, computed once per sample.

    Args:
        activation_bits: ceil(log2(T + 1)): as many levels as a count of T steps has (arXiv 2409.08290).
        macs: multiplications, the same as the spiking network's dense pass.
        compute_pj, compute_high_pj: additions by the width of the product, or of the widest sum, pJ.
        memory_pj, memory_high_pj: every weight fetched once, or at every multiplication, pJ; 0 without memory model.
    """

    activation_bits: int
    macs: int
    compute_pj: float
    compute_high_pj: float
    memory_pj: float
    memory_high_pj: float

    @property
    def energy_pj(self) -> float:
        """The network at its best, pJ."""
        return self.compute_pj + self.memory_pj

    @property
    def high_pj(self) -> float:
        """The network at its worst, pJ."""
        return self.compute_high_pj + self.memory_high_pj


@dataclass(frozen=True, kw_only=True)
class EnergyReport:
    """All counts and energies of a network, per sample; energies in pJ.

    Args:
        table, process, sources: the technology.
        steps: T.
        samples, data: what the activity is the mean of.
        memory: whether memory accesses are billed.
        layers, neurons: the lines.
        quantized: the same network without spikes.
        float32_mac_pj, float32_ac_pj, int8_mac_pj, int8_ac_pj: the pairs that papers use.
    """

    table: str
    process: str
    sources: tuple[str, ...]
    steps: int
    samples: int | None
    data: str
    memory: bool
    layers: tuple[LayerEnergy, ...]
    neurons: tuple[NeuronEnergy, ...]
    quantized: Ann
    float32_mac_pj: float
    float32_ac_pj: float
    int8_mac_pj: float
    int8_ac_pj: float

    @property
    def sops(self) -> float:
        """Synaptic operations: additions that a spike causes."""
        return sum(line.operations for line in self.layers if line.kind not in _EVERY_STEP)

    @property
    def macs(self) -> float:
        """Multiplications that happen: of layers that read codes."""
        return sum(line.operations for line in self.layers if line.kind == "mac")

    @property
    def macs_repeated(self) -> float:
        """Multiplications where constant codes are multiplied again at every step."""
        return sum(line.repeated for line in self.layers if line.kind == "mac")

    @property
    def dense_macs(self) -> int:
        """Multiplications of the network without spikes."""
        return self.quantized.macs

    @property
    def rate(self) -> float:
        """Firing ratio of all neurons together."""
        chances = sum(line.updates for line in self.neurons)
        return sum(line.rate * line.updates for line in self.neurons) / chances if chances else 0.0

    @property
    def synaptic_pj(self) -> float:
        """Energy of all synaptic operations and multiplications, pJ."""
        return sum(line.energy_pj for line in self.layers)

    @property
    def neuron_pj(self) -> float:
        """Energy of updates, biases and resets, pJ."""
        return sum(line.energy_pj for line in self.neurons)

    @property
    def memory_pj(self) -> float:
        """Energy of memory accesses, pJ; 0 without memory model."""
        return sum(x.memory_pj for x in self.layers) + sum(x.memory_pj for x in self.neurons)

    @property
    def energy_pj(self) -> float:
        """Energy of everything that is billed, pJ."""
        return self.synaptic_pj + self.neuron_pj + self.memory_pj

    @property
    def high_pj(self) -> float:
        """The upper end of the band: every addition as wide as the worst-case sum, pJ."""
        return sum(x.operations * x.operation_high_pj for x in self.layers) + self.neuron_pj + self.memory_pj

    @property
    def repeated_pj(self) -> float:
        """Energy with constant codes multiplied again at every step, pJ."""
        return self.energy_pj + sum((x.repeated - x.operations) * x.operation_pj for x in self.layers)

    def papers_pj(self, format: str) -> tuple[float, float]:
        """Return what papers print, (spiking network, network without spikes): E_MAC * MAC + E_AC * SOP, pJ.

        Args:
            format: ``float32`` or ``int8``. The first layer's multiplications are counted once.
        """
        mac, ac = {
            "float32": (self.float32_mac_pj, self.float32_ac_pj),
            "int8": (self.int8_mac_pj, self.int8_ac_pj),
        }[format]
        return mac * self.macs + ac * self.sops, mac * self.dense_macs

    @property
    def silent(self) -> bool:
        """True where there are neurons and not one of them fired."""
        return bool(self.neurons) and not any(line.rate for line in self.neurons)

    @property
    def wins(self) -> bool:
        """True where the spiking network fires, and needs less than the quantized one at its best."""
        return self.energy_pj < self.quantized.energy_pj and not self.silent

    @property
    def break_even_rate(self) -> float:
        """The firing ratio at which both need the same if all spikes grew or shrank alike; below 0 there is none."""
        moving = sum(x.energy_pj + x.memory_pj for x in self.layers if x.kind not in _EVERY_STEP)
        moving += sum(x.resets * x.reset_pj for x in self.neurons)
        if not moving:
            return float("inf") if self.energy_pj < self.quantized.energy_pj else -1.0
        return self.rate * (self.quantized.energy_pj - (self.energy_pj - moving)) / moving

    @property
    def verdict(self) -> str:
        """Who wins, in one sentence."""
        ours, theirs = self.energy_pj, self.quantized.energy_pj
        other = f"the quantized network without spikes (same weights, {self.quantized.activation_bits}-bit activations)"
        factor = max(ours, theirs) / max(min(ours, theirs), 1e-12)
        if self.silent:
            return f"No neuron fires: {pj(ours)} is what silence costs, and no saving against {pj(theirs)} of {other}."
        if self.wins:
            return f"The spiking network wins: {pj(ours)} against {pj(theirs)} of {other}, {factor:.3g} times less."
        level = self.break_even_rate
        hope = (
            f"it would win below a firing ratio of {level:.3g}, and has {self.rate:.3g}"
            if 0 < level < float("inf")
            else "no firing ratio would change that: what does not depend on spikes costs more already"
        )
        return (
            f"The spiking network loses: {pj(ours)} against {pj(theirs)} of {other}, {factor:.3g} times more; {hope}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; energies in pJ."""
        level = self.break_even_rate
        return {
            "table": self.table,
            "process": self.process,
            "sources": list(self.sources),
            "steps": self.steps,
            "samples": self.samples,
            "data": self.data,
            "memory": self.memory,
            "unit": "pJ per sample",
            "energy": self.energy_pj,
            "band": [self.energy_pj, self.high_pj],
            "first_layer_repeated": self.repeated_pj,
            "synaptic": self.synaptic_pj,
            "neuron": self.neuron_pj,
            "memory_accesses": self.memory_pj,
            "operations": {
                "sops": self.sops,
                "sops_approximate": sum(x.approximate for x in self.layers if x.kind not in _EVERY_STEP),
                "macs": self.macs,
                "macs_repeated": self.macs_repeated,
                "dense_macs": self.dense_macs,
                "updates": sum(x.updates for x in self.neurons),
                "bias_additions": sum(x.bias_additions for x in self.neurons),
                "resets": sum(x.resets for x in self.neurons),
            },
            "rate": self.rate,
            "layers": [asdict(x) | {"ratio": x.ratio, "energy": x.energy_pj} for x in self.layers],
            "neurons": [asdict(x) | {"energy": x.energy_pj} for x in self.neurons],
            "quantized": asdict(self.quantized)
            | {"energy": self.quantized.energy_pj, "band": [self.quantized.energy_pj, self.quantized.high_pj]},
            "float32": dict(zip(("spiking", "without_spikes"), self.papers_pj("float32"), strict=True)),
            "int8": dict(zip(("spiking", "without_spikes"), self.papers_pj("int8"), strict=True)),
            "wins": self.wins,
            "break_even_rate": None if level in (float("inf"), -1.0) else level,
            "verdict": self.verdict,
            "excluded": list(EXCLUDED) + ([] if self.memory else ["memory accesses (memory=MemoryModel() bills them)"]),
            "assumptions": list(ASSUMPTIONS),
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        of = f", mean of {self.samples} samples" if self.samples else ""
        of += f" of {self.data}" if self.data else ""
        yield f"energy per sample, T = {self.steps}, {self.table} ({self.process}){of}"
        yield self.verdict
        rows = [("layer", "", "weights", "rate", "operations", "rate*T*MACs", "ratio", "energy")]
        rows += [
            (
                x.path, x.kind, f"{x.weight_bits}-bit", f"{x.rate:.3f}", f"{x.operations:,.0f}",
                f"{x.approximate:,.0f}", f"{x.ratio:.3f}", pj(x.energy_pj),
            )
            for x in self.layers
        ]  # fmt: skip
        yield from columns(rows)
        rows = [("neurons", "", "potential", "rate", "updates", "biases", "resets", "energy")]
        rows += [
            (
                x.path, "", f"{x.potential_bits}-bit", f"{x.rate:.3f}", f"{x.updates:,.0f}",
                f"{x.bias_additions:,.0f}", f"{x.resets:,.0f}", pj(x.energy_pj),
            )
            for x in self.neurons
        ]  # fmt: skip
        yield from columns(rows)
        yield f"synapses {pj(self.synaptic_pj)}, neurons {pj(self.neuron_pj)}" + (
            f", memory {pj(self.memory_pj)}" if self.memory else "; memory accesses are not billed"
        )
        yield f"in all {pj(self.energy_pj)}, with additions as wide as the widest sums {pj(self.high_pj)}"
        if self.macs_repeated > self.macs:
            yield f"with the first layer computed at every step instead of once {pj(self.repeated_pj)}"
        ann = self.quantized
        yield f"quantized network without spikes {pj(ann.energy_pj)} to {pj(ann.high_pj)}, {ann.macs:,} MACs"
        for format in ("float32", "int8"):
            ours, theirs = self.papers_pj(format)
            yield f"as papers count, {format}: {pj(ours)} (MACs and SOPs only), without spikes {pj(theirs)}"
        yield "not counted:"
        yield from (f"  {text}" for text in EXCLUDED)
