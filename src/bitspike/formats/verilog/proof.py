"""The certificate of a network that ran as Verilog: what was compared, in which simulator, and how long it takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from bitspike.formats.verilog.run import run_verilog
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers
from bitspike.integer.saved.replay import Certificate
from bitspike.integer.simulate import Trace


@dataclass(frozen=True, repr=False, kw_only=True)
class VerilogCertificate(Certificate):
    """A certificate whose spikes and membranes are those of Verilog in a simulator.

    Args:
        simulator: ``verilator`` or ``iverilog``.
        cycles: of the clock for one sample, in the mean; zeros are skipped, so samples differ.
    """

    simulator: str = ""
    cycles: int = 0

    def __str__(self) -> str:
        return f"{super().__str__()}\n  Verilog in {self.simulator}: {self.cycles:,} cycles a sample"


@dataclass(eq=False)
class VerilogRun:
    """Runs networks as Verilog, as the definition runs them, and remembers how long they took.

    Args:
        lanes: as of :func:`bitspike.formats.verilog.write.write_verilog`.
    """

    lanes: int | None = None
    _samples: int = field(default=0, init=False)
    _cycles: int = field(default=0, init=False)
    _simulator: str = field(default="", init=False)

    def __call__(self, net: IntegerNetwork, codes: Integers) -> Trace:
        """Return what the neurons of the Verilog did."""
        run = run_verilog(net, codes, lanes=self.lanes)
        self._samples += codes.shape[1]
        self._cycles += run.cycles * codes.shape[1]
        self._simulator = run.simulator
        return run.trace

    def certificate(self, of: Certificate) -> VerilogCertificate:
        """Return the certificate of all that it ran, with its cycles."""
        cycles = round(self._cycles / max(1, self._samples))
        return VerilogCertificate(**vars(of), simulator=self._simulator, cycles=cycles)
