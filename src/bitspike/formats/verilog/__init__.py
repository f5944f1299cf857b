"""An integer network as Verilog: a fixed library of modules, and one module that wires them.

``library/`` holds the modules, one idea a file, and ``bench/`` what checks and proves them; both are copied as they
are. ``wires`` says how a wire lies in memory, ``plan`` which module computes each node and with what parameters,
``support`` what is refused. ``tables`` fills the ROMs, ``top`` writes the module that wires and schedules, ``vectors``
what the bench reads, ``formal`` what the SAT solver reads, ``write`` the folder. ``run`` runs it in a simulator, and
``proof`` is the certificate of such runs.
"""

from bitspike.formats.verilog.write import write_verilog

__all__ = ["write_verilog"]
